# SPDX-License-Identifier: BSD-3-Clause
"""Quality of service as an operator sets it and a guest sees it: limits and coalescing of calls."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemon import Daemon
from .frontend import BLK_T_FLUSH, Blk, FrontEnd
from .management import call
from .memory import GuestMemory, SplitRing
from .test_fairness import Flood, read_table
from .waiting import until

RING = 128
BURST_S = 0.01
"""What an idle controller saves up."""
RATE = 400
DELAY_US = 30_000


@pytest.fixture(autouse=True)
def no_quality_of_service(daemon: Daemon) -> Iterator[None]:
    """The daemon is shared."""
    yield
    call(
        daemon, "vhost_controller_set_coalescing", ctrlr="blk.0", delay_base_us=0, iops_threshold=0
    )
    call(
        daemon,
        "vhost_controller_set_qos_limit",
        ctrlr="blk.0",
        rw_ios_per_sec=0,
        rw_mbytes_per_sec=0,
    )


def cpu_seconds(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_requests_per_second(daemon: Daemon, ready: FrontEnd, memory: GuestMemory) -> None:
    """Two queues together do not get more, each gets its share, and the reactor sleeps."""
    rings = [SplitRing(memory, index, size=RING) for index in range(2)]
    ready.start(rings)
    floods = [Flood(ring, read_table(memory, 4096)) for ring in rings]
    # One request at first, so that neither has a start of its own.
    call(daemon, "vhost_controller_set_qos_limit", ctrlr="blk.0", rw_ios_per_sec=1)
    for flood in floods:
        flood.start()
    begin, used = time.monotonic(), cpu_seconds(daemon)
    call(daemon, "vhost_controller_set_qos_limit", ctrlr="blk.0", rw_ios_per_sec=RATE)
    until("half of it is done", lambda: sum(flood.done() for flood in floods) >= RING)
    done = [flood.done() for flood in floods]
    took, used = time.monotonic() - begin, cpu_seconds(daemon) - used
    assert sum(done) <= (took + 2 * BURST_S) * RATE + 2
    assert min(done) >= RING / 2 - 2 * (BURST_S * RATE + 1)
    assert used < took / 2
    # The reactor sleeps until it may go on; a new limit wakes it up.
    call(daemon, "vhost_controller_set_qos_limit", ctrlr="blk.0", rw_ios_per_sec=1)
    call(daemon, "vhost_controller_set_qos_limit", ctrlr="blk.0", rw_ios_per_sec=0)
    until("all is done", lambda: all(flood.is_done() for flood in floods), 20)
    for ring in rings:
        ring.close()


def test_bytes_per_second(daemon: Daemon, ready: FrontEnd, memory: GuestMemory) -> None:
    ring = SplitRing(memory, 0, size=RING)
    ready.start([ring])
    flood = Flood(ring, read_table(memory, 32 << 10))
    call(daemon, "vhost_controller_set_qos_limit", ctrlr="blk.0", rw_mbytes_per_sec=8)
    begin = time.monotonic()
    flood.start()
    until("4 MiB are done", flood.is_done)
    took = time.monotonic() - begin
    assert took >= 4 / 8 - 2 * BURST_S
    ring.close()


def test_a_stop_under_a_limit(daemon: Daemon, ready: FrontEnd, memory: GuestMemory) -> None:
    """What the limit left in the ring is there for whoever comes next."""
    ring = SplitRing(memory, 0, size=RING)
    ready.start([ring])
    flood = Flood(ring, read_table(memory, 4096))
    call(daemon, "vhost_controller_set_qos_limit", ctrlr="blk.0", rw_ios_per_sec=1)
    flood.start()
    until("one is done", lambda: flood.done() > 0)
    base = ready.stop(0)
    assert base == flood.done() < RING
    ring.close()


def test_calls_of_a_busy_guest(daemon: Daemon, ready: FrontEnd, memory: GuestMemory) -> None:
    """Two calls lie apart; the last one comes though nothing else happens."""
    ring = SplitRing(memory, 0)
    ready.start([ring])
    disk = Blk(ring)
    call(
        daemon,
        "set_vhost_controller_coalescing",
        ctrlr="blk.0",
        delay_base_us=DELAY_US,
        iops_threshold=0,
    )
    assert disk.flush() == 0
    ring.forget_calls()
    begin = time.monotonic()
    calls = 0
    for _ in range(100):
        disk.submit(BLK_T_FLUSH, 0, 0, True)
        until("it is done", lambda: ring.used_count() > 0)
        ring.used_idx += 1
        calls += _count(ring)
    took = time.monotonic() - begin
    assert calls <= took / (DELAY_US / 1e6) + 1
    disk.submit(BLK_T_FLUSH, 0, 0, True)
    assert disk.finish() == 0
    # Below the threshold each request has its call.
    call(
        daemon,
        "set_vhost_controller_coalescing",
        ctrlr="blk.0",
        delay_base_us=DELAY_US,
        iops_threshold=1_000_000,
    )
    ring.forget_calls()
    before = _calls(daemon)
    for _ in range(10):
        assert disk.flush() == 0
    # One that was held back may have come first.
    until("each had its call", lambda: 10 <= _calls(daemon) - before <= 11)
    ring.close()


def _calls(daemon: Daemon) -> int:
    (controller,) = call(daemon, "vhost_get_stats", name="blk.0")["controllers"]
    return int(controller["queues"][0]["calls"])


def _count(ring: SplitRing) -> int:
    try:
        return os.eventfd_read(ring.call_fd)
    except BlockingIOError:
        return 0
