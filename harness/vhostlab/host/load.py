# SPDX-License-Identifier: BSD-3-Clause
"""How busy this machine was with other things while something was measured."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")

#: Columns of the first line of /proc/stat that are time in which a core did something: user, nice,
#: system, irq, softirq, steal. The others are idleness, or counted in these already.
_BUSY = (0, 1, 2, 5, 6, 7)


def busy_seconds(stat: Path = Path("/proc/stat")) -> float:
    """CPU time of everything on this machine since it started."""
    words = stat.read_text().split("\n", 1)[0].split()[1:]
    return sum(int(words[n]) for n in _BUSY if n < len(words)) / _TICKS


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class OthersMeter:
    """CPU that is neither ours, nor our ended children's, nor what the caller knows about.

    Concepts: made when the measurement begins; ``cores`` when it has ended, and its children have.
    """

    def __init__(self) -> None:
        self._begin = self._now()

    def cores(self, known_seconds: float) -> float:
        """How many cores others kept busy on average; ``known_seconds`` are not others'."""
        now = self._now()
        elapsed, busy, mine = (
            after - before for after, before in zip(now, self._begin, strict=True)
        )
        if elapsed <= 0:
            return 0.0
        return max(0.0, (busy - mine - known_seconds) / elapsed)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        return time.monotonic(), busy_seconds(), _own_seconds() + _children_seconds()
