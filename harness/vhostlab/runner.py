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
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from vhostlab import rundir
from vhostlab.paths import socket_dir
from vhostlab.scenario.progress import Follower

#: The directory of the run, for the runner's plugins.
RUN_DIR_VARIABLE = "VHOSTLAB_RUN_DIR"

#: Where the stages make their temporary files.
STAGE_TMPDIR_VARIABLE = "VHOSTLAB_STAGE_TMPDIR"

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
    follower = Follower(run_dir)
    follower.skip()
    with (
        rundir.at_work(run_dir),
        socket_dir("runner") as short,
        (run_dir / RUNNER_LOG).open("ab") as log,
        interrupt.caught(),
    ):
        runner = subprocess.Popen(
            command(reference, run_dir),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | environment | _places(run_dir, short),
            # Ctrl-C reaches us alone, and we tell it
            process_group=0,
            preexec_fn=lambda: end_with(parent, signal.SIGKILL),
        )
        try:
            _follow(runner, follower, listener, interrupt)
        finally:
            if runner.poll() is None:
                runner.send_signal(signal.SIGINT)
                runner.wait()
    # stages that were told to end may still be at it
    rundir.wait_idle(run_dir)
    return runner.returncode, interrupt.number != 0


def _places(run_dir: Path, short: Path) -> dict[str, str]:
    """Avocado makes a socket among its temporary files: they need a short path, and go with us.
    The stages get the usual place back."""
    return {
        RUN_DIR_VARIABLE: str(run_dir),
        "TMPDIR": str(short),
        STAGE_TMPDIR_VARIABLE: tempfile.gettempdir(),
    }


def _follow(
    runner: subprocess.Popen[bytes], follower: Follower, listener: Listener, interrupt: Interrupt
) -> None:
    """Tell what happens until the runner has ended."""
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
