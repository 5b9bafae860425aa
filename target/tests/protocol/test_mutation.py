# SPDX-License-Identifier: BSD-3-Clause
"""A guest that rewrites its requests while they are looked at (T31 to T39).

Another process flips a field between values that are fine and values that are not, as fast as it
can, while this one offers requests. Whatever the daemon makes of it, it must have looked only once:
requests get a defined end or break their ring, and the other guest, the daemon and its memory stay
whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import random
import select
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pytest

from .daemon import Daemon
from .frontend import BLK_T_IN, BLK_T_OUT, UNTOUCHED, Blk, FrontEnd
from .memory import DESC, DESC_F_NEXT, DESC_F_WRITE, GuestMemory, SplitRing
from .waiting import until

SECONDS = 0.4
"""For each case; together they take about 5 s."""
DEADLINE_S = 20.0
"""Chance may need longer on a busy machine until both good and bad requests were seen."""
DESC_F_INDIRECT = 4
BLK_T_DISCARD = 11
READ_10, READ_16 = 0x28, 0x88
FIRST_REQUEST_QUEUE = 2
HEADS = 8
"""Requests offered at a time."""
OUTSIDE = (1 << 64) - 64


@dataclass(frozen=True)
class Field:
    """Bytes of guest memory and what they are in turn."""

    offset: int
    values: tuple[bytes, ...]


def _flip(memory: GuestMemory, fields: tuple[Field, ...], seed: int) -> None:
    rng = random.Random(seed)
    plan = [(f.offset, f.offset + len(v), v) for f in fields for v in f.values]
    target = memory.map
    while True:
        rng.shuffle(plan)
        for _ in range(200):
            for start, end, value in plan:
                target[start:end] = value


class Mutator:
    """The other process."""

    def __init__(self, memory: GuestMemory, fields: tuple[Field, ...]) -> None:
        self._process = multiprocessing.get_context("fork").Process(
            target=_flip, args=(memory, fields, 1), daemon=True
        )

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()


@dataclass
class Outcome:
    """What came of the requests of one case."""

    good: int = 0
    refused: int = 0
    unanswered: int = 0
    """Used, but the status was not where it should be: the mutator moved it."""
    broken: int = 0

    @property
    def bad(self) -> int:
        return self.refused + self.broken + self.unanswered


class Victim:
    """A ring with requests of three descriptors each, set up anew whenever it breaks."""

    def __init__(self, front: FrontEnd, memory: GuestMemory, index: int) -> None:
        self.front = front
        self.memory = memory
        self.ring = SplitRing(memory, index, size=32)
        self.request = memory.alloc(256 * HEADS, 64)
        self.data = memory.alloc(4096, 512)
        self.tables = memory.alloc(48 * HEADS, 16)
        self.outcome = Outcome()

    def desc(self, head: int, part: int) -> int:
        """The offset of a descriptor: request `head` has 3 * head and the two after it."""
        return self.ring.desc + 16 * (3 * head + part)

    def fields(self) -> tuple[Field, ...]:
        """What the mutator writes."""
        raise NotImplementedError

    def parts(self, head: int) -> list[bytes]:
        """Writes a request; its descriptors."""
        raise NotImplementedError

    def count(self, head: int) -> None:
        """Looks at the end of a request."""
        raise NotImplementedError

    def offer(self) -> None:
        """Writes all requests and lets the device have them."""
        ring = self.ring
        for head in range(HEADS):
            for part, raw in enumerate(self.parts(head)):
                self.memory.write(self.desc(head, part), raw)
        for i in range(HEADS):
            entry = ring.avail + 4 + 2 * ((ring.avail_idx + i) % ring.size)
            self.memory.write(entry, struct.pack("<H", 3 * i))
        ring.avail_idx += HEADS
        self.memory.write(ring.avail + 2, struct.pack("<H", ring.avail_idx & 0xFFFF))
        os.eventfd_write(ring.kick_fd, 1)

    def settle(self) -> bool:
        """Waits until all are used; False: the ring is broken, or the mutator hid some of them."""
        end = time.monotonic() + 0.05
        while self.ring.used_count() < HEADS and time.monotonic() < end:
            ready, _, _ = select.select([self.ring.call_fd, self.ring.err_fd], [], [], 0.01)
            if self.ring.err_fd in ready:
                self.outcome.broken += 1
                return False
            self.ring.forget_calls()
        return self.ring.used_count() == HEADS

    def reap(self) -> None:
        for head in range(HEADS):
            self.count(head)
        self.ring.used_idx = (self.ring.used_idx + HEADS) & 0xFFFF

    def renew(self) -> None:
        """As a guest that resets its device."""
        ring = self.ring
        self.front.stop(ring.index)
        ring.forget_calls()
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(ring.err_fd)
        ring.avail_idx = ring.used_idx = 0
        self.memory.write(ring.avail, bytes(4))
        self.memory.write(ring.used, bytes(4))
        self.front.start([ring])

    def is_enough(self, seconds: float) -> bool:
        """Time is up, and both sides were seen."""
        seen = self.outcome.good > 0 and self.outcome.bad > 0
        return seconds >= (SECONDS if seen else DEADLINE_S)

    def run(self) -> Outcome:
        """Requests while they are changed, then some that are left alone."""
        self.front.start([self.ring])
        start = time.monotonic()
        with Mutator(self.memory, self.fields()):
            while not self.is_enough(time.monotonic() - start):
                self.offer()
                if self.settle():
                    self.reap()
                else:
                    self.renew()
        outcome = dataclasses.replace(self.outcome)
        self.renew()
        self.offer()
        until("requests that are left alone are used", lambda: self.ring.used_count() == HEADS)
        self.reap()
        assert self.outcome.good == outcome.good + HEADS, "requests that are left alone fail"
        self.ring.close()
        return outcome


def seg(memory: GuestMemory, offset: int, size: int, flags: int, following: int = 0) -> bytes:
    return DESC.pack(memory.gpa(offset), size, flags, following)


def u16(*values: int) -> tuple[bytes, ...]:
    return tuple(struct.pack("<H", v) for v in values)


def u32(*values: int) -> tuple[bytes, ...]:
    return tuple(struct.pack("<I", v) for v in values)


# -- block device --


class BlkVictim(Victim):
    """Each request has a header, 512 bytes of data and a status byte of its own."""

    kind = BLK_T_IN

    def header(self, head: int) -> int:
        return self.request + 64 * head

    def status(self, head: int) -> int:
        return self.request + 64 * head + 63

    def body(self, head: int) -> bytes:
        """The data that the device reads, if it is not the common buffer."""
        return b""

    def parts(self, head: int) -> list[bytes]:
        self.memory.write(self.header(head), struct.pack("<IIQ", self.kind, 0, head))
        self.memory.write(self.status(head), bytes([UNTOUCHED]))
        first = 3 * head
        body = self.body(head)
        out = self.kind != BLK_T_IN
        if body:
            self.memory.write(self.header(head) + 16, body)
        data = self.header(head) + 16 if body else self.data
        size = len(body) if body else 512
        return [
            seg(self.memory, self.header(head), 16, DESC_F_NEXT, first + 1),
            seg(self.memory, data, size, DESC_F_NEXT | (0 if out else DESC_F_WRITE), first + 2),
            seg(self.memory, self.status(head), 1, DESC_F_WRITE),
        ]

    def count(self, head: int) -> None:
        status = self.memory.read(self.status(head), 1)[0]
        assert status in (0, 1, 2, UNTOUCHED), f"status {status}"
        if status == 0:
            self.outcome.good += 1
        elif status == UNTOUCHED:
            self.outcome.unanswered += 1
        else:
            self.outcome.refused += 1


class Length(BlkVictim):
    """T31"""

    def fields(self) -> tuple[Field, ...]:
        data = u32(512, 0, 1, 511, 4096, 1 << 21, 0xFFFFFFFF)
        return (
            Field(self.desc(0, 1) + 8, data),
            Field(self.desc(1, 0) + 8, u32(16, 15, 0, 0x80000000)),
            Field(self.desc(2, 2) + 8, u32(1, 0, 0xFFFFFFFF)),
        )


class Next(BlkVictim):
    """T32"""

    def fields(self) -> tuple[Field, ...]:
        return (
            Field(self.desc(0, 0) + 14, u16(1, 0, 2, self.ring.size, 0xFFFF)),
            Field(self.desc(1, 1) + 14, u16(5, 4, 3)),
        )


class Flags(BlkVictim):
    """T33"""

    def fields(self) -> tuple[Field, ...]:
        return tuple(
            Field(self.desc(head, head) + 12, (*u16(*good), *u16(0, 1, 2, 3, 4, 5, 6, 7, 0xFFFF)))
            for head, good in enumerate(((1,) * 5, (3,) * 5, (2,) * 5))
        )


class Header(BlkVictim):
    """T34"""

    kind = BLK_T_OUT

    def fields(self) -> tuple[Field, ...]:
        kinds = u32(BLK_T_OUT, BLK_T_IN, 4, 8, 11, 13, 99)
        sectors = tuple(
            struct.pack("<Q", v) for v in (0, 1, (8 << 20) // 512, 1 << 55, (1 << 64) - 1)
        )
        return tuple(
            field
            for head in range(HEADS)
            for field in (Field(self.header(head), kinds), Field(self.header(head) + 8, sectors))
        )


class DiscardRange(BlkVictim):
    """T35"""

    kind = BLK_T_DISCARD

    def body(self, head: int) -> bytes:
        return struct.pack("<QII", 64 + head, 1, 0) * 2

    def fields(self) -> tuple[Field, ...]:
        entries = tuple(
            struct.pack("<QII", *v)
            for v in (
                (64, 1, 0),
                ((1 << 64) - 1, 1, 0),
                ((8 << 20) // 512 - 1, 2, 0),
                (64, 0xFFFFFFFF, 0),
                (64, 1, 1),
                (0, 0, 0),
            )
        )
        return tuple(Field(self.header(h) + 16 + 16 * (h % 2), entries) for h in range(HEADS))


class IndirectTable(BlkVictim):
    """T38"""

    def table(self, head: int) -> int:
        return self.tables + 48 * head

    def parts(self, head: int) -> list[bytes]:
        plain = [DESC.unpack(raw) for raw in super().parts(head)]
        table = [DESC.pack(*d[:3], i + 1) for i, d in enumerate(plain)]
        self.memory.write(self.table(head), b"".join(table))
        return [DESC.pack(self.memory.gpa(self.table(head)), 48, DESC_F_INDIRECT, 0)]

    def fields(self) -> tuple[Field, ...]:
        status = self.memory.gpa(self.status(3))
        return (
            Field(self.table(0) + 8, u32(16, 0, 0xFFFFFFFF)),
            Field(self.table(1) + 16 + 12, u16(3, 3, 3, 1, 4, 7)),
            Field(self.table(2) + 16 + 14, u16(2, 2, 0, 1, 3, 0xFFFF)),
            Field(self.table(3) + 32, tuple(struct.pack("<Q", a) for a in (status, OUTSIDE))),
        )


class AvailIndex(BlkVictim):
    """T39: the index and the heads it speaks of."""

    def fields(self) -> tuple[Field, ...]:
        size = self.ring.size
        return (
            Field(self.ring.avail + 4, u16(0, 0, 0, 3, size - 1, size, 0xFFFF)),
            # Mostly right: otherwise nearly every ring breaks before it has served a request.
            Field(
                self.ring.avail + 2,
                u16(*(HEADS,) * 18, 0, 2 * HEADS, size, size + 1, 0xFFFF),
            ),
        )


BLK_CASES = [Length, Next, Flags, Header, DiscardRange, IndirectTable, AvailIndex]


@pytest.mark.parametrize("case", BLK_CASES, ids=lambda c: c.__name__)
def test_blk_requests_that_change(
    ready: FrontEnd, memory: GuestMemory, bystander: Blk, case: type[BlkVictim]
) -> None:
    outcome = case(ready, memory, 0).run()
    # The test must have seen both sides.
    assert outcome.good > 0, outcome
    assert outcome.bad > 0, outcome
    assert bystander.flush() == 0


# -- SCSI disk --


class ScsiVictim(Victim):
    """Each request has a head of 51 bytes, a response of 108, and the common data-in buffer."""

    def head(self, head: int) -> int:
        return self.request + 256 * head

    def response(self, head: int) -> int:
        return self.head(head) + 64

    def parts(self, head: int) -> list[bytes]:
        lun = bytes([1, 0, 0, 0, 0, 0, 0, 0])
        cdb = struct.pack(">BBIBHB", READ_10, 0, head, 0, 8, 0)
        self.memory.write(self.head(head), lun + bytes(11) + cdb.ljust(32, b"\0"))
        self.memory.write(self.response(head), bytes([UNTOUCHED]) * 108)
        first = 3 * head
        return [
            seg(self.memory, self.head(head), 51, DESC_F_NEXT, first + 1),
            seg(self.memory, self.response(head), 108, DESC_F_NEXT | DESC_F_WRITE, first + 2),
            seg(self.memory, self.data, 4096, DESC_F_WRITE),
        ]

    def count(self, head: int) -> None:
        raw = self.memory.read(self.response(head), 12)
        sense_len, residual, _, status, response = struct.unpack("<IIHBB", raw)
        assert sense_len <= 96 and residual <= 4096
        assert response in (0, 1, 3, 9) and status in (0, 2), f"{response}, {status}"
        if response == 0 and status == 0:
            self.outcome.good += 1
        else:
            self.outcome.refused += 1


class Cdb(ScsiVictim):
    """T36"""

    def fields(self) -> tuple[Field, ...]:
        cdbs = [
            struct.pack(">BBIBHB", READ_10, 0, 1, 0, 8, 0),
            struct.pack(">BBIBHB", READ_10, 0, 0xFFFFFFFF, 0, 0xFFFF, 0),
            struct.pack(">BBQIBB", READ_16, 0, (1 << 64) - 1, 0xFFFFFFFF, 0, 0),
            struct.pack(">BBQIBB", 0x93, 1, 0, 512, 0, 0),  # WRITE SAME (16), no data
            struct.pack(">BBIBHB", 0x2F, 0, 0, 0, 0xFFFF, 0),  # VERIFY (10)
            struct.pack(">BBIBHB", 0x42, 0, 0, 0, 24, 0),  # UNMAP
            bytes([0x12, 1, 0x83, 0xFF, 0xFF, 0]),  # INQUIRY
            bytes([0xFF] * 16),
        ]
        values = tuple(cdb.ljust(16, b"\0") for cdb in cdbs)
        return tuple(Field(self.head(head) + 19, values) for head in range(HEADS))


class Lun(ScsiVictim):
    """T37"""

    def fields(self) -> tuple[Field, ...]:
        values = (
            bytes([1, 0, 0, 0, 0, 0, 0, 0]),
            bytes([1, 0, 0x40, 0, 0, 0, 0, 0]),
            bytes([1, 8, 0, 0, 0, 0, 0, 0]),
            bytes([1, 0xFF, 0x40, 1, 0, 0, 0, 0]),
            bytes([0, 0, 0, 0, 0, 0, 0, 0]),
            bytes([0xFF] * 8),
        )
        return tuple(Field(self.head(head), values) for head in range(HEADS))


@pytest.mark.parametrize("case", [Cdb, Lun], ids=lambda c: c.__name__)
def test_scsi_commands_that_change(
    daemon: Daemon, memory: GuestMemory, bystander: Blk, case: type[ScsiVictim]
) -> None:
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate()
        front.share(memory)
        outcome = case(front, memory, FIRST_REQUEST_QUEUE).run()
    assert outcome.good > 0, outcome
    assert outcome.refused > 0, outcome
    assert outcome.broken == 0, outcome
    assert bystander.flush() == 0
