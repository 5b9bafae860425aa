# SPDX-License-Identifier: BSD-3-Clause
"""The gate: measures what has to be measured, has it judged, shows the verdict.

What is left in the directory: facts.json (what was compared, and what became of each part),
work.json, ab/ (of ``vhostlab ab``), coverage/; and of the judge gate.json and gate.html.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from vhostlab.errors import HarnessError
from vhostlab.gate import builds, child, coverage, revisions, work
from vhostlab.gate.builds import Built
from vhostlab.gate.revisions import Revision
from vhostlab.gate.steps import Steps
from vhostlab.host.facts import facts as host_facts

PARTS = ("work", "ab", "coverage")
STORE = "build/gate"
BUILD_S = 60.0
AB_S = 540.0
JUDGE_DEADLINE_S = 120.0
AB_EXITS = (0, 1)
"""Of ``vhostlab ab``: it came to a verdict."""


@dataclass(frozen=True)
class Request:
    """What is asked for. No ``head``: the files as they are here, committed or not. ``always``: the
    daemons are compared even if they are the same, to see how sure the gate is."""

    base: str
    head: str | None = None
    only: tuple[str, ...] = PARTS
    cases: tuple[str, ...] = ()
    coverage_parts: tuple[str, ...] = tuple(coverage.PARTS)
    head_options: tuple[str, ...] = ()
    ab_options: tuple[str, ...] = ()
    budget_s: float = 2400.0
    always: bool = False
    command: str = ""


@dataclass
class Part:
    """What became of a part: ran, not needed, left out, could not run."""

    name: str
    state: str = "left out"
    reason: str = "not asked for (--only)"
    seconds: float = 0.0
    replay: list[str] = field(default_factory=list)

    def settle(self, state: str, reason: str = "") -> None:
        self.state, self.reason = state, reason


class Gate:
    """One comparison, in a directory of its own."""

    def __init__(self, root: Path, out: Path, request: Request, console: Console) -> None:
        self.root = root
        self.out = out
        self.request = request
        self.steps = Steps(console)
        base = revisions.resolve(root, request.base)
        self.head = revisions.resolve(root, request.head) if request.head else revisions.here(root)
        self.base = revisions.start(root, base, self.head)
        self.parts = {name: Part(name) for name in PARTS}
        self.changed = revisions.changed(root, self.base, self.head)
        self.built: dict[str, Built] = {}
        self.parts_left_out: dict[str, str] = {}

    # ---- what is needed ----

    @property
    def same_sources(self) -> bool:
        touched = any(revisions.is_daemon(path) for path in self.changed)
        return not (touched or self.request.head_options or self.request.always)

    def _is_here(self) -> bool:
        """Coverage is measured with the files of this tree."""
        return self.head.commit == revisions.here(self.root).commit or self.head.dirty

    def _coverage_parts(self, left_s: float) -> list[str]:
        """As many as there is time for, in their order."""
        chosen: list[str] = []
        left_s -= coverage.BUILD_S + coverage.READ_S
        for name in self.request.coverage_parts:
            needs = coverage.PARTS[name].seconds + coverage.READ_S
            if needs > left_s:
                self.parts_left_out[name] = "no time left for it (--budget)"
                continue
            left_s -= needs
            chosen.append(name)
        return chosen

    # ---- the parts ----

    @contextmanager
    def _part(self, name: str) -> Iterator[Part]:
        """A part that cannot be run is told, and the others go on."""
        part = self.parts[name]
        begin = time.monotonic()
        part.settle("ran")
        try:
            yield part
        except HarnessError as error:
            part.settle("could not run", str(error))
        finally:
            part.seconds = round(time.monotonic() - begin, 1)

    def _build(self) -> bool:
        """Both daemons. False: they are the same."""
        # The one that is more likely to fail comes first.
        with self.steps.step("building head"):
            self.built["head"] = builds.build(
                self.root, self.root / STORE, self.head, self.request.head_options
            )
        with self.steps.step("building base"):
            self.built["base"] = builds.build(self.root, self.root / STORE, self.base, ())
        same = self.built["base"].build_id == self.built["head"].build_id
        return self.request.always or not same

    def _work(self, names: Sequence[str]) -> None:
        with self._part("work") as part:
            work.check(self.root)
            part.replay = [
                shlex.join(work.replay(names[0], built.program)) for built in self.built.values()
            ]
            counted = work.measure(
                self.root, self.built["base"], self.built["head"], names, self.steps
            )
            (self.out / "work.json").write_text(json.dumps({"cases": counted}, indent=1) + "\n")

    def ab_words(self) -> list[str]:
        """What follows `vhostlab`: the very programs whose work was counted."""
        words = ["ab", "-o", str(self.out / "ab")]
        for name, built in self.built.items():
            words += [f"--{name}-binary", str(built.program)]
        return words + list(self.request.ab_options)

    def _ab(self) -> None:
        with self._part("ab") as part, self.steps.step("timing base and head in turns"):
            words = self.ab_words()
            part.replay = [shlex.join(["vhostlab", *words])]
            log = self.out / "ab.log"
            log.unlink(missing_ok=True)
            argv = [sys.executable, "-m", "vhostlab", *words]
            status = child.run(argv, cwd=self.root, log=log).returncode
            if status not in AB_EXITS or not (self.out / "ab/ab.json").is_file():
                said = log.read_text(errors="replace").strip().splitlines()
                raise HarnessError(said[-1] if said else "it gave no reason", f"see {log}")

    def _coverage(self, parts: Sequence[str]) -> None:
        with self._part("coverage") as part:
            words = ["coverage", "--parts", ",".join(parts), "--base", self.base.commit]
            part.replay = [shlex.join(["vhostlab", *words])]
            coverage.measure(self.root, self.out / "coverage", parts, self.base.commit, self.steps)

    # ---- all of it ----

    def run(self) -> dict[str, Any]:
        """Measure and judge; the judge's verdict."""
        started = datetime.now(UTC)
        begin = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        names = list(self.request.cases) or work.cases(self.root)
        compare = [name for name in ("work", "ab") if name in self.request.only]
        differs = bool(compare) and not self.same_sources
        coverage_parts = self._plan(differs, names)
        if differs:
            try:
                differs = self._build()
            except HarnessError as error:
                for name in compare:
                    self.parts[name].settle("could not run", str(error))
                compare = []
        if compare and not differs:
            reason = (
                "both revisions build the same daemon, byte by byte"
                if self.built
                else "nothing that the daemon is built from has changed"
            )
            for name in compare:
                self.parts[name].settle("not needed", reason)
        elif differs and compare:
            if "work" in compare:
                self._work(names)
            if "ab" in compare:
                self._ab()
        if coverage_parts:
            self._coverage(coverage_parts)
        self._write_facts(started, time.monotonic() - begin)
        return self._judge()

    def _plan(self, differs: bool, names: Sequence[str]) -> list[str]:
        """Tell the clock what is to come; the parts of coverage that will be run."""
        only = self.request.only
        if differs:
            self.steps.plan("building head", BUILD_S)
            self.steps.plan("building base", BUILD_S)
        if differs and "work" in only:
            work.plan(self.steps, names)
        if differs and "ab" in only:
            self.steps.plan("timing base and head in turns", AB_S)
        if "coverage" not in only:
            return []
        part = self.parts["coverage"]
        if not any(revisions.is_counted(path) for path in self.changed):
            part.settle("not needed", "neither the target nor its tests have changed")
            return []
        if not self._is_here():
            part.settle("left out", "it is measured in this tree, where another revision lies")
            return []
        chosen = self._coverage_parts(self.request.budget_s - sum(self.steps.left.values()))
        if not chosen:
            part.settle("left out", "no time left for it (--budget)")
            return []
        coverage.plan(self.steps, chosen)
        return chosen

    def _side(self, revision: Revision, name: str) -> dict[str, Any]:
        built = self.built.get(name)
        options = self.request.head_options if name == "head" else ()
        return revision.record() | {
            "build_id": built.build_id if built else "",
            "version": built.version if built else "",
            "options": shlex.join(options),
        }

    def _write_facts(self, started: datetime, seconds: float) -> None:
        host = host_facts()
        facts = {
            "schema_version": 1,
            "started": started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "seconds": round(seconds, 1),
            "command": self.request.command,
            "base": self._side(self.base, "base"),
            "head": self._side(self.head, "head"),
            "changed": {
                "files": len(self.changed),
                "of_the_daemon": sum(revisions.is_daemon(path) for path in self.changed),
            },
            "machine": {
                "processor": host.cpu_model,
                "processors": len(host.usable_cpus),
                "kernel": host.kernel,
                "distribution": host.distribution,
            },
            "parts": [vars(part) for part in self.parts.values()],
            "coverage_left_out": self.parts_left_out,
        }
        (self.out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")

    def _judge(self) -> dict[str, Any]:
        argv = [sys.executable, "-m", "vhostlab_perf", "gate", str(self.out)]
        done = subprocess.run(
            [*argv, "--rules", str(self.root / "perf")],
            capture_output=True,
            text=True,
            timeout=JUDGE_DEADLINE_S,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise HarnessError(f"nothing was judged: {said[-1] if said else 'no reason given'}")
        verdict: dict[str, Any] = json.loads((self.out / "gate.json").read_text())
        return verdict
