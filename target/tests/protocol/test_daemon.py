# SPDX-License-Identifier: BSD-3-Clause
"""The end of the daemon."""

from __future__ import annotations

from pathlib import Path

from .daemon import CONTROLLERS, Daemon, binary
from .frontend import BLK_T_OUT, UNTOUCHED, Blk, FrontEnd
from .memory import GuestMemory, SplitRing


def limit_s() -> float:
    """One second; a build with sanitizers looks for leaks at its end, which takes longer."""
    return 5.0 if b"__asan_init" in binary().read_bytes() else 1.0


def test_sigterm_when_idle(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        assert daemon.terminate() < limit_s()
        for name in CONTROLLERS:
            assert not daemon.socket(name).exists()


def test_sigterm_with_sessions(tmp_path: Path) -> None:
    """What was finished is published, then the front-ends see the end of their connections."""
    with Daemon(tmp_path) as daemon, GuestMemory() as memory:
        with FrontEnd(daemon.socket("blk.0")) as front, FrontEnd(daemon.socket("scsi.0")) as mute:
            front.negotiate()
            front.share(memory)
            ring = SplitRing(memory, 0)
            front.start([ring])
            disks = [Blk(ring, 4096) for _ in range(8)]
            for sector, disk in enumerate(disks):
                disk.submit(BLK_T_OUT, sector * 8, 4096, True)
            assert daemon.terminate() < limit_s()
            assert front.ended()
            assert mute.ended()
            # Nothing is half done: what has a status has its used element, and the reverse.
            assert ring.used_count() == sum(disk.status() != UNTOUCHED for disk in disks)
            ring.close()
        assert not list(tmp_path.glob("*.[0-9]"))


def test_start_over_sockets_of_a_killed_daemon(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.kill()
        assert all(daemon.socket(name).is_socket() for name in CONTROLLERS)
        with Daemon(tmp_path) as again, FrontEnd(again.socket("blk.0")) as front:
            assert front.alive()
        daemon._process = again._process
