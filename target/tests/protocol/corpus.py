# SPDX-License-Identifier: BSD-3-Clause
"""Seeds of the fuzzers of messages and sessions, made from the recorded session.

`python -m protocol.corpus` in target/tests writes them to target/fuzz/corpus. Their formats are
those that fuzz_codec.c, fuzz_session.c and replay.c describe.
"""

from __future__ import annotations

import struct
from pathlib import Path

from . import recorded, wire
from .memory import GuestMemory, SplitRing
from .wire import HEADER, NEED_REPLY, NO_FD, Message, Request, state, u64

DIRECTORY = Path(__file__).resolve().parents[2] / "fuzz" / "corpus"
FEATURES = wire.F_VERSION_1 | wire.F_PROTOCOL_FEATURES

# Kinds of descriptors, see replay.c.
EVENTFD, MEMORY, SMALL_MEMORY, PIPE, SOCKET, OTHER = range(6)
KIND = {
    Request.SET_MEM_TABLE: MEMORY,
    Request.SET_BACKEND_REQ_FD: SOCKET,
    Request.ADD_MEM_REG: MEMORY,
    Request.SET_INFLIGHT_FD: MEMORY,
    Request.SET_LOG_BASE: MEMORY,
}

DELAYED, START_FAILS, NO_CONFIG, CLOSE_IN_START, MEM_FAILS = 1, 2, 4, 8, 16


def kinds(message: Message) -> bytes:
    """The descriptor bytes of one message."""
    kind = next((KIND[r] for r in KIND if r == message.request), EVENTFD)
    return bytes([len(message.fds)] + [kind] * len(message.fds))


def record(messages: list[Message], descriptors: bytes | None = None) -> bytes:
    """What the replay transport takes."""
    if descriptors is None:
        descriptors = b"".join(kinds(message) for message in messages)
    stream = b"".join(message.data for message in messages)
    return struct.pack("<H", len(descriptors)) + descriptors + stream


def session(options: int, schedule: bytes, messages: list[Message]) -> bytes:
    return bytes([options, len(schedule)]) + schedule + record(messages)


def two_rings(memory: GuestMemory) -> list[Message]:
    """Rings with acknowledgements, calls swapped, kicks replaced, stopped one by one."""
    first, second = SplitRing(memory, 0, 8), SplitRing(memory, 3, 16)
    messages = [
        u64(Request.SET_PROTOCOL_FEATURES, wire.OFFERED_PROTOCOL_FEATURES),
        u64(Request.SET_FEATURES, FEATURES, flags=NEED_REPLY),
        recorded.table(memory),
        *first.setup(),
        *second.setup(),
        u64(Request.SET_VRING_CALL, 3, second.call_fd, flags=NEED_REPLY),
        u64(Request.SET_VRING_CALL, 0 | NO_FD),
        u64(Request.SET_VRING_KICK, 3, second.kick_fd),
        u64(Request.SET_VRING_ERR, 0, first.err_fd),
        recorded.table(memory),
        state(Request.SET_VRING_ENABLE, 0, 0, NEED_REPLY),
        state(Request.SET_VRING_NUM, 3, 8, NEED_REPLY),
        state(Request.GET_VRING_BASE, 3, 0),
        state(Request.SET_VRING_ENABLE, 0, 1),
        wire.set_config(32, b"\1", NEED_REPLY),
        wire.get_config(0, 60),
    ]
    first.close()
    second.close()
    return messages


