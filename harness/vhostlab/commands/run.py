# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab run``: measure a matrix through guests; go on with a run that was interrupted."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from rich.console import Console

from vhostlab import matrixrun, results, store
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
from vhostlab.matrixrun import DEFAULT_MATRIX, Request
from vhostlab.run import DEFAULT_TARGET

HELP = "measure a matrix through guests, or go on with a run that was interrupted"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_target(parser)
    parser.add_argument(
        "--matrix",
        default=DEFAULT_MATRIX,
        metavar="NAME",
        help=f"a name or a .toml file (default: {DEFAULT_MATRIX})",
    )
    add_cells(parser)
    add_results(parser)
    add_tune(parser)
    add_db(parser, "to import the run into (default: $VHOSTLAB_DB, else none)")
    parser.add_argument(
        "--resume",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="RUN_DIR",
        help="do what is missing in a run that was interrupted (default: the latest)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the result as JSON; progress goes to stderr"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Carry out what the options say."""
    if options.json:
        console = Console(file=sys.stderr, highlight=False)
    request, resumed = None, None
    if options.resume is None:
        request = Request(options.target, matrix_of(options), tuple(options.cell))
        validate(request)
    elif options.cell or (options.matrix, options.target) != (DEFAULT_MATRIX, DEFAULT_TARGET):
        raise BadInput(
            "--resume knows its target, matrix and cells", "leave --target, --matrix and --cell out"
        )
    elif options.resume != Path():
        resumed = options.resume
    with tuned(options, console):
        run_dir, result = matrixrun.run(request, resumed, results_dir(options), console)
    store.keep(run_dir, console, options.db)
    if options.json:
        print(json.dumps({"run_dir": str(run_dir), **dataclasses.asdict(result)}, indent=1))
    return results.exit_code(result.status)
