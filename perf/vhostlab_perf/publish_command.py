# SPDX-License-Identifier: BSD-3-Clause
"""``publish``: bring a static site up to date with the runs that there are."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from vhostlab_perf import site
from vhostlab_perf.reader import BadResult
from vhostlab_perf.site_trends import Past


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    make = commands.add_parser("publish", help="bring a static site up to date")
    make.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="where runs are kept (default: results)",
    )
    make.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="SITE_DIR",
        help="the site; runs that it has already stay in it",
    )
    make.add_argument(
        "--db", default="", metavar="URL", help="a results store with more runs: a URL or a file"
    )
    make.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0; 1 when a run could not be read; 2 when there is nothing to read or no way to write."""
    console = Console(stderr=True, highlight=False)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="vl-publish-") as scratch,
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
                disable=not console.is_terminal,
            ) as progress,
        ):
            task = progress.add_task("publish")

            def tell(what: str, done: int, total: int) -> None:
                progress.update(task, description=what[:40], completed=done, total=total)

            directories = site.find(options.results)
            past: tuple[Past, ...] = ()
            if options.db:
                # the store brings in much that a site of directories has no need of
                from vhostlab_perf import stored

                more, past = stored.fetch(options.db, directories, Path(scratch))
                directories = (*directories, *more)
            counts = site.publish(directories, options.output, tell, past)
    except BadResult as error:
        print(f"vhostlab_perf: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = error.filename or options.output
        print(f"vhostlab_perf: cannot write {where}: {error.strerror}", file=sys.stderr)
        return 2
    for problem in counts.unreadable:
        print(f"vhostlab_perf: left out: {problem}", file=sys.stderr)
    runs = f"{counts.runs} run{'' if counts.runs == 1 else 's'}"
    files = f"{counts.written} files written, {counts.unchanged} unchanged"
    print(f"{options.output / 'index.html'}: {runs}, {files}")
    return 1 if counts.unreadable else 0
