# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab replay``: run again what a result was made by, or pack it for somebody else."""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vhostlab import replay, results
from vhostlab.commands.common import BadInput, add_results, results_dir
from vhostlab.replay import Comparison, Recorded
from vhostlab.results import Result

COLOURS = {"better": "green", "worse": "red"}

HELP = "run again what a result was made by, and compare; or pack it for somebody else"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "result", type=Path, metavar="RUN_DIR", help="or a result.json, or a bundle (.tar)"
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--cell", default="", metavar="ID", help="only this cell")
    part.add_argument("--scenario", default="", metavar="NAME", help="only this scenario")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--compare", action="store_true", help="put both results side by side")
    way.add_argument("--dry-run", action="store_true", help="only say what would be run")
    way.add_argument("--bundle", type=Path, metavar="FILE", help="write a bundle, run nothing")
    parser.add_argument("--json", action="store_true", help="for a program")
    add_results(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Carry out what the options say."""
    with replay.opened(options.result) as recorded:
        if options.bundle:
            if options.cell or options.scenario:
                raise BadInput("a bundle holds the whole run", "leave --cell and --scenario out")
            names = replay.make_bundle(recorded, options.bundle)
            _say(options, console, {"bundle": str(options.bundle), "files": names})
            return 0
        return _replay(options, recorded, console)


def _say(options: argparse.Namespace, console: Console, facts: Mapping[str, Any]) -> None:
    if options.json:
        print(json.dumps(facts, indent=1))
    else:
        console.print(Text(f"{facts['bundle']}: {len(facts['files'])} files"), soft_wrap=True)


def _replay(options: argparse.Namespace, recorded: Recorded, console: Console) -> int:
    words = replay.command_line(recorded, options.cell, options.scenario)
    before = replay.host_differences(recorded.result)
    changed = replay.changed_files(recorded)
    facts: dict[str, Any] = {
        "run": recorded.result.run_id,
        "command": shlex.join(["vhostlab", *words]),
        "host_differences": before,
        "changed_job_files": changed,
    }
    if not options.json:
        console.print(Text(f"run {facts['run']}, made by: {recorded.result.command}"))
        _differences(console, "this host", before)
        for name in changed:
            console.print(Text(f"job file {name} is another one here"))
        console.print(Text(f"running: {facts['command']}"), soft_wrap=True)
    if options.dry_run:
        if options.json:
            print(json.dumps(facts, indent=1))
        return 0
    base = results.new_run_directory(
        results_dir(options).absolute() / "replays", recorded.result.run_id
    )
    words = replay.command_line(recorded, options.cell, options.scenario, keep=base)
    status, run_dir = replay.carry_out(words, base, quiet=options.json)
    facts |= {"status": status, "run_dir": str(run_dir) if run_dir else None}
    if options.compare and run_dir is not None:
        found = replay.compare(recorded.result, results.read(Result, run_dir / results.RESULT_FILE))
        facts["comparison"] = _plain(found)
        if not options.json:
            _show(console, found)
    if options.json:
        print(json.dumps(facts, indent=1))
    return status if status in (0, 1, 2) else 1


def _differences(console: Console, who: str, found: Mapping[str, tuple[Any, Any]]) -> None:
    if not found:
        console.print(Text(f"{who} is as that of the result, as far as can be told"))
        return
    table = Table(title=f"{who} differs", title_justify="left", box=box.SIMPLE)
    for heading in ("", "theirs", "mine"):
        table.add_column(heading, overflow="fold")
    for key, pair in found.items():
        table.add_row(key, *(Text("unknown" if v is None else str(v)) for v in pair))
    console.print(table)


def _show(console: Console, found: Comparison) -> None:
    _differences(console, "the environment", found.environment)
    for name, theirs, mine in found.scenarios:
        if theirs != mine:
            console.print(Text(f"scenario {name}: {theirs} there, {mine} here"))
    if found.not_compared:
        console.print(Text(f"figures are not compared: {found.not_compared}"), soft_wrap=True)
        return
    for label, pairs in itertools.groupby(found.pairs, key=lambda pair: pair.label):
        table = Table(title=label, title_justify="left", box=box.SIMPLE)
        table.add_column("metric", no_wrap=True)
        for heading in ("theirs", "mine", "mine / theirs"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("unit", no_wrap=True)
        table.add_column("")
        for pair in pairs:
            ratio = "" if pair.ratio is None else f"{pair.ratio:.3f}"
            values = (f"{pair.metric.value:,.1f}", f"{pair.mine:,.1f}", ratio, pair.metric.unit)
            verdict = Text(pair.verdict, style=COLOURS.get(pair.verdict, ""))
            table.add_row(pair.metric.name, *values, verdict)
        console.print(table)


def _plain(found: Comparison) -> dict[str, Any]:
    return {
        "environment": dict(found.environment),
        "scenarios": [
            {"name": n, "theirs": theirs, "mine": mine} for n, theirs, mine in found.scenarios
        ],
        "not_compared": found.not_compared,
        "cells": [
            {
                "cell": p.cell,
                "label": p.label,
                "metric": p.metric.name,
                "unit": p.metric.unit,
                "direction": str(p.metric.direction),
                "theirs": p.metric.value,
                "mine": p.mine,
                "ratio": p.ratio,
                "verdict": p.verdict,
            }
            for p in found.pairs
        ],
    }
