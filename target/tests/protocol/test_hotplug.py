# SPDX-License-Identifier: BSD-3-Clause
"""SCSI targets that come and go while a front-end is connected."""

from __future__ import annotations

import itertools
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import wire
from .daemon import Daemon
from .frontend import FrontEnd
from .fuse_file import READ, FuseFile, fuse_file
from .management import Refused, call, controllers, open_connection
from .memory import GuestMemory, SplitRing
from .scsi import (
    F_CHANGE,
    F_HOTPLUG,
    FIRST_REQUEST_QUEUE,
    GOOD,
    REMOVED,
    RESCAN,
    S_BAD_TARGET,
    S_OK,
    T_EVENTS_MISSED,
    T_TRANSPORT_RESET,
    EventQueue,
    ScsiDisk,
    read_10,
    write_10,
)
from .waiting import until
from .wire import F_RING_EVENT_IDX, Request, state

NAME = "plug"
NEW = 3


@pytest.fixture(autouse=True)
def controller(daemon: Daemon) -> Iterator[None]:
    """A controller with one disk, "first", on target 0; "second" is there to be added."""
    for bdev in ("first", "second"):
        call(daemon, "bdev_malloc_create", name=bdev, num_blocks=2048, block_size=512)
    call(daemon, "vhost_create_scsi_controller", ctrlr=NAME)
    add(daemon, 0, "first")
    yield
    call(daemon, "vhost_delete_controller", ctrlr=NAME, force=True)
    until("the controller has gone", lambda: NAME not in controllers(daemon))
    for bdev in ("first", "second"):
        call(daemon, "bdev_delete", name=bdev)


class Guest:
    """A connection with the event queue and one request queue running."""

    def __init__(self, daemon: Daemon, without: int = F_RING_EVENT_IDX) -> None:
        self.memory = GuestMemory(1 << 24)
        self.front = FrontEnd(daemon.socket(NAME))
        self.front.negotiate(without)
        self.front.share(self.memory)
        self.ring = SplitRing(self.memory, FIRST_REQUEST_QUEUE)
        self.events = EventQueue(self.memory)
        self.front.start([self.events.ring, self.ring])

    def disk(self, target: int) -> ScsiDisk:
        return ScsiDisk(self.ring, target, room=4096)

    def another_ring(self) -> SplitRing:
        ring = SplitRing(self.memory, FIRST_REQUEST_QUEUE + 1)
        self.front.start([ring])
        return ring

    def close(self) -> None:
        self.front.close()
        self.ring.close()
        self.events.close()
        self.memory.__exit__(None, None, None)


@pytest.fixture
def guest(daemon: Daemon) -> Iterator[Guest]:
    guest = Guest(daemon)
    guest.events.offer(8)
    yield guest
    guest.close()


def add(daemon: Daemon, target: int, bdev: str) -> None:
    call(
        daemon,
        "vhost_scsi_controller_add_target",
        ctrlr=NAME,
        scsi_target_num=target,
        bdev_name=bdev,
    )


def remove(daemon: Daemon, target: int) -> None:
    call(daemon, "vhost_scsi_controller_remove_target", ctrlr=NAME, scsi_target_num=target)


def gone(disk: ScsiDisk) -> bool:
    return disk.ready().response == S_BAD_TARGET


def delivered(daemon: Daemon) -> tuple[int, int]:
    (controller,) = call(daemon, "vhost_get_stats", name=NAME)["controllers"]
    return controller["events"]["delivered"], controller["events"]["missed"]


