# SPDX-License-Identifier: BSD-3-Clause
"""Planned hand-overs: another process goes on with everything, and front-ends see a pause.

The one that hands over is our child; the one that takes over becomes it when the other has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest

from . import wire
from .connection import listens
from .daemon import CONFIG, CONTROLLERS, SANITIZER, Daemon, binary
from .frontend import Blk, FrontEnd
from .management import Refused, call, open_connection
from .memory import GuestMemory, SplitRing
from .scsi import (
    EVENT_QUEUE,
    FIRST_REQUEST_QUEUE,
    GOOD,
    RESCAN,
    T_TRANSPORT_RESET,
    EventQueue,
    ScsiDisk,
)
from .successor import CANNOT, HEADER, START, STEPS
from .test_cores import CORES, cores_of, wait_for_cores
from .test_migration import ApartDisk, Log, give, logging, pages
from .waiting import DEADLINE_S, until
from .wire import LOG_PAGE, Request

PR_SET_CHILD_SUBREAPER = 36
SUCCESSOR = Path(__file__).with_name("successor.py")
START_DEADLINE_S = 60.0
MAGIC = 0x4F485456
BLOCK = 512
NOTE = wire.HEADER.pack(wire.BACKEND_CONFIG_CHANGE_MSG, wire.VERSION, 0)


class Generations(Daemon):
    """A daemon and its successors, of which the last must end in order."""

    def __enter__(self) -> Self:
        assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        super().__enter__()
        self.pid = self.process.pid
        return self

    def status(self) -> dict[str, Any]:
        return dict(call(self, "handover_get_status"))

    def wait_status(self) -> dict[str, Any]:
        """What has become of the hand-over that is under way."""
        until("its end", lambda: self.status()["state"] != "running", START_DEADLINE_S)
        return self.status()

    def hand_over(self, by_signal: bool = False) -> dict[str, Any]:
        """Hands over; returns the successor's status."""
        if by_signal:
            os.kill(self.pid, signal.SIGUSR2)
            until("another process", lambda: self.status()["pid"] != self.pid, START_DEADLINE_S)
        else:
            call(self, "handover")
        return self.handed_over()

    def handed_over(self) -> dict[str, Any]:
        """The hand-over that was begun has succeeded."""
        status = self.wait_status()
        assert status["state"] == "done", f"{status}\n{self.log_tail()}"
        assert status["longest_pause_ms"] >= status["pause_ms"]
        assert self._wait(self.pid) == 0, self.log_tail()
        self.pid = status["pid"]
        return status

    def _wait(self, pid: int) -> int:
        """The exit status of one of them."""
        if pid == self.process.pid:
            return self.process.wait(DEADLINE_S)
        pidfd = os.pidfd_open(pid)
        try:
            ended, _, _ = select.select([pidfd], [], [], DEADLINE_S)
            assert ended, f"process {pid} does not end:\n{self.log_tail()}"
        finally:
            os.close(pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def kill(self) -> None:
        """Whoever was started is ended, also one that nobody has waited for."""
        super().kill()
        for pid in re.findall(r"handing over to process (\d+)", self.log.read_text()):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(int(pid), signal.SIGKILL)
                os.waitpid(int(pid), 0)

    def terminate(self, deadline_s: float = 20.0) -> float:
        if self.pid == self.process.pid:
            return super().terminate(deadline_s)
        os.kill(self.pid, signal.SIGTERM)
        assert self._wait(self.pid) == 0, self.log_tail()
        assert not [name for name in CONTROLLERS if self.socket(name).exists()]
        return 0.0

    def kinds_of_fds(self) -> Counter[str]:
        links = Path(f"/proc/{self.pid}/fd").iterdir()
        return Counter(re.sub(r"\d+", "N", str(link.readlink())) for link in links)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Generations]:
    """In place of the shared one: it does not stay the process that it was."""
    with Generations(tmp_path) as daemon:
        yield daemon


def fake(daemon: Generations, at: str, how: str) -> str:
    """A program that fails at this step of a hand-over."""
    script = daemon.directory / f"{at}-{how}"
    script.write_text(f"#!/bin/sh\nFAIL_AT={at} FAIL_HOW={how} exec {SUCCESSOR}\n")
    script.chmod(0o755)
    return str(script)


