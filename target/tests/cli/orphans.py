# SPDX-License-Identifier: BSD-3-Clause
"""Processes that become the test's children when their parents have ended."""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

from .program import DEADLINE_S, until

PR_SET_CHILD_SUBREAPER = 36


def adopted() -> Iterator[None]:
    """For a fixture: from now on they do."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield


def end(pid: int) -> None:
    """Ends a successor, in order."""
    pidfd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGTERM)
        ended, _, _ = select.select([pidfd], [], [], DEADLINE_S)
        assert ended, f"process {pid} does not end"
    finally:
        os.close(pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def wait_for_end(pid: int) -> None:
    until(f"the end of process {pid}", lambda: is_gone(pid))


def is_gone(pid: int) -> bool:
    """Has it ended, whoever was to hear of it?"""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not Path(f"/proc/{pid}").exists()
