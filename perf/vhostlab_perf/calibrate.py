# SPDX-License-Identifier: BSD-3-Clause
"""``python -m vhostlab_perf.calibrate``: simulates thresholds.json anew, a quarter of an hour.

A threshold is chosen such that a series without a change shows any with at most the nominal
probability, half of it for single changes and half for pairs. Because ``history`` looks at ranks
only, one simulation of random orders stands for noise of every distribution; the table depends on
nothing but the length of the series.
"""

from __future__ import annotations

import json
import math
import sys

import numpy as np
from scipy.stats import beta

from vhostlab_perf.history import Values, best, gain, scores
from vhostlab_perf.thresholds import MIN_SEGMENT, THRESHOLDS_FILE, WINDOW

ALPHAS = (0.05, 0.01, 0.001)
LENGTHS = (
    *range(2 * MIN_SEGMENT, 61),
    *range(65, 101, 5),
    *range(120, 201, 20),
    *range(250, WINDOW + 1, 50),
)
SIMULATIONS = 20_000
SEED = 20_260_101

#: How sure the table is to be on the safe side, for each of its numbers.
CONFIDENCE = 0.95


def gains(signal: Values) -> tuple[float, float]:
    """What the best change, and the best pair of changes, explain."""
    two = gain(signal, best(signal, 2)) if len(signal) >= 3 * MIN_SEGMENT else 0.0
    return gain(signal, best(signal, 1)), two


def simulate(n: int, seed: int, times: int) -> Values:
    """The gains of random orders of n runs, one row each."""
    rng = np.random.default_rng(seed)
    plain = scores(np.arange(n, dtype=np.float64))
    return np.array([gains(rng.permutation(plain)) for _ in range(times)])


def safe_quantile(values: Values, alpha: float) -> float:
    """A number that is exceeded with at most probability alpha, with CONFIDENCE."""
    ordered, n = np.sort(values), len(values)
    # how many values may lie above: the most for which the Clopper-Pearson bound is within alpha
    above = math.floor(alpha * n)
    while above > 0 and beta.ppf(CONFIDENCE, above + 1, n - above) > alpha:
        above -= 1
    # a hair more, for what rounding does
    return float(ordered[n - 1 - above]) * (1 + 1e-9)


def main() -> int:
    """Simulate and write the table."""
    table: dict[str, dict[str, list[float]]] = {str(alpha): {} for alpha in ALPHAS}
    for done, n in enumerate(LENGTHS, start=1):
        found = simulate(n, SEED + n, SIMULATIONS)
        for alpha, row in table.items():
            # never less than for a shorter series
            shorter = [0.0, 0.0] if not row else list(row.values())[-1]
            row[str(n)] = [
                math.ceil(1e4 * max(least, safe_quantile(column, float(alpha) / 2))) / 1e4
                for least, column in zip(shorter, found.T, strict=True)
            ]
        print(f"\r{done} of {len(LENGTHS)} lengths", end="", file=sys.stderr, flush=True)
    lines = [
        f'  "{alpha}": {{\n'
        + ",\n".join(f'   "{n}": {json.dumps(pair)}' for n, pair in row.items())
        + "\n  }"
        for alpha, row in table.items()
    ]
    THRESHOLDS_FILE.write_text(
        f'{{\n "min_segment": {MIN_SEGMENT},\n "simulations": {SIMULATIONS},\n'
        ' "thresholds": {\n' + ",\n".join(lines) + "\n }\n}\n"
    )
    print(file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
