# SPDX-License-Identifier: BSD-3-Clause
"""``python -m vhostlab_perf ab`` and ``aa``: what the harness has judged."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vhostlab_perf.ab import blocks, gates, judge, page, qualification
from vhostlab_perf.reader import BadResult


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare both commands."""
    ab = commands.add_parser("ab", help="judge the blocks of two builds")
    ab.add_argument("blocks", type=Path, help="blocks.json")
    ab.add_argument("-o", "--output", type=Path, help="directory of ab.json and ab.html")
    ab.add_argument("--qualification", type=Path, help="the runner's A/A record")
    ab.add_argument("--no-page", action="store_true", help="no ab.html")
    ab.set_defaults(run=_ab)
    aa = commands.add_parser("aa", help="qualify a runner by its A/A runs")
    aa.add_argument("blocks", type=Path, nargs="+", help="blocks.json of each run")
    aa.add_argument("-o", "--output", type=Path, required=True, help="the record to write")
    aa.set_defaults(run=_aa)
    for parser in (ab, aa):
        parser.add_argument("--gates", type=Path, default=gates.DEFAULT, help="perf/gates.toml")


def write(document: Any, path: Path) -> None:
    """Replace a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)


def _ab(options: argparse.Namespace) -> int:
    rules = gates.read(options.gates)
    comparison = blocks.read(options.blocks, rules.guards)
    record = qualification.read(options.qualification)
    judgement = judge.judge(comparison, rules, record)
    document = judge.document(judgement, comparison, record)
    directory: Path = options.output or options.blocks.parent
    write(document, directory / "ab.json")
    if not options.no_page:
        page.write(judgement, comparison, document, directory / "ab.html")
    return 0


def _aa(options: argparse.Namespace) -> int:
    rules = gates.read(options.gates)
    runs: Sequence[blocks.Comparison] = [blocks.read(p, rules.guards) for p in options.blocks]
    if len({json.dumps([r.raw["fingerprint"], r.raw["path"]]) for r in runs}) > 1:
        raise BadResult("the runs are of different machines or ways: qualify each by itself")
    # each run is judged by what it knew of itself, as it was when it was made
    verdicts = [judge.judge(r, rules).verdict for r in runs]
    found = qualification.learn(runs, verdicts)
    document = qualification.document(found, rules, runs[0].planned)
    write(document | {"verdicts": dict(Counter(verdicts))}, options.output)
    return 0
