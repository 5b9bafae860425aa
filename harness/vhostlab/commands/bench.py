# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab bench``: measure a target with fio alone, no guest."""

from __future__ import annotations

import argparse

from rich.console import Console

from vhostlab import bench
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

HELP = "measure a target with fio alone, no guest"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_target(parser)
    parser.add_argument(
        "--matrix", default="", metavar="NAME", help="a name or a .toml file (default: smoke)"
    )
    add_cells(parser)
    parser.add_argument(
        "--poll", action="store_true", help="fio spins for completions instead of sleeping"
    )
    parser.add_argument(
        "--verify",
        type=int,
        default=0,
        metavar="MIB",
        help="no matrix: fill a disk of that size per device type, read it back, compare checksums",
    )
    add_results(parser)
    add_tune(parser)
    add_db(parser, "to import the run into (default: $VHOSTLAB_DB, else none)")


def run(options: argparse.Namespace, console: Console) -> int:
    """Carry out what the options say."""
    request = bench.Request(
        target=options.target,
        matrix=matrix_of(options),
        cells=tuple(options.cell),
        poll=options.poll,
        verify_mib=options.verify,
    )
    if request.verify_mib < 0 or (request.verify_mib and (request.matrix or request.cells)):
        raise BadInput("--verify takes a positive size and no matrix")
    validate(request)
    with tuned(options, console):
        return bench.run(request, results_dir(options), console, options.db)
