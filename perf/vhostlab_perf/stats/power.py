# SPDX-License-Identifier: BSD-3-Clause
"""What could have been seen."""

from __future__ import annotations

import math

from scipy import special


def mde(sd: float, blocks: int, alpha: float = 0.01, power: float = 0.9) -> float:
    """The minimal detectable effect: beyond the margin by so much, it is found with ``power``.

    ``sd`` is that of the differences of ``blocks`` pairs; ``alpha`` is one-sided. For independent
    runs of coefficient of variation c, sd is sqrt(2) c; pairing makes it smaller.
    """
    if blocks < 2:
        return math.inf
    quantiles = float(special.stdtrit(blocks - 1, power)) - float(
        special.stdtrit(blocks - 1, alpha)
    )
    return quantiles * sd / math.sqrt(blocks)
