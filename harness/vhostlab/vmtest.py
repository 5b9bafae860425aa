# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab vmtest``: prepares a run, has the runner (Avocado) carry it out, follows its progress.

Avocado is started as a program. Nothing of it is imported, and what happens in a scenario does not
know that it exists.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from vhostlab import host, images, report, results, store, summary
from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.process import find_program, tail
from vhostlab.qemu.config import QEMU_HINT
from vhostlab.results import PLAN_FILE, RESULT_FILE, Result
from vhostlab.run import Request
from vhostlab.scenario.progress import Follower
from vhostlab.target.vhostlab import VhostlabTarget, find_daemon

#: The directory of the run, for the runner's plugins.
RUN_DIR_VARIABLE = "VHOSTLAB_RUN_DIR"

#: How often the progress of the runner is looked at.
FOLLOW_INTERVAL_S = 0.2

RUNNER_LOG = "avocado.log"


def preflight(request: Request) -> tuple[images.Image, str]:
    """Everything that would otherwise fail after minutes: inputs, programs, image, accelerator."""
    request.validate()
    find_program("qemu-system-x86_64", QEMU_HINT)
    if targets.get(request.target) is VhostlabTarget:
        find_daemon()
    if importlib.util.find_spec("avocado") is None:
        raise Unavailable("avocado is not installed for this Python", "run `make venv`")

    async def guest() -> tuple[images.Image, str]:
        image = await images.build()
        return image, await host.accelerator(image)

    return asyncio.run(guest())


def runner_command(request: Request, run_dir: Path) -> list[str]:
    """How Avocado is called. One task at a time: measurements must not disturb one another."""
    return [
        *(sys.executable, "-W", "ignore:pkg_resources is deprecated:UserWarning"),
        *("-m", "avocado", "run", "--disable-sysinfo", "--max-parallel-tasks", "1"),
        *("--job-results-dir", str(run_dir / "avocado"), request.reference()),
    ]


class Narrator:
    """Turns events into progress lines; on a terminal it also shows what is going on just now."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("starting") if console.is_terminal else None

    def __enter__(self) -> Narrator:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def tell(self, event: Mapping[str, Any]) -> None:
        """One event."""
        match event["event"]:
            case "stage":
                self._now(f"booting a guest for {event['scenarios']}")
            case "booted":
                seconds = f"{event['seconds']:.1f} s"
                self._line("", f"guest of {event['stage']} is up, Linux {event['kernel']}", seconds)
            case "started":
                self._now(f"{event['scenario']}: {event['summary']}")
            case "cell":
                self._now(f"{event['scenario']}: {event['label']}")
            case "ended":
                words = event["reason"] or f"{event['checks']} checks"
                seconds = f"{event['seconds']:.1f} s"
                self._line(event["status"], f"{event['scenario']}: {words}", seconds)

    def _now(self, text: str) -> None:
        if self._status:
            self._status.update(Text(text))

    def _line(self, status: str, text: str, seconds: str) -> None:
        line = Text(f"{status:<8}", style=summary.COLOURS.get(status, ""))
        line.append(f"{seconds:>8}  {text}", style="none")
        self._console.print(line, soft_wrap=True)


def _follow(runner: subprocess.Popen[bytes], run_dir: Path, narrator: Narrator) -> None:
    """Tell what happens until the runner has ended."""
    follower = Follower(run_dir)
    ended = False
    while not ended:
        try:
            runner.wait(FOLLOW_INTERVAL_S)
            ended = True
        except subprocess.TimeoutExpired:
            pass
        except KeyboardInterrupt:
            # the terminal sent it to the runner as well, which now ends its guests
            narrator.tell({"event": "started", "scenario": "interrupted", "summary": "ending"})
        for event in follower.news():
            narrator.tell(event)


def _result(run_dir: Path, seconds: float, status: int) -> Result:
    """What the runner's plugin wrote, or else what can be made of the pieces."""
    if (run_dir / RESULT_FILE).exists():
        return results.read(Result, run_dir / RESULT_FILE)
    if not (run_dir / PLAN_FILE).exists():
        words = tail(run_dir / RUNNER_LOG, 1).strip() or "no output"
        raise HarnessError(
            f"the runner ended with status {status} before it began: {words}",
            f"see {run_dir / RUNNER_LOG}",
        )
    return results.finish(run_dir, seconds)


def run(request: Request, results_dir: Path, console: Console, db: str = "") -> int:
    """Carry out a run; return the exit status for the shell."""
    image, accel = preflight(request)
    console.print(
        Text(f"target {request.target}, guest {image.name}-{image.id}, {accel}"), soft_wrap=True
    )
    run_dir = results.new_run_directory(results_dir.absolute(), request.target)
    environment = os.environ | request.environment() | {RUN_DIR_VARIABLE: str(run_dir)}
    began = time.monotonic()
    with (run_dir / RUNNER_LOG).open("wb") as log:
        runner = subprocess.Popen(
            runner_command(request, run_dir),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
        try:
            with Narrator(console) as narrator:
                _follow(runner, run_dir, narrator)
        finally:
            if runner.poll() is None:
                runner.send_signal(signal.SIGINT)
                runner.wait()
    result = _result(run_dir, time.monotonic() - began, runner.returncode)
    if not (run_dir / results.REPORT_FILE).exists():
        report.make(run_dir)
    summary.show(result, run_dir, console)
    store.keep(run_dir, console, db)
    return results.exit_code(result.status)
