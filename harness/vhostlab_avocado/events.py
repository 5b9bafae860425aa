# SPDX-License-Identifier: BSD-3-Clause
"""Before a job: writes down what is planned. After it: makes result.json, JUnit and the report."""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from avocado.core.output import LOG_UI
from avocado.core.plugin_interfaces import ResultEvents
from rich.console import Console
from vhostlab import matrixrun, report, results, summary
from vhostlab.errors import HarnessError
from vhostlab.results import PLAN_FILE, PlannedStage
from vhostlab.run import Request
from vhostlab.runner import RUN_DIR_VARIABLE
from vhostlab.scenario import Options

from vhostlab_avocado.resolver import KIND


class RunEvents(ResultEvents):  # type: ignore[misc]
    """Avocado plugin: turns a job with scenarios in it into a run with results."""

    name = "vhostlab"
    description = "Results of vhostlab's scenarios: result.json, junit.xml, report.html"

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        self._run_dir: Path | None = None
        self._began = time.monotonic()
        self._by_hand = False

    def pre_tests(self, job: Any) -> None:
        """Write the plan, and tell the runners where the run's directory is."""
        told = [t.kwargs for s in job.test_suites for t in s.tests if t.kind == KIND]
        if not told:
            return
        if run_dir := _planned():
            self._run_dir, self._began = run_dir, time.monotonic()
            return
        if len({t["target"] for t in told}) > 1 and not _only_cells(told):
            LOG_UI.error("vhostlab: one target per job, please: no result.json is made of this one")
            return
        self._began = time.monotonic()
        self._by_hand = RUN_DIR_VARIABLE not in os.environ
        if self._by_hand:
            os.environ[RUN_DIR_VARIABLE] = str(Path(job.logdir) / "vhostlab")
        self._run_dir = Path(os.environ[RUN_DIR_VARIABLE])
        _unique_stages(told)
        results.write(_plan(told, self._run_dir, self._by_hand), self._run_dir / PLAN_FILE)

    def post_tests(self, job: Any) -> None:
        """Merge what the stages left; say what came out when nobody else will."""
        if self._run_dir is None:
            return
        try:
            done = results.finish(self._run_dir, time.monotonic() - self._began)
            report.make(self._run_dir)
        except HarnessError as error:
            LOG_UI.error("vhostlab: %s", error)
            return
        if self._by_hand:
            text = StringIO()
            summary.show(done, self._run_dir, Console(file=text, width=100, highlight=False))
            LOG_UI.info(text.getvalue())

    def start_test(self, result: Any, state: Any) -> None:
        """Not of interest: the stages report their scenarios themselves."""

    def test_progress(self, progress: bool = False) -> None:
        """Not of interest."""

    def end_test(self, result: Any, state: Any) -> None:
        """Not of interest."""


def _planned() -> Path | None:
    """The directory of the run, if whoever started us has made a plan already."""
    run_dir = Path(os.environ.get(RUN_DIR_VARIABLE, ""))
    known = RUN_DIR_VARIABLE in os.environ and (run_dir / PLAN_FILE).exists()
    return run_dir if known else None


def _unique_stages(told: list[dict[str, str]]) -> None:
    """References that were given separately may name the same stage; each keeps its own place."""
    seen: Counter[str] = Counter()
    for runnable in told:
        seen[runnable["stage"]] += 1
        if (count := seen[runnable["stage"]]) > 1:
            runnable["stage"] += f"-{count}"


def _only_cells(told: list[dict[str, str]]) -> bool:
    """Whether a job is a recipe of `vhostlab plan`: nothing but named cells is measured."""
    return all(t["scenarios"] == matrixrun.SCENARIO and t["cells"] for t in told)


def _plan(told: list[dict[str, str]], run_dir: Path, by_hand: bool) -> results.Plan:
    """The plan behind the runnables of a job."""
    stages = [
        PlannedStage(t["stage"], tuple(t["scenarios"].split(",")), target=t["target"]) for t in told
    ]
    suite, now = told[0]["suite"], datetime.now(UTC)
    cells = tuple(dict.fromkeys(c for t in told for c in t["cells"].split(",") if c))
    request = Request(
        target=told[0]["target"],
        suite=suite,
        scenarios=() if suite else tuple(dict.fromkeys(n for s in stages for n in s.scenarios)),
        matrix=os.environ.get("VHOSTLAB_RUN_MATRIX", ""),
        cells=cells,
        guest=told[0]["guest"],
    )
    command = request.command()
    if by_hand and _only_cells(told):
        matrix = Options(Path(told[0]["matrix"])).matrix_name()
        command = matrixrun.Request(request.target, matrix, cells).command()
    return results.Plan(
        run_id=f"{now:%Y%m%dT%H%M%SZ}-{request.target}" if by_hand else run_dir.name,
        started=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        suite=suite or "selection",
        command=command,
        target=request.target,
        stages=tuple(stages),
        guest=request.guest,
    )
