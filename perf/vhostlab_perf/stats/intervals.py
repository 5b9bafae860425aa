# SPDX-License-Identifier: BSD-3-Clause
"""Intervals of a mean of few differences.

Concepts: *tail* is the probability left out on each side. The interval that verdicts come from is
the hull of two: Student's t, which is honest with few blocks and at the tiny tails of an early
look, where no resample reaches, and the bias-corrected and accelerated bootstrap over blocks, which
follows skew. Its error is at most that of either.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from vhostlab_perf.stats.paired import Floats


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high``."""

    low: float
    high: float

    def hull(self, other: Interval) -> Interval:
        """The least interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def student(d: Floats, tail: float) -> Interval:
    """Of the mean of differences that are about normal."""
    mean, n = float(d.mean()), d.size
    half = -float(special.stdtrit(n - 1, tail)) * float(d.std(ddof=1)) / math.sqrt(n)
    return Interval(mean - half, mean + half)


@functools.lru_cache(maxsize=64)
def _weights(n: int, resamples: int) -> Floats:
    """How often each difference is in each resample, over n. The same in every run of the judge:
    the same blocks have the same verdict."""
    drawn = np.random.default_rng(n).multinomial(n, np.full(n, 1.0 / n), size=resamples)
    return np.asarray(drawn / n)


def bca(d: Floats, tail: float, resamples: int = 4000) -> Interval:
    """Bias-corrected and accelerated bootstrap of the mean (Efron 1987) over blocks."""
    mean = float(d.mean())
    spread = d - mean
    square = float((spread**2).sum())
    if square <= (1e-12 * max(1.0, abs(mean))) ** 2:
        return Interval(mean, mean)
    means = np.sort(_weights(d.size, resamples) @ d)
    below = (float((means < mean).sum()) + float((means <= mean).sum())) / 2 / resamples
    bias = float(special.ndtri(min(max(below, 0.5 / resamples), 1 - 0.5 / resamples)))
    acceleration = float((spread**3).sum()) / (6.0 * square**1.5)

    def quantile(probability: float) -> float:
        z = bias + float(special.ndtri(probability))
        moved = float(special.ndtr(bias + z / (1 - acceleration * z)))
        at = moved * (resamples - 1)
        low = min(int(at), resamples - 2)
        return float(means[low] + (at - low) * (means[low + 1] - means[low]))

    return Interval(quantile(tail), quantile(1 - tail))


def judged(d: Floats, tail: float, resamples: int = 4000) -> Interval:
    """The interval that verdicts come from."""
    return student(d, tail).hull(bca(d, tail, resamples))
