# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab db trend``: change points of the histories in a store."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vhostlab_perf import thresholds
from vhostlab_perf.store import query
from vhostlab_perf.store.engine import Store
from vhostlab_perf.store.errors import StoreError

if TYPE_CHECKING:
    from vhostlab_perf.history import ChangePoint, Looked

HELP = "list where the performance history changed its level"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options, but --db."""
    parser.add_argument("--cell", default="", metavar="ID", help="only this cell")
    parser.add_argument("--metric", default="", metavar="NAME", help="only this metric")
    parser.add_argument("--target", default="", metavar="NAME", help="only this target")
    parser.add_argument(
        "--since",
        default="",
        metavar="TIME",
        help="new is what was not to be found before that (ISO 8601, UTC; "
        "default: 20 hours before the newest run)",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=thresholds.ALPHA,
        choices=thresholds.alphas(),
        help="the rate of false alarms per series (default: %(default)s)",
    )
    parser.add_argument(
        "--min-size",
        type=float,
        default=100 * thresholds.MIN_SIZE,
        metavar="PERCENT",
        help="smaller changes are not listed (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.add_argument(
        "--fail-on-new", action="store_true", help="exit status 1 if something became worse lately"
    )


def run(options: argparse.Namespace, store: Store) -> int:
    """Exit status 0, or 1 with --fail-on-new."""
    if not options.min_size >= 0:
        raise StoreError("--min-size takes a percentage of at least 0")
    # numpy, scipy and ruptures take a second that other commands need not wait for
    from vhostlab_perf import history

    series = query.history(store, options.cell, options.metric, target=options.target)
    looked = history.look(
        series, since=options.since, alpha=options.alpha, min_size=options.min_size / 100
    )
    labels = {c.id: c.label() for c in query.cells(store)}
    if options.json:
        print(json.dumps(_plain(looked, labels), indent=1))
    else:
        _show(looked, labels)
    worse = any(p.new and p.kind == "worse" for p in looked.points)
    return 1 if options.fail_on_new and worse else 0


def _plain(looked: Looked, labels: Mapping[str, str]) -> dict[str, object]:
    points = [{"label": labels[p.cell]} | dataclasses.asdict(p) for p in looked.points]
    return {
        "points": points,
        "series": looked.series,
        "too_short": looked.too_short,
        "alpha": looked.alpha,
    }


def percent(point: ChangePoint) -> str:
    """The size of a change, with its interval."""
    shown = [100 * (x - 1) for x in (point.change.ratio, point.change.low, point.change.high)]
    return "{:+.1f} % [{:+.1f}, {:+.1f}]".format(*shown)


def _builds(point: ChangePoint) -> str:
    before, after = point.build_before, point.build
    if before.id == after.id:
        return f"{after.label()} (the same)"
    return f"{before.label()} -> {after.label()}"


def _show(looked: Looked, labels: Mapping[str, str]) -> None:
    table = Table(box=box.SIMPLE)
    for heading in ("since", "", "cell", "metric", "change", "builds", "runs", "target"):
        table.add_column(heading, overflow="fold")
    colours = {"worse": "bold red", "better": "green"}
    for point in looked.points:
        word = f"{point.kind}, new" if point.new else point.kind
        table.add_row(
            point.started[:10],
            Text(word, style=colours[point.kind]),
            f"{point.cell} {labels[point.cell]}",
            point.metric,
            percent(point),
            _builds(point),
            f"{point.runs_before} -> {point.runs}",
            point.target,
        )
    console = Console(highlight=False)
    if looked.points:
        console.print(table, soft_wrap=True)
    console.print(
        Text(
            f"{len(looked.points)} change points in {looked.series} series"
            f" ({looked.expected_false:.1g} may be expected to be chance),"
            f" {looked.too_short} series have fewer than {2 * thresholds.MIN_SEGMENT} runs"
        ),
        soft_wrap=True,
    )
