# SPDX-License-Identifier: BSD-3-Clause
"""The one way to wait: a named milestone, a probe that gives evidence, a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from vhostlab.errors import MilestoneTimeout

T = TypeVar("T")

INTERVAL_MAX_S = 0.5
"""A probe is never further apart than this, however long the wait."""


async def until(
    what: str,
    deadline_s: float,
    probe: Callable[[], Awaitable[T | None]],
    interval_s: float = 0.05,
) -> T:
    """Return the first value of ``probe`` that is not None.

    ``what`` is the name of the milestone, for the error. The probe raises when the milestone can
    no longer come (the process died, the guest panicked): that error is passed on at once.
    A probe that hangs is cancelled at the deadline. The interval doubles every ten probes, so a
    long wait costs little and a short one is answered quickly.
    """
    end = time.monotonic() + deadline_s
    probes = 0
    while True:
        remaining = end - time.monotonic()
        if remaining <= 0 and probes > 0:
            raise MilestoneTimeout(what, deadline_s)
        try:
            async with asyncio.timeout(max(remaining, 0.001)) as scope:
                value = await probe()
        except TimeoutError:
            if scope.expired():
                raise MilestoneTimeout(what, deadline_s) from None
            raise
        if value is not None:
            return value
        probes += 1
        if probes % 10 == 0:
            interval_s = min(interval_s * 2, max(interval_s, INTERVAL_MAX_S))
        await asyncio.sleep(max(0.0, min(interval_s, end - time.monotonic())))
