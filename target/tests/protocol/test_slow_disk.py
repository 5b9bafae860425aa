# SPDX-License-Identifier: BSD-3-Clause
"""A disk that keeps a request, and what happens to everything else meanwhile."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import wire
from .daemon import Daemon
from .frontend import BLK_T_GET_ID, BLK_T_IN, UNTOUCHED, Blk, Elsewhere, FrontEnd
from .fuse_file import READ, FuseFile, fuse_file
from .management import Refused, call, controllers
from .memory import GuestMemory, Segment, SplitRing
from .waiting import until
from .wire import NEED_REPLY, Request, state

NAME = "slow"


@pytest.fixture
def file(daemon: Daemon, tmp_path: Path) -> Iterator[FuseFile]:
    """The file behind controller "slow"; its server answers again before all of it is deleted."""
    with fuse_file(tmp_path) as file:
        call(daemon, "bdev_aio_create", name="slow", filename=str(file.path))
        call(daemon, "vhost_create_blk_controller", ctrlr=NAME, dev_name="slow")
        yield file
        file.release(READ)
        if NAME in controllers(daemon):
            call(daemon, "vhost_delete_controller", ctrlr=NAME, force=True)
        until("the controller has gone", lambda: NAME not in controllers(daemon))
        call(daemon, "bdev_delete", name="slow")


@pytest.fixture
def front(daemon: Daemon, file: FuseFile, memory: GuestMemory) -> Iterator[FrontEnd]:
    with FrontEnd(daemon.socket(NAME)) as front:
        front.negotiate()
        front.share(memory)
        yield front


@pytest.fixture
def rings(front: FrontEnd, memory: GuestMemory) -> Iterator[list[SplitRing]]:
    """Two rings of the slow disk, both running."""
    rings = [SplitRing(memory, 0), SplitRing(memory, 1)]
    front.start(rings)
    yield rings
    for ring in rings:
        ring.close()


def get_id(ring: SplitRing) -> Blk:
    """A request that the disk has nothing to do with."""
    disk = Blk(ring, 512)
    disk.submit(BLK_T_GET_ID, 0, 20, False)
    return disk


def stuck_read(daemon: Daemon, file: FuseFile, ring: SplitRing) -> Blk:
    file.hold(READ)
    disk = Blk(ring, 4096)
    disk.submit(BLK_T_IN, 0, 4096, False)
    until("the daemon has the request", lambda: requests(daemon, ring.index) == 1)
    return disk


def requests(daemon: Daemon, index: int) -> int:
    (controller,) = call(daemon, "vhost_get_stats", name=NAME)["controllers"]
    return sum(q["requests"] for q in controller["queues"] if q["queue"] == index)


def connected(daemon: Daemon) -> bool:
    (controller,) = call(daemon, "vhost_get_controllers", name=NAME)
    return bool(controller["connected"])


def test_the_other_ring_goes_on(
    daemon: Daemon, file: FuseFile, front: FrontEnd, rings: list[SplitRing], bystander: Blk
) -> None:
    disk = stuck_read(daemon, file, rings[0])
    for _ in range(5):
        assert get_id(rings[1]).finish() == 0
    assert bystander.flush() == 0
    # A drain holds up this session only.
    front.send(state(Request.GET_VRING_BASE, 0, 0))
    assert get_id(rings[1]).finish() == 0
    assert bystander.flush() == 0
    assert front.silent(0.05)
    file.release(READ)
    assert front.reply(Request.GET_VRING_BASE)[4:] == b"\1\0\0\0"
    assert disk.finish() == 0


@pytest.mark.parametrize("draining", [False, True])
def test_nothing_happens_for_a_front_end_that_left(
    daemon: Daemon, file: FuseFile, front: FrontEnd, rings: list[SplitRing], draining: bool
) -> None:
    """While its last request is waited for, its rings stay as they are: a successor has them."""
    stuck = stuck_read(daemon, file, rings[0])
    assert get_id(rings[1]).finish() == 0
    if draining:
        front.send(state(Request.GET_VRING_BASE, 0, 0))
        assert front.silent(0.05)
    front.close()
    with FrontEnd(daemon.socket(NAME)) as successor:
        # It waits, so the daemon has seen the end of the first.
        assert successor.silent(0.1)
        later = get_id(rings[1])
        assert successor.silent(0.1)
        assert rings[1].used_count() == 0 and later.status() == UNTOUCHED
        assert requests(daemon, 1) == 1
        file.release(READ)
        assert successor.alive()
    # It was carried out in the end, and nobody was told.
    assert rings[0].used_count() == 0 and stuck.status() == 0
    assert rings[1].used_count() == 0


def test_deleted_by_force(
    daemon: Daemon, file: FuseFile, front: FrontEnd, rings: list[SplitRing], bystander: Blk
) -> None:
    """Name and disk stay in use until the last request is finished, which is then published."""
    disk = stuck_read(daemon, file, rings[0])
    assert call(daemon, "vhost_delete_controller", ctrlr=NAME, force=True) is True
    assert not daemon.socket(NAME).exists()
    for force in (True, False):
        with pytest.raises(Refused, match="is being deleted"):
            call(daemon, "vhost_delete_controller", ctrlr=NAME, force=force)
    with pytest.raises(Refused, match="is being deleted"):
        call(daemon, "vhost_create_blk_controller", ctrlr=NAME, dev_name="Malloc0")
    with pytest.raises(Refused, match="in use"):
        call(daemon, "bdev_delete", name="slow")
    assert bystander.flush() == 0
    assert front.silent(0.05)
    file.release(READ)
    assert disk.finish() == 0
    assert front.ended()
    until("the controller has gone", lambda: NAME not in controllers(daemon))


def test_new_memory_table(
    daemon: Daemon,
    file: FuseFile,
    front: FrontEnd,
    rings: list[SplitRing],
    memory: GuestMemory,
) -> None:
    """The acknowledgement comes when nothing uses the old memory any more."""
    disk = stuck_read(daemon, file, rings[0])
    front.send(wire.mem_table((memory.region,), (memory.fd,), NEED_REPLY))
    assert front.silent(0.1)
    file.release(READ)
    assert front.reply(Request.SET_MEM_TABLE) == bytes(8)
    assert disk.finish() == 0
    assert get_id(rings[0]).finish() == 0


@pytest.mark.parametrize("leaves", [False, True])
def test_memory_is_taken_from_under_a_request(
    daemon: Daemon, file: FuseFile, front: FrontEnd, rings: list[SplitRing], leaves: bool
) -> None:
    """T71: the acknowledgement comes when it is no longer in use; everything else goes on."""
    with GuestMemory(1 << 16, 0x40000000, 0x7E0000000000) as more:
        front.add(more)
        file.hold(READ)
        disk = Elsewhere(rings[0])
        disk.submit(BLK_T_IN, 0, [Segment(more.gpa(0), 4096, True)])
        until("the daemon has the request", lambda: requests(daemon, 0) == 1)
        mappings = daemon.guest_mappings()
        front.send(wire.rem_region(more.region, flags=NEED_REPLY))
        for ring in (*rings, *rings):
            assert get_id(ring).finish() == 0
        assert front.silent(0.1)
        assert daemon.guest_mappings() == mappings
        if leaves:
            front.close()
        file.release(READ)
        if not leaves:
            assert front.reply(Request.REM_MEM_REG) == bytes(8)
            disk.finish()
            assert daemon.guest_mappings() == mappings - 1


@pytest.mark.parametrize(
    "request_", [wire.Message(Request.RESET_DEVICE), wire.u64(Request.SET_STATUS, 0)]
)
def test_reset_waits_for_requests(
    daemon: Daemon,
    file: FuseFile,
    front: FrontEnd,
    rings: list[SplitRing],
    request_: wire.Message,
) -> None:
    disk = stuck_read(daemon, file, rings[0])
    front.send(wire.Message(request_.request, request_.payload, flags=NEED_REPLY))
    assert front.silent(0.1)
    assert rings[0].used_count() == 0
    file.release(READ)
    assert front.reply(request_.request) == bytes(8)
    assert rings[0].used_count() == 1 and disk.status() == 0


def test_the_daemon_ends_all_the_same(tmp_path: Path) -> None:
    """It waits a little for the request, then goes: sockets are removed, the status says so."""
    (tmp_path / "files").mkdir()
    with fuse_file(tmp_path / "files") as file, GuestMemory() as memory:
        daemon = Daemon(tmp_path)
        daemon.__enter__()
        call(daemon, "bdev_aio_create", name="slow", filename=str(file.path))
        call(daemon, "vhost_create_blk_controller", ctrlr=NAME, dev_name="slow")
        with FrontEnd(daemon.socket(NAME)) as front:
            front.negotiate()
            front.share(memory)
            ring = SplitRing(memory, 0)
            front.start([ring])
            stuck_read(daemon, file, ring)
            begin = time.monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            until("the sockets have gone", lambda: not daemon.socket(NAME).exists())
            until("it has given up", lambda: "did not come back" in daemon.log_tail())
            assert 0.5 < time.monotonic() - begin < 5
            assert not list(tmp_path.glob("*.sock")) and not list(tmp_path.glob("*.[0-9]"))
            # The kernel holds the process until the request has been answered.
            file.release(READ)
            assert daemon.process.wait(10) == 1
            ring.close()
