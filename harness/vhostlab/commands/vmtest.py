# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab vmtest``: boot guests, run scenarios, write a report."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from rich.console import Console
from rich.text import Text

from vhostlab import dryrun, images, matrix, vmtest
from vhostlab import target as targets
from vhostlab.commands.common import (
    BadInput,
    add_cells,
    add_db,
    add_results,
    add_target,
    add_tune,
    matrix_of,
    results_dir,
    tuned,
    validate,
)
from vhostlab.paths import source_dir
from vhostlab.run import DEFAULT_SUITE, Request
from vhostlab.scenario import registry, stage

HELP = "boot guests, run scenarios, write a report"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_target(parser)
    parser.add_argument(
        "--suite",
        default="",
        metavar="NAME",
        help=f"{' or '.join(registry.SUITES)} (default: {DEFAULT_SUITE})",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="run this one instead of a suite; may be given several times",
    )
    parser.add_argument(
        "--matrix", default="", metavar="NAME", help="measurements: a name or a .toml file"
    )
    add_cells(parser)
    parser.add_argument(
        "--guest",
        default=images.DEFAULT_GUEST,
        metavar="NAME",
        help="the guest image: a name of `vhostlab images list` (default: micro)",
    )
    add_results(parser)
    add_tune(parser)
    add_db(parser, "to import the run into (default: $VHOSTLAB_DB, else none)")
    parser.add_argument("--list", action="store_true", help="list suites, scenarios and matrices")
    parser.add_argument(
        "--dry-run", action="store_true", help="boot the guest and leave it up for a person"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Carry out what the options say."""
    if options.list:
        return _list(console)
    request = Request(
        target=options.target,
        suite=options.suite,
        scenarios=tuple(options.scenario),
        matrix=matrix_of(options),
        cells=tuple(options.cell),
        guest=_guest(options.guest),
    )
    if request.suite and request.scenarios:
        raise BadInput("--suite and --scenario exclude each other", "give one of them")
    validate(request)
    if options.dry_run:
        return asyncio.run(dryrun.run(request, console))
    with tuned(options, console):
        return vmtest.run(request, results_dir(options), console, options.db)


def _guest(name: str) -> str:
    """A recipe that is named by its path is found from wherever the runner works."""
    return str(Path(name).absolute()) if name.endswith(".toml") else name


def _list(console: Console) -> int:
    known = registry.load(stage.scenario_directory())
    lines = ["suites:"]
    for suite in registry.SUITES.values():
        lines += [f"  {suite.name:<12}{suite.summary}", f"  {'':<12}{' '.join(suite.scenarios)}"]
    lines.append("scenarios:")
    lines += [f"  {name:<12}{known[name].summary}" for name in sorted(known)]
    lines.append("matrices:")
    for path in sorted((source_dir() / "fio-jobs" / "matrix").glob("*.toml")):
        plan = matrix.load(path)
        lines.append(f"  {plan.name:<12}{plan.summary} ({len(plan.cells)} cells)")
    lines.append(f"targets:\n  {' '.join(targets.names())}")
    console.print(Text("\n".join(lines)), soft_wrap=True)
    return 0
