# SPDX-License-Identifier: BSD-3-Clause
"""Cleans up behind a process of the harness that had no time to.

Concepts: the *owner* is a process of the harness. Its *guardian* is a child process that reads from
a pipe what must not be left behind: process groups and directories. The pipe ends when the owner
does, however it ended; what was added and not released by then is killed and removed.

The kernel already kills children whose parent dies (PR_SET_PDEATHSIG), but not their children, and
it removes no directory. Nothing of the package is imported here, as the file is also the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

REMOVE_DEADLINE_S = 10.0
"""A process that was killed may make files for a moment still."""

Kept = tuple[str, str]
"""What is kept an eye on: ("group", number) or ("directory", path)."""


class Guardian:
    """The owner's end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._program: subprocess.Popen[bytes] | None = None

    def add_group(self, group: int) -> None:
        """A process group that must end with this process."""
        self._tell("add", "group", str(group))

    def release_group(self, group: int) -> None:
        """It has ended."""
        self._tell("release", "group", str(group))

    def add_directory(self, path: Path) -> None:
        """A directory that must go with this process; it need not exist yet."""
        self._tell("add", "directory", str(path))

    def release_directory(self, path: Path) -> None:
        """It is gone."""
        self._tell("release", "directory", str(path))

    def _tell(self, verb: str, kind: str, what: str) -> None:
        line = json.dumps([verb, kind, what]).encode() + b"\n"
        with self._lock:
            pipe = self._started().stdin
            assert pipe is not None
            # a guardian that somebody killed guards no more; the work goes on without
            with contextlib.suppress(BrokenPipeError):
                pipe.write(line)
                pipe.flush()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._program is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._program = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        return self._program


def left(lines: Iterable[bytes]) -> list[Kept]:
    """What was added and not released when the lines ended."""
    counted: Counter[Kept] = Counter()
    for line in lines:
        verb, kind, what = json.loads(line)
        counted[(kind, what)] += 1 if verb == "add" else -1
    return [kept for kept, count in counted.items() if count > 0]


def clean(kept: Iterable[Kept]) -> None:
    """Kill the groups, then remove the directories."""
    there = list(kept)
    for kind, what in there:
        if kind == "group":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(what), signal.SIGKILL)
    end = time.monotonic() + REMOVE_DEADLINE_S
    for kind, what in there:
        if kind != "directory":
            continue
        shutil.rmtree(what, ignore_errors=True)
        while os.path.lexists(what) and time.monotonic() < end:
            time.sleep(0.05)
            shutil.rmtree(what, ignore_errors=True)


def main() -> None:
    """The guardian's end. What ends its owner must not end it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    clean(left(sys.stdin.buffer))


GUARDIAN = Guardian()
"""That of this process."""

if __name__ == "__main__":
    main()