def fails(daemon: Generations, at: str, how: str) -> str:
    """The reason why a hand-over has failed; the daemon is the one that it was."""
    call(daemon, "handover", binary=fake(daemon, at, how))
    status = daemon.wait_status()
    assert status["state"] == "failed", status
    assert status["pid"] == daemon.pid
    return str(status["reason"])


def pattern(sector: int, turn: int) -> bytes:
    return struct.pack("<QQ", sector, turn) * (BLOCK // 16)


class Writer(threading.Thread):
    """A driver that writes and reads back, one request after the other, until it is told to end."""

    def __init__(self, disk: Blk) -> None:
        super().__init__()
        self._disk = disk
        self._enough = threading.Event()
        self.turns = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                sector = self.turns * 7 % 1024
                assert self._disk.write(sector, pattern(sector, self.turns)) == 0
                assert self._disk.read(sector, BLOCK) == pattern(sector, self.turns)
                self.turns += 1
        except BaseException as error:
            self.error = error

    def goes_on(self) -> None:
        """Requests are served, from now on too."""
        before = self.turns
        until("requests", lambda: self.turns > before + 2)

    def end(self) -> None:
        self._enough.set()
        self.join()
        if self.error is not None:
            raise self.error


def sessions(daemon: Generations) -> int:
    (controller,) = call(daemon, "vhost_get_controllers", name="blk.0")
    assert controller["connected"]
    return int(controller["sessions_accepted"])


def test_requests_go_on(daemon: Generations, ready: FrontEnd, ring: SplitRing) -> None:
    """One front-end writes and reads without a break while five processes serve it in turn."""
    disk = Blk(ring, 4096)
    accepted = sessions(daemon)
    other = pattern(2000, 0)
    assert disk.write(2000, other) == 0
    writer = Writer(disk)
    writer.start()
    try:
        for turn in range(5):
            status = daemon.hand_over(by_signal=turn % 2 == 1)
            assert 0 < status["pause_ms"] < 5000
            writer.goes_on()
    finally:
        writer.end()
    # What nobody has touched is there still, and nobody had to connect again.
    assert disk.read(2000, BLOCK) == other
    assert ready.alive()
    assert sessions(daemon) == accepted
    assert status["count"] == 5
    (stats,) = call(daemon, "vhost_get_stats", name="blk.0")["controllers"]
    assert stats["queues"][0]["requests"] >= 2 * writer.turns


def test_the_configuration_goes_along(daemon: Generations) -> None:
    """What the file says, and what was made, changed and deleted since."""
    file = daemon.directory / "file"
    file.write_bytes(bytes(1 << 20))
    call(daemon, "bdev_malloc_create", name="M", num_blocks=2048, block_size=4096)
    call(daemon, "bdev_malloc_resize", name="M", num_blocks=1024)
    call(daemon, "bdev_null_create", name="N", num_blocks=1000, block_size=512)
    call(daemon, "bdev_aio_create", name="A", filename=str(file), readonly=True)
    call(daemon, "bdev_malloc_create", name="gone", num_blocks=8, block_size=512)
    make = "vhost_create_blk_controller"
    call(daemon, make, ctrlr="m", dev_name="M", serial="S" * 20, queues=2)
    call(daemon, make, ctrlr="lost", dev_name="gone", cpumask="0x1", readonly=True)
    call(daemon, "bdev_delete", name="gone", force=True)
    call(daemon, "vhost_create_scsi_controller", ctrlr="s", queues=3)
    for target, bdev in enumerate("NA"):
        call(
            daemon,
            "vhost_scsi_controller_add_target",
            ctrlr="s",
            scsi_target_num=target + 2,
            bdev_name=bdev,
        )
    call(daemon, "vhost_delete_controller", ctrlr="blk.1")
    file.unlink()  # the open file is what counts
    shown = ("bdev_get_bdevs", "vhost_get_controllers", "vhost_get_stats", "log_get_level")
    before = [call(daemon, method) for method in shown]
    daemon.hand_over()
    daemon.hand_over()
    assert [call(daemon, method) for method in shown] == before
    # It is not for show only.
    call(daemon, "bdev_malloc_resize", name="M", num_blocks=4096)
    call(daemon, "vhost_blk_controller_set_bdev", ctrlr="lost", bdev_name="N")
    call(daemon, "vhost_delete_controller", ctrlr="m")
    assert not daemon.socket("m").exists()
    call(daemon, make, ctrlr="m", dev_name="M")
    with FrontEnd(daemon.socket("m")) as front, GuestMemory() as memory:
        front.negotiate()
        front.share(memory)
        assert front.capacity() == 4096 * 4096
    with FrontEnd(daemon.socket("lost")) as front:
        front.negotiate()
        assert front.capacity() == 1000 * 512
    for name in ("m", "lost", "s"):
        call(daemon, "vhost_delete_controller", ctrlr=name, force=True)


def test_a_message_in_halves(daemon: Generations, front: FrontEnd, memory: GuestMemory) -> None:
    """What a front-end has sent of a message is not lost, with the descriptor of it."""
    front.negotiate()
    table = wire.mem_table((memory.region,), (memory.fd,))
    data = wire.HEADER.pack(table.request, wire.VERSION | wire.NEED_REPLY, len(table.payload))
    data += table.payload
    front.send_bytes(data[:20], table.fds)
    daemon.hand_over()
    assert front.silent()
    front.send_bytes(data[20:])
    assert front.reply(table.request) == bytes(8)
    ring = SplitRing(memory, 0)
    front.start([ring])
    assert Blk(ring).flush() == 0
    ring.close()


def test_a_channel_goes_along(daemon: Generations, ready: FrontEnd) -> None:
    """The driver hears of changes by the successor; features and status are what they were."""
    with ready.channel() as channel:
        ready.send(wire.u64(Request.SET_STATUS, 0x0F))
        daemon.hand_over()
        assert ready.ask_u64(Request.GET_STATUS) == 0x0F
        call(daemon, "bdev_malloc_resize", name="Malloc0", num_blocks=8192)
        assert channel.recv(100) == NOTE
    assert ready.capacity() == 8192 * BLOCK


def test_regions_go_along(daemon: Generations, front: FrontEnd) -> None:
    """Memory that came piece by piece, and can be taken away in the successor."""
    front.negotiate()
    with GuestMemory() as first, GuestMemory(gpa=0x1000000, uva=0x7E0000000000) as second:
        front.add(first)
        front.add(second)
        ring = SplitRing(first, 0)
        front.start([ring])
        disk = Blk(ring)
        assert disk.flush() == 0
        daemon.hand_over()
        assert disk.flush() == 0
        front.remove(second)
        assert disk.flush() == 0
        ring.close()


def test_the_log_goes_along(daemon: Generations, ready: FrontEnd, memory: GuestMemory) -> None:
    """A guest that is being moved hears of each page that the successor writes to."""
    ring = SplitRing(memory, 0)
    ring.used = memory.alloc(LOG_PAGE, LOG_PAGE)
    memory.alloc(0, LOG_PAGE)
    ready.start([ring])
    disk = ApartDisk(ring)
    status, used = pages(memory, disk.status, 1), pages(memory, ring.used, 1)
    with Log(memory, offset=LOG_PAGE) as log:
        give(ready, log)
        logging(ready, True, ring)
        assert disk.read(0, 0, BLOCK) == 0
        for turn in range(2):
            daemon.hand_over()
            log.clear()
            assert disk.read(0, turn * LOG_PAGE, BLOCK) == 0
            data = pages(memory, disk.data + turn * LOG_PAGE, BLOCK)
            assert log.pages() == data | status | used
        logging(ready, False, ring)
        daemon.hand_over()
        log.clear()
        assert disk.read(0, 0, BLOCK) == 0
        assert log.pages() == set()
    ring.close()


@pytest.mark.skipif(len(CORES) < 2, reason="this machine has one processor")
def test_queues_stay_on_their_cores(tmp_path: Path, memory: GuestMemory) -> None:
    """Those that were moved, too, in the successor and when there is none in the end."""
    config = CONFIG.replace("0x1", f"[{CORES[0]},{CORES[1]}]")
    with Generations(tmp_path, config) as daemon, FrontEnd(daemon.socket("blk.0")) as front:
        front.negotiate()
        front.share(memory)
        rings = [SplitRing(memory, index) for index in range(4)]
        front.start(rings)
        disks = [Blk(ring, BLOCK) for ring in rings]
        assert [disk.flush() for disk in disks] == [0] * 4  # they run
        there = CORES[1], CORES[1], CORES[1], CORES[0]
        for index, core in enumerate(there):
            call(daemon, "vhost_controller_move_queue", ctrlr="blk.0", queue=index, lcore=core)
        wait_for_cores(daemon, "blk.0", list(there))
        for _ in range(2):
            daemon.hand_over()
            assert cores_of(daemon, "blk.0") == list(there)
            assert fails(daemon, "sessions", "exit")
            wait_for_cores(daemon, "blk.0", list(there))
            assert [disk.flush() for disk in disks] == [0] * 4
        for ring in rings:
            ring.close()


def test_a_ring_stops_and_starts(daemon: Generations, ready: FrontEnd, ring: SplitRing) -> None:
    """Bases go along: of a ring that runs, and of one that was stopped."""
    disk = Blk(ring)
    for _ in range(3):
        assert disk.flush() == 0
    daemon.hand_over()
    assert ready.stop(0) == 3
    daemon.hand_over()
    assert ready.stop(0) == 3
    ready.start([ring])
    assert disk.flush() == 0
    assert ready.stop(0) == 4


def test_a_broken_ring_stays_broken(
    daemon: Generations, ready: FrontEnd, ring: SplitRing, bystander: Blk
) -> None:
    """A hand-over mends nothing: the driver has to reset its device."""
    ready.send(wire.u64(Request.SET_STATUS, 0x0F))
    ring.publish(ring.size)
    ring.wait_error()
    daemon.hand_over()
    assert bystander.flush() == 0
    assert ready.ask_u64(Request.GET_STATUS) == 0x4F
    ready.stop(0)
    ring.avail_idx = ring.used_idx = 0
    ring.memory.write(ring.avail, bytes(4))
    ring.memory.write(ring.used, bytes(4))
    ready.start([ring])
    assert Blk(ring).flush() == 0
    assert ready.ask_u64(Request.GET_STATUS) == 0x0F


def test_events_go_along(daemon: Generations, memory: GuestMemory) -> None:
    """What a SCSI driver has yet to hear of, it hears from the successor."""
    call(daemon, "bdev_null_create", name="N", num_blocks=64, block_size=512)
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, FIRST_REQUEST_QUEUE)
        events = EventQueue(memory)
        front.start([events.ring, ring])
        disk = ScsiDisk(ring)
        assert disk.ready().status == GOOD
        call(
            daemon,
            "vhost_scsi_controller_add_target",
            ctrlr="scsi.0",
            scsi_target_num=5,
            bdev_name="N",
        )
        call(daemon, "bdev_malloc_resize", name="Malloc2", num_blocks=2048)
        daemon.hand_over()
        assert disk.ready().condition == (6, 0x2A, 0x09)
        assert disk.ready().status == GOOD
        assert ScsiDisk(ring, 5).capacity() == 64 * 512
        events.offer(2)
        seen = {events.next() for _ in range(2)}
        assert (T_TRANSPORT_RESET, bytes([1, 5, 0, 0, 0, 0, 0, 0]), RESCAN) in seen
        assert front.stop(EVENT_QUEUE) == 2
        events.close()
        ring.close()


