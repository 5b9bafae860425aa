# SPDX-License-Identifier: BSD-3-Clause
"""The vhost-user wire format, as a front-end writes it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

VERSION = 1
REPLY = 1 << 2
NEED_REPLY = 1 << 3

HEADER = struct.Struct("=III")
U64 = struct.Struct("=Q")
STATE = struct.Struct("=II")
LOG = struct.Struct("=QQ")
ADDR = struct.Struct("=IIQQQQ")
REGION = struct.Struct("=QQQQ")
CONFIG = struct.Struct("=III")

F_LOG_ALL = 1 << 26
F_RING_EVENT_IDX = 1 << 29
F_PROTOCOL_FEATURES = 1 << 30
F_VERSION_1 = 1 << 32
F_RING_PACKED = 1 << 34

NO_FD = 1 << 8
VRING_F_LOG = 1
LOG_PAGE = 4096
PAYLOAD_MAX = 4096
"""The longest payload that the daemon reads."""


class Request(IntEnum):
    """Requests of the front-end; the second group is what the daemon does not know."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SET_BACKEND_REQ_FD = 21
    GET_CONFIG = 24
    SET_CONFIG = 25
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    RESET_DEVICE = 34
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40

    SEND_RARP = 19
    NET_SET_MTU = 20
    IOTLB_MSG = 22
    CREATE_CRYPTO_SESSION = 26
    POSTCOPY_ADVISE = 28
    VRING_KICK = 35
    SET_DEVICE_STATE_FD = 42


class ProtocolFeature(IntEnum):
    """Bit numbers of those that the daemon offers."""

    MQ = 0
    LOG_SHMFD = 1
    REPLY_ACK = 3
    BACKEND_REQ = 5
    CONFIG = 9
    INFLIGHT_SHMFD = 12
    RESET_DEVICE = 13
    CONFIGURE_MEM_SLOTS = 15
    STATUS = 16


OFFERED_PROTOCOL_FEATURES = sum(1 << bit for bit in ProtocolFeature)
BACKEND_CONFIG_CHANGE_MSG = 2


@dataclass(frozen=True)
class Message:
    """One request: what is written, and the descriptors that go along."""

    request: int
    payload: bytes = b""
    fds: tuple[int, ...] = ()
    flags: int = 0

    @property
    def data(self) -> bytes:
        """Header and payload."""
        return HEADER.pack(self.request, VERSION | self.flags, len(self.payload)) + self.payload


@dataclass(frozen=True)
class Region:
    """One region of a memory table."""

    gpa: int
    size: int
    uva: int
    offset: int = 0


def u64(request: int, value: int, *fds: int, flags: int = 0) -> Message:
    return Message(request, U64.pack(value), fds, flags)


def state(request: int, index: int, num: int, flags: int = 0) -> Message:
    return Message(request, STATE.pack(index, num), (), flags)


def mem_table(regions: tuple[Region, ...], fds: tuple[int, ...], flags: int = 0) -> Message:
    payload = struct.pack("=II", len(regions), 0)
    payload += b"".join(REGION.pack(r.gpa, r.size, r.uva, r.offset) for r in regions)
    return Message(Request.SET_MEM_TABLE, payload, fds, flags)


def add_region(r: Region, fd: int, flags: int = 0) -> Message:
    payload = bytes(8) + REGION.pack(r.gpa, r.size, r.uva, r.offset)
    return Message(Request.ADD_MEM_REG, payload, (fd,), flags)


def rem_region(r: Region, *fds: int, flags: int = 0) -> Message:
    payload = bytes(8) + REGION.pack(r.gpa, r.size, r.uva, r.offset)
    return Message(Request.REM_MEM_REG, payload, fds, flags)


INFLIGHT = struct.Struct("<QQHH")


def set_inflight(
    size: int, offset: int, queues: int, queue_size: int, fd: int, flags: int = 0
) -> Message:
    payload = INFLIGHT.pack(size, offset, queues, queue_size)
    return Message(Request.SET_INFLIGHT_FD, payload, (fd,), flags)


def set_log(size: int, offset: int, fd: int, flags: int = 0) -> Message:
    return Message(Request.SET_LOG_BASE, LOG.pack(size, offset), (fd,), flags)


def get_config(offset: int, size: int, room: int | None = None) -> Message:
    """As QEMU sends it, with room for the answer behind the description."""
    space = bytes(size if room is None else room)
    return Message(Request.GET_CONFIG, CONFIG.pack(offset, size, 0) + space)


def set_config(offset: int, data: bytes, flags: int = 0, config_flags: int = 0) -> Message:
    payload = CONFIG.pack(offset, len(data), config_flags) + data
    return Message(Request.SET_CONFIG, payload, (), flags)
