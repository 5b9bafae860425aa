# SPDX-License-Identifier: BSD-3-Clause
"""Directories that a process of the harness makes for itself, and that go when it does.

Whoever leaves the ``with`` removes its directory. When the process is killed its guardian does; and
when that was killed too (the machine ran out of memory, a container was stopped), the next one that
makes a scratch directory does: the directory holds a file that its owner has locked as long as it
lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.guardian import GUARDIAN

#: All names begin so.
PREFIX = "vl-"

_OWNER = ".owner"
_swept: set[Path] = set()


@contextmanager
def scratch_dir(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A private directory below ``parent`` ($TMPDIR by default) for files of any size."""
    base = parent or Path(tempfile.gettempdir())
    sweep(base)
    path = base / f"{PREFIX}{prefix}-{secrets.token_hex(4)}"
    GUARDIAN.add_directory(path)
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise HarnessError(f"cannot make {path}: {error.strerror}") from error
    owner = _claim(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(owner)
        GUARDIAN.release_directory(path)


def sweep(base: Path) -> None:
    """Remove what dead processes left in ``base``; looks once in the life of a process."""
    if base in _swept:
        return
    _swept.add(base)
    for mark in base.glob(f"{PREFIX}*/{_OWNER}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(mark, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(mark.parent, ignore_errors=True)
            finally:
                os.close(descriptor)


def _claim(path: Path) -> int:
    """Put the owner's file there; it is locked from the moment on at which it has its name."""
    fresh = path / f"{_OWNER}.new"
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    fresh.rename(path / _OWNER)
    return descriptor