def slots(memory: GuestMemory) -> list[Message]:
    """Regions come and go under two rings, one of which loses its memory for a while; a reset."""
    first, second = SplitRing(memory, 0, 8), SplitRing(memory, 1, 8)
    half = memory.size // 2
    here = wire.Region(memory.region.gpa, half, memory.region.uva)
    more = wire.Region(memory.region.gpa + half, half, memory.region.uva + half, half)
    negotiation = [
        u64(Request.SET_PROTOCOL_FEATURES, wire.OFFERED_PROTOCOL_FEATURES),
        u64(Request.SET_FEATURES, FEATURES),
        Message(Request.GET_MAX_MEM_SLOTS),
    ]
    messages = [
        *negotiation,
        wire.add_region(here, memory.fd, NEED_REPLY),
        *first.setup(),
        *second.setup(),
        u64(Request.SET_STATUS, 15, flags=NEED_REPLY),
        wire.add_region(more, memory.fd, NEED_REPLY),
        wire.rem_region(here, flags=NEED_REPLY),
        wire.add_region(here, memory.fd, NEED_REPLY),
        wire.rem_region(more, memory.fd, flags=NEED_REPLY),
        wire.rem_region(more, flags=NEED_REPLY),
        wire.add_region(here, memory.fd, NEED_REPLY),
        Message(Request.GET_STATUS),
        Message(Request.RESET_DEVICE, b"", (), NEED_REPLY),
        *negotiation,
        *first.setup(),
        u64(Request.SET_STATUS, 0),
        wire.rem_region(here),
        Message(Request.GET_STATUS),
        state(Request.GET_VRING_BASE, 0, 0),
    ]
    first.close()
    second.close()
    return messages


def inflight(memory: GuestMemory) -> list[Message]:
    """An in-flight area that comes and goes, under a ring and beside it."""
    ring = SplitRing(memory, 0)
    messages = [
        u64(Request.SET_PROTOCOL_FEATURES, wire.OFFERED_PROTOCOL_FEATURES),
        u64(Request.SET_FEATURES, FEATURES),
        Message(Request.GET_INFLIGHT_FD, wire.INFLIGHT.pack(0, 0, 2, 128)),
        wire.set_inflight(1 << 16, 4096, 2, 128, memory.fd, NEED_REPLY),
        wire.mem_table((memory.region,), (memory.fd,), NEED_REPLY),
        *ring.setup(),
        wire.set_inflight(1 << 16, 0, 2, 128, memory.fd, NEED_REPLY),
        state(Request.GET_VRING_BASE, 0, 0),
        wire.set_inflight(1 << 30, 0, 1, 128, memory.fd, NEED_REPLY),
        wire.set_inflight(1 << 16, 0, 1, 16, memory.fd, NEED_REPLY),
        *ring.setup(),
        Message(Request.RESET_DEVICE, b"", (), NEED_REPLY),
    ]
    ring.close()
    return messages


def migration(memory: GuestMemory) -> list[Message]:
    """A log that comes, grows, is shared out and goes, under one ring and before the other."""
    first, second = SplitRing(memory, 0, 8), SplitRing(memory, 1, 8)
    log_all = FEATURES | wire.F_LOG_ALL
    messages = [
        u64(Request.SET_PROTOCOL_FEATURES, wire.OFFERED_PROTOCOL_FEATURES),
        u64(Request.SET_FEATURES, FEATURES),
        wire.mem_table((memory.region,), (memory.fd,), NEED_REPLY),
        *first.setup(),
        wire.set_log(64, 0, memory.fd),
        u64(Request.SET_FEATURES, log_all, flags=NEED_REPLY),
        first.addr(wire.VRING_F_LOG, memory.gpa(0)),
        *second.setup(),
        wire.set_log(4096, 8192, memory.fd),
        Message(Request.SET_LOG_FD, b"", (first.call_fd,), NEED_REPLY),
        Message(Request.SET_LOG_FD, b"", (second.call_fd,)),
        wire.set_log(63, 0, memory.fd, NEED_REPLY),
        second.addr(wire.VRING_F_LOG, memory.gpa(4096)),
        u64(Request.SET_FEATURES, FEATURES, flags=NEED_REPLY),
        state(Request.GET_VRING_BASE, 0, 0),
        u64(Request.SET_FEATURES, log_all, flags=NEED_REPLY),
        state(Request.GET_VRING_BASE, 1, 0),
        *first.setup(),
        Message(Request.RESET_DEVICE, b"", (), NEED_REPLY),
        u64(Request.SET_FEATURES, log_all, flags=NEED_REPLY),
        *second.setup(),
    ]
    first.close()
    second.close()
    return messages


