# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab console``: connect to the console of a guest."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from vhostlab.qemu.attach import attach

HELP = "connect to the console of a guest"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("socket", type=Path, help="what --dry-run printed; Ctrl-] leaves")


def run(options: argparse.Namespace, console: Console) -> int:
    """Stay connected until the person leaves."""
    attach(options.socket)
    return 0
