# SPDX-License-Identifier: BSD-3-Clause
"""Guest memory region by region: ADD_MEM_REG and REM_MEM_REG under running rings."""

from __future__ import annotations

import os
import random
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from . import wire
from .daemon import Daemon
from .frontend import BLK_T_IN, BLK_T_OUT, UNTOUCHED, Blk, Elsewhere, FrontEnd
from .memory import GuestMemory, Segment, SplitRing
from .test_messages import BAD_TABLES, WRONG_KINDS
from .waiting import until
from .wire import Message, Region, Request, u64

PATTERN = bytes(range(256)) * 16
MORE_GPA = 0x1_0000_0000
MORE_UVA = 0x7E00_0000_0000
SLOTS_WANTED = 509


def piece(number: int, size: int = 1 << 16) -> GuestMemory:
    """Regions with gaps, at addresses that have nothing to do with each other."""
    return GuestMemory(size, MORE_GPA + number * (1 << 24), MORE_UVA + number * (1 << 28))


@pytest.fixture
def front(front: FrontEnd, memory: GuestMemory) -> FrontEnd:
    """A connection to blk.0 whose one region is `memory`, added by ADD_MEM_REG."""
    front.negotiate()
    front.add(memory)
    return front


@pytest.fixture
def ring(front: FrontEnd, memory: GuestMemory) -> Iterator[SplitRing]:
    ring = SplitRing(memory, 0)
    front.start([ring])
    yield ring
    ring.close()


def whole(memory: GuestMemory, size: int = 4096) -> list[Segment]:
    return [Segment(memory.gpa(0), size)]


def test_new_memory_is_used_at_once(front: FrontEnd, ring: SplitRing) -> None:
    disk = Elsewhere(ring)
    with piece(0) as more:
        front.add(more)
        more.write(0, PATTERN)
        disk.write(8, whole(more))
        more.write(0, bytes(4096))
        disk.read(8, whole(more))
        assert more.read(0, 4096) == PATTERN


def test_a_request_over_many_regions(front: FrontEnd, ring: SplitRing) -> None:
    disk = Elsewhere(ring)
    with ExitStack() as stack:
        pieces = [stack.enter_context(piece(n)) for n in range(40)]
        for number, memory in enumerate(pieces):
            front.add(memory)
            memory.write(0, bytes([number]) * 512)
        disk.write(0, [Segment(m.gpa(0), 512) for m in pieces])
        for memory in pieces:
            memory.write(0, bytes(512))
        # Back in the other order: region n gets what region 39 - n had.
        disk.read(0, [Segment(m.gpa(0), 512) for m in reversed(pieces)])
        for number, memory in enumerate(pieces):
            assert memory.read(0, 512) == bytes([39 - number]) * 512


def test_neighbours_are_one_piece_of_guest_memory(front: FrontEnd, ring: SplitRing) -> None:
    """A buffer goes from one region into the next, which was added before it."""
    disk = Elsewhere(ring)
    size = 1 << 16
    with GuestMemory(size, MORE_GPA + size, MORE_UVA) as second:
        front.add(second)
        with GuestMemory(size, MORE_GPA, MORE_UVA + (1 << 30)) as first:
            front.add(first)
            first.write(size - 1024, PATTERN[:1024])
            second.write(0, PATTERN[1024:4096])
            disk.write(0, [Segment(first.gpa(size - 1024), 4096)])
            assert Blk(ring).read(0, 4096) == PATTERN


def test_under_load(front: FrontEnd, memory: GuestMemory, daemon: Daemon) -> None:
    """T71: two rings read and write while memory comes and goes."""
    rings = [SplitRing(memory, 0), SplitRing(memory, 1)]
    front.start(rings)
    stop = threading.Event()
    failures: list[str] = []
    rounds = [0, 0]

    def load(ring: SplitRing) -> None:
        disk = Blk(ring, 8192)
        try:
            while not stop.is_set():
                rounds[ring.index] += 1
                data = struct.pack("<Q", rounds[ring.index]) * 1024
                assert disk.write(64 * ring.index, data) == 0
                assert disk.read(64 * ring.index, 8192) == data
        except AssertionError as error:
            failures.append(f"ring {ring.index}: {error}")

    threads = [threading.Thread(target=load, args=(ring,)) for ring in rings]
    for thread in threads:
        thread.start()
    order = random.Random(4)
    present: list[GuestMemory] = []
    try:
        for number in range(200):
            if len(present) > 20 or (present and order.random() < 0.4):
                gone = present.pop(order.randrange(len(present)))
                front.remove(gone)
                assert daemon.guest_mappings() == 1 + len(present)
                gone.__exit__(None, None, None)
            else:
                present.append(piece(number).__enter__())
                front.add(present[-1])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for rest in present:
            rest.__exit__(None, None, None)
    assert not failures
    assert min(rounds) > 20, "the rings stood still while memory changed"
    for ring in rings:
        assert front.stop(ring.index) == 2 * rounds[ring.index] & 0xFFFF
        ring.close()


