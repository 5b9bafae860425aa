#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Run the steps of `make test`, go on after a failure, and say at the end what failed.

    ci/steps.py [STEP...]    all steps, or those named

Each step is a make target that can be run alone. The runners write JUnit reports into
build/reports, from which the closing line is counted. A step that fails before its runner could
report counts as one failure, and is written to build/reports/steps.xml so that a later sum sees
it too.
"""

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

import junit

ROOT = Path(__file__).resolve().parent.parent
REPORTS = Path("build/reports")
OWN_REPORT = REPORTS / "steps.xml"


@dataclass(frozen=True)
class Step:
    """A make target, the reports its runners write, and the step it is pointless without."""

    name: str
    reports: tuple[Path, ...] = ()
    needs: str | None = None


STEPS = (
    Step("build"),
    Step("lint", needs="build"),
    Step("check-c", (REPORTS / "unit.xml",)),
    Step("fuzz", (REPORTS / "fuzz.xml",)),
    Step("selftest", (REPORTS / "selftest.xml",)),
    Step(
        "check-protocol",
        (REPORTS / "protocol-asan.xml", REPORTS / "protocol.xml"),
        needs="build",
    ),
    Step("hostile", (REPORTS / "hostile.xml",)),
    Step("check-engine", (REPORTS / "engine.xml",), needs="build"),
    Step("check-frontend", (REPORTS / "frontend.xml",), needs="build"),
    Step(
        "check-vm",
        (REPORTS / "vm-quick/latest/junit.xml", REPORTS / "runs.xml"),
        needs="build",
    ),
)


@dataclass(frozen=True)
class Outcome:
    step: Step
    result: str  # ok, FAILED or not run
    seconds: float = 0.0
    cases: list[junit.Case] = field(default_factory=list)

    @property
    def unreported(self) -> bool:
        """The step failed and no test case says so."""
        return self.result == "FAILED" and not any(c.outcome == "failed" for c in self.cases)


def run(step: Step, environment: dict[str, str]) -> Outcome:
    print(f"\n==== {step.name}", flush=True)
    for report in step.reports:
        report.unlink(missing_ok=True)
    start = time.monotonic()
    status = subprocess.run(
        ["make", "--no-print-directory", step.name],
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode
    seconds = time.monotonic() - start
    # A runner that was not reached leaves no report, which is no failure of its own.
    written = [r for r in step.reports if r.exists() or status == 0]
    cases = [case for report in written for case in junit.read(report)]
    failed = status != 0 or any(c.outcome == "failed" for c in cases)
    if step.reports and not cases:
        print(f"{step.name}: no test was run")
        failed = True
    return Outcome(step, "FAILED" if failed else "ok", seconds, cases)


def run_all(steps: list[Step]) -> list[Outcome]:
    # The make that called us has a job server of its own that these must not look for.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS")}
    outcomes: list[Outcome] = []
    for step in steps:
        if any(o.step.name == step.needs and o.result != "ok" for o in outcomes):
            outcomes.append(Outcome(step, "not run"))
        else:
            outcomes.append(run(step, environment))
    return outcomes


def write_own_report(outcomes: list[Outcome]) -> list[junit.Case]:
    """Write and return the failures that no runner reported."""
    suite = ET.Element("testsuite", name="steps")
    names = [o.step.name for o in outcomes if o.unreported]
    for name in names:
        case = ET.SubElement(suite, "testcase", classname="step", name=name)
        ET.SubElement(case, "failure", message=f"make {name} failed")
    OWN_REPORT.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(OWN_REPORT, encoding="utf-8", xml_declaration=True)
    return [junit.Case(f"step.{name}", "failed") for name in names]


def summary(outcomes: list[Outcome], unreported: list[junit.Case]) -> str:
    lines = ["", f"{'step':<16}{'result':<9}{'time':>7}  tests"]
    for o in outcomes:
        tests = str(junit.Totals.of(o.cases)) if o.cases else ""
        lines.append(f"{o.step.name:<16}{o.result:<9}{o.seconds:>5.0f} s  {tests}".rstrip())
    cases = [case for o in outcomes for case in o.cases] + unreported
    lines += ["", *junit.explain_skips(cases)]
    lines += [f"failed:  {case.name}" for case in cases if case.outcome == "failed"]
    if not_run := [o.step.name for o in outcomes if o.result == "not run"]:
        lines.append(f"not run, as what they need failed: {', '.join(not_run)}")
    lines.append(str(junit.Totals.of(cases)))
    return "\n".join(lines)


def main() -> int:
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(description="Run the steps of `make test`.")
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(names))
    wanted = parser.parse_args().steps
    if unknown := set(wanted) - set(names):
        parser.error(f"no such step: {', '.join(sorted(unknown))} (there are: {', '.join(names)})")
    os.chdir(ROOT)
    outcomes = run_all([s for s in STEPS if not wanted or s.name in wanted])
    print(summary(outcomes, write_own_report(outcomes)), flush=True)
    return 0 if all(o.result == "ok" for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
