# SPDX-License-Identifier: BSD-3-Clause
"""Disks that are taken away from controllers, or replaced, under their drivers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import wire
from .daemon import Daemon
from .frontend import BLK_T_GET_ID, BLK_T_IN, BLK_T_OUT, UNTOUCHED, Blk, FrontEnd
from .fuse_file import READ, FuseFile, fuse_file
from .management import Refused, call, controllers
from .memory import GuestMemory, SplitRing
from .scsi import (
    FIRST_REQUEST_QUEUE,
    GOOD,
    REMOVED,
    S_BAD_TARGET,
    T_TRANSPORT_RESET,
    EventQueue,
    ScsiDisk,
)
from .waiting import until

NAME = "mine"
MIB = 1 << 20
OK, IOERR = 0, 1
NOTE = wire.HEADER.pack(wire.BACKEND_CONFIG_CHANGE_MSG, wire.VERSION, 0)


@pytest.fixture(autouse=True)
def controller(daemon: Daemon) -> Iterator[None]:
    """A blk controller on bdev "old" of 1 MiB; "new" has 2 MiB."""
    call(daemon, "bdev_malloc_create", name="old", num_blocks=2048, block_size=512)
    call(daemon, "bdev_malloc_create", name="new", num_blocks=4096, block_size=512)
    call(daemon, "vhost_create_blk_controller", ctrlr=NAME, dev_name="old")
    yield
    call(daemon, "vhost_delete_controller", ctrlr=NAME, force=True)
    until("the controller has gone", lambda: NAME not in controllers(daemon))
    for bdev in call(daemon, "bdev_get_bdevs"):
        if bdev["name"] in ("old", "new"):
            call(daemon, "bdev_delete", name=bdev["name"])


@pytest.fixture
def front(daemon: Daemon, memory: GuestMemory) -> Iterator[FrontEnd]:
    with FrontEnd(daemon.socket(NAME)) as front:
        front.negotiate()
        front.share(memory)
        yield front


@pytest.fixture
def ring(front: FrontEnd, memory: GuestMemory) -> Iterator[SplitRing]:
    ring = SplitRing(memory, 0)
    front.start([ring])
    yield ring
    ring.close()


def status(disk: Blk, kind: int, size: int = 512) -> int:
    disk.submit(kind, 0, size, kind == BLK_T_OUT)
    return disk.finish()


def shown_bdev(daemon: Daemon) -> object:
    (controller,) = call(daemon, "vhost_get_controllers", name=NAME)
    return controller["backend_specific"]["block"]["bdev"]


def wait_for(disk: Blk, contents: bytes) -> None:
    until("the disk with these contents", lambda: disk.read(0, len(contents)) == contents)


def take_away(daemon: Daemon, disk: Blk) -> None:
    call(daemon, "bdev_delete", name="old", force=True)
    until("requests fail", lambda: status(disk, BLK_T_IN) == IOERR)


def test_taken_away(daemon: Daemon, front: FrontEnd, ring: SplitRing, bystander: Blk) -> None:
    disk = Blk(ring, 4096)
    assert disk.write(0, b"o" * 512) == OK
    with pytest.raises(Refused, match="in use by 1 device; 'force' takes it away from it"):
        call(daemon, "bdev_delete", name="old")
    with front.channel() as channel:
        take_away(daemon, disk)
        assert shown_bdev(daemon) is None
        assert status(disk, BLK_T_OUT) == IOERR
        assert disk.flush() == IOERR
        assert status(disk, BLK_T_GET_ID, 20) == OK
        # The guest goes on seeing a disk.
        assert front.capacity() == MIB
        channel.setblocking(False)
        with pytest.raises(BlockingIOError):
            channel.recv(1)
    assert bystander.flush() == OK
    # Its name can be used again, for something else.
    call(daemon, "bdev_null_create", name="old", num_blocks=1, block_size=4096)
    assert status(disk, BLK_T_IN) == IOERR


def test_whoever_connects_later(daemon: Daemon, memory: GuestMemory) -> None:
    """GET_CONFIG must not fail: QEMU would exit."""
    call(daemon, "bdev_delete", name="old", force=True)
    with FrontEnd(daemon.socket(NAME)) as front:
        front.negotiate()
        front.share(memory)
        assert front.capacity() == 0
        assert len(front.ask(wire.get_config(0, 60))) == wire.CONFIG.size + 60
        ring = SplitRing(memory, 0)
        front.start([ring])
        disk = Blk(ring, 512)
        assert status(disk, BLK_T_IN) == IOERR
        with front.channel() as channel:
            call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="new")
            assert channel.recv(100) == NOTE
        assert front.capacity() == 2 * MIB
        assert disk.write(4095, b"n" * 512) == OK
        ring.close()


def test_replaced(daemon: Daemon, front: FrontEnd, ring: SplitRing) -> None:
    """Back and forth, each with its own data, under the same driver."""
    disk = Blk(ring, 4096)
    contents = {"old": b"o" * 512, "new": bytes(512)}
    assert disk.write(0, contents["old"]) == OK
    with front.channel() as channel:
        for count in range(20):
            name = ("new", "old")[count % 2]
            call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name=name)
            assert channel.recv(100) == NOTE
            assert shown_bdev(daemon) == name
            assert front.capacity() == (2 - count % 2) * MIB
            wait_for(disk, contents[name])
            contents[name] = bytes([count + 1]) * 512
            assert disk.write(0, contents[name]) == OK


def test_replaced_after_a_loss(daemon: Daemon, front: FrontEnd, ring: SplitRing) -> None:
    disk = Blk(ring, 4096)
    for _ in range(5):
        take_away(daemon, disk)
        call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="new")
        until("requests succeed", lambda: status(disk, BLK_T_IN) == OK)
        call(daemon, "bdev_malloc_create", name="old", num_blocks=2048, block_size=512)
        call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="old")
        assert status(disk, BLK_T_IN) == OK


@pytest.mark.parametrize(
    ("blocks", "block_size", "reason"),
    [(512, 4096, "its blocks have 4096 bytes, and the guest knows blocks of 512")],
)
def test_one_that_does_not_fit(
    daemon: Daemon, front: FrontEnd, ring: SplitRing, blocks: int, block_size: int, reason: str
) -> None:
    disk = Blk(ring, 4096)
    call(daemon, "bdev_null_create", name="odd", num_blocks=blocks, block_size=block_size)
    with pytest.raises(Refused, match=reason):
        call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="odd")
    assert shown_bdev(daemon) == "old"
    assert status(disk, BLK_T_OUT) == OK
    take_away(daemon, disk)
    with pytest.raises(Refused, match=reason):
        call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="odd")
    assert status(disk, BLK_T_OUT) == IOERR
    call(daemon, "bdev_delete", name="odd")


def test_from_everybody_at_once(
    daemon: Daemon, front: FrontEnd, ring: SplitRing, memory: GuestMemory
) -> None:
    """blk, scsi with and without a front-end."""
    for name in ("s0", "s1"):
        call(daemon, "vhost_create_scsi_controller", ctrlr=name)
        for target in (2, 4):
            call(
                daemon,
                "vhost_scsi_controller_add_target",
                ctrlr=name,
                scsi_target_num=target,
                bdev_name="old",
            )
    with FrontEnd(daemon.socket("s0")) as scsi:
        scsi.negotiate()
        scsi.share(memory)
        events = EventQueue(memory)
        requests = SplitRing(memory, FIRST_REQUEST_QUEUE)
        scsi.start([events.ring, requests])
        events.offer(4)
        second = ScsiDisk(requests, 2, 512)
        assert second.ready().status == GOOD
        with pytest.raises(Refused, match="in use by 5 devices"):
            call(daemon, "bdev_delete", name="old")
        take_away(daemon, Blk(ring, 512))
        events.expect(T_TRANSPORT_RESET, 2, REMOVED)
        events.expect(T_TRANSPORT_RESET, 4, REMOVED)
        assert second.ready().response == S_BAD_TARGET
        events.close()
        requests.close()
    for name in ("s0", "s1"):
        (shown,) = call(daemon, "vhost_get_controllers", name=name)
        assert shown["backend_specific"]["scsi"] == []
        wait_until_free(daemon, name)
        call(daemon, "vhost_delete_controller", ctrlr=name)


def wait_until_free(daemon: Daemon, name: str) -> None:
    def free() -> bool:
        (controller,) = call(daemon, "vhost_get_controllers", name=name)
        return not controller["connected"]

    until("its front-end has gone", free)


def test_under_load(daemon: Daemon, front: FrontEnd, memory: GuestMemory) -> None:
    """Two rings that are never empty: each request ends, and what is not an error is right."""
    rings = [SplitRing(memory, 0), SplitRing(memory, 1)]
    front.start(rings)
    disks = [[Blk(ring, 65536) for _ in range(4)] for ring in rings]
    seen = {OK: 0, IOERR: 0}
    for count in range(60):
        for number, disk in enumerate(d for ring in disks for d in ring):
            disk.submit(BLK_T_OUT, number * 128, 65536, True)
        if count % 3 == 0:
            call(daemon, "bdev_delete", name="old", force=True)
            call(daemon, "bdev_malloc_create", name="old", num_blocks=2048, block_size=512)
        else:
            name = ("old", "new")[count % 2]
            call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name=name)
        for ring, its in zip(rings, disks, strict=True):
            for _ in its:
                ring.wait_used()
            for disk in its:
                assert disk.status() in (OK, IOERR)
                seen[disk.status()] += 1
    assert seen[OK] > 0
    for ring in rings:
        ring.close()


# -- files --


@pytest.fixture
def slow(daemon: Daemon, tmp_path: Path) -> Iterator[FuseFile]:
    """The file behind the controller's disk; READ requests can be held."""
    with fuse_file(tmp_path) as file:
        call(daemon, "bdev_aio_create", name="slow", filename=str(file.path))
        call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="slow")
        yield file
        file.release(READ)
        for bdev in call(daemon, "bdev_get_bdevs"):
            if bdev["name"] == "slow":
                call(daemon, "bdev_delete", name="slow", force=True)
        until("nothing of it is open", lambda: not is_open(daemon, file.path))


