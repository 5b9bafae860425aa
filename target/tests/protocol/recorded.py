# SPDX-License-Identifier: BSD-3-Clause
"""A recorded session: what QEMU 7.2 sends for a vhost-user-blk disk with one queue.

The firmware starts the queue and stops it again, then the guest's driver does; at the end the guest
is shut down. Addresses and descriptors are those of the test.
"""

from __future__ import annotations

from . import wire
from .memory import GuestMemory, SplitRing
from .wire import OFFERED_PROTOCOL_FEATURES, Message, Request, state, u64


def connect() -> list[Message]:
    return [
        Message(Request.GET_FEATURES),
        Message(Request.GET_PROTOCOL_FEATURES),
        u64(Request.SET_PROTOCOL_FEATURES, OFFERED_PROTOCOL_FEATURES),
        Message(Request.GET_QUEUE_NUM),
        Message(Request.SET_OWNER),
        Message(Request.GET_FEATURES),
        wire.get_config(0, 60),
    ]


def start(memory: GuestMemory, ring: SplitRing, features: int) -> list[Message]:
    table = wire.mem_table((memory.region,), (memory.fd,), flags=wire.NEED_REPLY)
    return [u64(Request.SET_FEATURES, features), table, *ring.setup()]


def stop(ring: SplitRing) -> list[Message]:
    return [
        state(Request.SET_VRING_ENABLE, ring.index, 0),
        state(Request.GET_VRING_BASE, ring.index, 0),
    ]


def session(memory: GuestMemory, ring: SplitRing, features: int) -> list[Message]:
    return [
        *connect(),
        *start(memory, ring, features),
        *stop(ring),
        *start(memory, ring, features),
        u64(Request.SET_VRING_CALL, ring.index, ring.call_fd),
        *stop(ring),
    ]
