# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab db``: the results store. A thin door to ``python -m vhostlab_perf db``."""

from __future__ import annotations

import argparse

from rich.console import Console

from vhostlab import store
from vhostlab.commands.common import add_db

HELP = "keep results in a store, ask it, look for changes over time"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options: all but --db are those of the action."""
    add_db(parser, f"(default: ${store.VARIABLE}, else results/history.sqlite)")
    parser.add_argument(
        "action",
        nargs=argparse.REMAINDER,
        metavar="ACTION ...",
        help="import, list, show, history, trend, export, status, upgrade, prune or vacuum; "
        "`vhostlab db ACTION --help` tells more",
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Hand it on."""
    return store.call(options.action or ["--help"], options.db)