def test_added_and_removed(daemon: Daemon, guest: Guest) -> None:
    disk = guest.disk(NEW)
    assert gone(disk)
    add(daemon, NEW, "second")
    guest.events.expect(T_TRANSPORT_RESET, NEW, RESCAN)
    assert disk.ready().status == GOOD
    assert disk.run(write_10(7, 8), data_out=b"n" * 4096).status == GOOD
    assert disk.run(read_10(7, 8), data_in=4096).data == b"n" * 4096
    with pytest.raises(Refused, match="occupied by second"):
        add(daemon, NEW, "first")
    remove(daemon, NEW)
    guest.events.expect(T_TRANSPORT_RESET, NEW, REMOVED)
    assert gone(disk)
    # Its data is as it was when it is added again.
    add(daemon, NEW, "second")
    guest.events.expect(T_TRANSPORT_RESET, NEW, RESCAN)
    assert disk.run(read_10(7, 8), data_in=4096).data == b"n" * 4096
    guest.events.nothing()
    assert guest.disk(0).ready().status == GOOD
    assert delivered(daemon) == (3, 0)


def test_with_an_index_for_events(daemon: Daemon) -> None:
    """EVENT_IDX: the driver is called for each event that it waits for."""
    guest = Guest(daemon, without=0)
    used_event = guest.events.ring.avail + 4 + 2 * guest.events.ring.size
    guest.events.offer(4)
    for count in range(2):
        guest.memory.write(used_event, (2 * count).to_bytes(2, "little"))
        add(daemon, NEW, "second")
        guest.events.expect(T_TRANSPORT_RESET, NEW, RESCAN)
        guest.memory.write(used_event, (2 * count + 1).to_bytes(2, "little"))
        remove(daemon, NEW)
        guest.events.expect(T_TRANSPORT_RESET, NEW, REMOVED)
    guest.close()


def test_a_driver_without_events(daemon: Daemon) -> None:
    guest = Guest(daemon, without=F_RING_EVENT_IDX | F_HOTPLUG)
    guest.events.offer(8)
    first, second = guest.disk(0), guest.disk(NEW)
    assert first.ready().status == GOOD
    add(daemon, NEW, "second")
    until("the new disk is there", lambda: not gone(second))
    assert first.ready().condition == (6, 0x3F, 0x0E)
    assert first.ready().status == GOOD
    remove(daemon, NEW)
    until("the new disk has gone", lambda: gone(second))
    assert first.ready().status == GOOD
    guest.events.nothing()
    assert delivered(daemon) == (0, 0)
    guest.close()


def test_events_wait_for_buffers(daemon: Daemon) -> None:
    """And for a ring: what happens while it is stopped is told when it runs again."""
    guest = Guest(daemon)
    add(daemon, NEW, "second")
    remove(daemon, 0)
    until("target 0 has gone", lambda: gone(guest.disk(0)))
    guest.events.nothing()
    guest.events.offer(1)
    guest.events.expect(T_TRANSPORT_RESET, 0, REMOVED)
    base = guest.front.stop(guest.events.ring.index)
    assert base == 1
    add(daemon, 0, "first")
    until("target 0 is back", lambda: not gone(guest.disk(0)))
    guest.events.offer(4)
    guest.front.start([guest.events.ring])
    guest.events.expect(T_TRANSPORT_RESET, 0, RESCAN)
    guest.events.expect(T_TRANSPORT_RESET, NEW, RESCAN)
    guest.events.nothing()
    # The buffers that are left are in the ring.
    assert guest.front.stop(guest.events.ring.index) == 3
    guest.close()


def test_missed_events(daemon: Daemon) -> None:
    guest = Guest(daemon)
    disk = guest.disk(NEW)
    add(daemon, NEW, "second")
    until("it is there", lambda: not gone(disk))
    remove(daemon, NEW)
    until("it has gone", lambda: gone(disk))
    guest.events.offer(4)
    assert guest.events.next() == (T_EVENTS_MISSED, bytes(8), 0)
    remove(daemon, 0)
    guest.events.expect(T_TRANSPORT_RESET, 0, REMOVED)
    assert delivered(daemon) == (1, 1)
    guest.close()


