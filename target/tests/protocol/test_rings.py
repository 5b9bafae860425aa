# SPDX-License-Identifier: BSD-3-Clause
"""Rings over the real data path: started, stopped, moved, broken."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

import pytest

from . import wire
from .daemon import Daemon
from .frontend import BLK_T_IN, BLK_T_OUT, Blk, FrontEnd
from .memory import DESC_F_NEXT, DESC_F_WRITE, GuestMemory, Segment, SplitRing
from .waiting import until
from .wire import Request, state, u64

PATTERN = bytes(range(256)) * 16


def test_data_comes_back(ring: SplitRing) -> None:
    disk = Blk(ring)
    assert disk.write(100, PATTERN) == 0
    assert disk.flush() == 0
    assert disk.read(100, len(PATTERN)) == PATTERN


def test_with_event_index(front: FrontEnd, memory: GuestMemory) -> None:
    front.negotiate(without=0)
    front.share(memory)
    ring = SplitRing(memory, 0)
    front.start([ring])
    disk = Blk(ring)
    for sector in range(5):
        memory.write(ring.avail + 4 + 2 * ring.size, sector.to_bytes(2, "little"))  # used_event
        assert disk.write(sector, PATTERN[:512]) == 0
    ring.close()


def test_without_bit_30_rings_start_enabled(front: FrontEnd, memory: GuestMemory) -> None:
    front.negotiate(without=wire.F_PROTOCOL_FEATURES | wire.F_RING_EVENT_IDX)
    front.share(memory)
    ring = SplitRing(memory, 0)
    front.start([ring])
    assert Blk(ring).write(0, PATTERN) == 0
    ring.close()


def test_a_ring_with_no_room_in_the_inflight_area(
    daemon: Daemon, front: FrontEnd, memory: GuestMemory
) -> None:
    """QEMU from 10 on: rings are larger than those that the area was asked for."""
    front.negotiate()
    front.share(memory)
    fd = os.memfd_create("area")
    os.ftruncate(fd, 1 << 20)
    front.send(wire.set_inflight(1 << 20, 0, 1, 16, fd))
    os.close(fd)
    ring = SplitRing(memory, 0, size=64)
    front.start([ring])
    disk = Blk(ring)
    assert disk.write(100, PATTERN) == 0
    assert disk.read(100, len(PATTERN)) == PATTERN
    assert "queue 0 has 64 entries, its part of the in-flight area 16" in daemon.log_tail()
    assert front.stop(0) == 2
    ring.close()


def test_one_ring_of_many(ready: FrontEnd, memory: GuestMemory) -> None:
    """As firmware does: one ring is started and stopped, the others are never spoken of."""
    for _ in range(3):
        ring = SplitRing(memory, 0)
        ready.start([ring])
        disk = Blk(ring, 4096)
        assert disk.write(0, PATTERN) == 0
        assert disk.read(0, 4096) == PATTERN
        assert ready.stop(0) == 2
        ring.close()


def test_disabled_ring_does_nothing(ready: FrontEnd, memory: GuestMemory) -> None:
    ring = SplitRing(memory, 0)
    ready.send(*ring.setup(enable=False))
    disk = Blk(ring)
    disk.submit(BLK_T_OUT, 5, 512, True)
    assert ready.alive()
    ready_fds, _, _ = select.select([ring.call_fd], [], [], 0.1)
    assert not ready_fds and ring.used_count() == 0
    ready.send(state(Request.SET_VRING_ENABLE, 0, 1))
    assert disk.finish() == 0
    ring.close()


def test_disabling_a_running_ring(ready: FrontEnd, ring: SplitRing) -> None:
    disk = Blk(ring)
    assert disk.write(0, PATTERN) == 0
    assert ready.acknowledged(state(Request.SET_VRING_ENABLE, 0, 0)) == 0
    ring.forget_calls()
    disk.submit(BLK_T_OUT, 1, 512, True)
    ready_fds, _, _ = select.select([ring.call_fd], [], [], 0.1)
    assert not ready_fds and ring.used_count() == 0
    assert ready.acknowledged(state(Request.SET_VRING_ENABLE, 0, 1)) == 0
    assert disk.finish() == 0
    assert ready.stop(0) == 2


def test_requests_before_the_start_are_served(ready: FrontEnd, memory: GuestMemory) -> None:
    """The kick may have come before the daemon looked: it looks once more when it starts."""
    ring = SplitRing(memory, 0)
    disk = Blk(ring)
    disk.submit(BLK_T_OUT, 5, 512, True)
    os.eventfd_read(ring.kick_fd)  # and even if the kick was lost
    ready.start([ring])
    assert disk.finish() == 0
    ring.close()


def test_stop_and_start_keep_the_place(ready: FrontEnd, ring: SplitRing) -> None:
    disk = Blk(ring)
    for count in range(1, 6):
        assert disk.write(count, PATTERN[:512]) == 0
        assert ready.stop(0) == count
        assert ready.stop(0) == count
        ready.start([ring])


def test_a_stopped_ring_asks_for_kicks(ready: FrontEnd, ring: SplitRing) -> None:
    """Its next owner may look at it only when it is kicked, and the driver was told not to."""
    for _ in range(50):
        ready.stop(0)
        assert ring.memory.read(ring.used, 2) == b"\0\0"
        ready.start([ring])


def test_base_wraps_at_65536(ready: FrontEnd, memory: GuestMemory) -> None:
    ring = SplitRing(memory, 0, size=16)
    ring.avail_idx = ring.used_idx = 65534
    memory.write(ring.avail + 2, (65534).to_bytes(2, "little"))
    memory.write(ring.used + 2, (65534).to_bytes(2, "little"))
    ready.start([ring])
    disk = Blk(ring)
    for sector in range(4):
        assert disk.write(sector, PATTERN[:512]) == 0
    assert ready.stop(0) == 2
    ring.close()


def test_all_rings_of_the_device(ready: FrontEnd, memory: GuestMemory) -> None:
    count = min(ready.ask_u64(Request.GET_QUEUE_NUM), 8)
    rings = [SplitRing(memory, index) for index in range(count)]
    ready.start(rings)
    disks = [Blk(ring, 4096) for ring in rings]
    for disk in disks:
        disk.submit(BLK_T_IN, 0, 4096, False)
    for disk in disks:
        assert disk.finish() == 0
    for ring in rings:
        assert ready.stop(ring.index) == 1
        ring.close()


# -- eventfds --


def test_call_is_swapped_under_load(ready: FrontEnd, ring: SplitRing) -> None:
    """Each new eventfd is signalled once, and no completion is lost between two."""
    disk = Blk(ring)
    for sector in range(50):
        disk.submit(BLK_T_OUT, sector, 512, True)
        os.close(ring.call_fd)
        ring.call_fd = os.eventfd(0, os.EFD_NONBLOCK)
        ready.send(u64(Request.SET_VRING_CALL, 0, ring.call_fd))
        assert disk.finish() == 0


def test_call_that_nobody_takes(ready: FrontEnd, ring: SplitRing) -> None:
    """T84: a counter at its maximum; the daemon must not wait for it."""
    full = os.eventfd(0, os.EFD_NONBLOCK)
    os.eventfd_write(full, 2**64 - 2)
    assert ready.acknowledged(u64(Request.SET_VRING_CALL, 0, full)) == 0
    disk = Blk(ring)
    for sector in range(10):
        disk.submit(BLK_T_OUT, sector, 512, True)
        until("the request is done", lambda: ring.used_count() > 0)
        ring.used_idx += 1
    os.close(full)


def test_call_that_would_block(ready: FrontEnd, ring: SplitRing, bystander: Blk) -> None:
    """A front-end makes its eventfd blocking again and fills it: only it has the damage."""
    Blk(ring).write(0, PATTERN)
    ring.fill_calls()
    os.set_blocking(ring.call_fd, True)
    disk = Blk(ring)
    for sector in range(10):
        disk.submit(BLK_T_OUT, sector, 512, True)
        until("the request is done", lambda: ring.used_count() > 0)
        ring.used_idx += 1
        assert bystander.flush() == 0
    os.set_blocking(ring.call_fd, False)


def test_without_call(ready: FrontEnd, ring: SplitRing) -> None:
    assert ready.acknowledged(u64(Request.SET_VRING_CALL, wire.NO_FD)) == 0
    Blk(ring).submit(BLK_T_OUT, 0, 512, True)
    until("the request is done", lambda: ring.used_count() > 0)


def test_new_kick_while_running(ready: FrontEnd, ring: SplitRing) -> None:
    disk = Blk(ring)
    for sector in range(5):
        os.close(ring.kick_fd)
        ring.kick_fd = os.eventfd(0, os.EFD_NONBLOCK)
        ready.send(u64(Request.SET_VRING_KICK, 0, ring.kick_fd))
        assert disk.write(sector, PATTERN[:512]) == 0


def test_kick_storm(ready: FrontEnd, ring: SplitRing, bystander: Blk) -> None:
    """T83: kicks with nothing available."""
    stop = threading.Event()

    def storm() -> None:
        while not stop.is_set():
            os.eventfd_write(ring.kick_fd, 1)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        for sector in range(1, 51):
            assert bystander.write(sector, PATTERN[:512]) == 0
    finally:
        stop.set()
        thread.join()
    assert Blk(ring).write(0, PATTERN) == 0


# -- memory --


def test_new_memory_table_during_requests(
    ready: FrontEnd, memory: GuestMemory, ring: SplitRing
) -> None:
    """T72: requests are under way whenever the table changes; data stays right."""
    disk = Blk(ring)
    with GuestMemory(gpa=0x40000000, uva=0x7E0000000000) as more:
        for number in range(20):
            data = bytes([number]) * 4096
            disk.put(data)
            disk.submit(BLK_T_OUT, 64, len(data), True)
            ready.share(*([memory, more] if number % 2 else [memory]))
            assert disk.finish() == 0
            assert disk.read(64, 4096) == data


def test_old_memory_is_unmapped_at_the_ack(
    daemon: Daemon, ready: FrontEnd, memory: GuestMemory, ring: SplitRing
) -> None:
    assert Blk(ring).write(0, PATTERN) == 0
    before = daemon.guest_mappings()
    ready.share(memory)
    assert daemon.guest_mappings() == before


def test_ring_outside_of_the_new_table(
    ready: FrontEnd, memory: GuestMemory, ring: SplitRing
) -> None:
    disk = Blk(ring)
    with GuestMemory(gpa=0x40000000, uva=0x7E0000000000) as elsewhere:
        table = wire.mem_table((elsewhere.region,), (elsewhere.fd,))
        assert ready.acknowledged(table) != 0
    ready.share(memory)
    assert disk.write(0, PATTERN) == 0


def test_memory_cut_short(daemon: Daemon, ready: FrontEnd, bystander: Blk) -> None:
    """T67: the file behind guest memory is truncated under the daemon."""
    with GuestMemory(size=1 << 20) as doomed:
        ready.share(doomed)
        ring = SplitRing(doomed, 0)
        ready.start([ring])
        disk = Blk(ring)
        assert disk.write(0, PATTERN) == 0
        doomed.map.close()
        os.ftruncate(doomed.fd, 0)
        os.eventfd_write(ring.kick_fd, 1)
        assert ready.ended()
        assert bystander.flush() == 0
        daemon.assert_alive()
        ring.close()


# -- broken rings --


def break_by_head(ring: SplitRing) -> None:
    ring.publish(ring.size)


def break_by_index(ring: SplitRing) -> None:
    ring.avail_idx += ring.size + 1
    ring.publish(0)


def break_by_loop(ring: SplitRing) -> None:
    ring.put_desc(0, ring.memory.gpa(0), 16, DESC_F_NEXT, 1)
    ring.put_desc(1, ring.memory.gpa(0), 16, DESC_F_NEXT, 0)
    ring.publish(0)


def break_by_address(ring: SplitRing) -> None:
    ring.submit(Segment(2**64 - 8, 16), Segment(0x100000, 1, True))


def break_by_order(ring: SplitRing) -> None:
    ring.put_desc(0, ring.memory.gpa(0), 16, DESC_F_NEXT | DESC_F_WRITE, 1)
    ring.put_desc(1, ring.memory.gpa(0), 16, 0)
    ring.publish(0)


BREAKERS = [break_by_head, break_by_index, break_by_loop, break_by_address, break_by_order]


@pytest.mark.parametrize("breaker", BREAKERS, ids=lambda fn: fn.__name__)
def test_broken_ring_is_contained(
    ready: FrontEnd,
    memory: GuestMemory,
    ring: SplitRing,
    bystander: Blk,
    breaker: Callable[[SplitRing], None],
) -> None:
    """It is reported and stands still; the other ring of the same device goes on."""
    second = SplitRing(memory, 1)
    ready.start([second])
    breaker(ring)
    ring.wait_error()
    assert Blk(second).write(0, PATTERN) == 0
    assert ready.alive()
    # The guest resets its device: the ring is stopped, and a new one in its place works.
    ready.stop(0)
    fresh = SplitRing(memory, 0)
    ready.start([fresh])
    assert Blk(fresh).write(0, PATTERN) == 0
    second.close()
    fresh.close()


def test_ring_that_is_no_memory(ready: FrontEnd, memory: GuestMemory) -> None:
    ring = SplitRing(memory, 0)
    for message in ring.setup()[:-1]:
        assert ready.acknowledged(message) == 0
    bad = wire.ADDR.pack(0, 0, 8, 16, 24, 0)
    assert ready.acknowledged(wire.Message(Request.SET_VRING_ADDR, bad)) == 0
    assert ready.acknowledged(state(Request.SET_VRING_ENABLE, 0, 1)) != 0
    assert ready.acknowledged(ring.addr()) == 0
    assert Blk(ring).write(0, PATTERN) == 0
    ring.close()


@pytest.mark.parametrize("part", range(3))
def test_misaligned_ring(ready: FrontEnd, memory: GuestMemory, part: int) -> None:
    ring = SplitRing(memory, 0)
    assert ready.acknowledged(state(Request.SET_VRING_NUM, 0, ring.size)) == 0
    assert ready.acknowledged(u64(Request.SET_VRING_KICK, 0, ring.kick_fd)) == 0
    assert ready.acknowledged(state(Request.SET_VRING_ENABLE, 0, 1)) == 0
    places = [memory.uva(ring.desc), memory.uva(ring.used), memory.uva(ring.avail)]
    places[part] += 1
    bad = wire.Message(Request.SET_VRING_ADDR, wire.ADDR.pack(0, 0, *places, 0))
    assert ready.acknowledged(bad) != 0
    assert ready.alive()
    ring.close()


def test_disconnect_with_requests_under_way(daemon: Daemon, memory: GuestMemory) -> None:
    for _ in range(10):
        with FrontEnd(daemon.socket("blk.0")) as front:
            front.negotiate()
            front.share(memory)
            ring = SplitRing(memory, 0)
            front.start([ring])
            disk = Blk(ring, 32768)
            for _ in range(8):
                disk.submit(BLK_T_OUT, 0, 32768, True)
        ring.close()
