# SPDX-License-Identifier: BSD-3-Clause
"""vhost-bench: every mode runs, counts right, and fails when it should. No speed is judged here."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from .backends import DISK_MB, ROOT, Disk, StorageDaemon, Vhost, run, run_json

SHORT = ("--seconds", "0.2", "--warmup", "0.05")


@pytest.fixture
def null_disk(tmp_path: Path) -> Vhost:
    return Vhost(tmp_path, Disk("null"))


@pytest.mark.parametrize("pattern", ["randread", "randwrite", "read", "write", "mix"])
@pytest.mark.parametrize("device", ["blk", "scsi"])
def test_patterns(tmp_path: Path, pattern: str, device: str) -> None:
    """Verify: requests are made, none fails, the histogram holds each of them."""
    with Vhost(tmp_path, Disk("malloc", device)) as backend:
        report = run_json(
            *("vhost-bench", "--rw", pattern, "--device", device, *SHORT),
            *("--json", "-", backend.socket),
        )
    result = report["result"]
    latency = result["latency_ns"]
    assert report["workload"]["rw"] == pattern
    assert result["requests"] > 0
    assert result["errors"] == 0
    # Those in flight at the end have a latency but do not count for the rate.
    assert 0 <= latency["n"] - result["requests"] <= 32
    assert sum(bin[2] for bin in latency["bins"]) == latency["n"]
    assert latency["min"] <= latency["percentiles"]["50"] <= latency["percentiles"]["99.9"]
    assert latency["percentiles"]["99.99"] <= latency["max"]


def test_fixed_rate(null_disk: Vhost) -> None:
    """Verify: what was due was sent; requests and unsent ones make up the rate."""
    with null_disk as backend:
        report = run_json(
            *("vhost-bench", "--rate", "2000", "--depth", "64", *SHORT),
            *("--json", "-", backend.socket),
        )
    result = report["result"]
    due = 2000 * result["ns"] / 1e9
    assert result["requests"] + result["unsent"] <= due + 2
    assert result["requests"] + result["unsent"] >= due - 64 - 2


def test_rate_beyond_reach_shows_in_the_latency(null_disk: Vhost) -> None:
    """A rate that nobody reaches: the latency counts from when requests were due."""
    with null_disk as backend:
        report = run_json(
            *("vhost-bench", "--rate", "1e9", "--depth", "4", *SHORT),
            *("--json", "-", backend.socket),
        )
    result = report["result"]
    assert result["unsent"] > result["requests"]
    # The last ones sent were due almost at the beginning.
    assert result["latency_ns"]["max"] > 0.5 * result["ns"]


@pytest.mark.parametrize("completion", ["poll", "event"])
def test_calls(null_disk: Vhost, completion: str) -> None:
    with null_disk as backend:
        result = run_json(
            *("vhost-bench", "--completion", completion, *SHORT, "--json", "-", backend.socket),
        )["result"]
    if completion == "poll":
        assert result["sleeps"] == 0
        assert result["calls"] <= 1
    else:
        assert result["calls"] > 0
        assert result["calls"] <= result["requests"]


def free_huge_pages() -> int:
    """Of 2 MiB."""
    path = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    return int(path.read_text()) if path.exists() else 0


@pytest.mark.skipif(free_huge_pages() < 16, reason="no huge pages of 2 MiB are free")
@pytest.mark.parametrize("device", ["blk", "scsi"])
def test_huge_pages(tmp_path: Path, device: str) -> None:
    """Verify: the memory is taken from them, and comes back."""
    before = free_huge_pages()
    with Vhost(tmp_path, Disk("malloc", device)) as backend:
        report = run_json(
            *("vhost-bench", "--hugepage", "2M", "--device", device, "--rw", "mix", *SHORT),
            *("--json", "-", backend.socket),
        )
    assert report["result"]["requests"] > 0
    assert report["result"]["errors"] == 0
    assert free_huge_pages() == before


def test_huge_pages_that_are_not_there(null_disk: Vhost) -> None:
    """Verify: more than the machine has memory for is refused in words."""
    with null_disk as backend:
        done = run(
            *("vhost-bench", "--hugepage", "2M", "--bs", "64M", "--depth", "8192", backend.socket),
            check=False,
        )
    assert done.returncode == 1
    assert "no huge pages for the shared memory" in done.stderr


@pytest.mark.parametrize("target", ["vhost-null", "vhost-malloc"])
def test_spawn(target: str) -> None:
    report = run_json(
        "vhost-bench", "--spawn", target, "--target-size", "16M", *SHORT, "--json", "-"
    )
    assert report["target"] == target
    assert report["result"]["requests"] > 0


def test_spawn_aio(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(8 << 20))
    report = run_json(
        *("vhost-bench", "--spawn", "vhost-aio", "--target-file", image, *SHORT, "--json", "-")
    )
    assert report["result"]["errors"] == 0


@pytest.mark.parametrize("disk", ["null", "file"])
def test_spawn_qemu_storage_daemon(tmp_path: Path, qsd: str, disk: str) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(8 << 20))
    target = f"qsd-{disk},program={qsd}"
    report = run_json(
        *("vhost-bench", "--spawn", target, "--target-file", image, *SHORT, "--json", "-")
    )
    assert report["result"]["requests"] > 0


def test_spawned_targets_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run("vhost-bench", "--spawn", "vhost-null", *SHORT)
    assert list(tmp_path.iterdir()) == []


def test_compare(tmp_path: Path, qsd: str) -> None:
    """Verify: the ratio is that of the two, one ratio per group, the interval around it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        Vhost(tmp_path / "a", Disk("null")) as ours,
        StorageDaemon(tmp_path / "b", Disk("null"), qsd) as theirs,
    ):
        report = run_json(
            *("vhost-bench", "--compare", ours.socket, theirs.socket, "--json", "-"),
            *("--groups", "3", "--block-seconds", "0.05", "--disturbance", "1000"),
        )
    ratio = report["ratio"]
    assert len(ratio["groups"]) == 3
    assert ratio["low"] <= ratio["median"] <= ratio["high"]
    assert min(ratio["groups"]) <= ratio["median"] <= max(ratio["groups"])