def test_useless_buffers(daemon: Daemon) -> None:
    """Case T63: they come back empty, the event waits for another, the other queues go on."""
    guest = Guest(daemon)
    for size, writable in ((15, True), (16, False), (1, True)):
        guest.events.offer(1, size, writable)
    add(daemon, NEW, "second")
    for _ in range(3):
        guest.events.useless()
    assert guest.disk(0).ready().status == GOOD
    guest.events.offer(1)
    guest.events.expect(T_TRANSPORT_RESET | T_EVENTS_MISSED, NEW, RESCAN)
    (stats,) = call(daemon, "vhost_get_stats", name=NAME)["controllers"]
    (queue,) = (q for q in stats["queues"] if q["queue"] == guest.events.ring.index)
    assert queue["malformed"] == 3 and queue["broken"] is None
    guest.close()


def test_nobody_was_there(daemon: Daemon) -> None:
    """What happened between two sessions is no event: a driver looks at all targets first."""
    guest = Guest(daemon)
    remove(daemon, 0)
    until("target 0 has gone", lambda: gone(guest.disk(0)))
    guest.close()
    until("the session is over", lambda: not connected(daemon))
    add(daemon, NEW, "second")
    guest = Guest(daemon)
    guest.events.offer(4)
    assert gone(guest.disk(0))
    assert guest.disk(NEW).ready().status == GOOD
    guest.events.nothing()
    add(daemon, 0, "first")
    guest.events.expect(T_TRANSPORT_RESET, 0, RESCAN)
    guest.close()


def connected(daemon: Daemon) -> bool:
    (controller,) = call(daemon, "vhost_get_controllers", name=NAME)
    return bool(controller["connected"])


def test_before_any_ring_runs(daemon: Daemon, memory: GuestMemory) -> None:
    with FrontEnd(daemon.socket(NAME)) as front:
        front.negotiate()
        front.share(memory)
        add(daemon, NEW, "second")
        remove(daemon, 0)
        ring = SplitRing(memory, FIRST_REQUEST_QUEUE)
        front.start([ring])
        assert gone(ScsiDisk(ring, 0, 512))
        assert ScsiDisk(ring, NEW, 512).ready().status == GOOD
        ring.close()


def test_under_load(daemon: Daemon, guest: Guest) -> None:
    """A disk works on while others come and go under it; those end with all that they took."""
    rounds = 60
    stop = threading.Event()
    failures: list[object] = []

    def load() -> None:
        disk = ScsiDisk(guest.another_ring(), 0, 65536)
        count = 0
        while not stop.is_set():
            data = bytes([count % 251]) * 65536
            if disk.run(write_10(128, 128), data_out=data).status != GOOD:
                failures.append("write")
            answer = disk.run(read_10(128, 128), data_in=65536)
            if answer.data != data:
                failures.append(answer.status)
            count += 1
        disk.ring.close()
        if count < 2:
            failures.append("no load")

    thread = threading.Thread(target=load)
    thread.start()
    try:
        others = [guest.disk(target) for target in (NEW, 7)]
        for _ in range(rounds):
            for disk in others:
                add(daemon, disk.target, "second")
                guest.events.expect(T_TRANSPORT_RESET, disk.target, RESCAN)
                assert disk.run(read_10(0, 8), data_in=4096).status == GOOD
                disk.submit(read_10(0, 8), data_in=4096)
                remove(daemon, disk.target)
                answer = disk.finish()
                assert (answer.response, answer.status) in ((S_OK, GOOD), (S_BAD_TARGET, GOOD))
                guest.events.expect(T_TRANSPORT_RESET, disk.target, REMOVED)
                assert gone(disk)
                guest.events.offer(2)
    finally:
        stop.set()
        thread.join()
    assert not failures
    guest.events.nothing()
    assert delivered(daemon) == (4 * rounds, 0)


# -- a disk that keeps a request --