def is_open(daemon: Daemon, path: Path) -> bool:
    return str(path) in daemon.fds().values()


def test_its_completions_wake_the_reactor(
    daemon: Daemon, slow: FuseFile, front: FrontEnd, memory: GuestMemory
) -> None:
    """No ring was started since the disk took the place of another."""
    call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="old")
    ring = SplitRing(memory, 0)
    front.start([ring])
    disk = Blk(ring, 4096)
    assert status(disk, BLK_T_OUT, 4096) == OK
    call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="slow")
    for _ in range(3):
        slow.hold(READ)
        disk.submit(BLK_T_IN, 0, 4096, False)
        assert front.alive()
        slow.release(READ)
        assert disk.finish() == OK
    ring.close()


@pytest.mark.parametrize("how", ["taken away", "replaced"])
def test_with_a_request_under_way(
    daemon: Daemon, slow: FuseFile, front: FrontEnd, memory: GuestMemory, how: str
) -> None:
    """It is finished by the old disk; what comes after it waits, and goes to the new one."""
    rings = [SplitRing(memory, 0), SplitRing(memory, 1)]
    front.start(rings)
    call(daemon, "vhost_get_stats")
    stuck, later, other = Blk(rings[0], 4096), Blk(rings[0], 4096), Blk(rings[1], 4096)
    assert status(other, BLK_T_IN, 4096) == OK
    slow.hold(READ)
    stuck.submit(BLK_T_IN, 0, 4096, False)
    until("the daemon has the request", lambda: requests(daemon, 0) == 1)
    if how == "taken away":
        call(daemon, "bdev_delete", name="slow", force=True)
    else:
        call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="new")
        call(daemon, "bdev_delete", name="slow")
    later.submit(BLK_T_OUT, 0, 4096, True)
    # Each queue by itself.
    expected = IOERR if how == "taken away" else OK
    assert status(other, BLK_T_OUT, 4096) == expected
    assert rings[0].used_count() == 0
    assert stuck.status() == later.status() == UNTOUCHED
    assert is_open(daemon, slow.path)
    slow.release(READ)
    rings[0].wait_used()
    rings[0].wait_used()
    assert stuck.status() == OK
    assert later.status() == expected
    until("the file is closed", lambda: not is_open(daemon, slow.path))
    for ring in rings:
        ring.close()