def test_all_slots(front: FrontEnd, ring: SplitRing, daemon: Daemon) -> None:
    """T70: as many as the daemon says; each is memory that can be used; one more is refused."""
    most = front.ask_u64(Request.GET_MAX_MEM_SLOTS)
    assert most >= SLOTS_WANTED
    disk = Elsewhere(ring)
    with ExitStack() as stack:
        pieces = [stack.enter_context(piece(n, 4096)) for n in range(most)]
        for memory in pieces[:-1]:
            front.add(memory)
        assert front.acknowledged(wire.add_region(pieces[-1].region, pieces[-1].fd)) != 0
        assert daemon.guest_mappings() == most
        for number in range(0, most - 1, 60):
            pieces[number].write(0, bytes([number & 0xFF]) * 4096)
            disk.write(0, whole(pieces[number]))
            disk.read(0, whole(pieces[(number * 7 + 1) % (most - 1)]))
            assert pieces[(number * 7 + 1) % (most - 1)].read(0, 4096) == pieces[number].read(
                0, 4096
            )
        order = list(range(most - 1))
        random.Random(1).shuffle(order)
        for number in order:
            front.remove(pieces[number])
        assert daemon.guest_mappings() == 1
    assert Blk(ring).write(0, PATTERN) == 0


def test_removed_memory_breaks_the_ring_that_uses_it(
    front: FrontEnd, memory: GuestMemory, ring: SplitRing, bystander: Blk
) -> None:
    second = SplitRing(memory, 1)
    front.start([second])
    disk = Elsewhere(ring)
    with piece(0) as more:
        front.add(more)
        disk.write(0, whole(more))
        front.remove(more)
        disk.submit(BLK_T_IN, 0, [Segment(more.gpa(0), 4096, True)])
        ring.wait_error()
        assert Blk(second).write(0, PATTERN) == 0
        assert bystander.flush() == 0
    second.close()


def test_memory_of_the_ring_goes_and_comes(
    front: FrontEnd, memory: GuestMemory, ring: SplitRing, daemon: Daemon, bystander: Blk
) -> None:
    """As QEMU does when firmware moves memory: all regions go, then they come in other pieces."""
    disk = Blk(ring)
    assert disk.write(0, PATTERN) == 0
    front.remove(memory)
    assert daemon.guest_mappings() == 1  # the bystander's
    disk.submit(BLK_T_IN, 0, 4096, False)
    whole, half = memory.region, memory.size // 2
    first = Region(whole.gpa, half, whole.uva)
    second = Region(whole.gpa + half, half, whole.uva + half, half)
    assert front.acknowledged(wire.add_region(second, memory.fd)) == 0
    assert bystander.flush() == 0
    assert disk.status() == UNTOUCHED
    assert front.acknowledged(wire.add_region(first, memory.fd)) == 0
    assert disk.finish() == 0
    assert disk.read(0, 4096) == PATTERN
    assert front.stop(0) == 3


def test_ring_is_stopped_while_its_memory_is_away(
    front: FrontEnd, memory: GuestMemory, ring: SplitRing
) -> None:
    disk = Blk(ring)
    assert disk.write(0, PATTERN) == 0
    front.remove(memory)
    assert front.stop(0) == 1
    front.add(memory)
    disk.submit(BLK_T_IN, 0, 512, False)
    assert front.alive() and disk.status() == UNTOUCHED
    front.send(u64(Request.SET_VRING_KICK, 0, ring.kick_fd))
    assert disk.finish() == 0


