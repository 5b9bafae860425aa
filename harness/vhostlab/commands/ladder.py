# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab ladder``: what each layer between fio and a file costs."""

from __future__ import annotations

import argparse

from rich.console import Console

from vhostlab import ladder
from vhostlab import target as targets
from vhostlab.commands.common import add_db, add_results, add_spdk, results_dir, validate
from vhostlab.run import DEFAULT_TARGET

HELP = "what each layer between fio and a file costs"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAME",
        help=f"{', '.join(targets.names())}; may be given several times (default: "
        f"{DEFAULT_TARGET}). Bare fio and a guest on qemu are always there",
    )
    add_spdk(parser)
    parser.add_argument("--device", choices=("blk", "scsi"), default="blk")
    parser.add_argument(
        "--job",
        action="append",
        default=[],
        metavar="NAME",
        help=f"a job of fio-jobs; may be given several times (default: {' '.join(ladder.JOBS)})",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="how often each is measured (3)"
    )
    parser.add_argument(
        "--runtime", type=int, default=3, metavar="S", help="seconds of each measurement (3)"
    )
    parser.add_argument(
        "--dir", default="", metavar="DIR", help="where the files lie (default: the temporary one)"
    )
    parser.add_argument("--json", action="store_true", help="the layers as JSON, nothing else")
    add_results(parser)
    add_db(parser, "to import the run into (default: $VHOSTLAB_DB, else none)")


def run(options: argparse.Namespace, console: Console) -> int:
    """Carry out what the options say."""
    request = ladder.Request(
        targets=tuple(dict.fromkeys(options.target)) or (DEFAULT_TARGET,),
        device=options.device,
        jobs=tuple(dict.fromkeys(options.job)) or ladder.JOBS,
        rounds=options.rounds,
        runtime_s=options.runtime,
        directory=options.dir,
    )
    validate(request)
    return ladder.run(request, results_dir(options), console, options.json, options.db)
