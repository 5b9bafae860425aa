# SPDX-License-Identifier: BSD-3-Clause
"""Waiting for evidence, each time with a name and a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_S = 10.0
"""For what takes milliseconds on an idle machine."""

_INTERVAL_S = 0.01


def until(what: str, condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Returns when the condition holds; fails naming what did not come."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(_INTERVAL_S)
