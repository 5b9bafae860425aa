# SPDX-License-Identifier: BSD-3-Clause
"""Has the runner (Avocado) carry out what a reference stands for, and follows its progress.

Avocado is started as a program. Nothing of it is imported, and what happens in a scenario does not
know that it exists. It dies when the harness does, and its stages end their guests then.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from vhostlab import rundir
from vhostlab.scenario.progress import Follower
from vhostlab.scratch import scratch_dir

#: The directory of the run, for the runner's plugins.
RUN_DIR_VARIABLE = "VHOSTLAB_RUN_DIR"

#: How often the progress of the runner is looked at.
FOLLOW_INTERVAL_S = 0.2

RUNNER_LOG = "avocado.log"

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Listener(Protocol):
    """Told what happens in a run."""

    def tell(self, event: Mapping[str, Any]) -> None: ...


def command(reference: str, run_dir: Path) -> list[str]:
    """How Avocado is called. One task at a time: measurements must not disturb one another."""
    return [
        *(sys.executable, "-W", "ignore:pkg_resources is deprecated:UserWarning"),
        *("-m", "avocado", "run", "--disable-sysinfo", "--max-parallel-tasks", "1"),
        *("--job-results-dir", str(run_dir / "avocado"), reference),
    ]


def end_with(parent: int, number: int) -> None:
    """For a new process: be sent a signal when its parent dies, also if it has already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


class Interrupt:
    """Remembers that somebody wants the run to end (Ctrl-C, SIGTERM)."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.number = number

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Instead of what would happen otherwise."""
        before = {n: signal.signal(n, self) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run(
    reference: str, environment: Mapping[str, str], run_dir: Path, listener: Listener
) -> tuple[int, bool]:
    """Carry it out; return the runner's exit status and whether somebody interrupted it."""
    interrupt, parent = Interrupt(), os.getpid()
    with (
        rundir.at_work(run_dir),
        scratch_dir("runner") as scratch,
        (run_dir / RUNNER_LOG).open("ab") as log,
        interrupt.caught(),
    ):
        runner = subprocess.Popen(
            command(reference, run_dir),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # its directories go with ours
            env=os.environ | environment | {RUN_DIR_VARIABLE: str(run_dir), "TMPDIR": str(scratch)},
            # Ctrl-C reaches us alone, and we tell it
            process_group=0,
            preexec_fn=lambda: end_with(parent, signal.SIGKILL),
        )
        try:
            _follow(runner, run_dir, listener, interrupt)
        finally:
            if runner.poll() is None:
                runner.send_signal(signal.SIGINT)
                runner.wait()
    # stages that were told to end may still be at it
    rundir.wait_idle(run_dir)
    return runner.returncode, interrupt.number != 0


def _follow(
    runner: subprocess.Popen[bytes], run_dir: Path, listener: Listener, interrupt: Interrupt
) -> None:
    """Tell what happens until the runner has ended."""
    follower = Follower(run_dir)
    ended = told = False
    while not ended:
        try:
            runner.wait(FOLLOW_INTERVAL_S)
            ended = True
        except subprocess.TimeoutExpired:
            pass
        if interrupt.number and not told and not ended:
            told = True
            runner.send_signal(signal.SIGINT)
            listener.tell({"event": "started", "scenario": "interrupted", "summary": "ending"})
        for event in follower.news():
            listener.tell(event)
