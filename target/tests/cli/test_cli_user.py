# SPDX-License-Identifier: BSD-3-Clause
"""The daemon without root: all works but devices that need it, and that is said in a line."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .program import listens, rights, until, vhost

NOBODY = 65534
DISKS = """\
[Malloc]
  NumberOfLuns 1
  LunSizeInMB 1
[Null]
  Dev N 1
[AIO]
  AIO {disk} A
[VhostScsi0]
  Name s
  Dev 0 Malloc0
  Dev 1 N
[VhostBlk0]
  Name b
  Dev A
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def here() -> Iterator[Path]:
    """A directory where everybody may do everything, with a file for everybody and one for root."""
    directory = Path(tempfile.mkdtemp(prefix="vhost-user-"))
    directory.chmod(0o777)
    for name, mode in (("open", 0o666), ("closed", 0o600)):
        (directory / name).write_bytes(bytes(1 << 20))
        (directory / name).chmod(mode)
    (directory / "vhost.conf").write_text(DISKS.format(disk="open"))
    yield directory
    shutil.rmtree(directory)


def start(here: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(vhost()), "-q", "-c", "vhost.conf", *args],
        cwd=here,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def refused(here: Path, *args: str) -> str:
    """The only line of a daemon that cannot start."""
    process = start(here, *args)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 1
    assert not [path for path in here.rglob("*") if path.is_socket()]
    (line,) = text.splitlines()
    return line.removeprefix("vhost: error: ")


def test_it_works(here: Path) -> None:
    process = start(here)
    try:
        until("it listens", lambda: process.poll() is not None or listens(here / "b"))
        assert process.poll() is None
        assert (here / "b").stat().st_uid == NOBODY
        assert (here / "b").stat().st_mode & 0o777 == 0o660
        assert (here / "vhost-rpc.sock").stat().st_mode & 0o777 == 0o600
        until("it is confined", lambda: all(t["Seccomp"] == 2 for t in rights(process.pid)))
        assert all(thread["CapPrm"] == 0 for thread in rights(process.pid))
    finally:
        process.terminate()
        _, text = process.communicate(timeout=30)
    assert (process.returncode, text) == (0, "")


def test_a_disk_of_somebody_else(here: Path) -> None:
    (here / "vhost.conf").write_text(DISKS.format(disk="closed"))
    assert refused(here) == (
        "vhost.conf:7: A: closed: cannot open it for reading and writing: Permission denied"
    )


def test_a_directory_of_somebody_else(here: Path) -> None:
    """One line, although neither this socket nor the one of management can be."""
    here.chmod(0o755)
    assert refused(here) == (
        "vhost.conf:9: cannot create socket s: Permission denied; -S chooses another directory"
    )


def test_a_socket_of_somebody_else(here: Path) -> None:
    """Its owner may be there: this user has no right to ask, nor to take its place."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(here / "s"))
        other.listen()
        (here / "s").chmod(0o600)
        process = start(here)
        _, text = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "vhost.conf:9: s may be in use" in text
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(here / "s"))
