# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors that make whoever has them wait: closing them, looking at them, reading them."""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from . import wire
from .daemon import Daemon
from .frontend import Blk, FrontEnd
from .fuse_file import FLUSH, GETATTR, READ, fuse_file
from .management import call
from .memory import GuestMemory, SplitRing
from .waiting import until
from .wire import NEED_REPLY, Message, Request, u64

LINGER_S = 3
PROMPT_S = 1.0
"""What the others may have to wait."""


@contextmanager
def lingering_socket() -> Iterator[int]:
    """A TCP connection whose last close(2) waits for LINGER_S; the caller's to close."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_S))
        client.setblocking(False)
        with peer:
            try:
                while True:
                    client.send(bytes(65536))
            except BlockingIOError:
                pass
            yield client.detach()


@contextmanager
def asleep(daemon: Daemon) -> Iterator[None]:
    """What is sent and closed meanwhile has no other owner when the daemon finds it."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def check_prompt(daemon: Daemon, bystander: Blk) -> None:
    """The disk of another guest, management, and new connections."""
    begin = time.monotonic()
    assert bystander.flush() == 0
    assert call(daemon, "vhost_get_controllers")
    with FrontEnd(daemon.socket("scsi.0")) as other:
        assert other.alive()
    assert time.monotonic() - begin < PROMPT_S


@pytest.mark.parametrize("request_", [Request.SET_VRING_CALL, Request.SET_BACKEND_REQ_FD])
def test_a_socket_that_lingers(
    daemon: Daemon, ready: FrontEnd, bystander: Blk, request_: Request
) -> None:
    payload = bytes(8) if request_ == Request.SET_VRING_CALL else b""
    with lingering_socket() as fd:
        with asleep(daemon):
            ready.send(Message(request_, payload, (fd,), NEED_REPLY))
            os.close(fd)
        assert ready.reply(request_) != bytes(8)
        check_prompt(daemon, bystander)
        # Only its own session waits.
        assert ready.alive()


def test_more_than_a_message_may_have(daemon: Daemon, ready: FrontEnd, bystander: Blk) -> None:
    with lingering_socket() as fd:
        with asleep(daemon):
            ready.send_bytes(Message(Request.SET_OWNER).data, (fd,) * 20)
            os.close(fd)
        check_prompt(daemon, bystander)
        assert ready.ended()


def test_messages_that_nobody_reads(daemon: Daemon, ready: FrontEnd, bystander: Blk) -> None:
    """The connection ends at the first, the second is still in the socket."""
    with lingering_socket() as fd:
        with asleep(daemon):
            ready.send_bytes(wire.HEADER.pack(Request.SET_OWNER, 0, 0))
            ready.send_bytes(Message(Request.SET_OWNER).data, (fd,))
            os.close(fd)
        assert ready.ended()
        ready.close()
        check_prompt(daemon, bystander)


@pytest.mark.parametrize("operation", [GETATTR, READ, FLUSH], ids=["size", "data", "close"])
def test_memory_whose_server_sleeps(
    daemon: Daemon, front: FrontEnd, bystander: Blk, tmp_path: Path, operation: int
) -> None:
    """Guest memory on FUSE: nobody but that guest may have to wait for its server."""
    front.negotiate()
    region = wire.Region(0x100000, 1 << 20, 0x7F0000000000)
    with fuse_file(tmp_path) as file:
        fd = os.open(file.path, os.O_RDWR | os.O_CLOEXEC)
        file.hold(operation)
        front.send(wire.mem_table((region,), (fd,), NEED_REPLY))
        assert front.reply(Request.SET_MEM_TABLE) != bytes(8)
        check_prompt(daemon, bystander)
    # Without its server the file can be closed.
    with suppress(OSError):
        os.close(fd)
    assert front.alive()


def test_memory_on_a_disk(daemon: Daemon, front: FrontEnd, tmp_path: Path) -> None:
    """Slow, but it works."""
    path = tmp_path / "memory"
    path.write_bytes(bytes(1 << 20))
    front.negotiate()
    with path.open("r+b") as file:
        region = wire.Region(0, 1 << 20, 0x7000_0000)
        assert front.acknowledged(wire.mem_table((region,), (file.fileno(),))) == 0


def test_a_process_without_room_for_more(tmp_path: Path) -> None:
    """Whoever sends descriptors loses his connection, and the log says why; the others go on."""
    with (
        Daemon(tmp_path) as daemon,
        FrontEnd(daemon.socket("blk.0")) as front,
        FrontEnd(daemon.socket("blk.1")) as other,
    ):
        front.negotiate()
        assert other.alive()
        pid = daemon.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        numbers = {int(fd) for fd in daemon.fds()}
        lowest_free = next(n for n in range(len(numbers) + 1) if n not in numbers)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        eventfd = os.eventfd(0)
        front.send(u64(Request.SET_VRING_CALL, 0, eventfd))
        os.close(eventfd)
        assert front.ended()
        assert other.alive()
        reason = "the connection was ended: its descriptors find no room: too many open files"
        until("the log says why", lambda: reason in daemon.log_tail())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        with FrontEnd(daemon.socket("blk.0")) as again:
            assert again.alive()


def test_descriptors_of_one_guest_are_not_missed_by_another(tmp_path: Path) -> None:
    """The daemon starts with few and has as many as it needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 256:
        pytest.skip(f"the hard limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        daemon = Daemon(tmp_path)
        daemon.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with FrontEnd(daemon.socket("blk.0")) as greedy, GuestMemory() as memory:
        greedy.negotiate()
        eventfd = os.eventfd(0)
        for index in range(greedy.ask_u64(Request.GET_QUEUE_NUM)):
            for request in (Request.SET_VRING_CALL, Request.SET_VRING_ERR):
                assert greedy.acknowledged(u64(request, index, eventfd)) == 0
        os.close(eventfd)
        assert len(daemon.fds()) > 64
        with FrontEnd(daemon.socket("blk.1")) as other:
            other.negotiate()
            other.share(memory)
            ring = SplitRing(memory, 0)
            other.start([ring])
            assert Blk(ring).flush() == 0
            ring.close()
    daemon.terminate()
