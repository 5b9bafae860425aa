# SPDX-License-Identifier: BSD-3-Clause
"""Each message: well formed, of a wrong size, with wrong descriptors, out of order."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from . import wire
from .daemon import Daemon
from .frontend import Disconnected, FrontEnd
from .memory import GuestMemory, SplitRing
from .wire import HEADER, NEED_REPLY, Message, Request, state, u64

# What the specification says of each request: bytes of payload, descriptors.
SHAPES: dict[Request, tuple[range, range]] = {
    Request.GET_FEATURES: (range(1), range(1)),
    Request.SET_FEATURES: (range(8, 9), range(1)),
    Request.SET_OWNER: (range(1), range(1)),
    Request.RESET_OWNER: (range(1), range(1)),
    Request.SET_MEM_TABLE: (range(40, 265), range(1, 9)),
    Request.SET_LOG_BASE: (range(16, 17), range(1, 2)),
    Request.SET_LOG_FD: (range(1), range(1, 2)),
    Request.SET_VRING_NUM: (range(8, 9), range(1)),
    Request.SET_VRING_ADDR: (range(40, 41), range(1)),
    Request.SET_VRING_BASE: (range(8, 9), range(1)),
    Request.GET_VRING_BASE: (range(8, 9), range(1)),
    Request.SET_VRING_KICK: (range(8, 9), range(2)),
    Request.SET_VRING_CALL: (range(8, 9), range(2)),
    Request.SET_VRING_ERR: (range(8, 9), range(2)),
    Request.GET_PROTOCOL_FEATURES: (range(1), range(1)),
    Request.SET_PROTOCOL_FEATURES: (range(8, 9), range(1)),
    Request.GET_QUEUE_NUM: (range(1), range(1)),
    Request.SET_VRING_ENABLE: (range(8, 9), range(1)),
    Request.SET_BACKEND_REQ_FD: (range(1), range(1, 2)),
    Request.GET_CONFIG: (range(12, 269), range(1)),
    Request.SET_CONFIG: (range(12, 269), range(1)),
    Request.GET_INFLIGHT_FD: (range(20, 25), range(1)),
    Request.SET_INFLIGHT_FD: (range(20, 25), range(1, 2)),
    Request.RESET_DEVICE: (range(1), range(1)),
    Request.GET_MAX_MEM_SLOTS: (range(1), range(1)),
    Request.ADD_MEM_REG: (range(40, 41), range(1, 2)),
    Request.REM_MEM_REG: (range(40, 41), range(2)),
    Request.SET_STATUS: (range(8, 9), range(1)),
    Request.GET_STATUS: (range(1), range(1)),
}
UNKNOWN = [*sorted(r.value for r in Request if r not in SHAPES), 0, 77, 2**32 - 1]
WITH_REPLY = {
    Request.GET_FEATURES,
    Request.GET_PROTOCOL_FEATURES,
    Request.GET_QUEUE_NUM,
    Request.GET_VRING_BASE,
    Request.GET_INFLIGHT_FD,
    Request.GET_MAX_MEM_SLOTS,
    Request.GET_STATUS,
}


@pytest.fixture
def eventfd() -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def refused(front: FrontEnd, message: Message) -> None:
    """The request fails in the way that its kind has: nack, empty reply, or end of connection."""
    if message.request == Request.GET_CONFIG:
        assert front.ask(message) == b""
    elif message.request in WITH_REPLY:
        with pytest.raises(Disconnected):
            front.ask(message)
    else:
        assert front.acknowledged(message) != 0
        assert front.alive()


# -- well formed --


def test_features(front: FrontEnd) -> None:
    offered = front.ask_u64(Request.GET_FEATURES)
    assert offered & wire.F_VERSION_1
    assert offered & wire.F_PROTOCOL_FEATURES
    assert front.ask_u64(Request.GET_PROTOCOL_FEATURES) == wire.OFFERED_PROTOCOL_FEATURES
    assert front.ask_u64(Request.GET_QUEUE_NUM) >= 1


def test_scsi_controller_answers_too(daemon: Daemon) -> None:
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate()
        assert front.ask_u64(Request.GET_QUEUE_NUM) >= 3  # control, event, one request queue
        assert len(front.ask(wire.get_config(0, 36))) == 12 + 36


def test_config_space(ready: FrontEnd) -> None:
    reply = ready.ask(wire.get_config(0, 60))
    offset, size, _ = wire.CONFIG.unpack_from(reply)
    assert (offset, size, len(reply)) == (0, 60, 72)
    (capacity,) = struct.unpack_from("<Q", reply, 12)
    assert capacity == 8 * 2048  # 8 MiB
    part = ready.ask(wire.get_config(4, 8))
    assert part[12:] == reply[16:24]
    assert ready.ask(wire.get_config(0, 60, room=0)) == reply
    assert len(ready.ask(wire.get_config(0, 256))) == 268


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 257), (1, 256), (256, 1), (2**32 - 1, 1), (2**32 - 1, 2**32 - 1)]
)
def test_config_beyond_its_space(ready: FrontEnd, offset: int, size: int) -> None:
    assert ready.ask(wire.get_config(offset, size, room=4)) == b""
    assert ready.alive()


def test_set_config_of_what_is_read_only(ready: FrontEnd) -> None:
    before = ready.ask(wire.get_config(0, 60))
    assert ready.acknowledged(wire.set_config(0, b"\xff" * 8)) != 0
    assert ready.acknowledged(wire.set_config(2**32 - 1, b"\xff")) != 0
    assert ready.acknowledged(wire.set_config(0, b"\xff", config_flags=7)) != 0
    lie = wire.CONFIG.pack(0, 200, 0) + b"\xff" * 100
    assert ready.acknowledged(Message(Request.SET_CONFIG, lie)) != 0
    assert ready.ask(wire.get_config(0, 60)) == before


def test_owner_messages(ready: FrontEnd) -> None:
    assert ready.acknowledged(Message(Request.SET_OWNER)) == 0
    assert ready.acknowledged(Message(Request.RESET_OWNER)) == 0


def test_base_of_a_ring_that_never_ran(ready: FrontEnd) -> None:
    assert ready.stop(0) == 0
    assert ready.acknowledged(state(Request.SET_VRING_BASE, 0, 4711)) == 0
    assert ready.stop(0) == 4711


def test_backend_channel(ready: FrontEnd) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert ready.acknowledged(Message(Request.SET_BACKEND_REQ_FD, b"", (theirs.fileno(),))) == 0
        assert ready.alive()


def test_acknowledgement_only_when_negotiated(front: FrontEnd) -> None:
    front.negotiate(protocol=0)
    front.send(Message(Request.SET_OWNER, flags=NEED_REPLY))
    assert front.silent()
    assert front.alive()


# -- sizes and descriptors --


def wrong_sizes(request: Request) -> list[int]:
    sizes, _ = SHAPES[request]
    wanted = {0, sizes.start - 1, sizes.stop, wire.PAYLOAD_MAX}
    return sorted(size for size in wanted if size >= 0 and size not in sizes)


@pytest.mark.parametrize(
    ("request_", "size"),
    [(r, size) for r in SHAPES for size in wrong_sizes(r)],
    ids=lambda value: value.name if isinstance(value, Request) else str(value),
)
def test_wrong_size(ready: FrontEnd, eventfd: int, request_: Request, size: int) -> None:
    _, fds = SHAPES[request_]
    refused(ready, Message(request_, bytes(size), (eventfd,) * fds.start))


@pytest.mark.parametrize(
    ("request_", "count"),
    [(r, n) for r, (_, fds) in SHAPES.items() for n in (0, 1, 2, 8) if n not in fds],
    ids=lambda value: value.name if isinstance(value, Request) else str(value),
)
def test_wrong_number_of_descriptors(
    ready: FrontEnd, eventfd: int, request_: Request, count: int
) -> None:
    sizes, _ = SHAPES[request_]
    refused(ready, Message(request_, bytes(sizes.start), (eventfd,) * count))


@pytest.mark.parametrize("request_", SHAPES, ids=lambda request: request.name)
@pytest.mark.parametrize("count", [9, 28, 253])
def test_more_descriptors_than_any_message_has(
    ready: FrontEnd, eventfd: int, request_: Request, count: int
) -> None:
    sizes, _ = SHAPES[request_]
    ready.send(Message(request_, bytes(sizes.start), (eventfd,) * count))
    assert ready.ended()


@pytest.mark.parametrize("size", [wire.PAYLOAD_MAX + 1, 2**31, 2**32 - 1])
def test_size_beyond_any_message(ready: FrontEnd, size: int) -> None:
    ready.send_bytes(HEADER.pack(Request.SET_CONFIG, wire.VERSION, size) + bytes(64))
    assert ready.ended()


@pytest.mark.parametrize("flags", [0, 2, 3, 1 | wire.REPLY, 1 | 16, 1 | 1 << 31, 2**32 - 1])
def test_header_flags(ready: FrontEnd, flags: int) -> None:
    ready.send_bytes(HEADER.pack(Request.GET_FEATURES, flags, 0))
    assert ready.ended()


def test_failure_without_acknowledgement_ends_the_connection(ready: FrontEnd) -> None:
    ready.send(state(Request.SET_VRING_NUM, 0, 3))
    assert ready.ended()


# -- unknown requests --


@pytest.mark.parametrize("request_", UNKNOWN)
def test_unknown_request(ready: FrontEnd, eventfd: int, request_: int) -> None:
    assert ready.acknowledged(Message(request_, bytes(16), (eventfd,))) != 0
    ready.send(Message(request_, bytes(8)))
    assert ready.alive()
    assert ready.acknowledged(Message(request_, bytes(wire.PAYLOAD_MAX))) != 0


# -- out of order, values out of range --


def test_features_that_were_not_offered(front: FrontEnd) -> None:
    offered = front.ask_u64(Request.GET_FEATURES)
    front.send(u64(Request.SET_FEATURES, offered | 1 << 63))
    assert front.ended()


def test_features_of_a_legacy_driver(daemon: Daemon) -> None:
    """QEMU passes on ANY_LAYOUT, HOTPLUG and CHANGE on its own account."""
    with FrontEnd(daemon.socket("blk.0")) as front:
        front.send(u64(Request.SET_FEATURES, wire.F_PROTOCOL_FEATURES | 1 << 27))
        assert front.alive()
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.send(u64(Request.SET_FEATURES, wire.F_PROTOCOL_FEATURES | 1 << 27 | 1 << 1 | 1 << 2))
        assert front.alive()


def test_protocol_features_that_were_not_offered(front: FrontEnd) -> None:
    front.send(u64(Request.SET_PROTOCOL_FEATURES, 1 << 8))
    assert front.ended()


def test_kick_before_features(front: FrontEnd, eventfd: int) -> None:
    front.send(u64(Request.SET_VRING_CALL, 0, eventfd))
    assert front.alive()
    front.send(u64(Request.SET_VRING_KICK, 0, eventfd))
    assert front.ended()


def test_enable_needs_bit_30(front: FrontEnd) -> None:
    front.negotiate(without=wire.F_PROTOCOL_FEATURES)
    assert front.acknowledged(state(Request.SET_VRING_ENABLE, 0, 1)) != 0


def test_config_needs_its_feature(front: FrontEnd) -> None:
    front.negotiate(protocol=1 << wire.ProtocolFeature.REPLY_ACK)
    assert front.ask(wire.get_config(0, 60)) == b""
    assert front.acknowledged(wire.set_config(32, b"\0")) != 0


def test_channel_needs_its_feature(front: FrontEnd) -> None:
    front.negotiate(protocol=1 << wire.ProtocolFeature.REPLY_ACK)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert front.acknowledged(Message(Request.SET_BACKEND_REQ_FD, b"", (theirs.fileno(),))) != 0


@pytest.mark.parametrize("index", [254, 255, 256, 2**31, 2**32 - 1])
def test_ring_index_beyond_the_device(ready: FrontEnd, eventfd: int, index: int) -> None:
    index = max(index, ready.ask_u64(Request.GET_QUEUE_NUM))
    for request in (Request.SET_VRING_NUM, Request.SET_VRING_BASE, Request.SET_VRING_ENABLE):
        assert ready.acknowledged(state(request, index, 1)) != 0
    addr = Message(Request.SET_VRING_ADDR, wire.ADDR.pack(index, 0, 0, 0, 0, 0))
    assert ready.acknowledged(addr) != 0
    for request in (Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR):
        assert ready.acknowledged(u64(request, index, eventfd)) != 0
    ready.send(state(Request.GET_VRING_BASE, index, 0))
    assert ready.ended()


@pytest.mark.parametrize("num", [0, 3, 1000, 65535, 65536, 2**32 - 1])
def test_ring_size(ready: FrontEnd, num: int) -> None:
    assert ready.acknowledged(state(Request.SET_VRING_NUM, 0, num)) != 0


def test_running_ring_is_not_changed(ready: FrontEnd, ring: SplitRing) -> None:
    assert ready.acknowledged(state(Request.SET_VRING_NUM, 0, 32)) != 0
    assert ready.acknowledged(state(Request.SET_VRING_BASE, 0, 5)) != 0
    assert ready.acknowledged(ring.addr()) != 0
    assert ready.acknowledged(u64(Request.SET_FEATURES, wire.F_PROTOCOL_FEATURES)) != 0
    assert ready.acknowledged(u64(Request.SET_FEATURES, ready.features)) == 0


def open_epoll() -> tuple[int, ...]:
    with select.epoll() as poller:
        return (os.dup(poller.fileno()),)


WRONG_KINDS: dict[str, Callable[[], tuple[int, ...]]] = {
    "pipe": os.pipe,
    "memfd": lambda: (os.memfd_create("guest"),),
    "directory": lambda: (os.open("/", os.O_RDONLY),),
    "terminal-like": lambda: (os.open("/dev/null", os.O_RDWR),),
    "epoll": open_epoll,
}


@pytest.mark.parametrize("kind", WRONG_KINDS)
@pytest.mark.parametrize(
    "request_", [Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR]
)
def test_notifier_that_is_no_eventfd(ready: FrontEnd, request_: Request, kind: str) -> None:
    fds = WRONG_KINDS[kind]()
    assert ready.acknowledged(u64(request_, 0, fds[-1])) != 0
    for fd in fds:
        os.close(fd)


def test_no_descriptor_flag(ready: FrontEnd, eventfd: int) -> None:
    assert ready.acknowledged(u64(Request.SET_VRING_CALL, wire.NO_FD)) == 0
    assert ready.acknowledged(u64(Request.SET_VRING_ERR, wire.NO_FD)) == 0
    assert ready.acknowledged(u64(Request.SET_VRING_KICK, wire.NO_FD)) != 0  # nobody could wake us
    assert ready.acknowledged(u64(Request.SET_VRING_CALL, wire.NO_FD, eventfd)) != 0
    assert ready.acknowledged(u64(Request.SET_VRING_CALL, 0)) != 0
    assert ready.acknowledged(u64(Request.SET_VRING_CALL, 1 << 9, eventfd)) != 0


def test_channel_that_is_no_socket(ready: FrontEnd, eventfd: int) -> None:
    assert ready.acknowledged(Message(Request.SET_BACKEND_REQ_FD, b"", (eventfd,))) != 0


# -- memory tables --


def region(gpa: int, size: int, uva: int, offset: int = 0) -> wire.Region:
    return wire.Region(gpa, size, uva, offset)


BAD_TABLES = {
    "empty region": (region(0, 0, 0x7000),),
    "beyond the file": (region(0, 1 << 22, 0x7000),),
    "offset beyond the file": (region(0, 4096, 0x7000, 1 << 21),),
    "offset wraps": (region(0, 8192, 0x7000, 2**64 - 4096),),
    "guest address wraps": (region(2**64 - 4096, 8192, 0x7000),),
    "user address wraps": (region(0, 8192, 2**64 - 4096),),
    "size wraps": (region(4096, 2**64 - 1, 0x7000),),
    "same twice": (region(0, 4096, 0x7000), region(0, 4096, 0x7000)),
    "guest overlap": (region(0, 8192, 0x10000), region(4096, 8192, 0x20000)),
    "user overlap": (region(0, 8192, 0x10000), region(0x10000, 8192, 0x11000)),
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_bad_memory_table(ready: FrontEnd, memory: GuestMemory, ring: SplitRing, what: str) -> None:
    regions = BAD_TABLES[what]
    fds = (memory.fd,) * len(regions)
    assert ready.acknowledged(wire.mem_table(regions, fds)) != 0
    assert ready.alive()


@pytest.mark.parametrize(("regions", "fds"), [(1, 2), (2, 1), (8, 7), (0, 1)])
def test_memory_table_with_another_number_of_descriptors(
    ready: FrontEnd, memory: GuestMemory, regions: int, fds: int
) -> None:
    table = tuple(region(i << 16, 4096, (i + 1) << 20, i << 12) for i in range(regions))
    message = wire.mem_table(table, (memory.fd,) * fds)
    assert ready.acknowledged(message) != 0


def test_memory_table_that_lies_about_its_length(ready: FrontEnd, memory: GuestMemory) -> None:
    good = wire.mem_table((memory.region,), (memory.fd,))
    for claimed in (0, 2, 8, 9, 2**32 - 1):
        payload = struct.pack("=II", claimed, 0) + good.payload[8:]
        assert ready.acknowledged(Message(Request.SET_MEM_TABLE, payload, good.fds)) != 0


def test_memory_of_eight_regions(ready: FrontEnd, memory: GuestMemory) -> None:
    table = tuple(region(i << 16, 4096, (i + 1) << 20, i << 12) for i in range(8))
    assert ready.acknowledged(wire.mem_table(table, (memory.fd,) * 8)) == 0


@pytest.mark.parametrize("kind", ["pipe", "directory", "terminal-like"])
def test_memory_that_is_none(ready: FrontEnd, kind: str) -> None:
    fds = WRONG_KINDS[kind]()
    table = wire.mem_table((region(0, 4096, 0x7000),), (fds[-1],))
    assert ready.acknowledged(table) != 0
    for fd in fds:
        os.close(fd)
