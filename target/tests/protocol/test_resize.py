# SPDX-License-Identifier: BSD-3-Clause
"""Disks whose size changes under their drivers."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import wire
from .daemon import Daemon
from .frontend import BLK_T_IN, BLK_T_OUT, UNTOUCHED, Blk, FrontEnd
from .management import Refused, call, controllers
from .memory import GuestMemory, SplitRing
from .scsi import (
    CAPACITY_CHANGED,
    F_CHANGE,
    FIRST_REQUEST_QUEUE,
    GOOD,
    T_PARAM_CHANGE,
    EventQueue,
    ScsiDisk,
    read_10,
)
from .waiting import until
from .wire import ProtocolFeature

MIB = 1 << 20
SIZE = 8 * MIB
NOTE = wire.HEADER.pack(wire.BACKEND_CONFIG_CHANGE_MSG, wire.VERSION, 0)
OK, IOERR = 0, 1


@pytest.fixture
def blk(daemon: Daemon) -> Iterator[str]:
    """A controller on a ramdisk "disk" of this test's own."""
    call(daemon, "bdev_malloc_create", name="disk", num_blocks=SIZE // 512, block_size=512)
    call(daemon, "vhost_create_blk_controller", ctrlr="sized", dev_name="disk")
    yield "sized"
    call(daemon, "vhost_delete_controller", ctrlr="sized", force=True)
    until("the controller has gone", lambda: "sized" not in controllers(daemon))
    call(daemon, "bdev_delete", name="disk")


@pytest.fixture
def front(daemon: Daemon, blk: str, memory: GuestMemory) -> Iterator[FrontEnd]:
    with FrontEnd(daemon.socket(blk)) as front:
        front.negotiate()
        front.share(memory)
        yield front


@pytest.fixture
def ring(front: FrontEnd, memory: GuestMemory) -> Iterator[SplitRing]:
    ring = SplitRing(memory, 0)
    front.start([ring])
    yield ring
    ring.close()


def note(channel: socket.socket) -> None:
    assert channel.recv(4096) == NOTE


def read_at(disk: Blk, offset: int, size: int = 512) -> int:
    disk.submit(BLK_T_IN, offset // 512, size, False)
    return disk.finish()


def test_a_disk_grows(daemon: Daemon, front: FrontEnd, ring: SplitRing) -> None:
    disk = Blk(ring, 4096)
    with front.channel() as channel:
        assert disk.write(SIZE // 512 - 8, b"a" * 4096) == OK
        assert read_at(disk, SIZE) == IOERR
        call(daemon, "bdev_malloc_resize", name="disk", new_size=12)
        note(channel)
        assert front.capacity() == 12 * MIB
        assert disk.read(SIZE // 512 - 8, 4096) == b"a" * 4096
        assert disk.read(12 * MIB // 512 - 8, 4096) == bytes(4096)
        assert disk.write(12 * MIB // 512 - 8, b"b" * 4096) == OK
        assert read_at(disk, 12 * MIB) == IOERR
        assert read_at(disk, 12 * MIB - 512, 1024) == IOERR


def test_a_disk_shrinks(daemon: Daemon, front: FrontEnd, ring: SplitRing) -> None:
    disk = Blk(ring, 4096)
    with front.channel() as channel:
        assert disk.write(SIZE // 512 - 8, b"a" * 4096) == OK
        call(daemon, "bdev_malloc_resize", name="disk", num_blocks=100)
        note(channel)
        assert front.capacity() == 51200
        assert read_at(disk, 51200 - 512) == OK
        assert read_at(disk, 51200) == IOERR
        # The same size is no change.
        call(daemon, "bdev_malloc_resize", name="disk", num_blocks=100)
        call(daemon, "bdev_malloc_resize", name="disk", new_size=8)
        note(channel)
        assert disk.read(SIZE // 512 - 8, 4096) in (bytes(4096), b"a" * 4096)
        channel.setblocking(False)
        with pytest.raises(BlockingIOError):
            channel.recv(1)


def test_what_was_cut_off_is_given_back(daemon: Daemon, front: FrontEnd, ring: SplitRing) -> None:
    """Memory goes when the reactor has been told, and comes back as zeroes."""

    def resident() -> int:
        pages = Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    disk = Blk(ring, MIB // 2)
    call(daemon, "bdev_malloc_resize", name="disk", new_size=64)
    for offset in range(0, 64 * MIB, MIB // 2):
        assert disk.write(offset // 512, b"x" * (MIB // 2)) == OK
    full = resident()
    call(daemon, "bdev_malloc_resize", name="disk", new_size=1)
    until("memory is given back", lambda: resident() < full - 50 * MIB)
    call(daemon, "bdev_malloc_resize", name="disk", new_size=64)
    assert disk.read(0, 512) == b"x" * 512
    for offset in range(2 * MIB, 64 * MIB, 4 * MIB):
        assert disk.read(offset // 512, 512) == bytes(512)


def test_without_a_channel(daemon: Daemon, blk: str) -> None:
    """It is seen by whoever asks."""
    with FrontEnd(daemon.socket(blk)) as front:
        front.negotiate(protocol=1 << ProtocolFeature.CONFIG | 1 << ProtocolFeature.REPLY_ACK)
        assert front.capacity() == SIZE
        call(daemon, "bdev_malloc_resize", name="disk", new_size=1)
        assert front.capacity() == MIB
    # Nor with nobody there at all.
    call(daemon, "bdev_malloc_resize", name="disk", new_size=2)
    with FrontEnd(daemon.socket(blk)) as front:
        front.negotiate()
        assert front.capacity() == 2 * MIB


def test_a_channel_that_nobody_reads(daemon: Daemon, front: FrontEnd, ring: SplitRing) -> None:
    disk = Blk(ring, 512)
    with front.channel() as channel:
        for count in range(2000):
            call(daemon, "bdev_malloc_resize", name="disk", num_blocks=100 + count % 2)
            if count % 500 == 0:
                assert disk.flush() == OK
        assert channel.recv(len(NOTE)) == NOTE
        assert front.capacity() == 101 * 512


@pytest.mark.parametrize("kind", [BLK_T_IN, BLK_T_OUT], ids=["reads", "writes"])
def test_under_load(daemon: Daemon, blk: str, kind: int) -> None:
    """Each request succeeds or fails, and what is inside of the smallest size always succeeds."""
    with FrontEnd(daemon.socket(blk)) as front, GuestMemory(16 * MIB) as memory:
        front.negotiate()
        front.share(memory)
        resize_under_load(daemon, front, memory, kind)


def resize_under_load(daemon: Daemon, front: FrontEnd, memory: GuestMemory, kind: int) -> None:
    rings = [SplitRing(memory, 0), SplitRing(memory, 1)]
    front.start(rings)
    near = [Blk(ring, 65536) for ring in rings]
    # Longer than what one poll of the disk copies: it shrinks in the middle of them.
    far = [Blk(ring, 4 * MIB) for ring in rings]
    done: dict[int, int] = {OK: 0, IOERR: 0}
    end = time.monotonic() + 2
    for mib in itertools.cycle([8, 1, 16, 2]):
        for low, high in zip(near, far, strict=True):
            high.submit(kind, 4 * MIB // 512, 4 * MIB, kind == BLK_T_OUT)
            low.submit(kind, 0, 65536, kind == BLK_T_OUT)
        call(daemon, "bdev_malloc_resize", name="disk", new_size=mib)
        for ring, low, high in zip(rings, near, far, strict=True):
            ring.wait_used()
            ring.wait_used()
            assert low.status() == OK
            assert high.status() in (OK, IOERR)
            done[high.status()] += 1
        if time.monotonic() > end and all(done.values()):
            break
        assert time.monotonic() < end + 20, done
    for ring in rings:
        ring.close()


def test_the_daemon_ends_in_the_middle(tmp_path: Path) -> None:
    """Sizes change, requests flow, SIGTERM comes."""
    with (
        Daemon(tmp_path) as daemon,
        GuestMemory() as memory,
        FrontEnd(daemon.socket("blk.0")) as front,
    ):
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, 0)
        front.start([ring])
        disks = [Blk(ring, 65536) for _ in range(8)]
        for number, disk in enumerate(disks):
            disk.submit(BLK_T_OUT, number * 128, 65536, True)
        call(daemon, "bdev_malloc_resize", name="Malloc0", new_size=1)
        daemon.terminate()
        assert all(disk.status() in (OK, IOERR, UNTOUCHED) for disk in disks)
        ring.close()


# -- files --


@pytest.fixture
def file(daemon: Daemon, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(SIZE))
    call(daemon, "bdev_aio_create", name="file", filename=str(path))
    call(daemon, "vhost_create_blk_controller", ctrlr="aio", dev_name="file")
    yield path
    call(daemon, "vhost_delete_controller", ctrlr="aio", force=True)
    until("the controller has gone", lambda: "aio" not in controllers(daemon))
    call(daemon, "bdev_delete", name="file")


def test_a_file_is_looked_at_again(daemon: Daemon, file: Path, memory: GuestMemory) -> None:
    with FrontEnd(daemon.socket("aio")) as front:
        front.negotiate()
        channel = front.channel()
        front.share(memory)
        ring = SplitRing(memory, 0)
        front.start([ring])
        disk = Blk(ring, 4096)
        os.truncate(file, 2 * SIZE)
        assert read_at(disk, SIZE, 4096) == IOERR
        call(daemon, "bdev_aio_rescan", name="file")
        note(channel)
        assert front.capacity() == 2 * SIZE
        assert disk.write(SIZE // 512, b"n" * 4096) == OK
        assert file.read_bytes()[SIZE : SIZE + 4096] == b"n" * 4096

        os.truncate(file, 4096)
        assert read_at(disk, SIZE, 4096) == IOERR
        call(daemon, "bdev_aio_rescan", name="file")
        note(channel)
        assert front.capacity() == 4096
        assert disk.read(0, 4096) == bytes(4096)

        os.truncate(file, 0)
        with pytest.raises(Refused, match="it is empty"):
            call(daemon, "bdev_aio_rescan", name="file")
        assert front.capacity() == 4096
        assert read_at(disk, 0, 4096) == IOERR
        ring.close()
        channel.close()


# -- scsi --


@pytest.mark.parametrize("events", [True, False])
def test_scsi(daemon: Daemon, memory: GuestMemory, events: bool) -> None:
    """An event where it was negotiated, a unit attention in any case, each once."""
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate(without=wire.F_RING_EVENT_IDX | (0 if events else F_CHANGE))
        front.share(memory)
        ring = SplitRing(memory, FIRST_REQUEST_QUEUE)
        queue = EventQueue(memory)
        front.start([queue.ring, ring])
        queue.offer(4)
        disk = ScsiDisk(ring)
        try:
            for size in (4 * MIB, 16 * MIB, SIZE):
                call(daemon, "bdev_malloc_resize", name="Malloc2", num_blocks=size // 512)
                if events:
                    queue.expect(T_PARAM_CHANGE, 0, CAPACITY_CHANGED)
                else:
                    until_attention(disk)
                    assert disk.ready().status == GOOD
                if events:
                    assert disk.ready().condition == (6, 0x2A, 0x09)
                assert disk.ready().status == GOOD
                assert disk.capacity() == size
                assert disk.run(read_10(size // 512 - 1, 1), data_in=512).status == GOOD
                assert disk.run(read_10(size // 512, 1), data_in=512).condition == (5, 0x21, 0)
            queue.nothing()
        finally:
            call(daemon, "bdev_malloc_resize", name="Malloc2", num_blocks=SIZE // 512)
            queue.close()
            ring.close()


def until_attention(disk: ScsiDisk) -> None:
    """Without an event there is nothing to wait for but the unit attention itself."""

    def attention() -> bool:
        answer = disk.ready()
        return answer.status != GOOD and answer.condition == (6, 0x2A, 0x09)

    until("unit attention", attention)


def test_one_disk_on_two_sockets(
    daemon: Daemon, front: FrontEnd, ring: SplitRing, connect_scsi: Callable[[str], ScsiDisk]
) -> None:
    disk = connect_scsi("disk")
    with front.channel() as channel:
        call(daemon, "bdev_malloc_resize", name="disk", new_size=1)
        note(channel)
        until_attention(disk)
        assert disk.capacity() == MIB == front.capacity()
        assert read_at(Blk(ring, 512), MIB) == IOERR


@pytest.fixture
def connect_scsi(daemon: Daemon) -> Iterator[Callable[[str], ScsiDisk]]:
    """A driver of a scsi controller with this disk as its target 0."""
    with GuestMemory() as memory:
        fronts: list[FrontEnd] = []
        rings: list[SplitRing] = []

        def connect(bdev: str) -> ScsiDisk:
            call(daemon, "vhost_create_scsi_controller", ctrlr="both")
            call(
                daemon,
                "vhost_scsi_controller_add_target",
                ctrlr="both",
                scsi_target_num=0,
                bdev_name=bdev,
            )
            fronts.append(FrontEnd(daemon.socket("both")))
            fronts[0].negotiate()
            fronts[0].share(memory)
            rings.append(SplitRing(memory, FIRST_REQUEST_QUEUE))
            fronts[0].start(rings)
            return ScsiDisk(rings[0])

        yield connect
        for front in fronts:
            front.close()
        for ring in rings:
            ring.close()
        call(daemon, "vhost_delete_controller", ctrlr="both", force=True)
        until("the controller has gone", lambda: "both" not in controllers(daemon))
