# SPDX-License-Identifier: BSD-3-Clause
"""``python -m vhostlab_perf db ...``: the store from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from vhostlab_perf import trend
from vhostlab_perf.store import engine, export, query, verdicts
from vhostlab_perf.store.engine import Store, chosen_url, opened
from vhostlab_perf.store.errors import StoreError
from vhostlab_perf.store.load import Outcome, import_run
from vhostlab_perf.store.prune import prune
from vhostlab_perf.store.rows import RESULT_FILE

DEFAULT_METRIC = "iops"

#: How many notes about what was not there are shown per run.
NOTES = 3


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-commands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str, run: Callable[..., int]) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add_db(sub)
        sub.set_defaults(run=run)
        return sub

    def with_json(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument("--json", action="store_true", help="for a program")
        return sub

    sub = action(
        "import", "take in runs and verdicts; what is there already stays as it is", _import
    )
    sub.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="RUN_DIR",
        help="or a file of it: result.json, ab.json, gate.json",
    )
    sub.add_argument(
        "--replace", action="store_true", help="a run that was resumed takes its own place"
    )
    with_json(sub)
    sub = with_json(action("list", "list runs, or cells", _list))
    sub.add_argument("--cells", action="store_true", help="the cells that were ever measured")
    sub.add_argument("--target", default="", metavar="NAME", help="only runs of this target")
    sub.add_argument("--suite", default="", metavar="NAME", help="only runs of this suite")
    sub = with_json(action("show", "show a run (--json: its result.json as imported)", _show))
    sub.add_argument("id", metavar="RUN")
    sub = with_json(action("history", "show the values of a cell over time", _history))
    sub.add_argument("cell", metavar="CELL", help="its id, or as much of it as is unique")
    sub.add_argument("--metric", default=DEFAULT_METRIC, help=f"default: {DEFAULT_METRIC}")
    sub.add_argument("--target", default="", metavar="NAME", help="only of this target")
    sub = with_json(action("verdicts", "list what vhostlab ab and gate said", _verdicts))
    sub.add_argument("--kind", default="", choices=("ab", "aa", "gate"), help="only these")
    sub = action("export", "write all measurements as flat rows", _export)
    way = sub.add_mutually_exclusive_group(required=True)
    way.add_argument("--csv", action="store_true")
    way.add_argument("--json", action="store_true")
    sub.add_argument("-o", "--output", type=Path, help="a file (default: standard output)")
    trend.add(action("trend", trend.HELP, _trend))
    with_json(action("status", "tell the revision of the schema", _status))
    action("upgrade", "bring the schema to the revision that this version needs", _upgrade)
    sub = action("prune", "drop what is old, big and in no series", _prune)
    sub.add_argument(
        "--days",
        type=int,
        required=True,
        help="of runs older than that: functional runs, raw files, per-second series",
    )
    sub.add_argument("--dry-run", action="store_true", help="only say what would go")
    action("vacuum", "give the room of what was dropped back to the system", _vacuum)


def add_db(parser: argparse.ArgumentParser) -> None:
    """--db"""
    parser.add_argument(
        "--db",
        metavar="URL",
        help="postgresql://USER@HOST/NAME, or an SQLite file "
        f"(default: ${engine.VARIABLE}, else {engine.DEFAULT})",
    )


def _store(options: argparse.Namespace) -> Store:
    return opened(chosen_url(options.db))


def _own(options: argparse.Namespace) -> Store:
    """A store to change: one that is there, or the complaint that it is not."""
    _store(options)
    return opened(chosen_url(options.db), write=True)


def _json(value: Any) -> int:
    print(json.dumps(value, indent=1))
    return 0


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _print(*what: Table | str) -> None:
    console = Console(highlight=False)
    for item in what:
        console.print(Text(item) if isinstance(item, str) else item, soft_wrap=True)


def _import(options: argparse.Namespace) -> int:
    """A broken one does not keep the others out; the exit status tells that there was one."""
    store = opened(chosen_url(options.db), write=True)
    done: list[dict[str, Any]] = []
    refused = 0
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for path in progress.track([p for given in options.paths for p in _documents(given)]):
            try:
                told = _import_one(store, path, replace=options.replace)
            except StoreError as error:
                refused += 1
                _complain(error)
                told = {"path": str(path), "outcome": "refused", "reason": str(error)}
            else:
                if not options.json:
                    print(_line(told))
            done.append(told)
    if options.json:
        _json(done)
    return 2 if refused else 0


def _documents(path: Path) -> list[Path]:
    """What can be imported of a path: the files of a directory, else the path itself."""
    there = [path / name for name in verdicts.FILES if (path / name).is_file()]
    if there and not (path / RESULT_FILE).exists():
        return there
    return [path, *there]


def _import_one(store: Store, path: Path, *, replace: bool) -> dict[str, Any]:
    if path.name in verdicts.FILES:
        outcome, row = verdicts.import_verdict(store, path)
        what = f"{row['kind']} {row['base']} -> {row['head']}, {row['verdict']}"
        return {"path": str(path), "verdict": what, "outcome": str(outcome), "notes": []}
    outcome, found = import_run(store, path, replace=replace)
    notes = found.notes if outcome is not Outcome.SAME else []
    return {"path": str(path), "run": found.run, "outcome": str(outcome), "notes": notes}


def _line(told: dict[str, Any]) -> str:
    notes = told["notes"]
    more = f" and {len(notes) - NOTES} more" if len(notes) > NOTES else ""
    words = f" ({', '.join(notes[:NOTES])}{more})" if notes else ""
    return f"{told.get('run') or told['verdict']}: {told['outcome']}{words}"


def _verdicts(options: argparse.Namespace) -> int:
    found = query.verdicts(_store(options), options.kind)
    if options.json:
        return _json([dataclasses.asdict(v) for v in found])
    table = _table("began", "kind", "base", "head", "verdict", "reason")
    for v in found:
        table.add_row(v.started, v.kind, v.base, v.head, v.verdict, v.reason)
    _print(table)
    return 0


def _list(options: argparse.Namespace) -> int:
    store = _store(options)
    if options.cells:
        cells = query.cells(store)
        if options.json:
            return _json([dataclasses.asdict(c) for c in cells])
        table = _table("cell", "parameters", "results")
        for cell in cells:
            table.add_row(cell.id, cell.label(), str(cell.results))
        _print(table)
        return 0
    runs = query.runs(store, target=options.target, suite=options.suite)
    if options.json:
        return _json([dataclasses.asdict(r) for r in runs])
    table = _table("run", "suite", "target", "result", "cells", "timing", "environment")
    for run in runs:
        what = f"{run.build.target} {run.build.label()}"
        cells_of = str(run.cells)
        table.add_row(run.id, run.suite, what, run.status, cells_of, run.timing, run.fingerprint)
    _print(table)
    return 0


def _show(options: argparse.Namespace) -> int:
    store = _store(options)
    if options.json:
        print(query.document(store, options.id).decode(), end="")
        return 0
    run = next((r for r in query.runs(store) if r.id == options.id), None)
    if run is None:
        raise StoreError(f"the store has no run {options.id}; `vhostlab db list` lists what it has")
    ends = ", ".join(f"{count} {status}" for status, count in sorted(run.scenarios.items()))
    lines = [
        f"{run.id}: {run.status}",
        f"  {run.suite} on {run.build.target} {run.build.label()}, {run.seconds:.0f} s, {ends}",
        f"  began {run.started}, {run.timing} timing, environment {run.fingerprint}:",
        *(f"    {k} = {v}" for k, v in query.facts(store, run.fingerprint).items()),
        f"  to repeat it: {run.command}",
    ]
    _print("\n".join(lines))
    mine = (row for row in export.measurements(store) if row["run"] == run.id)
    for cell, rows in itertools.groupby(mine, key=lambda row: str(row["cell"])):
        table = _table("metric", "value", "unit", "better")
        for row in rows:
            table.add_row(row["metric"], f"{row['value']:,.2f}", row["unit"], row["direction"])
        words = " ".join(str(v) for v in row["params"].values())
        _print(f"cell {cell}, {words}, {row['steady']}:", table)
    return 0


def find_cell(store: Store, text: str) -> query.Cell:
    """The cell of an id, or of the beginning of one."""
    found = [c for c in query.cells(store) if c.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StoreError(
            f"no cell {text} was ever measured; `vhostlab db list --cells` lists those that were"
        )
    raise StoreError(f"{len(found)} cells begin with {text}: {', '.join(c.id for c in found[:5])}")


def _history(options: argparse.Namespace) -> int:
    store = _store(options)
    cell = find_cell(store, options.cell)
    known = [m.name for m in query.metrics(store, cell.id)]
    if options.metric not in known:
        raise StoreError(f"cell {cell.id} has no {options.metric}; it has {', '.join(known)}")
    found = query.history(store, cell.id, options.metric, target=options.target)
    if options.json:
        return _json([dataclasses.asdict(s) for s in found])
    if not found:
        _print(f"cell {cell.id} has functional timings only, and these are no history")
        return 0
    for series in found:
        better = {"higher": "higher is better", "lower": "lower is better"}
        words = better.get(series.metric.direction, "neither way is better")
        table = _table("run", "build", f"{series.metric.name} [{series.metric.unit}]", "steady")
        for point in series.points:
            table.add_row(point.run, point.build.label(), f"{point.value:,.2f}", point.steady)
        _print(
            f"{cell.label()}: {series.metric.name} of {series.target} in environment "
            f"{series.fingerprint}, {words}",
            table,
        )
    return 0


def _export(options: argparse.Namespace) -> int:
    store = _store(options)
    write = export.write_csv if options.csv else export.write_json
    if options.output is None:
        write(store, sys.stdout)
        return 0
    partial = options.output.with_name(options.output.name + ".partial")
    try:
        with partial.open("w", newline="") as out:
            write(store, out)
        partial.replace(options.output)
    except OSError as error:
        raise StoreError(f"cannot write {options.output}: {error.strerror}") from error
    return 0


def _trend(options: argparse.Namespace) -> int:
    return trend.run(options, _store(options))


def _status(options: argparse.Namespace) -> int:
    store = Store(chosen_url(options.db), write=False)
    found = {"store": str(store), "revision": store.revision(), "newest": engine.head()}
    if options.json:
        return _json(found)
    state = "up to date" if found["revision"] == found["newest"] else "run `vhostlab db upgrade`"
    print(f"{store}: revision {found['revision'] or 'none'} of {found['newest']}, {state}")
    return 0


def _upgrade(options: argparse.Namespace) -> int:
    store = Store(chosen_url(options.db), write=True)
    before, after = store.upgrade()
    print(f"{store}: revision {before or 'none'} -> {after}")
    return 0


def _prune(options: argparse.Namespace) -> int:
    if options.days < 1:
        raise StoreError("--days takes at least 1")
    store = _own(options)
    found = prune(store, options.days, dry=options.dry_run)
    word = "would drop" if options.dry_run else "dropped"
    print(
        f"{word} what began before {found.before}: {found.runs} functional runs, {found.files} "
        f"files and {found.series} per-second series"
    )
    return 0


def _vacuum(options: argparse.Namespace) -> int:
    _own(options).vacuum()
    return 0


def _complain(error: StoreError) -> None:
    print(f"vhostlab db: {' '.join(str(error).split())}", file=sys.stderr)


def run(options: argparse.Namespace) -> int:
    """Exit status 0, or 2 when what was asked for cannot be had."""
    try:
        status: int = options.run(options)
        return status
    except StoreError as error:
        _complain(error)
        return 2
    except BrokenPipeError:
        return 0
