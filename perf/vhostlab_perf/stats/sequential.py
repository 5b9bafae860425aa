# SPDX-License-Identifier: BSD-3-Clause
"""Looking at the blocks more than once without being fooled more often.

The error allowed is spent over the looks after Lan and DeMets, in the way of O'Brien and Fleming:
next to nothing at first, nearly all at the end.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from vhostlab_perf.stats.paired import Floats

_POINTS = 801
_FAR = 8.0


def spent(information: float, alpha: float) -> float:
    """Of the one-sided error ``alpha``, what may be spent by a share of all blocks."""
    if information >= 1:
        return alpha
    return float(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / math.sqrt(information)))


@functools.lru_cache(maxsize=256)
def tails(information: tuple[float, ...], alpha: float, final: bool = False) -> tuple[float, ...]:
    """The one-sided level at which each look may be made, so that all together err with ``alpha``.

    ``information``: rising shares of the planned blocks. ``final``: the last of them is the end
    whatever its share, so what is left is spent there.
    """
    if any(b <= a for a, b in zip((0.0, *information), information, strict=False)):
        raise ValueError(f"looks must rise: {information}")
    # Brownian motion at the times of the looks; `density` is that of paths that crossed no bound.
    before, grid, density = 0.0, np.zeros(1), np.ones(1)
    used, levels = 0.0, []
    for k, now in enumerate(information):
        last = k == len(information) - 1
        whole = alpha if final and last else spent(now, alpha)
        step = math.sqrt(now - before)
        bound = _bound(density, grid, step, whole - used, _FAR * math.sqrt(now) + 1)
        levels.append(float(stats.norm.sf(bound / math.sqrt(now))))
        fresh = np.linspace(-_FAR * math.sqrt(now), bound, _POINTS)
        width = np.full(_POINTS, fresh[1] - fresh[0])
        width[[0, -1]] /= 2
        near = stats.norm.pdf((fresh[:, None] - grid[None, :]) / step) / step
        density, grid, before, used = (near @ density) * width, fresh, now, whole
    return tuple(levels)


def _bound(density: Floats, grid: Floats, step: float, aim: float, top: float) -> float:
    """What a path goes beyond, in one more step, with the probability ``aim``."""

    def excess(bound: float) -> float:
        return float((density * stats.norm.sf((bound - grid) / step)).sum()) - aim

    return float(optimize.brentq(excess, -top, top, xtol=1e-10))


def looks(shares: Sequence[float], planned: int, fewest: int) -> tuple[int, ...]:
    """The numbers of blocks after which to look."""
    wanted = {max(fewest, round(share * planned)) for share in shares} | {planned}
    return tuple(sorted(n for n in wanted if n <= planned))
