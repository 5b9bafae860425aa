# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab coverage``: which lines of the target the tests run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from vhostlab.commands.common import BadInput, made
from vhostlab.gate import coverage, revisions
from vhostlab.gate.steps import Steps
from vhostlab.paths import source_dir

HELP = "which lines of the target the tests run, guests included"
WIDTH = 10


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--parts",
        default=",".join(coverage.PARTS),
        metavar="NAME,...",
        help=f"which tests (default: {','.join(coverage.PARTS)})",
    )
    parser.add_argument(
        "--base", metavar="REV", help="also: of the lines that are not those of this revision"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="for summary.json, coverage.xml, html/ (default: build/reports/coverage)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def parts_of(text: str) -> list[str]:
    """The parts that an option names, in the order of running."""
    wanted = [name for name in text.split(",") if name]
    if unknown := sorted(set(wanted) - set(coverage.PARTS)):
        raise BadInput(
            f"there is no part {', '.join(unknown)}", f"there are {', '.join(coverage.PARTS)}"
        )
    if not wanted:
        raise BadInput("no part is named", f"there are {', '.join(coverage.PARTS)}")
    return [name for name in coverage.PARTS if name in wanted]


def run(options: argparse.Namespace, console: Console) -> int:
    """Measure; exit 1 if tests of a part failed."""
    root = source_dir()
    parts = parts_of(options.parts)
    base = revisions.resolve(root, options.base).commit if options.base else None
    out = made((options.output or root / "build/reports/coverage").absolute())
    steps = Steps(Console(stderr=True, highlight=False) if options.json else console)
    coverage.plan(steps, parts)
    summary = coverage.measure(root, out, parts, base, steps)
    if options.json:
        print(json.dumps(summary, indent=1))
    else:
        show(summary, out, console)
    return 0 if all(part["passed"] for part in summary["parts"].values()) else 1


def show(summary: dict[str, object], out: Path, console: Console) -> None:
    """A table of the parts, and of all together."""
    kinds = ("lines", "branches", "functions")
    lines = [f"{'':<{WIDTH}}" + "".join(f"{kind:>{WIDTH}}" for kind in kinds)]
    parts: dict[str, dict[str, dict[str, float]]] = summary["parts"]  # type: ignore[assignment]
    rows = [*parts.items(), ("together", summary)]
    for name, row in rows:
        cells = "".join(f"{row[kind]['percent']:>{WIDTH - 1}.1f}%" for kind in kinds)  # type: ignore[index]
        failed = "" if row.get("passed", True) else f"   tests failed: see {out / name}.log"  # type: ignore[attr-defined]
        lines.append(f"{name:<{WIDTH}}{cells}{failed}")
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    console.print(f"line by line: {out / 'html/index.html'}", markup=False, soft_wrap=True)