@pytest.fixture
def slow(daemon: Daemon, tmp_path: Path, guest: Guest) -> Iterator[FuseFile]:
    """The file behind bdev "slow", which is target NEW."""
    with fuse_file(tmp_path) as file:
        call(daemon, "bdev_aio_create", name="slow", filename=str(file.path))
        add(daemon, NEW, "slow")
        guest.events.expect(T_TRANSPORT_RESET, NEW, RESCAN)
        yield file
        file.release(READ)
        until("nothing of the disk is open", lambda: not is_open(daemon, file))


def is_open(daemon: Daemon, file: FuseFile) -> bool:
    return str(file.path) in daemon.fds().values()


def stuck(guest: Guest, slow: FuseFile) -> ScsiDisk:
    slow.hold(READ)
    disk = ScsiDisk(guest.another_ring(), NEW, 4096)
    disk.submit(read_10(0, 8), data_in=4096)
    return disk


def taken(daemon: Daemon, index: int) -> bool:
    (controller,) = call(daemon, "vhost_get_stats", name=NAME)["controllers"]
    queues = {q["queue"]: q["requests"] for q in controller["queues"]}
    return bool(queues.get(index))


def wait_until_taken(daemon: Daemon) -> None:
    until("the daemon has the request", lambda: taken(daemon, FIRST_REQUEST_QUEUE + 1))


def test_its_completions_wake_the_reactor(daemon: Daemon, guest: Guest, slow: FuseFile) -> None:
    """No ring was started since it was added."""
    disk = guest.disk(NEW)
    for _ in range(3):
        slow.hold(READ)
        disk.submit(read_10(0, 8), data_in=4096)
        assert guest.front.alive()
        slow.release(READ)
        assert disk.finish().status == GOOD
    remove(daemon, NEW)
    guest.events.expect(T_TRANSPORT_RESET, NEW, REMOVED)
    call(daemon, "bdev_delete", name="slow")


def test_a_removal_waits_for_requests(daemon: Daemon, guest: Guest, slow: FuseFile) -> None:
    disk = stuck(guest, slow)
    wait_until_taken(daemon)
    remove(daemon, NEW)
    other = guest.disk(NEW)
    until("it takes no more commands", lambda: gone(other))
    guest.events.nothing()
    assert guest.disk(0).ready().status == GOOD
    # Its bdev and its number are free all the same.
    call(daemon, "bdev_delete", name="slow")
    add(daemon, NEW, "second")
    assert gone(other)
    guest.events.nothing()
    assert is_open(daemon, slow)
    # Other changes need not wait.
    add(daemon, 5, "first")
    guest.events.expect(T_TRANSPORT_RESET, 5, RESCAN)
    assert guest.disk(5).ready().status == GOOD

    slow.release(READ)
    assert disk.finish().status == GOOD
    guest.events.expect(T_TRANSPORT_RESET, NEW, REMOVED)
    guest.events.expect(T_TRANSPORT_RESET, NEW, RESCAN)
    assert other.ready().status == GOOD
    until("the file is closed", lambda: not is_open(daemon, slow))
    disk.ring.close()


@pytest.mark.parametrize("last", [True, False])
def test_a_front_end_leaves_during_a_removal(
    daemon: Daemon, guest: Guest, slow: FuseFile, last: bool
) -> None:
    """The ring with the request is the last one to stop, or another one stops after it."""
    idle = SplitRing(guest.memory, FIRST_REQUEST_QUEUE + (0 if last else 2))
    if not last:
        guest.front.start([idle])
    disk = stuck(guest, slow)
    wait_until_taken(daemon)
    remove(daemon, NEW)
    until("it takes no more commands", lambda: gone(guest.disk(NEW)))
    call(daemon, "bdev_delete", name="slow")
    guest.front.close()
    slow.release(READ)
    until("the session is over", lambda: not connected(daemon))
    until("the file is closed", lambda: not is_open(daemon, slow))
    disk.ring.close()
    idle.close()
    again = Guest(daemon)
    again.events.offer(2)
    assert gone(again.disk(NEW))
    again.events.nothing()
    again.close()