def requests(daemon: Daemon, index: int) -> int:
    (controller,) = call(daemon, "vhost_get_stats", name=NAME)["controllers"]
    return sum(q["requests"] for q in controller["queues"] if q["queue"] == index)


def test_the_front_end_leaves_meanwhile(
    daemon: Daemon, slow: FuseFile, front: FrontEnd, ring: SplitRing
) -> None:
    slow.hold(READ)
    disk = Blk(ring, 4096)
    disk.submit(BLK_T_IN, 0, 4096, False)
    until("the daemon has the request", lambda: requests(daemon, 0) == 1)
    call(daemon, "bdev_delete", name="slow", force=True)
    front.close()
    with FrontEnd(daemon.socket(NAME)) as successor:
        assert successor.silent(0.1)
        slow.release(READ)
        successor.negotiate()
        assert successor.capacity() == 0
        until("the file is closed", lambda: not is_open(daemon, slow.path))
    assert ring.used_count() == 0


def test_the_file_vanishes(
    daemon: Daemon, tmp_path: Path, front: FrontEnd, ring: SplitRing
) -> None:
    """It is cut to nothing under the disk: errors, and another disk helps."""
    path = tmp_path / "file"
    path.write_bytes(bytes(MIB))
    call(daemon, "bdev_aio_create", name="file", filename=str(path))
    call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="file")
    disk = Blk(ring, 4096)
    until("it is there", lambda: shown_bdev(daemon) == "file")
    assert disk.write(8, b"f" * 4096) == OK
    assert path.read_bytes()[4096:8192] == b"f" * 4096
    os.truncate(path, 0)
    path.unlink()
    for _ in range(3):
        assert status(disk, BLK_T_IN, 4096) == IOERR
    with pytest.raises(Refused, match="it is empty"):
        call(daemon, "bdev_aio_rescan", name="file")
    call(daemon, "vhost_blk_controller_set_bdev", ctrlr=NAME, bdev_name="new")
    until("requests succeed", lambda: status(disk, BLK_T_IN) == OK)
    call(daemon, "bdev_delete", name="file")
