# SPDX-License-Identifier: BSD-3-Clause
"""Latency histograms that can be added.

fio sorts every latency into a bin of a fixed grid (at most 1/64 wide) and names the bin by its
middle, in nanoseconds. The grid is the same in each run, so histograms of several jobs, guests or
runs are merged by adding the counts bin by bin, and a percentile of the whole is taken from the
sum: percentiles themselves cannot be averaged.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping

#: Middle of a bin in nanoseconds -> how many I/Os fell into it.
Bins = Mapping[int, int]


def merge(many: Iterable[Bins]) -> dict[int, int]:
    """The histogram of all the samples together, in ascending order."""
    total: Counter[int] = Counter()
    for bins in many:
        total.update(bins)
    return dict(sorted(total.items()))


def percentile(bins: Bins, which: float) -> int:
    """The bin that holds the sample of rank ``which`` per cent, as fio counts; of at least one."""
    total = sum(bins.values())
    if not total:
        raise ValueError("a histogram without samples has no percentiles")
    # fio: the first bin up to which there are at least which % of all samples, and at least one
    wanted = max(1, math.ceil(which / 100 * total - 1e-9 * total))
    seen = 0
    for middle, count in sorted(bins.items()):
        seen += count
        if seen >= wanted:
            return middle
    raise AssertionError("the counts do not add up")


def pack(bins: Bins) -> bytes:
    """For a column: the same bytes for the same bins."""
    return _packed(sorted((k, v) for k, v in bins.items() if v))


def unpack(packed: bytes) -> dict[int, int]:
    """The opposite of pack."""
    return {int(k): int(v) for k, v in json.loads(zlib.decompress(packed))}


def pack_points(points: Iterable[float]) -> bytes:
    """A per-second series for a column."""
    return _packed(list(points))


def unpack_points(packed: bytes) -> tuple[float, ...]:
    """The opposite of pack_points."""
    return tuple(float(v) for v in json.loads(zlib.decompress(packed)))


def _packed(value: object) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 6)
