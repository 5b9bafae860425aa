# SPDX-License-Identifier: BSD-3-Clause
"""Reads the per-second series of a cell.

Two forms are known: CSV under the names ``second`` and ``iops`` (and others, which are passed
over), which the harness writes, and logs of fio (``time in ms, I/Os per second, direction, ...``,
one line per interval and direction). What cannot be read is no series; a report does without.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

#: More points than a picture can show; longer series are made of means of neighbours.
MOST_POINTS = 120
#: Larger files are no per-second series of any cell.
LARGEST_FILE = 16 << 20


def read(directory: Path, name: str) -> tuple[float, ...]:
    """I/Os per second over time; empty when there is no such file below ``directory``."""
    try:
        root = directory.resolve()
        path = (root / name).resolve()
        # a result may come from anybody: it may not name files outside of its own directory
        if not path.is_relative_to(root) or path.stat().st_size > LARGEST_FILE:
            return ()
        body = path.read_text()
        values = _table(body) if body.startswith("second,") else _log(body)
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError):
        return ()
    return thin([v for v in values if math.isfinite(v) and v >= 0])


def _table(body: str) -> list[float]:
    return [float(row["iops"]) for row in csv.DictReader(body.splitlines())]


def _log(body: str) -> list[float]:
    """One value per second: what the directions and the jobs did in it, together."""
    seconds: dict[int, float] = defaultdict(float)
    for line in body.splitlines():
        if not line.strip():
            continue
        fields = [f.strip() for f in line.split(",")]
        seconds[round(float(fields[0]) / 1000)] += float(fields[1])
    return [seconds[s] for s in sorted(seconds)]


def thin(values: Iterable[float]) -> tuple[float, ...]:
    """At most MOST_POINTS values with the same course."""
    kept = list(values)
    step = -(-len(kept) // MOST_POINTS)
    if step <= 1:
        return tuple(kept)
    chunks = [kept[n : n + step] for n in range(0, len(kept), step)]
    return tuple(sum(c) / len(c) for c in chunks)
