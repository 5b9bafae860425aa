# SPDX-License-Identifier: BSD-3-Clause
"""Reads the per-second series of a cell.

Two forms are known: a log of fio (``time in ms, I/Os per second, direction, block size, ...``, one
line per interval and direction, such as ``write_iops_log`` makes), and JSON: a list of numbers, or
an object that has one under ``iops``. What cannot be read is no series; a report does without.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
        values = _json(json.loads(body)) if body.lstrip()[:1] in ("[", "{") else _log(body)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return ()
    return thin([v for v in values if math.isfinite(v) and v >= 0])


def _json(raw: Any) -> list[float]:
    if isinstance(raw, dict):
        raw = raw["iops"]
    return [float(p[-1] if isinstance(p, list) else p) for p in raw]


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
