# SPDX-License-Identifier: BSD-3-Clause
"""Non-inferiority: is head worse than base by more than a margin?

Concepts: *harm* is a difference turned so that more of it is worse, whichever way a metric
improves.
"""

from __future__ import annotations

import math

from scipy import special

from vhostlab_perf.stats.intervals import Interval
from vhostlab_perf.stats.paired import Floats


def harm(d: Floats, direction: str) -> Floats:
    """``direction``: "higher" or "lower" is better."""
    return -d if direction == "higher" else d


def limit(margin: float, direction: str) -> float:
    """The harm that a margin allows: 0.02 of a throughput is a ratio of 0.98."""
    return -math.log1p(-margin) if direction == "higher" else math.log1p(margin)


def decide(interval: Interval, allowed: float) -> str:
    """pass, fail or inconclusive, of an interval of the harm."""
    if interval.low > allowed:
        return "fail"
    return "pass" if interval.high < allowed else "inconclusive"


def worse_p(harms: Floats, allowed: float) -> float:
    """P of such harms, were the true one just what is allowed (Student, one-sided)."""
    sd, n = float(harms.std(ddof=1)), harms.size
    excess = float(harms.mean()) - allowed
    if sd == 0:
        return 0.0 if excess > 0 else 1.0
    return float(special.stdtr(n - 1, -excess * math.sqrt(n) / sd))
