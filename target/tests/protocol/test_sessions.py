# SPDX-License-Identifier: BSD-3-Clause
"""Connections that end, stall, come twice or in thousands; the others must not notice."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator

import pytest

from . import recorded, wire
from .connection import connect
from .daemon import Daemon
from .frontend import BLK_T_IN, Blk, Disconnected, FrontEnd
from .memory import GuestMemory, SplitRing
from .waiting import until
from .wire import Message, Request, u64


def features(daemon: Daemon) -> int:
    with FrontEnd(daemon.socket("blk.0")) as front:
        return front.ask_u64(Request.GET_FEATURES) & ~wire.F_RING_EVENT_IDX & ~wire.F_RING_PACKED


def usable(daemon: Daemon, name: str = "blk.0") -> bool:
    """A new front-end can use the disk."""
    with FrontEnd(daemon.socket(name)) as front, GuestMemory() as memory:
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, 0)
        front.start([ring])
        disk = Blk(ring)
        data = b"usable".ljust(4096, b"+")
        result = disk.write(8, data) == 0 and disk.read(8, 4096) == data
        ring.close()
        return result


@pytest.fixture
def played(
    daemon: Daemon, memory: GuestMemory
) -> Iterator[tuple[SplitRing, list[Message], socket.socket]]:
    """The recorded session, its ring, and our end of the channel that it hands over."""
    ring = SplitRing(memory, 0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ring, recorded.session(memory, ring, features(daemon), theirs.fileno()), ours
    ring.close()


Played = tuple[SplitRing, list[Message], socket.socket]


def test_the_recorded_session_works(daemon: Daemon, played: Played) -> None:
    _, messages, _ = played
    assert len(messages) == recorded.LENGTH
    with FrontEnd(daemon.socket("blk.0")) as front:
        for message in messages:
            front.send(message)
            if recorded.answered(message):
                reply = front.reply(message.request)
                assert reply == bytes(8) or message.request in recorded.REPLYING
        assert front.silent(0.05)


@pytest.mark.parametrize("count", range(recorded.LENGTH + 1))
def test_disconnect_at_every_message(
    daemon: Daemon, played: Played, bystander: Blk, count: int
) -> None:
    ring, messages, _ = played
    with FrontEnd(daemon.socket("blk.0")) as front:
        front.send(*messages[:count])
        # It leaves with a request under way, if the ring runs by then.
        Blk(ring).submit(BLK_T_IN, 0, 4096, False)
    assert usable(daemon)


def test_the_recorded_session_in_one_write(daemon: Daemon, played: Played) -> None:
    """Nobody waits for replies: the messages queue up, the answers come in order all the same."""
    _, messages, _ = played
    with FrontEnd(daemon.socket("blk.0")) as front:
        front.send(*messages)
        for message in filter(recorded.answered, messages):
            front.reply(message.request)
        assert front.silent(0.05)


@pytest.mark.parametrize("with_fds", [False, True])
def test_disconnect_at_every_byte(daemon: Daemon, memory: GuestMemory, with_fds: bool) -> None:
    message = wire.mem_table((memory.region,), (memory.fd,))
    fds = message.fds if with_fds else ()
    for count in range(1, len(message.data)):
        with FrontEnd(daemon.socket("blk.0")) as front:
            front.send_bytes(message.data[:count], fds)
    assert usable(daemon)


def test_message_that_stalls_disturbs_nobody(
    daemon: Daemon, memory: GuestMemory, bystander: Blk
) -> None:
    message = wire.mem_table((memory.region,), (memory.fd,))
    with FrontEnd(daemon.socket("blk.0")) as stalled:
        stalled.negotiate()
        stalled.send_bytes(message.data[:5], message.fds)
        begin = time.monotonic()
        for sector in range(32):
            assert bystander.write(sector, bytes(512)) == 0
        assert bystander.write(0, b"bystander".ljust(512, b".")) == 0
        assert time.monotonic() - begin < 5
        assert stalled.silent(0.05)
        stalled.send_bytes(message.data[5:])
        assert stalled.alive()


def test_pieces_of_a_message_make_one(daemon: Daemon, front: FrontEnd) -> None:
    for byte in Message(Request.GET_FEATURES).data:
        front.send_bytes(bytes([byte]))
    assert len(front.reply(Request.GET_FEATURES)) == 8


def test_many_messages_at_once(front: FrontEnd) -> None:
    front.negotiate()
    front.send(*[Message(Request.GET_QUEUE_NUM)] * 100)
    for _ in range(100):
        assert len(front.reply(Request.GET_QUEUE_NUM)) == 8


def test_front_end_that_reads_no_replies(daemon: Daemon, bystander: Blk) -> None:
    """It is dropped when the socket is full; until then nobody waits for it."""
    with FrontEnd(daemon.socket("blk.0")) as deaf:
        data = Message(Request.GET_FEATURES).data * 100
        with pytest.raises(Disconnected):
            for _ in range(10_000):
                deaf.send_bytes(data)
    assert usable(daemon)


def test_message_flood_leaves_time_for_others(daemon: Daemon, bystander: Blk) -> None:
    """T82: the control thread takes turns, and requests do not pass through it at all."""
    with FrontEnd(daemon.socket("blk.0")) as noisy:
        noisy.socket.setblocking(False)
        data = Message(Request.SET_OWNER).data * 200
        slowest = 0.0
        for sector in range(50):
            try:
                while True:
                    noisy.socket.send(data)
            except BlockingIOError:
                pass
            begin = time.monotonic()
            assert bystander.write(sector + 1, bytes(512)) == 0
            slowest = max(slowest, time.monotonic() - begin)
    assert slowest < 1.0


def test_second_front_end_is_refused(daemon: Daemon, front: FrontEnd) -> None:
    """A controller serves one front-end; another one is turned away at once."""
    front.negotiate()
    with FrontEnd(daemon.socket("blk.0")) as second:
        assert second.ended()
    assert front.alive()
    front.close()
    until("the controller is free again", lambda: connects(daemon))


def connects(daemon: Daemon) -> bool:
    with FrontEnd(daemon.socket("blk.0")) as again:
        return again.alive()


def test_next_front_end_after_a_disconnect(daemon: Daemon) -> None:
    """It need not wait or try again: it is served when the one before is cleared away."""
    for _ in range(20):
        assert usable(daemon)


def test_thousand_connects(daemon: Daemon, bystander: Blk) -> None:
    """T81: most are gone before they are accepted."""
    for number in range(1000):
        with connect(daemon.socket("blk.0")) as client:
            if number % 3 == 0:
                client.sendall(Message(Request.GET_FEATURES).data)
    until("the controller is free again", lambda: usable_or_refused(daemon))


def usable_or_refused(daemon: Daemon) -> bool:
    try:
        return usable(daemon)
    except Disconnected:
        return False


def test_connection_that_says_nothing(daemon: Daemon, bystander: Blk) -> None:
    with FrontEnd(daemon.socket("blk.0")) as mute:
        assert bystander.flush() == 0
        assert mute.silent(0.05)


def test_half_closed_connection(daemon: Daemon, front: FrontEnd) -> None:
    """A front-end that has closed its side of the connection is gone."""
    front.negotiate()
    front.socket.shutdown(socket.SHUT_WR)
    assert front.ended()


def test_random_bytes(daemon: Daemon, bystander: Blk) -> None:
    source = random.Random(7)
    for _ in range(200):
        with FrontEnd(daemon.socket("blk.0")) as front:
            try:
                front.send_bytes(source.randbytes(source.randrange(1, 600)))
            except Disconnected:
                continue
    assert usable(daemon)


def test_negotiation_does_not_leak_into_the_next_session(daemon: Daemon) -> None:
    with FrontEnd(daemon.socket("blk.0")) as front:
        front.negotiate()
        assert front.acknowledged(Message(Request.SET_OWNER)) == 0
    with FrontEnd(daemon.socket("blk.0")) as front:
        assert front.ask(wire.get_config(0, 60)) == b""
        front.send(u64(Request.SET_FEATURES, front.ask_u64(Request.GET_FEATURES)))
        front.send(Message(Request.SET_OWNER, flags=wire.NEED_REPLY))
        assert front.silent(0.05)
