# SPDX-License-Identifier: BSD-3-Clause
"""A few SCSI commands through a real ring: queues, responses and data meet."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .daemon import Daemon
from .frontend import FrontEnd
from .memory import GuestMemory, Segment, SplitRing

FIRST_REQUEST_QUEUE = 2
SENSE_SIZE = 96
RESPONSE = struct.Struct("<IIHBB")
GOOD, CHECK_CONDITION = 0, 2
S_OK, S_BAD_TARGET = 0, 3


@dataclass(frozen=True)
class Answer:
    response: int
    status: int
    residual: int
    sense: bytes
    data: bytes


class Disk:
    """Target 0 of scsi.0, by its first request queue."""

    def __init__(self, ring: SplitRing) -> None:
        memory = ring.memory
        self.ring = ring
        self._request = memory.alloc(51)
        self._response = memory.alloc(RESPONSE.size + SENSE_SIZE)
        self._data = memory.alloc(65536, 512)

    def run(self, cdb: bytes, data_in: int = 0, data_out: bytes = b"", target: int = 0) -> Answer:
        memory = self.ring.memory
        lun = bytes([1, target, 0, 0, 0, 0, 0, 0])
        memory.write(self._request, lun + bytes(11) + cdb.ljust(32, b"\0"))
        memory.write(self._data, data_out or bytes(data_in))
        chain = [Segment(memory.gpa(self._request), 51)]
        if data_out:
            chain.append(Segment(memory.gpa(self._data), len(data_out)))
        chain.append(Segment(memory.gpa(self._response), RESPONSE.size + SENSE_SIZE, True))
        if data_in:
            chain.append(Segment(memory.gpa(self._data), data_in, True))
        self.ring.submit(*chain)
        _, written = self.ring.wait_used()
        raw = memory.read(self._response, RESPONSE.size + SENSE_SIZE)
        sense_len, residual, _, status, response = RESPONSE.unpack_from(raw)
        sense = raw[RESPONSE.size : RESPONSE.size + sense_len]
        received = max(0, written - RESPONSE.size - SENSE_SIZE)
        return Answer(response, status, residual, sense, memory.read(self._data, received))


@pytest.fixture
def disk(daemon: Daemon, memory: GuestMemory) -> Iterator[Disk]:
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, FIRST_REQUEST_QUEUE)
        front.start([ring])
        yield Disk(ring)
        ring.close()


def test_inquiry(disk: Disk) -> None:
    answer = disk.run(bytes([0x12, 0, 0, 0, 96, 0]), data_in=96)
    assert (answer.response, answer.status, answer.residual) == (S_OK, GOOD, 0)
    assert answer.data[0] == 0 and answer.data[8:16] == b"VHOSTLAB"


def test_capacity(disk: Disk) -> None:
    answer = disk.run(bytes([0x25, *[0] * 9]), data_in=8)
    last, block = struct.unpack(">II", answer.data)
    assert (last + 1) * block == 8 << 20


def test_data_comes_back(disk: Disk) -> None:
    pattern = bytes(range(256)) * 16
    place = struct.pack(">IBHB", 40, 0, 8, 0)
    assert disk.run(b"\x2a\0" + place, data_out=pattern).status == GOOD
    answer = disk.run(b"\x28\0" + place, data_in=4096)
    assert answer.status == GOOD and answer.data == pattern


def test_refusals(disk: Disk) -> None:
    assert disk.run(bytes(6), target=5).response == S_BAD_TARGET
    unknown = disk.run(bytes([0xFF, *[0] * 5]))
    assert unknown.status == CHECK_CONDITION and unknown.sense[2] == 5 and unknown.sense[12] == 0x20
    beyond = disk.run(b"\x28\0" + struct.pack(">IBHB", 0xFFFFFFFF, 0, 8, 0), data_in=4096)
    assert beyond.status == CHECK_CONDITION and beyond.sense[12] == 0x21
    assert beyond.residual == 4096