def test_management_goes_along(daemon: Generations) -> None:
    """A client stays connected; half a request is completed in the successor."""
    half = b'{"jsonrpc": "2.0", "id": 7, "method": "handover_'
    with open_connection(daemon) as connection, open_connection(daemon) as other:
        assert connection.call("handover_get_status", {})["state"] == "never"
        other.send(half)
        daemon.hand_over()
        assert connection.call("handover_get_status", {})["pid"] == daemon.pid
        other.send(b'get_status"}')
        assert other.receive()["result"]["pid"] == daemon.pid


def test_every_request_is_answered(daemon: Generations) -> None:
    """Whichever process a client meets, and at whatever moment."""
    enough = threading.Event()
    answers: Counter[str] = Counter()

    def ask() -> None:
        while not enough.is_set():
            answers[daemon.status()["state"]] += 1

    def stay_and_ask() -> None:
        with open_connection(daemon) as connection:
            while not enough.is_set():
                answers[connection.call("handover_get_status", {})["state"]] += 1

    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(work) for work in (ask, ask, stay_and_ask, stay_and_ask)]
        try:
            for _ in range(5):
                daemon.hand_over()
        finally:
            enough.set()
        for client in clients:
            client.result()
    assert set(answers) <= {"never", "running", "done"}


def test_a_front_end_that_leaves(daemon: Generations, memory: GuestMemory) -> None:
    """One that goes away at any moment of it leaves the disk to the next."""
    for _ in range(3):
        with FrontEnd(daemon.socket("blk.0")) as front:
            front.negotiate()
            front.share(memory)
            ring = SplitRing(memory, 0)
            front.start([ring])
            assert Blk(ring).flush() == 0
            call(daemon, "handover")
        daemon.handed_over()
        ring.close()


