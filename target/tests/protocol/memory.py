# SPDX-License-Identifier: BSD-3-Clause
"""Guest memory shared with the daemon, and split rings in it."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .waiting import DEADLINE_S
from .wire import ADDR, Message, Region, Request, state, u64

DESC = struct.Struct("<QIHH")
DESC_F_NEXT = 1
DESC_F_WRITE = 2


class GuestMemory:
    """A memfd mapped here and, by its region, in the daemon."""

    def __init__(self, size: int = 1 << 21, gpa: int = 0x100000, uva: int = 0x7F0000000000) -> None:
        self.size = size
        self.region = Region(gpa, size, uva)
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.map.close()
        os.close(self.fd)

    def alloc(self, size: int, align: int = 16) -> int:
        """The offset of a new piece."""
        start = -(-self._next // align) * align
        self._next = start + size
        assert self._next <= self.size, "the test's guest memory is used up"
        return start

    def gpa(self, offset: int) -> int:
        return self.region.gpa + offset

    def uva(self, offset: int) -> int:
        return self.region.uva + offset

    def read(self, offset: int, size: int) -> bytes:
        return self.map[offset : offset + size]

    def write(self, offset: int, data: bytes) -> None:
        self.map[offset : offset + len(data)] = data


@dataclass(frozen=True)
class Segment:
    """One descriptor to be."""

    gpa: int
    size: int
    writable: bool = False


class SplitRing:
    """The driver's side of a split ring, good for one request chain after the other."""

    def __init__(self, memory: GuestMemory, index: int, size: int = 64) -> None:
        self.memory = memory
        self.index = index
        self.size = size
        self.desc = memory.alloc(16 * size, 16)
        self.avail = memory.alloc(6 + 2 * size, 2)
        self.used = memory.alloc(6 + 8 * size, 4)
        self.kick_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.call_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.err_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.avail_idx = 0
        self.used_idx = 0
        self._next_desc = 0

    def close(self) -> None:
        for fd in (self.kick_fd, self.call_fd, self.err_fd):
            os.close(fd)

    def addr(self, flags: int = 0, log: int = 0) -> Message:
        uva = self.memory.uva
        return Message(
            Request.SET_VRING_ADDR,
            ADDR.pack(self.index, flags, uva(self.desc), uva(self.used), uva(self.avail), log),
        )

    def setup(self, enable: bool = True) -> list[Message]:
        """What a front-end sends to start it, in QEMU's order."""
        messages = [
            u64(Request.SET_VRING_CALL, self.index, self.call_fd),
            u64(Request.SET_VRING_ERR, self.index, self.err_fd),
            state(Request.SET_VRING_NUM, self.index, self.size),
            state(Request.SET_VRING_BASE, self.index, self.used_idx),
            self.addr(),
            u64(Request.SET_VRING_KICK, self.index, self.kick_fd),
        ]
        if enable:
            messages.append(state(Request.SET_VRING_ENABLE, self.index, 1))
        return messages

    def put_desc(self, slot: int, gpa: int, size: int, flags: int, following: int = 0) -> None:
        self.memory.write(self.desc + 16 * slot, DESC.pack(gpa, size, flags, following))

    def publish(self, head: int) -> None:
        """Offers a chain and kicks."""
        entry = self.avail + 4 + 2 * (self.avail_idx % self.size)
        self.memory.write(entry, struct.pack("<H", head))
        self.avail_idx += 1
        self.memory.write(self.avail + 2, struct.pack("<H", self.avail_idx & 0xFFFF))
        os.eventfd_write(self.kick_fd, 1)

    def submit(self, *segments: Segment) -> int:
        """Offers one request, returns its head."""
        slots = [(self._next_desc + i) % self.size for i in range(len(segments))]
        self._next_desc = (self._next_desc + len(segments)) % self.size
        for i, segment in enumerate(segments):
            last = i == len(segments) - 1
            flags = (0 if last else DESC_F_NEXT) | (DESC_F_WRITE if segment.writable else 0)
            following = 0 if last else slots[i + 1]
            self.put_desc(slots[i], segment.gpa, segment.size, flags, following)
        self.publish(slots[0])
        return slots[0]

    def used_count(self) -> int:
        """How many used entries wait to be taken."""
        (idx,) = struct.unpack("<H", self.memory.read(self.used + 2, 2))
        return int(idx - self.used_idx) & 0xFFFF

    def wait_used(self, deadline_s: float = DEADLINE_S) -> tuple[int, int]:
        """The next used element (head, bytes written), after a call."""
        end = time.monotonic() + deadline_s
        while self.used_count() == 0:
            left = end - time.monotonic()
            ready, _, _ = select.select([self.call_fd], [], [], max(left, 0))
            if not ready:
                raise AssertionError(f"no used buffer on ring {self.index} in {deadline_s:g} s")
            os.eventfd_read(self.call_fd)
        entry = self.used + 4 + 8 * (self.used_idx % self.size)
        head, written = struct.unpack("<II", self.memory.read(entry, 8))
        self.used_idx = (self.used_idx + 1) & 0xFFFF
        return int(head), int(written)

    def forget_calls(self) -> None:
        """Drops a call that came after its used element had been seen."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.call_fd)

    def fill_calls(self) -> None:
        """Leaves no room for a call; one of before may still come while this is at work."""
        while True:
            self.forget_calls()
            with contextlib.suppress(BlockingIOError):
                os.eventfd_write(self.call_fd, 2**64 - 2)
                return

    def wait_error(self, deadline_s: float = DEADLINE_S) -> None:
        """The daemon says that the ring is broken."""
        ready, _, _ = select.select([self.err_fd], [], [], deadline_s)
        assert ready, f"ring {self.index} was not reported as broken in {deadline_s:g} s"
