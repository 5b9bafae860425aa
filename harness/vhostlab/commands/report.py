# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab report``: pages, PDF, JSON and CSV of results.

The options are those of ``python -m vhostlab_perf report``, which does the work.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from vhostlab import report
from vhostlab.commands.common import BadInput
from vhostlab.paths import source_dir

HELP = "make a page of one result or of several"

EDITIONS = ("run", "release", "comparison")
FLAGS = ("pdf", "json", "csv")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULT",
        help="a run's directory or result.json (default: results/latest)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the page (default: report.html)"
    )
    parser.add_argument(
        "--edition",
        choices=EDITIONS,
        help="run: one run; release: the runs of a release as one; comparison: targets and layers"
        " side by side (default: what suits the results)",
    )
    parser.add_argument("--title", default="", help="instead of suite and target")
    parser.add_argument("--pdf", action="store_true", help="a PDF beside the page")
    parser.add_argument("--json", action="store_true", help="the figures as JSON beside the page")
    parser.add_argument("--csv", action="store_true", help="the figures as CSV beside the page")
    parser.add_argument(
        "--previous",
        action="append",
        default=[],
        type=Path,
        metavar="RESULT",
        help="a run of the previous release, or the JSON of its report, to compare with",
    )
    parser.add_argument(
        "--revision", action="append", default=[], metavar="TEXT", help="for the revision history"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Have it made, and say where it is."""
    latest = source_dir() / "results" / "latest"
    if not options.results and not latest.exists():
        raise BadInput("there is no results/latest", "name a result, or run `make bench` first")
    results: list[Path] = options.results or [latest]
    arguments = [str(path) for path in results]
    arguments += ["--output", str(options.output)] if options.output else []
    arguments += ["--edition", options.edition] if options.edition else []
    # one word each, as the text may begin with a dash
    arguments += [f"--title={options.title}"] if options.title else []
    arguments += [f"--{flag}" for flag in FLAGS if getattr(options, flag)]
    arguments += [f"--previous={path}" for path in options.previous]
    arguments += [f"--revision={text}" for text in options.revision]
    return report.program("report", *arguments)
