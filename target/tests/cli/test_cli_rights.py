# SPDX-License-Identifier: BSD-3-Clause
"""What the daemon may still do once it is ready, and that it is enough."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from .program import Daemon, ctl, ctl_json, listens, rights, sockets

CONFIG = "[Malloc]\nNumberOfLuns 1\nLunSizeInMB 1\n[VhostBlk0]\nName blk.0\nDev Malloc0\n"
KEPT = sum(1 << number for number in (1, 3, 14, 23))
"""CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_IPC_LOCK, CAP_SYS_NICE"""


def test_every_thread_is_confined(tmp_path: Path) -> None:
    with Daemon(tmp_path, config=CONFIG) as daemon:
        threads = rights(daemon.process.pid)
        assert len(threads) >= 2
        for thread in threads:
            assert thread["Seccomp"] == 2
            assert thread["NoNewPrivs"] == 1
            assert thread["CapPrm"] & ~KEPT == 0
            assert thread["CapEff"] & ~KEPT == 0


def test_no_seccomp(tmp_path: Path) -> None:
    before = rights(os.getpid())[0]
    with Daemon(tmp_path, ["--no-seccomp"], CONFIG) as daemon:
        for thread in rights(daemon.process.pid):
            assert thread == before


def test_all_that_management_does(tmp_path: Path) -> None:
    """Disks with their threads and sockets come and go; the log names no call that was refused."""
    with Daemon(tmp_path, config=CONFIG):
        (tmp_path / "file").write_bytes(bytes(1 << 20))
        assert ctl(tmp_path, "create-aio", "A", "file") == "A\n"
        assert ctl(tmp_path, "create-malloc", "M", "64") == "M\n"
        assert ctl(tmp_path, "resize-malloc", "M", "128") == ""
        assert ctl(tmp_path, "resize-malloc", "M", "1") == ""
        os.truncate(tmp_path / "file", 2 << 20)
        assert ctl(tmp_path, "rescan-aio", "A") == ""
        for turn in range(2):
            assert ctl(tmp_path, "create-blk", "b", "A") == ""
            assert ctl(tmp_path, "create-scsi", "s") == ""
            assert ctl(tmp_path, "add-target", "s", "0", "M") == "0\n"
            assert listens(tmp_path / "b")
            assert ctl(tmp_path, "delete-controller", "b", "force=yes") == ""
            assert ctl(tmp_path, "delete-controller", "s", "force=yes") == "", turn
        assert ctl(tmp_path, "delete-bdev", "A") == ""
        assert ctl(tmp_path, "delete-bdev", "M") == ""
        assert sockets(tmp_path) == ["blk.0", "vhost-rpc.sock"]
        assert [bdev["name"] for bdev in ctl_json(tmp_path, "bdevs")] == ["Malloc0"]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o177])
def test_modes_of_sockets(tmp_path: Path, umask: int) -> None:
    """Those of the file and those that are made later, whatever the umask is."""
    before = os.umask(umask)
    try:
        with Daemon(tmp_path, config=CONFIG):
            os.umask(before)
            assert ctl(tmp_path, "create-blk", "blk.1", "Malloc0") == ""
            for name, mode in (("blk.0", 0o660), ("blk.1", 0o660), ("vhost-rpc.sock", 0o600)):
                assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    finally:
        os.umask(before)
