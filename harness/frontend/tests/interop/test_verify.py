# SPDX-License-Identifier: BSD-3-Clause
"""The front-end library against real back-ends: what is written is what is read.

vhost-verify keeps many writes, reads and zeroings in flight and knows what each block must hold.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .backends import Backend, Disk, StorageDaemon, Vhost, run, run_json

EVENT_IDX = 1 << 29
INDIRECT = 1 << 28
PACKED = 1 << 34
CONFIG_MAX = 256
"""A configuration space as a message can hold it: a back-end that is asked for it may give it."""
REQUESTS = 3000

WAYS = {
    "poll": (),
    "event": ("-e",),
    "indirect": ("-i",),
    "indirect-event": ("-i", "-e"),
    "no-event-idx": ("-E", "-e"),
    "many-queues": ("-q", "4", "-d", "8", "-e"),
    "many-regions": ("-r", "4", "-i"),
    "depth-1": ("-d", "1"),
}
# All ways on a ramdisk; on a file, whose completions come late and in another order, two.
OURS = [(Disk("malloc", device), way) for device in ("blk", "scsi") for way in WAYS]
OURS += [(Disk("aio", device), way) for device in ("blk", "scsi") for way in ("event", "indirect")]


def verify(backend: Backend, *args: str) -> dict[str, int]:
    scsi = ("-s",) if backend.disk.device == "scsi" else ()
    return run_json("vhost-verify", *scsi, "-n", REQUESTS, *args, backend.socket)


@pytest.mark.parametrize(
    ("disk", "way"), OURS, ids=[f"{disk.device}-{disk.kind}-{way}" for disk, way in OURS]
)
def test_our_daemon(tmp_path: Path, disk: Disk, way: str) -> None:
    """Steps: random writes, reads, zeroings, then all of it read. Verify: every word."""
    with Vhost(tmp_path, disk) as backend:
        result = verify(backend, *WAYS[way])
    assert result["requests"] >= REQUESTS
    assert bool(result["features"] & EVENT_IDX) == (way != "no-event-idx")
    assert result["features"] & INDIRECT
    assert result["config_bytes"] == CONFIG_MAX


@pytest.mark.parametrize("way", WAYS)
def test_qemu_storage_daemon(tmp_path: Path, qsd: str, way: str) -> None:
    """The same against another implementation, which shows no more than its own configuration."""
    with StorageDaemon(tmp_path, Disk("aio"), qsd) as backend:
        result = verify(backend, *WAYS[way])
    assert result["requests"] >= REQUESTS
    assert result["zeroes"]
    assert 60 <= result["config_bytes"] <= 96


def test_a_disk_that_forgets_is_noticed(tmp_path: Path) -> None:
    """A null disk drops what is written: the check of the checker."""
    with Vhost(tmp_path, Disk("null")) as backend:
        done = run("vhost-verify", "-n", REQUESTS, backend.socket, check=False)
    assert done.returncode == 1
    assert "word 0" in done.stderr


def test_a_broken_ring_is_noticed(tmp_path: Path) -> None:
    """Steps: a descriptor that points nowhere. Verify: the front-end learns of the end."""
    with Vhost(tmp_path, Disk("malloc")) as backend:
        run("vhost-verify", "-b", backend.socket)
        verify(backend)


@pytest.mark.parametrize(
    ("disk", "way"), OURS, ids=[f"{disk.device}-{disk.kind}-{way}" for disk, way in OURS]
)
def test_packed_rings_of_our_daemon(tmp_path: Path, disk: Disk, way: str) -> None:
    """The same on packed rings."""
    with Vhost(tmp_path, disk) as backend:
        result = verify(backend, "-p", *WAYS[way])
    assert result["requests"] >= REQUESTS
    assert result["features"] & PACKED
    assert bool(result["features"] & EVENT_IDX) == (way != "no-event-idx")


@pytest.mark.parametrize("ring", ["split", "packed"])
def test_polling_causes_no_calls(tmp_path: Path, ring: str) -> None:
    """Verify: a front-end that only polls is hardly ever called, one that sleeps is."""
    packed = ("-p",) if ring == "packed" else ()
    with Vhost(tmp_path, Disk("malloc")) as backend:
        polled = verify(backend, *packed)
        slept = verify(backend, "-e", *packed)
    # One at the swap of the call eventfd, and one that was asked for while setting up.
    assert polled["calls"] <= 4
    assert slept["calls"] > 4


def test_packed_rings_of_qemu_storage_daemon(tmp_path: Path, qsd: str) -> None:
    """qemu-storage-daemon has split rings only."""
    with StorageDaemon(tmp_path, Disk("aio"), qsd) as backend:
        done = run("vhost-verify", "-p", backend.socket, check=False)
    assert done.returncode == 1
    assert "does not offer packed rings" in done.stderr