def test_added_memory_cut_short(
    daemon: Daemon, front: FrontEnd, ring: SplitRing, bystander: Blk
) -> None:
    """T67, rule R9: the file behind a region that came later is truncated."""
    disk = Elsewhere(ring)
    with piece(0) as doomed:
        front.add(doomed)
        disk.write(0, whole(doomed))
        doomed.map.close()
        os.ftruncate(doomed.fd, 0)
        disk.submit(BLK_T_OUT, 0, whole(doomed))
        os.eventfd_write(ring.kick_fd, 1)
        assert front.ended()
        assert bystander.flush() == 0
        daemon.assert_alive()


@pytest.mark.parametrize(
    "what", [name for name, regions in BAD_TABLES.items() if len(regions) == 1]
)
def test_bad_region(front: FrontEnd, memory: GuestMemory, ring: SplitRing, what: str) -> None:
    assert front.acknowledged(wire.add_region(BAD_TABLES[what][0], memory.fd)) != 0
    assert Blk(ring).write(0, PATTERN) == 0


def test_overlaps(front: FrontEnd, memory: GuestMemory, ring: SplitRing) -> None:
    r = memory.region
    for bad in (
        r,
        Region(r.gpa + r.size - 1, 4096, MORE_UVA),
        Region(r.gpa - 1, 2, MORE_UVA),
        Region(MORE_GPA, 4096, r.uva + r.size - 1),
        Region(MORE_GPA, 2, r.uva - 1),
    ):
        assert front.acknowledged(wire.add_region(bad, memory.fd)) != 0
    touching = Region(r.gpa + r.size, 4096, r.uva + r.size)
    assert front.acknowledged(wire.add_region(touching, memory.fd)) == 0
    assert Blk(ring).write(0, PATTERN) == 0


@pytest.mark.parametrize("kind", ["pipe", "directory", "terminal-like"])
def test_memory_that_is_none(front: FrontEnd, ring: SplitRing, kind: str) -> None:
    fds = WRONG_KINDS[kind]()
    assert front.acknowledged(wire.add_region(Region(MORE_GPA, 4096, MORE_UVA), fds[-1])) != 0
    for fd in fds:
        os.close(fd)
    assert Blk(ring).write(0, PATTERN) == 0


def test_regions_that_there_are_not(front: FrontEnd, memory: GuestMemory, ring: SplitRing) -> None:
    r = memory.region
    for bad in (
        Region(MORE_GPA, r.size, r.uva),
        Region(r.gpa, r.size - 4096, r.uva),
        Region(r.gpa, r.size, MORE_UVA),
        Region(0, 0, 0),
    ):
        assert front.acknowledged(wire.rem_region(bad)) != 0
    assert Blk(ring).write(0, PATTERN) == 0
    # Its place in the file is not looked at, and a descriptor is closed.
    assert front.acknowledged(wire.rem_region(Region(r.gpa, r.size, r.uva, 4711), memory.fd)) == 0
    assert front.acknowledged(wire.rem_region(r)) != 0


def test_slots_need_their_feature(front: FrontEnd, memory: GuestMemory) -> None:
    keep = wire.OFFERED_PROTOCOL_FEATURES & ~(1 << wire.ProtocolFeature.CONFIGURE_MEM_SLOTS)
    front.send(u64(Request.SET_PROTOCOL_FEATURES, keep))
    assert front.acknowledged(wire.rem_region(memory.region)) != 0
    with piece(0) as more:
        assert front.acknowledged(wire.add_region(more.region, more.fd)) != 0
    front.send(Message(Request.GET_MAX_MEM_SLOTS))
    assert front.ended()


def test_many_front_ends_with_many_slots(daemon: Daemon, bystander: Blk) -> None:
    """Sessions one after the other leave nothing behind, however they end."""
    for _ in range(3):
        with FrontEnd(daemon.socket("blk.0")) as front, piece(0, 1 << 21) as memory:
            front.negotiate()
            for number in range(300):
                region = Region(number << 20, 4096, MORE_UVA + (number << 20), number << 12)
                assert front.acknowledged(wire.add_region(region, memory.fd)) == 0
        until("its memory is unmapped", lambda: daemon.guest_mappings() == 1)
    assert bystander.flush() == 0
