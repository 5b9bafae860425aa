# SPDX-License-Identifier: BSD-3-Clause
"""What a history is judged by: how much noise explains, and what is worth somebody's time.

Apart from ``history``, so that a command line can name the defaults without the libraries.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

#: A level counts from so many runs on.
MIN_SEGMENT = 5

#: So many runs of a series are looked at, the newest ones.
WINDOW = 400

#: The probability that a series without a change shows one. A thousand series are a usual store.
ALPHA = 0.001

#: Changes of less than that are not worth anybody's time.
MIN_SIZE = 0.02

THRESHOLDS_FILE = Path(__file__).with_name("thresholds.json")


@functools.cache
def _thresholds() -> dict[float, dict[int, tuple[float, float]]]:
    table = json.loads(THRESHOLDS_FILE.read_text())["thresholds"]
    return {
        float(alpha): {int(n): (one, two) for n, (one, two) in row.items()}
        for alpha, row in table.items()
    }


def alphas() -> tuple[float, ...]:
    """The rates of false alarms that there are thresholds for."""
    return tuple(_thresholds())


def threshold(n: int, changes: int, alpha: float) -> float:
    """What noise of n runs explains by so many changes: that of the next longer in the table."""
    row = _thresholds()[alpha]
    return row[min(length for length in row if length >= n)][changes - 1]
