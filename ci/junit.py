#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Add up JUnit reports of different runners.

    ci/junit.py REPORT.xml...   say what was skipped and why, then print `N passed, N failed`

Exit status: 0 if something passed and nothing failed.
"""

import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One test: its outcome is passed, failed or skipped, and a reason goes with the last."""

    name: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Totals:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, cases: list[Case]) -> "Totals":
        outcomes = [case.outcome for case in cases]
        return cls(outcomes.count("passed"), outcomes.count("failed"), outcomes.count("skipped"))

    def __str__(self) -> str:
        """The closing line; it stands alone on its line so that machines can find it."""
        line = f"{self.passed} passed, {self.failed} failed"
        return f"{line}, {self.skipped} skipped" if self.skipped else line


def read_case(element: ET.Element) -> Case:
    name = ".".join(filter(None, (element.get("classname"), element.get("name", "?"))))
    if element.find("failure") is not None or element.find("error") is not None:
        return Case(name, "failed")
    skipped = element.find("skipped")
    if skipped is not None:
        return Case(name, "skipped", skipped.get("message") or (skipped.text or "").strip())
    return Case(name, "passed")


def read(path: Path) -> list[Case]:
    """Return the cases of one report; a report that cannot be read is a failed case."""
    try:
        root = ET.parse(path).getroot()
    except FileNotFoundError:
        return [Case(f"{path}: there is no such report", "failed")]
    except (OSError, ET.ParseError) as error:
        return [Case(f"{path}: {error}", "failed")]
    return [read_case(element) for element in root.iter("testcase")]


def explain_skips(cases: list[Case]) -> list[str]:
    """One line per reason, not per test: a missing thing often skips many."""
    by_reason: dict[str, list[str]] = {}
    for case in cases:
        if case.outcome == "skipped":
            by_reason.setdefault(case.reason or "no reason was given", []).append(case.name)
    lines = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"skipped: {names[0]}{more}: {reason}")
    return lines


def main(arguments: list[str]) -> int:
    cases = [case for argument in arguments for case in read(Path(argument))]
    for case in cases:
        if case.outcome == "failed":
            print(f"failed:  {case.name}")
    for line in explain_skips(cases):
        print(line)
    totals = Totals.of(cases)
    print(totals)
    return 0 if totals.passed and not totals.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
