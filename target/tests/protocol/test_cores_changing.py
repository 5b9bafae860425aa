# SPDX-License-Identifier: BSD-3-Clause
"""What changes under the queues of one controller while these are on two cores, or between them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .daemon import Daemon
from .frontend import BLK_T_IN, Blk, Elsewhere, FrontEnd
from .management import call, open_connection
from .memory import GuestMemory, SplitRing
from .test_cores import CORES, QUEUES, cores_of, shared_daemon, wait_for_cores
from .test_slots import PATTERN, piece, whole
from .waiting import until

MIB = 1 << 20
OK, IOERR = 0, 1
CHANGES = 20

__all__ = ["shared_daemon"]

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="this machine has one processor")


@pytest.fixture
def rings(ready: FrontEnd, memory: GuestMemory) -> Iterator[list[SplitRing]]:
    """Four rings of blk.0 on two cores."""
    rings = [SplitRing(memory, index) for index in range(QUEUES)]
    ready.start(rings)
    assert all(Blk(ring, 512).flush() == OK for ring in rings)
    yield rings
    for ring in rings:
        ring.close()


@contextmanager
def moving(daemon: Daemon) -> Iterator[None]:
    """Each queue of blk.0 goes to and fro all the time."""
    over = threading.Event()
    errors: list[BaseException] = []

    def move() -> None:
        try:
            with open_connection(daemon) as connection:
                turn = 0
                while not over.is_set():
                    where = {"ctrlr": "blk.0", "queue": turn % QUEUES}
                    lcore = CORES[turn // QUEUES % 2]
                    connection.call("vhost_controller_move_queue", {**where, "lcore": lcore})
                    turn += 1
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not errors, errors


def test_memory(daemon: Daemon, ready: FrontEnd, rings: list[SplitRing]) -> None:
    """Steps: regions come and go. Verify: each queue can use one as soon as it is there."""
    disks = [Elsewhere(ring) for ring in rings]
    with moving(daemon):
        for number in range(CHANGES):
            with piece(number) as more:
                ready.add(more)
                for index, disk in enumerate(disks):
                    more.write(0, PATTERN)
                    disk.write(8 * index, whole(more))
                    more.write(0, bytes(4096))
                    disk.read(8 * index, whole(more))
                    assert more.read(0, 4096) == PATTERN
                ready.remove(more)


def test_another_size(daemon: Daemon, ready: FrontEnd, rings: list[SplitRing]) -> None:
    """Verify: no queue reads beyond the end of a disk that has become smaller, all do again."""
    disks = [Blk(ring, 512) for ring in rings]

    def read_last(disk: Blk) -> int:
        disk.submit(BLK_T_IN, 8 * MIB // 512 - 1, 512, False)
        return disk.finish()

    try:
        with moving(daemon):
            for _ in range(CHANGES):
                call(daemon, "bdev_malloc_resize", name="Malloc0", new_size=4)
                assert [read_last(disk) for disk in disks] == [IOERR] * QUEUES
                call(daemon, "bdev_malloc_resize", name="Malloc0", new_size=8)
                assert [read_last(disk) for disk in disks] == [OK] * QUEUES
    finally:
        call(daemon, "bdev_malloc_resize", name="Malloc0", new_size=8)


def test_another_disk(daemon: Daemon, rings: list[SplitRing]) -> None:
    """Steps: another disk, no disk, the first again. Verify: every queue is on it, or fails."""
    disks = [Blk(ring, 512) for ring in rings]

    def make_and_set(name: str) -> None:
        call(daemon, "bdev_malloc_create", name=name, num_blocks=8 * MIB // 512, block_size=512)
        call(daemon, "vhost_blk_controller_set_bdev", ctrlr="blk.0", bdev_name=name)

    try:
        with moving(daemon):
            for number in range(CHANGES):
                make_and_set(f"other{number}")
                for index, disk in enumerate(disks):
                    # Not before all that went to the old one is done; then it is the new one's.
                    assert disk.write(0, bytes([number, index]) * 256) == OK
                    assert disks[index - 1].read(0, 512) == bytes([number, index]) * 256
                call(daemon, "bdev_delete", name=f"other{number}", force=True)
                for disk in disks:
                    disk.submit(BLK_T_IN, 0, 512, False)
                    assert disk.finish() == IOERR
    finally:
        call(daemon, "vhost_blk_controller_set_bdev", ctrlr="blk.0", bdev_name="Malloc0")
    assert [disk.flush() for disk in disks] == [OK] * QUEUES


def test_memory_is_cut_short(daemon: Daemon, ready: FrontEnd, bystander: Blk) -> None:
    """Rule R9 with queues on two cores: the session ends, nothing else does."""
    with GuestMemory() as doomed:
        ready.share(doomed)
        rings = [SplitRing(doomed, index) for index in range(QUEUES)]
        ready.start(rings)
        assert all(Blk(ring, 512).flush() == OK for ring in rings)
        assert set(cores_of(daemon, "blk.0")) == set(CORES)
        doomed.map.close()
        os.ftruncate(doomed.fd, 0)
        for ring in rings:
            os.eventfd_write(ring.kick_fd, 1)
        assert ready.ended()
        assert bystander.flush() == OK
        daemon.assert_alive()
        for ring in rings:
            ring.close()


def test_a_broken_ring(daemon: Daemon, ready: FrontEnd, rings: list[SplitRing]) -> None:
    """It stands still wherever it is sent, is stopped as any other, and the others go on."""
    rings[1].publish(rings[1].size)
    rings[1].wait_error()
    others = [Blk(ring, 512) for ring in rings if ring is not rings[1]]
    for core in CORES * 3:
        call(daemon, "vhost_controller_set_cpumask", ctrlr="blk.0", cpumask=f"[{core}]")
        wait_for_cores(daemon, "blk.0", [core] * QUEUES)
        assert [disk.flush() for disk in others] == [OK] * len(others)
    (stats,) = call(daemon, "vhost_get_stats", name="blk.0")["controllers"]
    assert stats["queues"][1]["broken"]
    ready.stop(1)
    call(daemon, "vhost_controller_set_cpumask", ctrlr="blk.0")


def test_a_front_end_that_leaves(daemon: Daemon, memory: GuestMemory) -> None:
    """Steps: leave in the middle of moves, again and again. Verify: the next one is served."""
    for _ in range(CHANGES):
        with FrontEnd(daemon.socket("blk.0")) as front:
            front.negotiate()
            front.share(memory)
            rings = [SplitRing(memory, index) for index in range(QUEUES)]
            front.start(rings)
            assert all(Blk(ring, 512).flush() == OK for ring in rings)
            for core in (*CORES, *CORES):
                call(daemon, "vhost_controller_set_cpumask", ctrlr="blk.0", cpumask=f"[{core}]")
        for ring in rings:
            ring.close()
    call(daemon, "vhost_controller_set_cpumask", ctrlr="blk.0")
    until("nothing runs", lambda: cores_of(daemon, "blk.0") == [])
