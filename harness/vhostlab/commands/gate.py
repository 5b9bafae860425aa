# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab gate``: is a change fit to be merged?"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from vhostlab.commands.common import BadInput, made
from vhostlab.commands.coverage import parts_of
from vhostlab.gate import coverage, work
from vhostlab.gate.run import PARTS, Gate, Request
from vhostlab.paths import source_dir

HELP = "judge a change: work per request, timing in turns, coverage"
EXITS = {"pass": 0, "inconclusive": 0, "fail": 1, "could not run": 2}
STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow", "could not run": "red"}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("base", metavar="BASE", help="revision to compare with")
    parser.add_argument(
        "head",
        nargs="?",
        metavar="HEAD",
        help="revision to judge (default: the files here, committed or not)",
    )
    parser.add_argument(
        "--only",
        default=",".join(PARTS),
        metavar="PART,...",
        help=f"of {','.join(PARTS)}: these alone",
    )
    parser.add_argument(
        "--cases", default="", metavar="NAME,...", help="work: these cases alone (default: all)"
    )
    parser.add_argument(
        "--coverage-parts",
        default=",".join(coverage.PARTS),
        metavar="NAME,...",
        help=f"coverage: by these tests (default: {','.join(coverage.PARTS)})",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=40.0,
        metavar="MINUTES",
        help="coverage leaves out what does not fit (default: 40)",
    )
    parser.add_argument(
        "--head-options",
        default="",
        metavar="OPTIONS",
        help="meson options for head alone, as -Dplanted=busy",
    )
    parser.add_argument(
        "--ab-options", default="", metavar="OPTIONS", help="further options of vhostlab ab"
    )
    parser.add_argument(
        "--always",
        action="store_true",
        help="compare even if both are the same daemon: how sure is the gate here?",
    )
    parser.add_argument(
        "--strict", action="store_true", help="inconclusive is exit status 1 instead of 0"
    )
    parser.add_argument("--json", action="store_true", help="print gate.json")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="(default: results/gate/<time>)"
    )


def _list(text: str, known: list[str], what: str) -> tuple[str, ...]:
    wanted = [name for name in text.split(",") if name]
    if unknown := sorted(set(wanted) - set(known)):
        raise BadInput(f"there is no {what} {', '.join(unknown)}", f"there are {', '.join(known)}")
    return tuple(name for name in known if name in wanted)


def run(options: argparse.Namespace, console: Console) -> int:
    """Compare, judge, show."""
    root = source_dir()
    only = _list(options.only, list(PARTS), "part")
    if not only:
        raise BadInput("no part is named", f"--only takes {', '.join(PARTS)}")
    request = Request(
        base=options.base,
        head=options.head,
        only=only,
        cases=_list(options.cases, work.cases(root), "case"),
        coverage_parts=tuple(parts_of(options.coverage_parts)),
        head_options=tuple(shlex.split(options.head_options)),
        ab_options=tuple(shlex.split(options.ab_options)),
        budget_s=60 * options.budget,
        always=options.always,
        command=shlex.join(["vhostlab", *sys.argv[1:]]),
    )
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    if options.budget <= 0:
        raise BadInput("--budget must be positive")
    out = made((options.output or root / "results/gate" / now).absolute())
    shown = Console(stderr=True, highlight=False) if options.json else console
    verdict = Gate(root, out, request, shown).run()
    if options.json:
        print(json.dumps(verdict, indent=1))
    else:
        show(verdict, out, console)
    if options.strict and verdict["verdict"] == "inconclusive":
        return 1
    return EXITS[verdict["verdict"]]


def show(verdict: dict[str, Any], out: Path, console: Console) -> None:
    """The verdict, a line for each part, where the page is."""
    for tier in verdict["tiers"]:
        console.print(f"  {tier['title']}: ", end="", markup=False)
        console.print(tier["verdict"], style=STYLES.get(tier["verdict"], ""), end="")
        console.print(f"; {tier['summary']}", markup=False, soft_wrap=True)
        for line in tier["findings"]:
            console.print(f"    {line}", markup=False, soft_wrap=True)
    console.print(verdict["verdict"].upper(), style=STYLES[verdict["verdict"]], end="")
    console.print(f": {verdict['reason']}", markup=False, soft_wrap=True)
    console.print(f"page: {out / 'gate.html'}", markup=False, soft_wrap=True)
