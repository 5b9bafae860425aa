# SPDX-License-Identifier: BSD-3-Clause
"""Live migration: the log of the pages that the daemon has written to."""

from __future__ import annotations

import mmap
import os
import select
import struct
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pytest

from . import wire
from .daemon import Daemon
from .frontend import BLK_T_FLUSH, BLK_T_IN, UNTOUCHED, Blk, Disconnected, FrontEnd
from .management import Refused, call
from .memory import GuestMemory, Segment, SplitRing
from .scsi import CHECK_CONDITION, FIRST_REQUEST_QUEUE, GOOD, EventQueue, ScsiDisk, read_10
from .waiting import until
from .wire import LOG_PAGE, NEED_REPLY, VRING_F_LOG, Message, Request, u64

PATTERN = bytes(range(256)) * 16


class Log:
    """A log for all of a guest's memory, or as long as one likes, in a file of its own."""

    def __init__(self, memory: GuestMemory, size: int | None = None, offset: int = 0) -> None:
        end = memory.region.gpa + memory.size
        self.size = size or -(-end // (8 * LOG_PAGE))
        self.offset = offset
        self.fd = os.memfd_create("guest-log")
        length = offset + -(-self.size // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(self.fd, length)
        self.map = mmap.mmap(self.fd, length)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.map.close()
        os.close(self.fd)

    def message(self, flags: int = 0) -> Message:
        return wire.set_log(self.size, self.offset, self.fd, flags)

    def pages(self) -> set[int]:
        """The guest addresses of all dirty pages, anywhere in the file."""
        found = set()
        for at, byte in enumerate(self.map[:]):
            for bit in range(8):
                if byte >> bit & 1:
                    found.add(((at - self.offset) * 8 + bit) * LOG_PAGE)
        return found

    def clear(self) -> None:
        self.map[:] = bytes(len(self.map))


def pages(memory: GuestMemory, offset: int, size: int) -> set[int]:
    """The pages of a piece of memory."""
    first, last = memory.gpa(offset), memory.gpa(offset + size - 1)
    return set(range(first // LOG_PAGE * LOG_PAGE, last + 1, LOG_PAGE))


def give(front: FrontEnd, log: Log) -> None:
    """SET_LOG_BASE as QEMU sends it: without need_reply, and there is a reply all the same."""
    assert front.ask(log.message()) == bytes(8)


def logging(front: FrontEnd, on: bool, *rings: SplitRing) -> None:
    """On or off, as QEMU does it: for what drivers ask for, then for the rings."""
    features = front.features | (wire.F_LOG_ALL if on else 0)
    assert front.acknowledged(u64(Request.SET_FEATURES, features)) == 0
    for ring in rings:
        flags = VRING_F_LOG if on else 0
        addr = ring.addr(flags, ring.memory.gpa(ring.used))
        assert front.acknowledged(addr) == 0


@pytest.fixture
def log(memory: GuestMemory) -> Iterator[Log]:
    with Log(memory) as log:
        yield log


@pytest.fixture
def apart(ready: FrontEnd, memory: GuestMemory) -> Iterator[SplitRing]:
    """Ring 0 of blk.0; its parts and all that is allocated later have pages of their own."""
    ring = SplitRing(memory, 0)
    ring.used = memory.alloc(LOG_PAGE, LOG_PAGE)
    memory.alloc(0, LOG_PAGE)
    ready.start([ring])
    yield ring
    ring.close()


class ApartDisk:
    """A disk whose header, data and status have pages of their own."""

    def __init__(self, ring: SplitRing, room: int = 8 * LOG_PAGE) -> None:
        self.ring = ring
        memory = ring.memory
        self.header = memory.alloc(16, LOG_PAGE)
        self.status = memory.alloc(LOG_PAGE, LOG_PAGE)
        self.data = memory.alloc(room, LOG_PAGE)

    def submit(self, kind: int, sector: int, *data: Segment) -> None:
        memory = self.ring.memory
        memory.write(self.header, struct.pack("<IIQ", kind, 0, sector))
        memory.write(self.status, bytes([UNTOUCHED]))
        chain = [Segment(memory.gpa(self.header), 16), *data]
        self.ring.submit(*chain, Segment(memory.gpa(self.status), 1, True))

    def read(self, sector: int, offset: int, size: int) -> int:
        self.submit(BLK_T_IN, sector, Segment(self.ring.memory.gpa(self.data + offset), size, True))
        return self.finish()

    def finish(self) -> int:
        self.ring.wait_used()
        return self.ring.memory.read(self.status, 1)[0]


def test_what_is_written_and_nothing_else(
    ready: FrontEnd, apart: SplitRing, log: Log, memory: GuestMemory
) -> None:
    disk = ApartDisk(apart)
    give(ready, log)
    assert disk.read(0, 0, 512) == 0
    assert log.pages() == set(), "nobody has asked for it yet"
    logging(ready, True, apart)
    log.clear()
    status, used = pages(memory, disk.status, 1), pages(memory, apart.used, 1)
    assert disk.read(0, LOG_PAGE - 512, LOG_PAGE + 1024) == 0
    data = pages(memory, disk.data, 3 * LOG_PAGE)
    assert log.pages() == data | status | used
    log.clear()
    disk.submit(BLK_T_FLUSH, 0)
    assert disk.finish() == 0
    assert log.pages() == status | used
    log.clear()
    # The end of the disk: an error, and nobody knows what has come before.
    assert disk.read(8 * 2048 - 1, 0, 2 * LOG_PAGE) == 1
    assert log.pages() == pages(memory, disk.data, 2 * LOG_PAGE) | status | used
    logging(ready, False, apart)
    log.clear()
    assert disk.read(0, 0, 512) == 0
    assert log.pages() == set()


def test_without_the_flag_of_the_ring(
    ready: FrontEnd, apart: SplitRing, log: Log, memory: GuestMemory
) -> None:
    disk = ApartDisk(apart)
    give(ready, log)
    logging(ready, True)
    assert disk.read(0, 0, 512) == 0
    assert log.pages() == pages(memory, disk.data, 1) | pages(memory, disk.status, 1)


def test_used_ring_outside_of_memory(
    ready: FrontEnd, apart: SplitRing, memory: GuestMemory
) -> None:
    """What was agreed on counts, even where there is no memory; inside of the log, at its end."""
    with Log(memory, 8192) as log:
        disk = ApartDisk(apart)
        give(ready, log)
        logging(ready, True)
        where = 8192 * 8 * LOG_PAGE - (4 + 8 * apart.size)
        assert ready.acknowledged(apart.addr(VRING_F_LOG, where)) == 0
        assert disk.read(0, 0, 512) == 0
        written = {where // LOG_PAGE * LOG_PAGE}
        assert log.pages() - pages(memory, disk.status, 1) - pages(memory, disk.data, 1) == written


def test_log_somewhere_in_its_file(ready: FrontEnd, apart: SplitRing, memory: GuestMemory) -> None:
    with Log(memory, offset=8192) as log:
        disk = ApartDisk(apart)
        give(ready, log)
        logging(ready, True)
        assert disk.read(0, 0, 512) == 0
        assert log.pages() == pages(memory, disk.data, 1) | pages(memory, disk.status, 1)


class Migration:
    """Copies a guest's memory while rings run, as QEMU does, and tells at the end what it missed.

    A log is read when another one has taken its place: nothing more comes to it then.
    """

    def __init__(self, front: FrontEnd, memory: GuestMemory, rings: list[SplitRing]) -> None:
        self.front = front
        self.memory = memory
        self.rings = rings
        self.log = Log(memory)
        self.copied = 0
        give(front, self.log)
        logging(front, True, *rings)
        self.copy = bytearray(memory.map[:])

    def take(self, log: Log) -> None:
        for gpa in log.pages():
            at = gpa - self.memory.region.gpa
            self.copy[at : at + LOG_PAGE] = self.memory.map[at : at + LOG_PAGE]
            self.copied += 1

    def round(self) -> None:
        with self.log as old:
            # Sometimes a longer one, as if memory had been added.
            self.log = Log(self.memory, old.size + self.copied % 3 * 4096)
            give(self.front, self.log)
            self.take(old)

    def end(self) -> None:
        for ring in self.rings:
            self.front.stop(ring.index)
        with self.log:
            self.take(self.log)

    def missed(self, offset: int, size: int) -> bool:
        return self.copy[offset : offset + size] != self.memory.read(offset, size)


def test_a_copy_of_memory_under_load(front: FrontEnd, bystander: Blk) -> None:
    """Two rings read what changes; in the end the copy is what memory is."""
    rounds, size = 40, 16 * LOG_PAGE
    stop = threading.Event()
    failures: list[str] = []
    served = [0, 0]
    with GuestMemory(1 << 22) as memory:
        front.negotiate()
        front.share(memory)
        rings = [SplitRing(memory, n) for n in range(2)]
        for ring in rings:
            memory.alloc(0, LOG_PAGE)
        front.start(rings)
        writers = [Blk(ring) for ring in rings]
        for n, writer in enumerate(writers):
            for sector in range(0, 1024, 128):
                block = bytes([n * 16 + sector // 128 + 1]) * 65536
                assert writer.write(n * 1024 + sector, block) == 0
        disks = [ApartDisk(ring, size) for ring in rings]

        def load(n: int) -> None:
            try:
                while not stop.is_set():
                    sector = n * 1024 + served[n] % 8 * 128
                    assert disks[n].read(sector, served[n] % 16 * LOG_PAGE, LOG_PAGE) == 0
                    served[n] += 1
            except AssertionError as error:
                failures.append(f"ring {n}: {error}")

        migration = Migration(front, memory, rings)
        threads = [threading.Thread(target=load, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(rounds):
                migration.round()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        migration.end()
        assert not failures
        assert min(served) > 20, "the rings stood still"
        assert migration.copied > rounds
        for ring, disk in zip(rings, disks, strict=True):
            assert not migration.missed(disk.data, size), "data"
            assert not migration.missed(disk.status, 1), "a status"
            assert not migration.missed(ring.used, 4 + 8 * ring.size), "the used ring"
            ring.close()


def test_started_in_the_middle(front: FrontEnd, memory: GuestMemory, log: Log) -> None:
    """The log comes last: no ring runs before, so nothing goes unnoticed."""
    front.negotiate()
    front.features |= wire.F_LOG_ALL
    front.send(u64(Request.SET_FEATURES, front.features))
    front.share(memory)
    ring = SplitRing(memory, 0)
    front.start([ring])
    disk = ApartDisk(ring)
    disk.submit(BLK_T_IN, 0, Segment(memory.gpa(disk.data), 512, True))
    assert front.alive()
    assert not select.select([ring.call_fd], [], [], 0.1)[0]
    give(front, log)
    assert disk.finish() == 0
    assert log.pages() == pages(memory, disk.data, 1) | pages(memory, disk.status, 1)
    ring.close()


def test_no_log_at_all(ready: FrontEnd, ring: SplitRing) -> None:
    """A running ring would write what nobody hears of."""
    features = ready.features | wire.F_LOG_ALL
    assert ready.acknowledged(u64(Request.SET_FEATURES, features)) != 0
    assert Blk(ring).flush() == 0


@pytest.mark.parametrize("size", [0, 1, 63])
def test_log_that_does_not_cover_memory(
    ready: FrontEnd, ring: SplitRing, log: Log, memory: GuestMemory, size: int
) -> None:
    """T75: the guest's memory ends at 3 MiB; that takes 96 bytes."""
    assert -(-(memory.region.gpa + memory.size) // (8 * LOG_PAGE)) == 96
    assert ready.acknowledged(wire.set_log(size, 0, log.fd)) != 0
    assert Blk(ring).flush() == 0
    with pytest.raises(Disconnected):
        ready.ask(wire.set_log(size, 0, log.fd))


def test_memory_that_grows_out_of_the_log(
    ready: FrontEnd, apart: SplitRing, log: Log, bystander: Blk
) -> None:
    """T75: QEMU sends a longer log first. What cannot be logged is not served."""
    disk = ApartDisk(apart)
    give(ready, log)
    logging(ready, True, apart)
    with GuestMemory(1 << 16, 1 << 32, 0x7E00_0000_0000) as more:
        ready.add(more)
        disk.submit(BLK_T_IN, 0, Segment(more.gpa(0), 512, True))
        apart.wait_error()
        assert apart.used_count() == 0
        assert ready.alive()


def test_used_ring_outside_of_the_log(ready: FrontEnd, ring: SplitRing, log: Log) -> None:
    """T75"""
    give(ready, log)
    logging(ready, True)
    assert ready.acknowledged(ring.addr(VRING_F_LOG, 2**64 - 8)) == 0
    ring.wait_error()
    assert log.pages() == set()


def test_log_cut_short(ready: FrontEnd, apart: SplitRing, log: Log, bystander: Blk) -> None:
    """T75, R9: the session ends, and nobody else notices."""
    disk = ApartDisk(apart)
    give(ready, log)
    logging(ready, True, apart)
    os.ftruncate(log.fd, 0)
    disk.submit(BLK_T_IN, 0, Segment(apart.memory.gpa(disk.data), 512, True))
    assert ready.ended()


def test_front_end_is_told(ready: FrontEnd, apart: SplitRing, log: Log) -> None:
    """SET_LOG_FD"""
    disk = ApartDisk(apart)
    told = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        give(ready, log)
        assert ready.acknowledged(Message(Request.SET_LOG_FD, b"", (told,))) == 0
        logging(ready, True, apart)
        assert disk.read(0, 0, 512) == 0
        # The call may be seen before.
        assert select.select([told], [], [], 10.0)[0]
        assert ready.acknowledged(Message(Request.SET_LOG_FD, b"", (log.fd,))) != 0
    finally:
        os.close(told)


def test_scsi(daemon: Daemon, log: Log, memory: GuestMemory) -> None:
    """Responses with sense data, data, and events."""
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, FIRST_REQUEST_QUEUE)
        events = EventQueue(memory)
        memory.alloc(0, LOG_PAGE)
        disk = ScsiDisk(ring)
        front.start([events.ring, ring])
        give(front, log)
        logging(front, True)
        assert disk.run(read_10(0, 1), data_in=512).status == GOOD
        assert log.pages() == pages(memory, disk.response, 1) | pages(memory, disk.data, 512)
        log.clear()
        assert disk.run(read_10(1 << 24, 1), data_in=512).status == CHECK_CONDITION
        assert pages(memory, disk.response, 1) <= log.pages()
        log.clear()
        event = memory.alloc(16, LOG_PAGE)
        events.offer()
        assert memory.gpa(event) not in log.pages()
        call(daemon, "bdev_malloc_create", name="moved", num_blocks=2048, block_size=512)
        plug = {"ctrlr": "scsi.0", "scsi_target_num": 5}
        call(daemon, "vhost_scsi_controller_add_target", **plug, bdev_name="moved")
        events.next()
        assert log.pages() == pages(memory, event, 32)
        call(daemon, "vhost_scsi_controller_remove_target", **plug)
        ring.close()
        events.close()
    until("the disk is not in use any more", lambda: deleted(daemon, "moved"))


def deleted(daemon: Daemon, bdev: str) -> bool:
    try:
        call(daemon, "bdev_delete", name=bdev)
    except Refused:
        return False
    return True


def test_reset_ends_logging(ready: FrontEnd, apart: SplitRing, log: Log) -> None:
    give(ready, log)
    logging(ready, True, apart)
    assert ready.acknowledged(Message(Request.RESET_DEVICE)) == 0
    assert ready.acknowledged(u64(Request.SET_FEATURES, ready.features)) == 0
    log.clear()
    apart.memory.write(apart.avail, bytes(4))
    apart.memory.write(apart.used, bytes(4))
    apart.avail_idx = apart.used_idx = 0
    ready.start([apart])
    disk = ApartDisk(apart)
    assert disk.read(0, 0, 512) == 0
    assert log.pages() == set()


def test_many_switches(ready: FrontEnd, apart: SplitRing, log: Log) -> None:
    """On and off between requests, with and without an answer."""
    disk = ApartDisk(apart)
    give(ready, log)
    for number in range(50):
        on = number % 2 == 0
        features = ready.features | (wire.F_LOG_ALL if on else 0)
        ready.send(u64(Request.SET_FEATURES, features))
        assert ready.acknowledged(Message(Request.SET_OWNER, flags=NEED_REPLY)) == 0
        log.clear()
        assert disk.read(number, 0, 512) == 0
        assert bool(log.pages()) == on
