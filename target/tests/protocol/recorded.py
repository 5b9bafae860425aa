# SPDX-License-Identifier: BSD-3-Clause
"""A recorded session: what QEMU 7.2 sends for a vhost-user-blk disk with one queue.

Taken from a virtual machine whose firmware boots from the disk: QEMU connects, the firmware starts
the queue, the machine is paused and goes on, is reset, gets a memory module while it runs, and
ends. Addresses, features and descriptors are those of the test.
"""

from __future__ import annotations

from . import wire
from .memory import GuestMemory, SplitRing
from .wire import NEED_REPLY, OFFERED_PROTOCOL_FEATURES, Message, Region, Request, state, u64

REPLYING = frozenset(
    {
        Request.GET_FEATURES,
        Request.GET_PROTOCOL_FEATURES,
        Request.GET_QUEUE_NUM,
        Request.GET_CONFIG,
        Request.GET_VRING_BASE,
        Request.GET_MAX_MEM_SLOTS,
        Request.GET_STATUS,
    }
)


def answered(message: Message) -> bool:
    """Does the daemon say something to it?"""
    return message.request in REPLYING or bool(message.flags & NEED_REPLY)


def connect(ring: SplitRing, features: int, channel: int) -> list[Message]:
    return [
        Message(Request.GET_FEATURES),
        Message(Request.GET_PROTOCOL_FEATURES),
        u64(Request.SET_PROTOCOL_FEATURES, OFFERED_PROTOCOL_FEATURES),
        Message(Request.GET_QUEUE_NUM),
        Message(Request.GET_MAX_MEM_SLOTS),
        Message(Request.SET_BACKEND_REQ_FD, b"", (channel,), NEED_REPLY),
        Message(Request.SET_OWNER),
        Message(Request.GET_FEATURES),
        u64(Request.SET_VRING_CALL, ring.index, ring.call_fd),
        u64(Request.SET_VRING_ERR, ring.index, ring.err_fd),
        wire.get_config(0, 57),
    ]


def start(ring: SplitRing, features: int, memory: list[Message]) -> list[Message]:
    """`memory`: what has to be said of it at the first start."""
    return [
        u64(Request.SET_FEATURES, features),
        Message(Request.GET_STATUS),
        u64(Request.SET_STATUS, 8),
        u64(Request.SET_VRING_CALL, ring.index, ring.call_fd),
        u64(Request.SET_FEATURES, features),
        Message(Request.GET_STATUS),
        *memory,
        state(Request.SET_VRING_NUM, ring.index, ring.size),
        state(Request.SET_VRING_BASE, ring.index, 0),
        ring.addr(),
        u64(Request.SET_VRING_KICK, ring.index, ring.kick_fd),
        state(Request.SET_VRING_ENABLE, ring.index, 1),
        Message(Request.GET_STATUS),
        u64(Request.SET_STATUS, 15),
    ]


def regions(memory: GuestMemory) -> list[Message]:
    """Two that are there from the start, and the one that is plugged in."""
    r = memory.region
    quarter = r.size // 4
    return [
        wire.add_region(
            Region(r.gpa + start, size, r.uva + start, start),
            memory.fd,
            NEED_REPLY,
        )
        for start, size in ((0, 2 * quarter), (2 * quarter, quarter), (3 * quarter, quarter))
    ]


def table(memory: GuestMemory) -> Message:
    """What it sends instead to a back-end without memory slots."""
    return wire.mem_table((memory.region,), (memory.fd,), NEED_REPLY)


def stop(ring: SplitRing) -> list[Message]:
    return [
        u64(Request.SET_STATUS, 0),
        state(Request.SET_VRING_ENABLE, ring.index, 0),
        state(Request.GET_VRING_BASE, ring.index, 0),
    ]


def session(memory: GuestMemory, ring: SplitRing, features: int, channel: int) -> list[Message]:
    *board, module = regions(memory)
    return [
        *connect(ring, features, channel),
        *start(ring, features, board),
        *stop(ring),
        *start(ring, features, []),
        *stop(ring),
        *start(ring, features, []),
        module,
        *stop(ring),
    ]


LENGTH = 62
"""Messages of the session, for tests that are made one for each."""
