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


def children() -> dict[int, str]:
    """Our processes that run, with their names."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = path.read_text().split("(", 1)[1].rsplit(") ", 1)
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if state != "Z" and int(parent) == os.getpid():
            found[int(path.parent.name)] = name
    return found


def adopted() -> Iterator[None]:
    """For a fixture: from now on they do, and a test that fails leaves none behind."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    before = children()
    yield
    while left := children().keys() - before.keys():
        for pid in left:
            os.kill(pid, signal.SIGKILL)  # those that it has started are ours now
            os.waitpid(pid, 0)


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
