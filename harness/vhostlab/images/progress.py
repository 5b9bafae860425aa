# SPDX-License-Identifier: BSD-3-Clause
"""How a build says what it does, to whoever wants to hear it."""

from __future__ import annotations

from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text


class Progress(Protocol):
    """Told about the steps of a build."""

    def step(self, text: str) -> None:
        """A new step begins."""
        ...

    def amount(self, done: int, total: int) -> None:
        """How far the step is; ``total`` is 0 where that is not known."""
        ...


class Silent:
    """For builds that nobody watches."""

    def step(self, text: str) -> None:
        return

    def amount(self, done: int, total: int) -> None:
        return


class Shown:
    """On a terminal one line that lives: what is done, how much of it, and the time left. Where
    there is no terminal, a line when a step begins.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(Text(text), soft_wrap=True)
            return
        if self._bar is None:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
            left = (TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, *left, console=self._console, transient=True)
            self._bar.start()
        elif self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(text, total=None)

    def amount(self, done: int, total: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total or None)
