# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab publish``: bring a static site of runs and trends up to date."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from vhostlab import report
from vhostlab.commands.common import add_results, results_dir

HELP = "bring a static site of runs and trends up to date"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_results(parser)
    parser.add_argument(
        "--db", default="", metavar="URL", help="a results store, for the trends besides the runs"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="SITE_DIR",
        help="the site; runs that it has already stay in it",
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Have it made."""
    arguments = ["--results", str(results_dir(options)), "--output", str(options.output)]
    arguments += [f"--db={options.db}"] if options.db else []
    return report.program("publish", *arguments)
