# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab ab``: compare two builds of the target."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from vhostlab.ab import judging
from vhostlab.ab.request import PATHS, Request
from vhostlab.ab.run import measure, prepare
from vhostlab.ab.show import Show, show_verdict
from vhostlab.commands.common import BadInput, made
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.paths import source_dir

HELP = "compare two builds of the target, measured in turns"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "base", nargs="?", default="", metavar="BASE", help="a revision or worktree"
    )
    parser.add_argument(
        "head", nargs="?", default="", metavar="HEAD", help="a revision or worktree"
    )
    for arm in ("base", "head"):
        parser.add_argument(
            f"--{arm}-binary", type=Path, metavar="PATH", help=f"a built daemon as {arm}"
        )
        parser.add_argument(
            f"--{arm}-options", default="", metavar="TEXT", help=f"more meson options for {arm}"
        )
    parser.add_argument(
        "--path", choices=PATHS, default=PATHS[0], help="no guest (default), or one that is booted"
    )
    parser.add_argument(
        "--matrix", default="", metavar="NAME", help="its cells, not the default few"
    )
    parser.add_argument(
        "--cells", action="append", default=[], metavar="TEXT", help="an id, or words of a label"
    )
    parser.add_argument("--blocks", type=int, metavar="N", help="at most so many (16)")
    parser.add_argument("--budget", type=float, metavar="MIN", help="minutes of measuring (8)")
    parser.add_argument("--turn", type=float, metavar="S", help="seconds at a cell (what fits)")
    parser.add_argument(
        "--aa", action="store_true", help="BASE against itself: qualify this machine"
    )
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="of --aa (1)")
    parser.add_argument("--gates", type=Path, metavar="FILE", help="instead of perf/gates.toml")
    parser.add_argument("--json", action="store_true", help="ab.json (aa.json) on standard output")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: results/ab/...")


def _request(options: argparse.Namespace) -> Request:
    base, head = options.base, options.head
    if options.aa:
        if head or options.head_binary or options.head_options:
            raise BadInput("--aa compares BASE with itself", "give one revision, or none")
        base = base or ("" if options.base_binary else "worktree")
    elif options.runs != 1:
        raise BadInput("--runs is for --aa", "leave it out")
    for name, word, binary in (
        ("BASE", base, options.base_binary),
        ("HEAD", head, options.head_binary),
    ):
        if name == "HEAD" and options.aa:
            continue
        if binary and word:
            raise BadInput(f"{name} is given twice", "give a revision or a program")
        if not binary and not word:
            raise BadInput(f"{name} is missing", "vhostlab ab BASE HEAD, or --aa")
    if options.blocks is not None and options.blocks < 4:
        raise BadInput("--blocks must be 4 or more", "fewer say nothing")
    if any(number is not None and number <= 0 for number in (options.budget, options.turn)):
        raise BadInput("--budget and --turn must be positive")
    if options.runs < 1:
        raise BadInput("--runs must be positive")
    if options.gates and not options.gates.is_file():
        raise BadInput(
            f"there is no file {options.gates}", "--gates is one such as perf/gates.toml"
        )
    return Request(
        base=base,
        head=head,
        base_binary=options.base_binary,
        head_binary=options.head_binary,
        base_options=tuple(shlex.split(options.base_options)),
        head_options=tuple(shlex.split(options.head_options)),
        path=options.path,
        matrix=options.matrix,
        cells=tuple(options.cells),
        blocks=options.blocks or 0,
        budget_min=options.budget or 0.0,
        turn_s=options.turn or 0.0,
        aa=options.aa,
        runs=options.runs,
        gates=options.gates.absolute() if options.gates else None,
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Exit status 0: no regression was shown; 1: there is one; 2: it could not be measured."""
    request = _request(options)
    if options.json:
        console = Console(highlight=False, stderr=True)
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    chosen: Path | None = options.output
    directory = made((chosen or source_dir() / "results" / "ab" / when).absolute())
    try:
        return asyncio.run(_carry_out(request, directory, options.json, console))
    except Unavailable:
        raise
    except HarnessError as error:
        # whatever was not measured is no regression
        raise Unavailable(error.message, error.hint) from error
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise Unavailable("interrupted before there was a verdict") from None


async def _carry_out(request: Request, directory: Path, as_json: bool, console: Console) -> int:
    with Show(console).live() as show:
        setting = await prepare(request, directory, show)
        names = [f"run-{n:02}" for n in range(1, request.runs + 1)] if request.aa else [""]
        places = [directory / name for name in names]
        answers = await measure(setting, places, show)
        if request.aa:
            runs = places[: len(answers)]
            found = await judging.qualify(runs, directory / judging.AA_FILE, request.gates)
            judging.keep(directory / judging.AA_FILE, setting.qualification)
    if request.aa:
        _show_qualification(found, setting.qualification, console)
        if as_json:
            print(json.dumps(found))
        return 0
    show_verdict(answers[-1], directory, console)
    if as_json:
        print((directory / judging.AB_FILE).read_text(), file=sys.stdout)
    return 1 if answers[-1].verdict == "fail" else 0


def _show_qualification(found: dict[str, object], kept: Path, console: Console) -> None:
    spread, mde = found["mde"], found["qualified"]
    assert isinstance(spread, dict) and isinstance(mde, dict)
    for metric, able in mde.items():
        worst = max(m[metric] for m in spread.values() if metric in m)
        text = Text(f"{metric:<28} MDE {worst:>6.1%} at worst, {found['blocks']} blocks: ")
        text.append("qualified" if able else "not qualified", style="green" if able else "red")
        console.print(text, soft_wrap=True)
    verdicts = found["verdicts"]
    assert isinstance(verdicts, dict)
    counted = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    console.print(Text(f"verdicts: {counted}"), soft_wrap=True)
    line = f"false alarms: {found['false_alarms']} of {found['runs']} A/A runs"
    console.print(Text(f"{line}; kept in {kept}"), soft_wrap=True)