def test_a_ring_starts_during_a_removal(daemon: Daemon, guest: Guest, slow: FuseFile) -> None:
    """Those that were told of it stop before it is over; the new one has to see to it."""
    disk = guest.disk(NEW)
    slow.hold(READ)
    disk.submit(read_10(0, 8), data_in=4096)
    until("the daemon has the request", lambda: taken(daemon, FIRST_REQUEST_QUEUE))
    remove(daemon, NEW)
    call(daemon, "bdev_delete", name="slow")
    ring = guest.another_ring()
    late = ScsiDisk(ring, NEW, 4096)
    assert gone(late)
    guest.front.stop(guest.events.ring.index)
    guest.front.send(state(Request.GET_VRING_BASE, FIRST_REQUEST_QUEUE, 0))
    # When both of its threads have answered, the ring is being stopped.
    call(daemon, "log_get_level")
    assert gone(late)
    slow.release(READ)
    guest.front.reply(Request.GET_VRING_BASE)
    assert disk.finish().status == GOOD
    until("the file is closed", lambda: not is_open(daemon, slow))
    assert gone(late)
    add(daemon, NEW, "second")
    until("another one has its number", lambda: not gone(late))
    ring.close()


def test_deleted_by_force_during_a_removal(daemon: Daemon, guest: Guest, slow: FuseFile) -> None:
    disk = stuck(guest, slow)
    wait_until_taken(daemon)
    remove(daemon, NEW)
    call(daemon, "bdev_delete", name="slow")
    call(daemon, "vhost_delete_controller", ctrlr=NAME, force=True)
    slow.release(READ)
    assert disk.finish().response in (S_OK, S_BAD_TARGET)
    assert guest.front.ended()
    until("the controller has gone", lambda: NAME not in controllers(daemon))
    until("the file is closed", lambda: not is_open(daemon, slow))
    disk.ring.close()
    call(daemon, "vhost_create_scsi_controller", ctrlr=NAME)


def test_the_offer_is_what_it_was(daemon: Daemon) -> None:
    """QEMU sets these bits whatever is offered."""
    with FrontEnd(daemon.socket(NAME)) as front:
        offered = front.ask_u64(wire.Request.GET_FEATURES)
        assert offered & (F_HOTPLUG | F_CHANGE) == F_HOTPLUG | F_CHANGE


def test_a_target_that_cannot_be_opened(daemon: Daemon, guest: Guest, tmp_path: Path) -> None:
    """No descriptor for its completions: it is not there, everything else is."""
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    call(daemon, "bdev_aio_create", name="file", filename=str(path))
    pid = daemon.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with open_connection(daemon) as connection:
        connection.call("log_get_level", {})
        # The connection has the last one.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free(daemon), limits[1]))
        try:
            params = {"ctrlr": NAME, "scsi_target_num": NEW, "bdev_name": "file"}
            assert connection.call("vhost_scsi_controller_add_target", params) == NEW
            complaint = "target 3 is removed again: its bdev cannot be opened"
            until("it is removed again", lambda: complaint in daemon.log_tail())
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert NEW not in targets(daemon)
    assert gone(guest.disk(NEW))
    guest.events.nothing()
    assert guest.disk(0).ready().status == GOOD
    add(daemon, NEW, "file")
    guest.events.expect(T_TRANSPORT_RESET, NEW, RESCAN)
    assert guest.disk(NEW).ready().status == GOOD
    remove(daemon, NEW)
    guest.events.expect(T_TRANSPORT_RESET, NEW, REMOVED)
    call(daemon, "bdev_delete", name="file")


def lowest_free(daemon: Daemon) -> int:
    used = {int(fd) for fd in daemon.fds()}
    return next(fd for fd in itertools.count() if fd not in used)


def targets(daemon: Daemon) -> list[int]:
    (controller,) = call(daemon, "vhost_get_controllers", name=NAME)
    return [t["id"] for t in controller["backend_specific"]["scsi"]]
