# SPDX-License-Identifier: BSD-3-Clause
"""A few SCSI commands through a real ring: queues, responses and data meet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .daemon import Daemon
from .frontend import FrontEnd
from .memory import GuestMemory, SplitRing
from .scsi import (
    CHECK_CONDITION,
    FIRST_REQUEST_QUEUE,
    GOOD,
    S_BAD_TARGET,
    S_OK,
    ScsiDisk,
    read_10,
    write_10,
)


@pytest.fixture
def ring(daemon: Daemon, memory: GuestMemory) -> Iterator[SplitRing]:
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, FIRST_REQUEST_QUEUE)
        front.start([ring])
        yield ring
        ring.close()


@pytest.fixture
def disk(ring: SplitRing) -> ScsiDisk:
    """Target 0 of scsi.0, by its first request queue."""
    return ScsiDisk(ring)


def test_inquiry(disk: ScsiDisk) -> None:
    answer = disk.run(bytes([0x12, 0, 0, 0, 96, 0]), data_in=96)
    assert (answer.response, answer.status, answer.residual) == (S_OK, GOOD, 0)
    assert answer.data[0] == 0 and answer.data[8:16] == b"VHOSTLAB"


def test_capacity(disk: ScsiDisk) -> None:
    assert disk.capacity() == 8 << 20


def test_data_comes_back(disk: ScsiDisk) -> None:
    pattern = bytes(range(256)) * 16
    assert disk.run(write_10(40, 8), data_out=pattern).status == GOOD
    answer = disk.run(read_10(40, 8), data_in=4096)
    assert answer.status == GOOD and answer.data == pattern


def test_refusals(disk: ScsiDisk, ring: SplitRing) -> None:
    assert ScsiDisk(ring, target=5, room=512).ready().response == S_BAD_TARGET
    unknown = disk.run(bytes([0xFF, *[0] * 5]))
    assert unknown.status == CHECK_CONDITION and unknown.sense[2] == 5 and unknown.sense[12] == 0x20
    beyond = disk.run(read_10(0xFFFFFFFF, 8), data_in=4096)
    assert beyond.status == CHECK_CONDITION and beyond.sense[12] == 0x21
    assert beyond.residual == 4096
