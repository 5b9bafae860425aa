# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab doctor``: what this host lacks for running guests, and for honest figures."""

from __future__ import annotations

import argparse
import dataclasses
import json

from rich.console import Console

from vhostlab import doctor

HELP = "what this host lacks for running guests and for honest figures, with the remedies"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    parser.add_argument(
        "--undo-tuning", action="store_true", help="put back what a killed `--tune` run changed"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Look at the host."""
    if options.undo_tuning:
        return doctor.undo_tuning(console)
    if options.json:
        found = doctor.look()
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=1))
    else:
        with console.status("looking at this host; a guest is booted to see whether KVM works"):
            found = doctor.look()
        doctor.show(found, console)
    return doctor.exit_status(found)
