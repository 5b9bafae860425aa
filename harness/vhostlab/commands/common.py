# SPDX-License-Identifier: BSD-3-Clause
"""What several sub-commands have in common: options and the check of what they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Protocol

from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.paths import source_dir
from vhostlab.run import DEFAULT_TARGET


class BadInput(HarnessError):
    """The command line asks for something that does not exist."""

    exit_status = 2


class Checkable(Protocol):
    """A request that can say what is wrong with it."""

    def validate(self) -> None: ...


def validate(request: Checkable) -> None:
    """What a request names and does not exist is bad input."""
    try:
        request.validate()
    except Unavailable:
        raise
    except HarnessError as error:
        raise BadInput(error.message, error.hint) from error


def add_target(parser: argparse.ArgumentParser) -> None:
    """--target"""
    parser.add_argument(
        "--target",
        default=DEFAULT_TARGET,
        metavar="NAME",
        help=f"{' or '.join(targets.names())} (default: {DEFAULT_TARGET})",
    )


def add_cells(parser: argparse.ArgumentParser) -> None:
    """--cell"""
    parser.add_argument(
        "--cell", action="append", default=[], metavar="ID", help="only this cell of the matrix"
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """--results"""
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="where runs are kept (default: results)"
    )


def results_dir(options: argparse.Namespace) -> Path:
    """What --results says, or the default."""
    chosen: Path | None = options.results
    return chosen or source_dir() / "results"


def add_db(parser: argparse.ArgumentParser, default: str) -> None:
    """--db"""
    parser.add_argument(
        "--db",
        default="",
        metavar="URL",
        help=f"the store: postgresql://USER@HOST/NAME, or an SQLite file {default}",
    )
