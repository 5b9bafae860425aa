# SPDX-License-Identifier: BSD-3-Clause
"""fio: what is read from its output and what happens when it fails, by the real fio of the host."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from vhostlab import fio
from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir

JOBS = source_dir() / "fio-jobs"

needs_fio = pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed")


@dataclass(frozen=True)
class Done:
    rc: int
    stdout: str
    stderr: str


class Here:
    """Runs commands on this host in place of a guest."""

    async def run(self, cmd: str, timeout_s: float = 60.0, check: bool = True) -> Done:
        done = await asyncio.to_thread(
            subprocess.run, ["sh", "-c", cmd], capture_output=True, text=True, timeout=timeout_s
        )
        if check and done.returncode != 0:
            raise HarnessError(done.stderr)
        return Done(done.returncode, done.stdout, done.stderr)

    async def read_file(self, path: str) -> bytes:
        try:
            return Path(path).read_bytes()  # noqa: ASYNC240
        except OSError as error:
            raise HarnessError(str(error)) from error

    async def write_file(self, path: str, data: bytes) -> None:
        Path(path).write_bytes(data)  # noqa: ASYNC240


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fio, "GUEST_DIR", str(tmp_path / "guest"))
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(128 << 20)
    return path


def run(job: str, disk: Path, keep: Path, *extra: str) -> fio.Run:
    return asyncio.run(fio.run(Here(), JOBS / f"{job}.fio", str(disk), 1, keep, *extra))


@needs_fio
def test_a_real_run_is_read_whole(disk: Path, tmp_path: Path) -> None:
    keep = tmp_path / "kept" / "cell.json"
    result = run("randread-4k-qd32", disk, keep)
    raw = json.loads(keep.read_text())["jobs"][0]["read"]
    read = result.main_direction()
    assert (read.name, read.ios, read.iops) == ("read", raw["total_ios"], raw["iops"])
    assert read.bytes == 4096 * read.ios
    assert set(read.latency.percentiles) == {50.0, 90.0, 99.0, 99.9, 99.99}
    assert sum(read.latency.bins.values()) == read.latency.samples
    p50, p99 = read.latency.percentile(50.0), read.latency.percentile(99.0)
    assert p50 is not None and p99 is not None
    assert read.latency.min_ns <= p50 <= p99 <= read.latency.max_ns
    assert read.latency.percentile(12.5) is None
    assert result.jobs[0].direction("write") is None


@needs_fio
def test_version_of_a_real_fio() -> None:
    assert asyncio.run(fio.probe(Here())).number >= fio.OLDEST_FIO


@needs_fio
def test_verify_passes_and_a_changed_byte_fails_it(disk: Path, tmp_path: Path) -> None:
    job = "verify-mixed-qd16"
    written = run(job, disk, tmp_path / "write.json")
    assert {j.name for j in written.jobs} == {
        "verify-512",
        "verify-4k",
        "verify-64k",
        "verify-1m",
        "verify-split",
    }
    again = run(job, disk, tmp_path / "again.json", "--verify_only")
    assert all(j.direction("read") for j in again.jobs)
    with disk.open("r+b") as file:
        file.seek((17 << 20) + 5000)
        file.write(b"\xff\x00\xff")
    with pytest.raises(fio.FioError, match="verify"):
        run(job, disk, tmp_path / "broken.json", "--verify_only")
    assert (tmp_path / "broken.json").exists()


@needs_fio
def test_missing_device_is_an_error_that_names_it(tmp_path: Path, disk: Path) -> None:
    with pytest.raises(fio.FioError, match="no-such-dir"):
        run("randread-4k-qd1", tmp_path / "no-such-dir" / "disk", tmp_path / "x.json")


def test_missing_job_file(disk: Path, tmp_path: Path) -> None:
    with pytest.raises(fio.FioError, match=r"no-such-job\.fio"):
        run("no-such-job", disk, tmp_path / "x.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("fio: engine libaio not loadable", "no JSON"),
        ('{"fio version": "fio-3.33", "jobs": [', "does not parse"),
        ('{"fio version": "fio-3.33"}', "not a json"),
        ('{"fio version": "3", "jobs": []}', "not a fio version"),
        ('{"fio version": "fio-3.33", "jobs": [{"jobname": "x"}]}', "not a json"),
        ('{"fio version": "fio-3.33", "jobs": "abc"}', "not a json"),
        ('[{"fio version": "fio-3.33"}]', "not a json"),
    ],
)
def test_bad_output_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(fio.FioError, match=message):
        fio.parse(text)


def sample(**changes: Any) -> dict[str, Any]:
    clat = {"N": 2, "mean": 15.0, "stddev": 5.0, "min": 10, "max": 20, "bins": {"10": 1, "20": 1}}
    way = {
        "total_ios": 2,
        "io_bytes": 8192,
        "iops": 2.0,
        "bw_bytes": 8192,
        "runtime": 1000,
        "short_ios": 0,
        "drop_ios": 0,
        "clat_ns": clat,
    }
    job = {"jobname": "j", "error": 0, "read": way, "write": way | {"total_ios": 0}} | changes
    return {"fio version": "fio-3.42-15-gabcdef", "jobs": [job]}


def test_words_before_the_document_are_passed_over() -> None:
    run = fio.parse("fio: clock source is slow\n" + json.dumps(sample()) + "\ntrailing")
    assert run.version.number == (3, 42)
    assert [d.name for d in run.jobs[0].directions] == ["read"]
    assert run.main_direction().latency.percentiles == {}


def test_a_run_without_io_has_no_main_direction() -> None:
    idle = fio.parse(json.dumps(sample(read=sample()["jobs"][0]["write"])))
    with pytest.raises(fio.FioError, match="no I/O"):
        idle.main_direction()


class Canned:
    """A guest whose fio is the one given."""

    def __init__(self, done: Done) -> None:
        self.done = done

    async def run(self, cmd: str, timeout_s: float = 60.0, check: bool = True) -> Done:
        return self.done

    async def read_file(self, path: str) -> bytes:
        raise HarnessError(f"no {path}")

    async def write_file(self, path: str, data: bytes) -> None:
        return None


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (Done(127, "", "sh: fio: not found"), "no working fio.*not found"),
        (Done(0, "fio-2.21", ""), "too old"),
        (Done(0, "hello", ""), "not a fio version"),
    ],
)
def test_probe_refuses(done: Done, message: str) -> None:
    with pytest.raises(fio.FioError, match=message):
        asyncio.run(fio.probe(Canned(done)))


def test_no_result_file_is_reported_with_what_fio_said(tmp_path: Path) -> None:
    canned = Canned(Done(1, "", "out of memory"))
    with pytest.raises(fio.FioError, match="out of memory"):
        asyncio.run(fio.run(canned, JOBS / "read-4k-qd1.fio", "/dev/x", 1, tmp_path / "k.json"))