def test_compare_resumes_what_it_stopped(tmp_path: Path) -> None:
    """A target that was there before us runs on afterwards: it can be measured again."""
    (tmp_path / "a").mkdir()
    with Vhost(tmp_path / "a", Disk("null")) as ours:
        run(
            *("vhost-bench", "--compare", ours.socket, "--spawn", "vhost-null"),
            *("--groups", "2", "--block-seconds", "0.02", "--disturbance", "1000"),
        )
        run("vhost-bench", *SHORT, ours.socket)


@pytest.mark.parametrize("device", ["blk", "scsi"])
@pytest.mark.parametrize("depth", [1, 64])
def test_requests_that_fail_are_counted(tmp_path: Path, device: str, depth: int) -> None:
    """Steps: the file of a disk is cut to half. Verify: about half of the reads fail."""
    with Vhost(tmp_path, Disk("aio", device)) as backend:
        os.truncate(tmp_path / "disk.raw", DISK_MB << 19)
        done = run(
            *("vhost-bench", "--device", device, "--depth", depth, *SHORT),
            *("--json", tmp_path / "report", backend.socket),
            check=False,
        )
    assert done.returncode == 1
    assert "requests failed" in done.stderr
    result = json.loads((tmp_path / "report").read_text())["result"]
    # Each has an answer of its own: none counts for another.
    assert 0.3 < result["errors"] / result["latency_ns"]["n"] < 0.7


def test_calibrate() -> None:
    report = run_json(
        "vhost-bench", "--calibrate", "--target-size", "16M", "--seconds", "0.2", "--json", "-"
    )
    assert report["ring_per_second"] > 0
    assert report["copies_per_second"] > 0
    assert report["copy_memory_mib"] == 16


def test_a_silent_target_is_reported(tmp_path: Path) -> None:
    """Steps: somebody accepts the connection and closes it. Verify: exit status and words."""
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        closer = threading.Thread(target=lambda: server.accept()[0].close())
        closer.start()
        done = run("vhost-bench", *SHORT, path, check=False)
        closer.join()
    assert done.returncode == 1
    assert "closed the connection" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("--depth", "0", "/x"),
        ("--bs", "100", "/x"),
        ("--rw", "sideways", "/x"),
        ("--spawn", "vhost-null", "/x"),
        ("--rate", "5", "--completion", "event", "/x"),
        ("--compare", "/x"),
        ("--nonsense",),
        (),
    ],
)
def test_bad_command_lines(args: tuple[str, ...]) -> None:
    done = run("vhost-bench", *args, check=False)
    assert done.returncode == 2
    assert "vhost-bench" in done.stderr


@pytest.mark.parametrize("target", ["vhost-nothing", "vhost-aio"])
def test_targets_that_cannot_be_spawned(target: str) -> None:
    done = run("vhost-bench", "--spawn", target, check=False)
    assert done.returncode == 1
    assert target in done.stderr


def test_help_and_manual_name_the_same_options() -> None:
    manual = (ROOT / "docs/man/vhost-bench.1").read_text()
    told = re.findall(r"^  --([a-z-]+)", run("vhost-bench", "--help").stdout, re.MULTILINE)
    described = re.findall(r"^\.It Fl -([a-z-]+)", manual, re.MULTILINE)
    assert len(told) > 30
    assert sorted({*told} - {"help"}) == sorted(described)
