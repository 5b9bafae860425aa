# SPDX-License-Identifier: BSD-3-Clause
"""A virtio-scsi driver: commands by a request queue, events by the event queue."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .memory import GuestMemory, Segment, SplitRing

CONTROL_QUEUE = 0
EVENT_QUEUE = 1
FIRST_REQUEST_QUEUE = 2
SENSE_SIZE = 96
REQUEST_SIZE = 51
RESPONSE = struct.Struct("<IIHBB")
GOOD, CHECK_CONDITION = 0, 2
S_OK, S_BAD_TARGET, S_RESET = 0, 3, 4

F_HOTPLUG = 1 << 1
F_CHANGE = 1 << 2

EVENT = struct.Struct("<I8sI")
T_NO_EVENT, T_TRANSPORT_RESET, T_PARAM_CHANGE = 0, 1, 3
T_EVENTS_MISSED = 1 << 31
RESCAN, REMOVED = 1, 2
CAPACITY_CHANGED = 0x2A | 0x09 << 8

TEST_UNIT_READY = bytes(6)
READ_CAPACITY = bytes([0x25, *[0] * 9])


def read_10(lba: int, blocks: int) -> bytes:
    return b"\x28\0" + struct.pack(">IBHB", lba, 0, blocks, 0)


def write_10(lba: int, blocks: int) -> bytes:
    return b"\x2a\0" + struct.pack(">IBHB", lba, 0, blocks, 0)


@dataclass(frozen=True)
class Answer:
    response: int
    status: int
    residual: int
    sense: bytes
    data: bytes

    @property
    def condition(self) -> tuple[int, int, int]:
        """Sense key, additional sense code and its qualifier."""
        assert (self.response, self.status) == (S_OK, CHECK_CONDITION), self
        return self.sense[2] & 15, self.sense[12], self.sense[13]


class ScsiDisk:
    """Commands to one target, one at a time."""

    def __init__(self, ring: SplitRing, target: int = 0, room: int = 65536) -> None:
        memory = ring.memory
        self.ring = ring
        self.target = target
        self._request = memory.alloc(REQUEST_SIZE)
        self.response = memory.alloc(RESPONSE.size + SENSE_SIZE)
        self.data = memory.alloc(room, 512)

    def submit(self, cdb: bytes, data_in: int = 0, data_out: bytes = b"") -> None:
        memory = self.ring.memory
        lun = bytes([1, self.target, 0, 0, 0, 0, 0, 0])
        memory.write(self._request, lun + bytes(11) + cdb.ljust(32, b"\0"))
        memory.write(self.data, data_out or bytes(data_in))
        chain = [Segment(memory.gpa(self._request), REQUEST_SIZE)]
        if data_out:
            chain.append(Segment(memory.gpa(self.data), len(data_out)))
        chain.append(Segment(memory.gpa(self.response), RESPONSE.size + SENSE_SIZE, True))
        if data_in:
            chain.append(Segment(memory.gpa(self.data), data_in, True))
        self.ring.submit(*chain)

    def finish(self) -> Answer:
        """Waits for the answer to what was submitted; nothing else may be under way on the ring."""
        _, written = self.ring.wait_used()
        raw = self.ring.memory.read(self.response, RESPONSE.size + SENSE_SIZE)
        sense_len, residual, _, status, response = RESPONSE.unpack_from(raw)
        sense = raw[RESPONSE.size : RESPONSE.size + sense_len]
        received = max(0, written - RESPONSE.size - SENSE_SIZE)
        data = self.ring.memory.read(self.data, received)
        return Answer(response, status, residual, sense, data)

    def run(self, cdb: bytes, data_in: int = 0, data_out: bytes = b"") -> Answer:
        self.submit(cdb, data_in, data_out)
        return self.finish()

    def ready(self) -> Answer:
        return self.run(TEST_UNIT_READY)

    def capacity(self) -> int:
        """In bytes."""
        answer = self.run(READ_CAPACITY, data_in=8)
        assert answer.status == GOOD, answer
        last, block = struct.unpack(">II", answer.data)
        return int((last + 1) * block)


class ControlQueue:
    """The driver's side of the control queue: one task management function at a time."""

    ABORT_TASK, LOGICAL_UNIT_RESET, QUERY_TASK_SET = 0, 5, 7
    COMPLETE, SUCCEEDED = 0, 10

    def __init__(self, memory: GuestMemory) -> None:
        self.ring = SplitRing(memory, CONTROL_QUEUE)
        self._request = memory.alloc(24)
        self._response = memory.alloc(1)

    def run(self, subtype: int, target: int = 0, tag: int = 0) -> int:
        """Its response."""
        memory = self.ring.memory
        lun = bytes([1, target, 0, 0, 0, 0, 0, 0])
        memory.write(self._request, struct.pack("<II8sQ", 0, subtype, lun, tag))
        memory.write(self._response, b"\xff")
        self.ring.submit(
            Segment(memory.gpa(self._request), 24), Segment(memory.gpa(self._response), 1, True)
        )
        _, written = self.ring.wait_used()
        assert written == 1
        return memory.read(self._response, 1)[0]


class EventQueue:
    """The driver's side of the event queue; buffers are offered when a test says so."""

    def __init__(self, memory: GuestMemory) -> None:
        self.ring = SplitRing(memory, EVENT_QUEUE)
        self._buffers: dict[int, int] = {}

    def close(self) -> None:
        self.ring.close()

    def offer(self, count: int = 1, size: int = EVENT.size, writable: bool = True) -> None:
        for _ in range(count):
            buffer = self.ring.memory.alloc(EVENT.size)
            self.ring.memory.write(buffer, b"\xee" * EVENT.size)
            head = self.ring.submit(Segment(self.ring.memory.gpa(buffer), size, writable))
            self._buffers[head] = buffer

    def next(self) -> tuple[int, bytes, int]:
        """The next event: event, lun, reason."""
        head, written = self.ring.wait_used()
        assert written == EVENT.size
        event, lun, reason = EVENT.unpack(
            self.ring.memory.read(self._buffers.pop(head), EVENT.size)
        )
        return int(event), bytes(lun), int(reason)

    def expect(self, event: int, target: int, reason: int) -> None:
        lun = bytes([1, target, 0, 0, 0, 0, 0, 0])
        assert self.next() == (event, lun, reason)

    def useless(self) -> None:
        """The next buffer comes back with nothing in it."""
        head, written = self.ring.wait_used()
        self._buffers.pop(head)
        assert written == 0

    def nothing(self) -> None:
        """No event has come."""
        assert self.ring.used_count() == 0
