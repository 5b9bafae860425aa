# SPDX-License-Identifier: BSD-3-Clause
"""Whether a rate had settled while it was measured.

The rule is that of SNIA's Solid State Storage Performance Test Specification: over a window of five
rounds the values stay within 20 % of their mean (excursion), and the line that fits them best rises
or falls by no more than 10 % of the mean from the first round to the last (slope). There a round is
minutes to hours of work; here the measured seconds are divided into five rounds of equal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vhostlab.results import Steady

ROUNDS = 5
EXCURSION_MAX = 0.20
SLOPE_MAX = 0.10


@dataclass(frozen=True)
class Shape:
    """What the verdict is made of, both as shares of the mean."""

    excursion: float
    slope: float

    @property
    def verdict(self) -> Steady:
        """Steady if both are within their limits."""
        settled = self.excursion <= EXCURSION_MAX and self.slope <= SLOPE_MAX
        return Steady.STEADY if settled else Steady.NOT_STEADY


def rounds(series: Sequence[float]) -> list[float]:
    """Means over ROUNDS parts of equal length; what does not divide is left out at the beginning,
    where a run settles."""
    length = len(series) // ROUNDS
    kept = series[len(series) - length * ROUNDS :]
    return [sum(kept[i * length : (i + 1) * length]) / length for i in range(ROUNDS)]


def shape(values: Sequence[float]) -> Shape:
    """Excursion and slope of a window; a window of zeroes has not begun."""
    count = len(values)
    mean = sum(values) / count
    if mean <= 0:
        return Shape(float("inf"), float("inf"))
    middle = (count - 1) / 2
    rise = sum((i - middle) * (value - mean) for i, value in enumerate(values))
    per_round = rise / sum((i - middle) ** 2 for i in range(count))
    return Shape((max(values) - min(values)) / mean, abs(per_round) * (count - 1) / mean)


def verdict(series: Sequence[float]) -> Steady:
    """Of one value per second; fewer than one for each round do not tell."""
    if len(series) < ROUNDS:
        return Steady.UNKNOWN
    return shape(rounds(series)).verdict
