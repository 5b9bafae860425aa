# SPDX-License-Identifier: BSD-3-Clause
"""Runs one stage: starts ``python -m vhostlab stage`` and reports how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from avocado.core.nrunner.app import BaseRunnerApp
from avocado.core.nrunner.runnable import Runnable
from avocado.core.nrunner.runner import BaseRunner
from vhostlab.errors import HarnessError
from vhostlab.results import Fragment, Status, read
from vhostlab.runner import RUN_DIR_VARIABLE, STAGE_TMPDIR_VARIABLE, end_with

from vhostlab_avocado.resolver import KIND


def stage_command(runnable: Runnable, run_dir: Path) -> list[str]:
    """The program of a runnable."""
    told = runnable.kwargs
    words = [sys.executable, "-m", "vhostlab", "stage", "--name", told["stage"]]
    words += ["--run-dir", str(run_dir), "--target", told["target"], "--matrix", told["matrix"]]
    words += ["--guest", told["guest"]]
    for option, names in (("--scenario", told["scenarios"]), ("--cell", told["cells"])):
        words += [word for name in names.split(",") if name for word in (option, name)]
    return words + [f"--{flag}" for flag in ("brief", "resume") if told.get(flag)]


def outcome(run_dir: Path, stage: str) -> dict[str, Any]:
    """How a stage ended, for Avocado."""
    try:
        done = read(Fragment, run_dir / "stages" / f"{stage}.json").scenarios
    except HarnessError as error:
        return {"result": "error", "fail_reason": str(error)}
    bad = [s for s in done if s.status not in (Status.PASS, Status.SKIP)]
    if bad:
        result = "fail" if all(s.status is Status.FAIL for s in bad) else "error"
        words = [f"{s.name}: {(s.error or '').splitlines()[0]}" for s in bad]
        return {"result": result, "fail_reason": "; ".join(words)}
    if all(s.status is Status.SKIP for s in done):
        return {"result": "skip", "fail_reason": "; ".join(s.skip_reason or "" for s in done)}
    return {"result": "pass"}


class VmScenarioRunner(BaseRunner):  # type: ignore[misc]
    """Avocado plugin: runs runnables of kind vm-scenario."""

    name = KIND
    description = "Runs the scenarios of one stage of vhostlab"

    def run(self, runnable: Runnable) -> Iterator[dict[str, Any]]:
        yield self.prepare_status("started")
        output = Path(runnable.output_dir or ".")
        run_dir = Path(os.environ.get(RUN_DIR_VARIABLE, output))
        # Avocado dies without a word to us, and we to the stage, which ends its guests in order
        me = os.getpid()
        end_with(os.getppid(), signal.SIGTERM)
        with (output / "stage.log").open("wb") as log:
            child = subprocess.Popen(
                stage_command(runnable, run_dir),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"TMPDIR": os.environ.get(STAGE_TMPDIR_VARIABLE, gettempdir())},
                preexec_fn=lambda: end_with(me, signal.SIGTERM),
            )
        yield from self.running_loop(lambda: child.poll() is not None)
        said = (output / "stage.log").read_bytes()
        if said:
            yield self.prepare_status("running", {"type": "stderr", "log": said})
        if child.returncode != 0:
            words = said.decode(errors="replace").strip().splitlines()
            reason = f"the stage ended with status {child.returncode}: {(words or [''])[-1]}"
            yield self.prepare_status("finished", {"result": "error", "fail_reason": reason})
            return
        yield self.prepare_status("finished", outcome(run_dir, runnable.kwargs["stage"]))


class RunnerApp(BaseRunnerApp):  # type: ignore[misc]
    PROG_NAME = f"avocado-runner-{KIND}"
    PROG_DESCRIPTION = "Runner of vhostlab's scenarios"
    RUNNABLE_KINDS_CAPABLE = (KIND,)


def main() -> None:
    """Entry point of the program that Avocado starts."""
    RunnerApp(print).run()


if __name__ == "__main__":
    main()