# ---- successors that fail ----


@pytest.mark.parametrize("how", ["exit", "kill", "say", "nonsense"])
def test_failures(daemon: Generations, ready: FrontEnd, ring: SplitRing, how: str) -> None:
    """At each step before the last: nobody notices, and the next attempt may succeed."""
    reasons = {
        "exit": "the new process ended with status 5",
        "kill": "the new process was ended by signal 9",
        "say": "this one has no wish to",
        "nonsense": "the new process says what makes no sense",
    }
    writer = Writer(Blk(ring, 4096))
    writer.start()
    try:
        for step in STEPS[:-2]:
            assert fails(daemon, step, how) == reasons[how]
            writer.goes_on()
        daemon.hand_over()
        writer.goes_on()
    finally:
        writer.end()
    assert ready.alive()


def test_failure_with_the_word(daemon: Generations, ready: FrontEnd, ring: SplitRing) -> None:
    """The successor had the rings: front-ends connect again, as after the death of a target."""
    assert Blk(ring).flush() == 0
    assert "signal 9" in fails(daemon, "go", "kill")
    assert ready.ended()
    with FrontEnd(daemon.socket("blk.0")) as front:
        front.negotiate()
        front.share(ring.memory)
        front.start([ring])
        assert Blk(ring).flush() == 0


