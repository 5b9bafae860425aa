# SPDX-License-Identifier: BSD-3-Clause
"""Shows how far a matrix is, and how long it will take still."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from vhostlab import summary


@dataclass
class Pace:
    """Boots and cells that are to be done, and what each takes: a guess at first, then the mean
    of what was seen."""

    boots: int
    cells: int
    boot_s: float
    cell_s: float
    booted: int = 0
    measured: int = 0
    _boots_s: float = field(default=0.0, repr=False)
    _cells_s: float = field(default=0.0, repr=False)

    def boot_took(self, seconds: float) -> None:
        """A boot is done."""
        self.booted += 1
        self._boots_s += seconds

    def cell_took(self, seconds: float) -> None:
        """A cell is done, well or not."""
        self.measured += 1
        self._cells_s += seconds

    def left_s(self) -> float:
        """Seconds until the end."""
        boot_s = self._boots_s / self.booted if self.booted else self.boot_s
        cell_s = self._cells_s / self.measured if self.measured else self.cell_s
        boots, cells = self.boots - self.booted, self.cells - self.measured
        return max(0, boots) * boot_s + max(0, cells) * cell_s


def duration(seconds: float) -> str:
    """For people: to the second below a minute, to the minute above."""
    if seconds < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class Narrator:
    """Turns events into a line for each cell; on a terminal a bar shows the whole."""

    def __init__(
        self, console: Console, pace: Pace, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._pace = pace
        self._clock = clock
        self._label = ""
        self._cell_began: float | None = None
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (
                BarColumn(),
                TextColumn("{task.completed}/{task.total} cells"),
                TextColumn("{task.fields[left]}"),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("starting", total=pace.cells, left="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def tell(self, event: Mapping[str, Any]) -> None:
        """One event."""
        match event["event"]:
            case "started":
                self._now(f"{event['scenario']}: {event['summary']}")
            case "booted":
                self._pace.boot_took(event["seconds"])
                words = f"guest of {event['stage']} is up, Linux {event['kernel']}"
                self._line(f"{event['seconds']:.1f} s", words)
            case "waiting":
                self._line("", event["words"])
            case "left out":
                self._line("left out", f"{event['label']}: {event['reason']}")
            case "cell":
                self._cell_over()
                self._label, self._cell_began = event["label"], self._clock()
                self._now(self._label)
            case "measured":
                self._cell_over()
                self._measured(event)
            case "ended":
                self._cell_over()
                if event["status"] != "pass":
                    colour = summary.COLOURS.get(event["status"], "")
                    self._line(event["status"], f"{event['scenario']}: {event['reason']}", colour)

    def _cell_over(self) -> None:
        if self._cell_began is not None:
            self._pace.cell_took(self._clock() - self._cell_began)
            self._cell_began = None

    def _measured(self, event: Mapping[str, Any]) -> None:
        done, left = self._pace.measured, duration(self._pace.left_s())
        words = f"{done}/{self._pace.cells}  {self._label}: {event['iops']:,.0f} IOPS".replace(
            ",", "\N{NO-BREAK SPACE}"
        )
        self._line(event["cell"], f"{words}, {event['steady']}; about {left} left")

    def _now(self, text: str) -> None:
        if self._bar:
            left = f"about {duration(self._pace.left_s())} left"
            self._bar.update(self._task, completed=self._pace.measured, left=left, description=text)

    def _line(self, head: str, text: str, colour: str = "") -> None:
        line = Text(f"{head:<11} ", style=colour)
        line.append(text, style="none")
        self._console.print(line, soft_wrap=True)
