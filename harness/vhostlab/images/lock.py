# SPDX-License-Identifier: BSD-3-Clause
"""One process at a time makes a thing of the cache."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from vhostlab.wait import until

LOCK_TIMEOUT_S = 4 * 3600.0
"""A build may take long; the lock of one that died is free at once."""


@asynccontextmanager
async def locked(path: Path, what: str) -> AsyncIterator[None]:
    """Whoever comes second waits, and then finds what the first has made."""
    with path.open("w") as lock:

        async def try_lock() -> bool | None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            return True

        await until(f"lock on {what} ({path})", LOCK_TIMEOUT_S, try_lock)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
