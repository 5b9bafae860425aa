# SPDX-License-Identifier: BSD-3-Clause
"""What several sub-commands have in common: options and the check of what they name."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from rich.console import Console
from rich.text import Text

from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.host.tuning import Tuning
from vhostlab.paths import source_dir
from vhostlab.run import DEFAULT_TARGET, is_path
from vhostlab.target import spdk


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
    add_spdk(parser)


class _Spdk(argparse.Action):
    """Into the environment: the processes that take part in a run read it there."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        os.environ[spdk.VARIABLE] = str(values)


def add_spdk(parser: argparse.ArgumentParser) -> None:
    """--spdk"""
    parser.add_argument(
        "--spdk",
        action=_Spdk,
        metavar="PATH",
        help="for the target spdk: where it was built, its program, or the RPC socket of one that "
        f"runs (default: ${spdk.VARIABLE})",
    )


def matrix_of(options: argparse.Namespace) -> str:
    """What --matrix says, so that it means the same in every directory: it is recorded."""
    named: str = options.matrix
    return str(Path(named).absolute()) if is_path(named) else named


def add_cells(parser: argparse.ArgumentParser) -> None:
    """--cell"""
    parser.add_argument(
        "--cell", action="append", default=[], metavar="ID", help="only this cell of the matrix"
    )


def add_tune(parser: argparse.ArgumentParser) -> None:
    """--tune, --tune-hugepages"""
    parser.add_argument(
        "--tune",
        action="store_true",
        help="set this host up for steady figures while it runs, and undo it (as root)",
    )
    parser.add_argument(
        "--tune-hugepages",
        type=int,
        default=0,
        metavar="N",
        help="with --tune: at least N huge pages of the default size",
    )


@contextmanager
def tuned(options: argparse.Namespace, console: Console) -> Iterator[None]:
    """What is inside runs on a tuned host if --tune says so."""
    if (options.tune_hugepages and not options.tune) or options.tune_hugepages < 0:
        raise BadInput("--tune-hugepages wants a number of pages, and --tune")
    if not options.tune:
        yield
        return
    with _ended_by_sigterm(), Tuning(hugepages=options.tune_hugepages) as tuning:
        for words in tuning.told():
            console.print(Text(words), soft_wrap=True)
        yield
    for words in tuning.undone.left:
        console.print(Text(f"not undone: {words}"), soft_wrap=True)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM leaves the body as an exception does, through whatever has to be undone."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def add_results(parser: argparse.ArgumentParser) -> None:
    """--results"""
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="where runs are kept (default: results)"
    )


def results_dir(options: argparse.Namespace) -> Path:
    """What --results says, or the default."""
    chosen: Path | None = options.results
    return chosen or source_dir() / "results"


def made(directory: Path) -> Path:
    """A directory for what a command leaves; one that cannot be had is bad input."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make {directory}: {error.strerror}") from error
    return directory


def add_db(parser: argparse.ArgumentParser, default: str) -> None:
    """--db"""
    parser.add_argument(
        "--db",
        default="",
        metavar="URL",
        help=f"the store: postgresql://USER@HOST/NAME, or an SQLite file {default}",
    )
