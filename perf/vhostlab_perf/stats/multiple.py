# SPDX-License-Identifier: BSD-3-Clause
"""Many questions at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Each p adjusted: to reject those up to q has a false discovery rate of at most q."""
    values = np.asarray(p, dtype=np.float64)
    n = values.size
    if n == 0:
        return []
    order = np.argsort(values)
    scaled = values[order] * n / np.arange(1, n + 1)
    adjusted = np.empty(n)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return [float(v) for v in adjusted]
