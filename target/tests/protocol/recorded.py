# SPDX-License-Identifier: BSD-3-Clause
"""A recorded session: what QEMU 7.2 sends for a vhost-user-blk disk with one queue.

Taken from a virtual machine whose firmware boots from the disk: QEMU connects, the firmware starts
the queue, the memory map changes while it runs, the firmware stops it; then the same once more
after a reset. Addresses, features and descriptors are those of the test.
"""

from __future__ import annotations

from . import wire
from .memory import GuestMemory, SplitRing
from .wire import NEED_REPLY, OFFERED_PROTOCOL_FEATURES, Message, Request, state, u64

REPLYING = frozenset(
    {
        Request.GET_FEATURES,
        Request.GET_PROTOCOL_FEATURES,
        Request.GET_QUEUE_NUM,
        Request.GET_CONFIG,
        Request.GET_VRING_BASE,
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
        Message(Request.SET_BACKEND_REQ_FD, b"", (channel,), NEED_REPLY),
        Message(Request.SET_OWNER),
        Message(Request.GET_FEATURES),
        u64(Request.SET_VRING_CALL, ring.index, ring.call_fd),
        u64(Request.SET_VRING_ERR, ring.index, ring.err_fd),
        wire.get_config(0, 57),
        u64(Request.SET_FEATURES, features),
        u64(Request.SET_VRING_CALL, ring.index, ring.call_fd),
    ]


def start(memory: GuestMemory, ring: SplitRing, features: int) -> list[Message]:
    return [
        u64(Request.SET_FEATURES, features),
        table(memory),
        state(Request.SET_VRING_NUM, ring.index, ring.size),
        state(Request.SET_VRING_BASE, ring.index, 0),
        ring.addr(),
        u64(Request.SET_VRING_KICK, ring.index, ring.kick_fd),
        state(Request.SET_VRING_ENABLE, ring.index, 1),
    ]


def table(memory: GuestMemory) -> Message:
    return wire.mem_table((memory.region,), (memory.fd,), NEED_REPLY)


def stop(ring: SplitRing) -> list[Message]:
    return [
        state(Request.SET_VRING_ENABLE, ring.index, 0),
        state(Request.GET_VRING_BASE, ring.index, 0),
    ]


def session(memory: GuestMemory, ring: SplitRing, features: int, channel: int) -> list[Message]:
    return [
        *connect(ring, features, channel),
        *start(memory, ring, features),
        table(memory),
        *stop(ring),
        u64(Request.SET_FEATURES, features),
        u64(Request.SET_VRING_CALL, ring.index, ring.call_fd),
        *start(memory, ring, features),
        table(memory),
        *stop(ring),
    ]


LENGTH = 34
"""Messages of the session, for tests that are made one for each."""
