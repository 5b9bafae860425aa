# SPDX-License-Identifier: BSD-3-Clause
"""Guests that share a core: a greedy one may have its share, not the core."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemon import Daemon
from .frontend import BLK_T_FLUSH, BLK_T_IN, Blk, FrontEnd
from .memory import DESC, DESC_F_NEXT, DESC_F_WRITE, GuestMemory, SplitRing
from .waiting import until

DESC_F_INDIRECT = 4
LONG = 7 << 20
"""Nearly all of a disk of 8 MiB, with one descriptor per MiB."""

MALLOC = "Malloc0"
FILE = "File0"
CONFIG = """\
[Global]
  ReactorMask 0x1
[Malloc]
  NumberOfLuns 3
  LunSizeInMB 8
[AIO]
  AIO {path} File0
[VhostScsi0]
  Name scsi.0
  Dev 0 Malloc2
[VhostBlk0]
  Name blk.0
  Dev {disk}
[VhostBlk1]
  Name blk.1
  Dev Malloc1
"""


@pytest.fixture(scope="module", params=[MALLOC, FILE])
def shared_daemon(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """blk.0 on a ramdisk, then on a file; blk.1 on another ramdisk. All on one core."""
    directory = tmp_path_factory.mktemp("fairness")
    disk = directory / "disk"
    disk.write_bytes(os.urandom(1 << 20) * 8)
    with Daemon(directory, CONFIG.format(path=disk, disk=request.param)) as daemon:
        _warm_up(daemon.socket("blk.0"))
        yield daemon


@pytest.fixture
def greedy_rings(request: pytest.FixtureRequest) -> int:
    """With how many rings of long requests blk.0 is busy for about a second."""
    return {MALLOC: 60, FILE: 8}[request.node.callspec.params["shared_daemon"]]


def _warm_up(path: Path) -> None:
    """What the daemon makes once shall not look like a leak; and a disk without holes."""
    with FrontEnd(path) as front, GuestMemory() as memory:
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, 0)
        front.start([ring])
        disk = Blk(ring)
        for sector in range(0, 16384, 128):
            assert disk.write(sector, bytes([sector // 128 + 1]) * 65536) == 0
        ring.close()


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory(size=4 << 20) as memory:
        yield memory


def read_table(memory: GuestMemory, size: int) -> tuple[int, int]:
    """An indirect table that reads `size` bytes from the start of the disk, over and over into the
    same place; its address and length."""
    header = memory.alloc(16)
    memory.write(header, struct.pack("<IIQ", BLK_T_IN, 0, 0))
    data = memory.alloc(min(size, 1 << 20), 4096)
    status = memory.alloc(1)
    pieces = [(memory.gpa(header), 16, DESC_F_NEXT)]
    for start in range(0, size, 1 << 20):
        piece = min(size - start, 1 << 20)
        pieces.append((memory.gpa(data), piece, DESC_F_NEXT | DESC_F_WRITE))
    pieces.append((memory.gpa(status), 1, DESC_F_WRITE))
    table = b"".join(DESC.pack(*piece, i + 1) for i, piece in enumerate(pieces))
    place = memory.alloc(len(table))
    memory.write(place, table)
    return memory.gpa(place), len(table)


class Flood:
    """A ring full of requests that share one indirect table."""

    def __init__(self, ring: SplitRing, table: tuple[int, int]) -> None:
        self.ring = ring
        for head in range(ring.size):
            ring.put_desc(head, *table, DESC_F_INDIRECT)
        ring.memory.write(ring.avail + 4, struct.pack(f"<{ring.size}H", *range(ring.size)))

    def start(self) -> None:
        self.ring.avail_idx = self.ring.size
        self.ring.memory.write(self.ring.avail + 2, struct.pack("<H", self.ring.size))
        os.eventfd_write(self.ring.kick_fd, 1)

    def done(self) -> int:
        return self.ring.used_count()

    def is_done(self) -> bool:
        return self.done() == self.ring.size


def longest_flush_in_flood(
    front: FrontEnd, memory: GuestMemory, bystander: Blk, rings: list[SplitRing]
) -> tuple[float, float]:
    """Seconds: of the flush that took longest, and of the flood."""
    front.start(rings)
    table = read_table(memory, LONG)
    floods = [Flood(ring, table) for ring in rings]
    longest = 0.0
    begin = time.monotonic()
    for flood in floods:
        flood.start()
    while not all(flood.is_done() for flood in floods):
        start = time.monotonic()
        assert bystander.flush() == 0
        longest = max(longest, time.monotonic() - start)
    return longest, time.monotonic() - begin


def test_long_requests_of_another_guest(
    shared_daemon: Daemon, bystander: Blk, greedy_rings: int
) -> None:
    """One guest asks for gigabytes at once; a request of another does not wait for them.

    Others take the processor from us, too, and a flush that was not served meanwhile proves
    nothing: one flood of three without such a pause is enough.
    """
    floods = []
    for _ in range(3):
        with FrontEnd(shared_daemon.socket("blk.0")) as front, GuestMemory(size=4 << 20) as memory:
            front.negotiate()
            front.share(memory)
            rings = [SplitRing(memory, index) for index in range(greedy_rings)]
            longest, total = longest_flush_in_flood(front, memory, bystander, rings)
            for ring in rings:
                ring.close()
        floods.append(f"a flush took {longest:.3f} s, the flood {total:.3f} s")
        if longest < total / 4:
            return
    pytest.fail("; ".join(floods))


@pytest.mark.parametrize(("quiet", "busy"), [(0, 1), (1, 0)])
def test_another_queue_of_the_same_disk(
    request: pytest.FixtureRequest, ready: FrontEnd, memory: GuestMemory, quiet: int, busy: int
) -> None:
    """A queue that keeps the disk full leaves room for another one, whichever was started first."""
    rings = [SplitRing(memory, 0, size=1024), SplitRing(memory, 1, size=1024)]
    ready.start(rings)
    disk = Blk(rings[quiet], 512)
    size = {MALLOC: LONG, FILE: 512 << 10}[request.node.callspec.params["shared_daemon"]]
    flood = Flood(rings[busy], read_table(memory, size))
    flood.start()
    until("the disk is full", lambda: flood.done() > 0)
    disk.submit(BLK_T_FLUSH, 0, 0, True)
    assert disk.finish() == 0
    assert flood.done() < rings[busy].size * 3 / 4
    for ring in rings:
        ring.close()
