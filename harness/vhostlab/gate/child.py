# SPDX-License-Identifier: BSD-3-Clause
"""Programs that the gate runs, each for some minutes, with children of their own.

They end with us, however we end, as by Ctrl-C: then a test runner ends its daemons, and a
comparison its guests.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
PATIENCE_S = 20.0
"""For an orderly end."""


def _end_with(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    umask: int = -1,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """What it wrote is in the log, if there is one, else in the answer. TimeoutExpired: it was
    ended."""
    words = [str(word) for word in argv]
    output = log.open("a") if log is not None else None
    try:
        with subprocess.Popen(
            words,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            umask=umask,
            stdin=subprocess.DEVNULL,
            stdout=output or subprocess.PIPE,
            stderr=output or subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=_end_with(os.getpid()),
        ) as child:
            try:
                said, complained = child.communicate(timeout=timeout_s)
            except BaseException:
                _end(child)
                raise
            return subprocess.CompletedProcess(
                words, child.returncode, said or "", complained or ""
            )
    finally:
        if output is not None:
            output.close()


def _end(child: subprocess.Popen[str]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(PATIENCE_S)
            return
