# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab plan``: the cells of a matrix, in which guests they run, and how long that takes."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import timedelta
from functools import partial

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vhostlab import host, images, matrix, planning
from vhostlab import target as targets
from vhostlab.bench import Request as BenchRequest
from vhostlab.bench import lacking_without_guest
from vhostlab.commands.common import (
    BadInput,
    add_cells,
    add_results,
    matrix_of,
    results_dir,
    validate,
)
from vhostlab.host.capacity import capacity
from vhostlab.measure import carry
from vhostlab.planning import BootTimes, Plan
from vhostlab.results import NO_GUEST
from vhostlab.run import DEFAULT_TARGET, Request

HELP = "show the cells of a matrix, the guests they run in, and how long that takes"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--matrix", default="", metavar="NAME", help="a name or a .toml file (default: smoke)"
    )
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAME",
        help=f"{' or '.join(targets.names())}, a plan for each (default: {DEFAULT_TARGET})",
    )
    add_cells(parser)
    parser.add_argument(
        "--accel",
        choices=("kvm", "tcg"),
        help="plan for guests with this accelerator (default: what this machine has)",
    )
    parser.add_argument(
        "--no-guest", action="store_true", help="what `vhostlab bench` would do: fio, no guest"
    )
    add_results(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the plans as JSON")
    form.add_argument(
        "--recipe",
        action="store_true",
        help="a recipe for `avocado run --max-parallel-tasks 1 FILE.json`, one target",
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Show what would be run."""
    names = tuple(dict.fromkeys(options.target)) or (DEFAULT_TARGET,)
    if options.no_guest and options.accel:
        raise BadInput("--no-guest and --accel exclude each other", "give one of them")
    if options.recipe and (len(names) > 1 or options.no_guest):
        raise BadInput("a recipe is for guests on one target", "give one --target, no --no-guest")
    for name in names:
        validate(_bench(options, name) if options.no_guest else _request(options, name))
    here = capacity(_accelerator(options, console))
    times = BootTimes.of(results_dir(options))
    more = lacking_without_guest if options.no_guest else partial(carry.more, accel=here.accel)
    plans = [
        planning.plan(
            _matrix(options, name),
            matrix.Subject(name, targets.get(name).capabilities),
            here,
            times,
            options.cell,
            others={} if options.no_guest else carry.others(),
            more=more,
        )
        for name in names
    ]
    if options.json:
        print(json.dumps(planning.as_json(plans), indent=1))
    elif options.recipe:
        print(json.dumps(planning.recipe(_request(options, names[0]), plans[0]), indent=1))
    else:
        for plan in plans:
            _show(plan, console)
    return 0


def _request(options: argparse.Namespace, target: str) -> Request:
    return Request(
        target=target,
        scenarios=("perf",),
        matrix=matrix_of(options),
        cells=tuple(options.cell),
    )


def _bench(options: argparse.Namespace, target: str) -> BenchRequest:
    return BenchRequest(target=target, matrix=matrix_of(options), cells=tuple(options.cell))


def _matrix(options: argparse.Namespace, target: str) -> matrix.Matrix:
    if options.no_guest:
        return _bench(options, target).plan()
    return matrix.load(_request(options, target).matrix_file())


def _accelerator(options: argparse.Namespace, console: Console) -> str:
    if options.no_guest:
        return NO_GUEST
    known: str | None = options.accel or host.without_probe()
    if known:
        return known

    async def probe() -> str:
        return await host.accelerator(await images.build())

    if options.json or options.recipe:
        return asyncio.run(probe())
    with console.status("booting a guest to see whether KVM works"):
        return asyncio.run(probe())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _show(plan: Plan, console: Console) -> None:
    what = "no guest" if plan.accel == NO_GUEST else f"guests under {plan.accel}"
    starts = _count(len(plan.boots), "start" if plan.accel == NO_GUEST else "boot")
    words = (
        f"matrix {plan.matrix} on {plan.target}, {what}: {_count(plan.cells, 'cell')}, {starts}, "
        f"about {_duration(plan.seconds)}"
    )
    console.print(Text(words), soft_wrap=True)
    if plan.boots:
        console.print(_cells(plan))
    if plan.left_out:
        console.print(_left_out(plan))


def _cells(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("start" if plan.accel == NO_GUEST else "boot", no_wrap=True)
    table.add_column("cell", no_wrap=True)
    table.add_column("", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for number, planned in enumerate(plan.boots, start=1):
        words = Text(planning.boot_words(planned.boot.params), style="bold")
        table.add_row(str(number), "", words, _duration(planned.seconds))
        for cell in planned.boot.cells:
            table.add_row("", cell.id, cell.label(), f"{planned.cell_s:.0f} s")
    return table


def _left_out(plan: Plan) -> Table:
    title = f"{_count(len(plan.left_out), 'cell')} left out"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("cell", no_wrap=True)
    table.add_column("", overflow="fold")
    table.add_column("reason", overflow="fold")
    for one in plan.left_out:
        table.add_row(one.cell.id, one.cell.label(), one.reason)
    return table
