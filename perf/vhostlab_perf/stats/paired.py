# SPDX-License-Identifier: BSD-3-Clause
"""Differences of pairs: their centre, and whether there is one at all."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: Up to so many differences all sign flips are tried; beyond, a fixed draw of as many.
EXACT = 16


def log_ratios(base: ArrayLike, head: ArrayLike) -> Floats:
    """log(head / base) of each block; positive: head's figure is the greater one."""
    a, b = np.asarray(base, dtype=np.float64), np.asarray(head, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.size} figures of base and {b.size} of head are no pairs")
    if (a <= 0).any() or (b <= 0).any():
        raise ValueError("a figure that is not positive has no ratio")
    return np.asarray(np.log(b) - np.log(a))


def hodges_lehmann(d: Sequence[float] | Floats) -> float:
    """The median of the means of all pairs, each with itself too."""
    x = np.asarray(d, dtype=np.float64)
    i, j = np.triu_indices(x.size)
    return float(np.median((x[i] + x[j]) / 2))


@functools.cache
def _signs(n: int) -> Floats:
    if n <= EXACT:
        every = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
        return np.asarray(1.0 - 2.0 * every)
    drawn = np.random.default_rng(n).integers(0, 2, size=(1 << EXACT, n))
    drawn[0] = 0  # the data as they are, so that no p is 0
    return np.asarray(1.0 - 2.0 * drawn)


def sign_flip_p(d: Sequence[float] | Floats, alternative: str = "two-sided") -> float:
    """P of a mean as far out as this one, had each difference as well had the other sign.

    ``alternative``: "two-sided", "greater" (than 0) or "less". Exact for up to 16 differences.
    """
    x = np.asarray(d, dtype=np.float64)
    means = _signs(x.size) @ x
    seen = float(x.sum())
    slack = 1e-12 * max(1.0, float(np.abs(x).sum()))
    greater = float(np.mean(means >= seen - slack))
    less = float(np.mean(means <= seen + slack))
    match alternative:
        case "greater":
            return greater
        case "less":
            return less
        case "two-sided":
            return min(1.0, 2.0 * min(greater, less))
    raise ValueError(f"no alternative {alternative!r}")


def correlation(base: ArrayLike, head: ArrayLike) -> float | None:
    """Of the arms' logarithms over blocks: what pairing takes out. None where one is constant."""
    a, b = np.log(np.asarray(base)), np.log(np.asarray(head))
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if a.size > 2 and spread > 0 else None
