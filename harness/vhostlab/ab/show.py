# SPDX-License-Identifier: BSD-3-Clause
"""What a person at the terminal sees of a comparison."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from vhostlab.ab.judging import AB_FILE, PAGE_FILE, Answer
from vhostlab.matrix import Cell

COLOURS = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "environment": "yellow"}


class Show:
    """Progress for people: a bar with the time left on a terminal, lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    @contextlib.contextmanager
    def live(self) -> Iterator[Show]:
        with self._progress:
            self._task = self._progress.add_task("", total=1.0, left="")
            yield self

    def line(self, text: str) -> None:
        self._progress.console.print(Text(text), soft_wrap=True)

    def now(self, text: str, share: float = 0.0, left_s: float | None = None) -> None:
        if self._task is None:
            return
        left = (
            ""
            if left_s is None
            else f"{max(0, round(left_s)) // 60}:{max(0, round(left_s)) % 60:02d} left"
        )
        self._progress.update(self._task, description=text, completed=min(1.0, share), left=left)


def show_verdict(answer: Answer, directory: Path, console: Console) -> None:
    """What this machine can judge, the worst first, and where to read of the rest."""
    document = answer.document
    entries = [*document["families"], *document["cells"]]
    for entry in entries:
        if not entry["qualified"] and entry["verdict"] != "fail":
            continue
        cell = Cell({k: v for k, v in entry["params"].items() if k != "path"})
        name = cell.label() or f"all of {entry['id']}"
        text = Text(f"{name:<28} {entry['metric']:<26} ", style="none")
        text.append(entry["line"], style=COLOURS[entry["verdict"]] if entry["qualified"] else "dim")
        console.print(text, soft_wrap=True)
    if unable := Counter(e["metric"] for e in entries if not e["qualified"]):
        words = ", ".join(f"{metric} ({number})" for metric, number in unable.items())
        text = Text("MDE > margin, reported on the page, not judged: ", style="red")
        text.append(words, style="none")
        console.print(text, soft_wrap=True)
    for block in (b for b in document["blocks"] if not b["valid"]):
        line = f"block {block['number']} does not count: {block['reason']}"
        console.print(Text(line), soft_wrap=True)
    verdict = Text(f"{answer.verdict.upper()}", style=COLOURS[answer.verdict])
    verdict.append(f"  {answer.reason}", style="none")
    console.print(verdict, soft_wrap=True)
    console.print(Text(f"{directory / AB_FILE}, {directory / PAGE_FILE}"), soft_wrap=True)