def test_no_program(daemon: Generations) -> None:
    with pytest.raises(Refused, match="cannot start /no/such: No such file"):
        call(daemon, "handover", binary="/no/such")
    assert daemon.status()["state"] == "never"
    daemon.hand_over()


def test_one_at_a_time(daemon: Generations) -> None:
    """A second one is refused; a target that ends, ends, with the successor that is on its way."""
    call(daemon, "handover", binary=fake(daemon, "start", "hang"))
    with pytest.raises(Refused, match="a hand-over is under way"):
        call(daemon, "handover")
    assert daemon.status()["state"] == "running"
    assert daemon.terminate() < DEADLINE_S


def test_one_that_hangs(daemon: Generations, ring: SplitRing) -> None:
    """Guests wait a bounded time for a successor that says nothing any more."""
    disk = Blk(ring)
    assert disk.flush() == 0
    assert "in time" in fails(daemon, "sessions", "hang")
    assert disk.flush() == 0


@pytest.mark.parametrize("version", [0, 2, 0xFFFFFFFF])
def test_another_version(version: int) -> None:
    """A successor that does not know the format says so, and ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(START_DEADLINE_S)
        env = {**os.environ, **SANITIZER, "VHOST_HANDOVER_FD": str(theirs.fileno())}
        process = subprocess.Popen([binary()], pass_fds=[theirs.fileno()], env=env)
        theirs.close()
        ours.send(HEADER.pack(START, 0) + struct.pack("<II", MAGIC, version))
        kind, _ = HEADER.unpack_from(answer := ours.recv(1 << 16))
        assert kind == CANNOT
        assert b"the old process hands over in format" in answer
        assert process.wait(DEADLINE_S) == 1


def test_sockets_are_the_successors(daemon: Generations) -> None:
    """The one that ends leaves its sockets alone; they are there all the time."""
    inodes = {name: daemon.socket(name).stat().st_ino for name in CONTROLLERS}
    daemon.hand_over()
    assert {name: daemon.socket(name).stat().st_ino for name in CONTROLLERS} == inodes
    assert all(listens(daemon.socket(name)) for name in CONTROLLERS)


def test_nothing_is_left_open(daemon: Generations, ready: FrontEnd, ring: SplitRing) -> None:
    """Descriptors are as many in the third process as in the second."""
    assert Blk(ring).flush() == 0
    daemon.hand_over()
    assert Blk(ring).flush() == 0
    before = daemon.kinds_of_fds()
    daemon.hand_over()
    assert Blk(ring).flush() == 0
    until("the same descriptors", lambda: daemon.kinds_of_fds() == before)
