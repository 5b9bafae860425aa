# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab stage``: run one stage in this process. It is what the runner calls."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from rich.console import Console

from vhostlab import images, rundir
from vhostlab.scenario import Options, registry, stage
from vhostlab.scenario.progress import Progress


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--name", required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--matrix", type=Path, required=True)
    parser.add_argument("--cell", action="append", default=[])
    parser.add_argument("--scenario", action="append", required=True)
    parser.add_argument("--brief", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--guest", default=images.DEFAULT_GUEST)


def run(options: argparse.Namespace, console: Console) -> int:
    """How the scenarios ended is in the fragment; the status only says that there is one."""
    with rundir.at_work(options.run_dir):
        try:
            asyncio.run(_one_stage(options))
        except asyncio.CancelledError:
            return 1
    return 0


async def _one_stage(options: argparse.Namespace) -> None:
    """Run a stage so that SIGTERM and Ctrl-C end it with everything cleaned up.

    Once: who is in a hurry tells us twice, and the second time would end the cleaning.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    told: list[int] = []

    def end(number: int) -> None:
        if not told:
            told.append(number)
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    known = registry.load(stage.scenario_directory())
    await stage.run(
        name=options.name,
        scenarios=registry.choose(known, options.scenario),
        target_name=options.target,
        options=Options(
            options.matrix,
            tuple(options.cell),
            options.brief,
            resume=options.resume,
            guest=options.guest,
        ),
        run_dir=options.run_dir,
        progress=Progress(options.run_dir),
    )
