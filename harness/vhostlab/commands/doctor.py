# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab doctor``: what this machine has and lacks for running guests."""

from __future__ import annotations

import argparse

from rich.console import Console

from vhostlab import doctor

HELP = "what this machine has and lacks for running guests"


def add(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(options: argparse.Namespace, console: Console) -> int:
    """Look at the machine."""
    return doctor.run(console)
