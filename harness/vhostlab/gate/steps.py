# SPDX-License-Identifier: BSD-3-Clause
"""Where a long command is: what it does now, and how long the rest will take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.status import Status

TICK_S = 1.0
DONE_BEFORE = 0.1
"""A step that took less than that part of its estimate."""


def duration(seconds: float) -> str:
    """For people: seconds up to two minutes, then minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@dataclass
class Steps:
    """Estimates of what is to come are corrected by how long the steps so far took.

    On a terminal a line that moves; elsewhere one line for each step.
    """

    console: Console
    left: dict[str, float] = field(default_factory=dict)
    """What is to come, and how many seconds that takes on a usual machine."""
    _planned: float = 0.0
    _took: float = 0.0

    def plan(self, name: str, seconds: float) -> None:
        self.left[name] = seconds

    def remaining(self, spent: float = 0.0) -> float:
        """Seconds, of which `spent` are in the present step, which is the first that is left."""
        pace = self._took / self._planned if self._planned > 0 else 1.0
        times = list(self.left.values())
        present = max(0.0, times[0] * pace - spent) if times else 0.0
        return present + sum(times[1:]) * pace

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Do it now. Steps that were planned before it and did not come are forgotten."""
        seconds = self.left.get(name, 0.0)
        if name in self.left:
            for other in list(self.left):
                if other == name:
                    break
                del self.left[other]
        begin = time.monotonic()
        try:
            with self._shown(name, begin):
                yield
        finally:
            took = time.monotonic() - begin
            self.left.pop(name, None)
            # What takes next to no time had been done before, as a build, and says nothing.
            if took > DONE_BEFORE * seconds > 0:
                self._planned += seconds
                self._took += took

    @contextmanager
    def _shown(self, name: str, begin: float) -> Iterator[None]:
        if not self.console.is_terminal:
            self.console.print(f"  {name} (about {duration(self.remaining())} left)")
            yield
            return
        over = threading.Event()
        with self.console.status(name) as status:
            watcher = threading.Thread(target=self._watch, args=(status, name, begin, over))
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()
        self.console.print(f"  {name} [{duration(time.monotonic() - begin)}]", markup=False)

    def _watch(self, status: Status, name: str, begin: float, over: threading.Event) -> None:
        while not over.wait(TICK_S):
            spent = time.monotonic() - begin
            status.update(
                f"{name}: {duration(spent)}, about {duration(self.remaining(spent))} left in all"
            )
