# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab vmtest``: prepares a run, has the runner carry it out, shows what comes out."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from vhostlab import host, images, report, results, runner, store, summary
from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images.progress import Progress, Shown
from vhostlab.process import find_program, tail
from vhostlab.qemu import newer
from vhostlab.qemu.newer import HINT as QEMU_HINT
from vhostlab.results import PLAN_FILE, REPORT_FILE, RESULT_FILE, Result
from vhostlab.run import Request
from vhostlab.runner import RUNNER_LOG


def preflight(target: str, guest: str, progress: Progress) -> tuple[images.Image, str]:
    """Everything that would otherwise fail after minutes: programs, image, accelerator."""
    find_program("qemu-system-x86_64", QEMU_HINT)
    targets.get(target).preflight()
    if importlib.util.find_spec("avocado") is None:
        raise Unavailable("avocado is not installed for this Python", "run `make venv`")

    async def ready() -> tuple[images.Image, str]:
        image = await images.build(images.recipe_path(guest), progress=progress)
        accel = await host.accelerator(await images.build())
        await newer.ensure(image, accel, progress)
        return image, accel

    return asyncio.run(ready())


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
            case "waiting":
                self._line("", event["words"], "")
            case "left out":
                self._line("", f"left out: {event['label']}: {event['reason']}", "")
            case "round":
                left = f"{event['left']:.0f} s left" if event["left"] else "done"
                self._line("", f"round {event['number']} of {event['rounds']}", left)
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


def outcome(run_dir: Path, seconds: float, status: int) -> Result:
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


def forget(run_dir: Path) -> None:
    """What the runner summed up does not count: it may have, while a stage was still ending."""
    for name in (RESULT_FILE, REPORT_FILE):
        (run_dir / name).unlink(missing_ok=True)


def conclude(run_dir: Path, seconds: float, status: int) -> Result:
    """What came of a run, with its report; the runner's plugin has made both if all went well."""
    result = outcome(run_dir, seconds, status)
    if not (run_dir / REPORT_FILE).exists():
        report.make(run_dir)
    return result


def run(request: Request, results_dir: Path, console: Console, db: str = "") -> int:
    """Carry out a run; return the exit status for the shell."""
    request.validate()
    with Shown(console) as progress:
        image, accel = preflight(request.target, request.guest, progress)
    console.print(
        Text(f"target {request.target}, guest {image.name}-{image.id}, {accel}"), soft_wrap=True
    )
    run_dir = results.new_run_directory(results_dir.absolute(), request.target)
    began = time.monotonic()
    with Narrator(console) as narrator:
        status, interrupted = runner.run(
            request.reference(), request.environment(), run_dir, narrator
        )
    if interrupted:
        forget(run_dir)
    result = conclude(run_dir, time.monotonic() - began, status)
    summary.show(result, run_dir, console)
    store.keep(run_dir, console, db)
    return results.exit_code(result.status)