def refused() -> list[Message]:
    """One message after the other that is turned down."""
    return [
        u64(Request.SET_PROTOCOL_FEATURES, wire.OFFERED_PROTOCOL_FEATURES),
        u64(Request.SET_FEATURES, FEATURES),
        Message(Request.SET_INFLIGHT_FD, bytes(24), (0,), NEED_REPLY),
        Message(Request.ADD_MEM_REG, bytes(40), (0,), NEED_REPLY),
        Message(Request.REM_MEM_REG, bytes(40), (), NEED_REPLY),
        u64(Request.SET_STATUS, 256, flags=NEED_REPLY),
        Message(Request.VRING_KICK, bytes(8), (), NEED_REPLY),
        state(Request.SET_VRING_NUM, 0, 3, NEED_REPLY),
        state(Request.SET_VRING_BASE, 0, 1 << 16, NEED_REPLY),
        state(Request.SET_VRING_ENABLE, 0, 2, NEED_REPLY),
        u64(Request.SET_VRING_KICK, NO_FD, flags=NEED_REPLY),
        wire.get_config(200, 100, room=0),
        wire.set_config(2**32 - 1, b"\1\2", NEED_REPLY),
        wire.mem_table((wire.Region(0, 4096, 0),) * 2, (0, 0), NEED_REPLY),
        Message(Request.SET_CONFIG, bytes(2), (), NEED_REPLY),
    ]


def seeds() -> dict[str, bytes]:
    """Path under the corpus: content."""
    with GuestMemory(size=1 << 20) as memory:
        ring = SplitRing(memory, 0)
        blk = recorded.session(memory, ring, FEATURES, 0)
        ring.close()
        several = two_rings(memory)
    with GuestMemory(size=1 << 20) as memory:
        by_slots = slots(memory)
        kept = inflight(memory)
    with GuestMemory(size=1 << 20) as memory:
        moved = migration(memory)
    plain = b"".join(message.data for message in blk)
    others = b"".join(message.data for message in several + refused())
    answers = bytes([0, 1] * 100)
    return {
        "codec/qemu-blk": b"\xff" + plain,
        "codec/qemu-blk-in-pieces": b"\x02" + plain,
        "codec/two-rings": b"\x0b" + others,
        "codec/bad-version": b"\xff" + plain[:12] + HEADER.pack(1, 2, 0),
        "codec/too-long": b"\xff" + HEADER.pack(5, 1, wire.PAYLOAD_MAX + 1),
        "codec/slots": b"\x07" + b"".join(message.data for message in by_slots),
        "session/qemu-blk": session(0, b"", blk),
        "session/qemu-blk-delayed": session(DELAYED, answers, blk),
        "session/two-rings": session(0x20, b"", several),
        "session/two-rings-delayed": session(DELAYED | 0x20, answers, several),
        "session/slots": session(0x60, b"", by_slots),
        "session/slots-delayed": session(DELAYED, answers, by_slots),
        "session/slots-too-small": session(MEM_FAILS, b"", by_slots),
        "session/tables-too-small": session(MEM_FAILS | DELAYED, answers, several),
        "session/start-fails": session(START_FAILS, b"", several),
        "session/closed-in-start": session(DELAYED | CLOSE_IN_START, answers, several),
        "session/closed-while-pending": session(DELAYED, bytes([0] * 9 + [0xFE]), blk),
        "session/no-config": session(NO_CONFIG, b"\0\xfc\0\xfc", blk),
        "session/inflight": session(0x20, b"", kept),
        "session/inflight-delayed": session(DELAYED, answers, kept),
        "codec/migration": b"\x05" + b"".join(message.data for message in moved),
        "session/migration": session(0x20, b"", moved),
        "session/migration-delayed": session(DELAYED, answers, moved),
        "session/refused": session(0, b"", refused()),
        "session/wrong-kinds": b"\0\0" + record(blk, bytes([PIPE, OTHER, SMALL_MEMORY] * 40)),
    }


def main() -> None:
    for name, content in seeds().items():
        path = DIRECTORY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
