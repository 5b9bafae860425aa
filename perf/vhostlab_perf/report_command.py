# SPDX-License-Identifier: BSD-3-Clause
"""``report``: make a page, and what else is asked for, of one result or several."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vhostlab_perf import export, reader, report
from vhostlab_perf.aggregate import Measured, aggregate
from vhostlab_perf.reader import BadResult, Result

PAGE = "report.html"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    make = commands.add_parser("report", help="make a page of one result or several")
    make.add_argument(
        "results", nargs="+", type=Path, metavar="RESULT", help="a run's directory or result.json"
    )
    make.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=f"the page to write (default: {PAGE}, beside the result if there is one only)",
    )
    make.add_argument(
        "--edition",
        choices=report.EDITIONS,
        help="run: one run; release: the runs of a release as one; comparison: targets and layers"
        " side by side (default: what suits the results)",
    )
    make.add_argument("--title", default="", help="instead of suite and target")
    make.add_argument("--pdf", action="store_true", help="a PDF beside the page")
    make.add_argument("--json", action="store_true", help="the figures as JSON beside the page")
    make.add_argument("--csv", action="store_true", help="the figures as CSV beside the page")
    make.add_argument(
        "--previous",
        action="append",
        default=[],
        type=Path,
        metavar="RESULT",
        help="compare with a run of the previous release, or with the JSON of its report; may be"
        " given several times",
    )
    make.add_argument(
        "--revision",
        action="append",
        default=[],
        metavar="TEXT",
        help="a line of the revision history, such as '1.1, 2026-03-01: two cells run again'",
    )
    make.set_defaults(run=run)


def _say(words: object) -> None:
    print(f"vhostlab_perf: {words}", file=sys.stderr)


def _previous(paths: Sequence[Path]) -> tuple[Measured, ...]:
    if len(paths) == 1 and export.is_report(paths[0]):
        return export.from_json(paths[0])
    return aggregate([reader.read(p) for p in paths])


def _output(options: argparse.Namespace) -> Path:
    chosen: Path | None = options.output
    if chosen:
        return chosen
    if len(options.results) > 1:
        return Path(PAGE)
    only: Path = options.results[0]
    return (only if only.is_dir() else only.parent) / PAGE


def run(options: argparse.Namespace) -> int:
    """0, or 2 when an input cannot be read or a file not be written."""
    found: list[Result] = []
    problems: list[str] = []
    for path in options.results:
        try:
            found.append(reader.read(path))
        except BadResult as error:
            _say(error)
            problems.append(str(error))
    if not found:
        return 2
    if options.edition == "run" and len(options.results) > 1:
        _say("--edition run is of one result; for several: release or comparison")
        return 2
    try:
        previous = _previous(options.previous)
    except BadResult as error:
        _say(error)
        return 2
    made = report.Report(
        edition=options.edition or report.choose(found),
        results=tuple(found),
        title=reader.word(options.title),
        previous=previous,
        revisions=tuple(reader.word(r) for r in options.revision),
        problems=tuple(problems),
    )
    output = _output(options)
    try:
        _write(made, output, options)
    except OSError as error:
        _say(f"cannot write {output}: {error.strerror}")
        return 2
    # the page says what could not be read, and whoever called is told as well
    return 2 if problems else 0


def _write(made: report.Report, output: Path, options: argparse.Namespace) -> None:
    report.write(output, report.render(made))
    print(output)
    wanted = {".json": options.json, ".csv": options.csv}
    for suffix, body in report.outputs(made).items():
        if wanted[suffix]:
            report.write(output.with_suffix(suffix), body)
            print(output.with_suffix(suffix))
    if options.pdf:
        from vhostlab_perf import pdf

        report.write(output.with_suffix(".pdf"), pdf.make(made))
        print(output.with_suffix(".pdf"))
