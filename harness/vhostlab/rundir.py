# SPDX-License-Identifier: BSD-3-Clause
"""Who is at work in a run's directory.

The process that started the run and each of its stages hold a shared lock; whoever wants to go on
with the run waits until nobody does. The kernel gives a lock back when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.results import PARTIAL

LOCK_FILE = "run.lock"

#: A run that was killed ends its guests; nothing in it takes longer.
IDLE_DEADLINE_S = 60.0

_POLL_S = 0.05


@contextmanager
def at_work(run_dir: Path) -> Iterator[None]:
    """Be one of those at work in the directory."""
    with _opened(run_dir) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def wait_idle(run_dir: Path, deadline_s: float = IDLE_DEADLINE_S) -> bool:
    """Wait until nobody is at work; return whether it came to that."""
    end = time.monotonic() + deadline_s
    with _opened(run_dir) as lock:
        while not _alone(lock):
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_S)
    return True


@contextmanager
def taken_over(run_dir: Path, deadline_s: float = IDLE_DEADLINE_S) -> Iterator[None]:
    """Be the one that goes on with a run, alone when it begins; others of ours may join later."""
    end = time.monotonic() + deadline_s
    with _opened(run_dir) as lock:
        while not _alone(lock):
            if time.monotonic() > end:
                raise HarnessError(
                    f"the run in {run_dir} is still going on", "wait for its end, or end it"
                )
            time.sleep(_POLL_S)
        for path in run_dir.rglob(f"*{PARTIAL}"):
            # what was being written when it was killed
            path.unlink(missing_ok=True)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _alone(lock: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@contextmanager
def _opened(run_dir: Path) -> Iterator[int]:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise HarnessError(f"cannot use {run_dir}: {error.strerror}") from error
    try:
        yield lock
    finally:
        os.close(lock)
