# SPDX-License-Identifier: BSD-3-Clause
"""The fio engine: a real fio on a real target."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from vhostlab import frontend
from vhostlab.frontend import find_engine
from vhostlab.paths import source_dir

from .rig import DISK_MIB, FIO_DEADLINE_S, MIB, Fio, Running, start


def job_files() -> list[Path]:
    """Those that verify, and one of each pattern: others of it differ in a number only."""
    chosen: dict[str, Path] = {}
    for path in sorted((source_dir() / "fio-jobs").glob("*.fio")):
        name = path.stem
        chosen.setdefault(name if name.startswith("verify-") else name.split("-")[0], path)
    rates = [pattern for pattern in chosen if pattern.endswith("iops")]
    return [path for pattern, path in chosen.items() if pattern not in rates[1:]]


VERIFY = (
    "--verify=crc32c",
    "--verify_fatal=1",
    "--verify_state_save=0",
    "--do_verify=1",
    "--iodepth=16",
    "--randrepeat=1",
)
MIXED = ("--rw=randwrite", "--bssplit=512/40:4k/30:64k/29:1m/1")

BLK: tuple[str, ...] = ()
SCSI = ("--device=scsi",)
SCSI_1 = ("--device=scsi", "--lun=1")


@pytest.fixture(
    params=["vhostlab blk", "vhostlab scsi", "vhostlab scsi 1", "installed qsd", "other qsd"]
)
def disk(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options that name a disk, one after the other on each target."""
    match request.param.split():
        case ["vhostlab", "blk"]:
            running, controller, device = request.getfixturevalue("ours"), "blk", BLK
        case ["vhostlab", "scsi"]:
            running, controller, device = request.getfixturevalue("ours"), "scsi", SCSI
        case ["vhostlab", "scsi", _]:
            running, controller, device = request.getfixturevalue("ours"), "scsi", SCSI_1
        case ["other", _]:
            running, controller, device = request.getfixturevalue("other_qsd"), "blk", BLK
        case _:
            running, controller, device = request.getfixturevalue("qsd"), "blk", BLK
    return (running.socket(controller), *device)


def report(fio: Fio, *words: str) -> dict[str, object]:
    """The first job of fio's JSON, of a run that went well."""
    said = fio("--output-format=json+", *words)
    assert said.status == 0, said.text
    job: dict[str, object] = json.loads(said.text[said.text.index("{") :])["jobs"][0]
    return job


def moved(job: dict[str, object], way: str) -> int:
    direction = job[way]
    assert isinstance(direction, dict)
    return int(direction["io_bytes"])


# ---- data ----


def test_mixed_random_writes_are_read_back(fio: Fio, disk: tuple[str, ...]) -> None:
    size = f"--size={DISK_MIB}m"
    job = report(fio, "--name=v", *disk, *MIXED, *VERIFY, size, "--fsync=32", "--end_fsync=1")
    assert moved(job, "write") == moved(job, "read") == DISK_MIB * MIB
    sync = job["sync"]
    assert isinstance(sync, dict) and sync["total_ios"] > 10


def test_trimmed_blocks_are_written_and_read_back(fio: Fio, disk: tuple[str, ...]) -> None:
    # one at a time: a trim and a write in flight together may be done in any order
    words = ("--rw=randtrimwrite", "--bs=64k", "--size=32m", *VERIFY, "--iodepth=1")
    job = report(fio, "--name=t", *disk, *words)
    assert [moved(job, way) for way in ("trim", "write", "read")] == [32 * MIB] * 3


def test_flushes_reach_the_disk(fio: Fio, ours: Running) -> None:
    before = sum(ours.requests("blk"))
    words = ("--rw=write", "--bs=4k", "--size=1m", "--fsync=4")
    job = report(fio, "--name=f", ours.socket("blk"), *words)
    sync = job["sync"]
    assert isinstance(sync, dict) and sync["total_ios"] >= 60
    assert sum(ours.requests("blk")) - before == MIB // 4096 + sync["total_ios"]


def test_a_trim_empties_a_block(fio: Fio, ours: Running) -> None:
    disk = ours.socket("blk")
    report(fio, "--name=w", disk, "--rw=write", "--bs=1m", "--size=4m")
    report(fio, "--name=t", disk, "--rw=trim", "--bs=1m", "--size=4m")
    zeros = ("--verify=pattern", "--verify_pattern=0x00", "--verify_only=1")
    report(fio, "--name=r", disk, "--rw=write", "--bs=1m", "--size=4m", *zeros)


def test_what_was_changed_behind_its_back_is_found(fio: Fio, disk: tuple[str, ...]) -> None:
    write = ("--name=v", *disk, *MIXED, *VERIFY, "--size=16m")
    assert fio(*write).status == 0
    assert fio(*write, "--verify_only=1").status == 0
    spoil = ("--name=s", *disk, "--rw=write", "--bs=4k", "--offset=8m", "--size=4k")
    assert fio(*spoil).status == 0
    said = fio(*write, "--verify_only=1")
    assert said.status != 0
    assert "verify" in said.text


# ---- jobs and queues ----


@pytest.mark.parametrize("controller", ["blk", "scsi"])
def test_jobs_that_are_threads_share_a_connection(fio: Fio, ours: Running, controller: str) -> None:
    device = SCSI if controller == "scsi" else BLK
    words = ("--thread=1", "--numjobs=3", "--offset_increment=16m", "--size=16m")
    # three jobs at the same time, though a controller serves one connection at a time
    said = fio("--name=j", ours.socket(controller), *device, *words, "--rw=randrw", *VERIFY)
    assert said.status == 0, said.text
    assert said.text.count("(groupid=0") == 3
    assert len([n for n in ours.requests(controller) if n > 1000]) >= 3


def test_a_job_spreads_over_its_queues(fio: Fio, ours: Running) -> None:
    before = ours.requests("blk")
    job = report(
        fio, "--name=q", ours.socket("blk"), "--queues=4", "--rw=randread", "--iodepth=8",
        "--bs=4k", "--size=16m",
    )  # fmt: skip
    before += [0] * 4
    grown = [after - before[n] for n, after in enumerate(ours.requests("blk"))]
    assert sum(grown) == moved(job, "read") // 4096
    assert all(n == sum(grown) // 4 for n in grown)


def test_jobs_of_several_luns_share_a_connection(fio: Fio, ours: Running) -> None:
    common = (ours.socket("scsi"), "--device=scsi", "--thread=1", "--size=16m", *MIXED, *VERIFY)
    said = fio("--name=a", *common, "--lun=0", "--name=b", *common, "--lun=1")
    assert said.status == 0, said.text


@pytest.mark.parametrize("options", [("--poll=1",), ("--indirect=0",), ("--queue_size=4",)])
def test_ways_to_drive_a_queue(fio: Fio, disk: tuple[str, ...], options: tuple[str, ...]) -> None:
    job = report(fio, "--name=w", *disk, *MIXED, *VERIFY, "--size=8m", *options)
    assert moved(job, "write") == moved(job, "read") == 8 * MIB


def test_processes_are_refused_in_one_line(fio: Fio, ours: Running) -> None:
    said = fio("--name=p", ours.socket("blk"), "--numjobs=4", "--rw=read", "--size=1m")
    assert said.status != 0
    assert "one connection at a time" in said.line and "thread=1" in said.line


def test_processes_after_one_another(fio: Fio, disk: tuple[str, ...]) -> None:
    first = ("--name=a", *disk, "--rw=write", "--size=4m")
    said = fio(*first, "--name=b", "--stonewall", *disk, "--rw=read", "--size=4m")
    assert said.status == 0, said.text


def test_filename_is_the_socket_when_there_is_no_other(fio: Fio, ours: Running) -> None:
    path = ours.socket("blk").removeprefix("--socket=")
    job = report(fio, "--name=f", f"--filename={path}", "--rw=read", "--bs=1m", "--direct=1")
    assert moved(job, "read") == DISK_MIB * MIB


# ---- what is measured ----


def test_latency_percentiles(fio: Fio, disk: tuple[str, ...]) -> None:
    job = report(
        fio, "--name=l", *disk, "--rw=randread", "--bs=4k", "--iodepth=4", "--size=8m",
        "--percentile_list=50:99.9",
    )  # fmt: skip
    read = job["read"]
    assert isinstance(read, dict)
    clat = read["clat_ns"]
    assert clat["N"] == read["total_ios"] == 8 * MIB // 4096
    assert sum(clat["bins"].values()) == clat["N"]
    assert 0 < clat["min"] <= clat["percentile"]["50.000000"] <= clat["percentile"]["99.900000"]


HUGE_FREE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")


def free_huge_pages() -> int:
    return int(HUGE_FREE.read_text()) if HUGE_FREE.exists() else 0


@pytest.mark.skipif(free_huge_pages() < 32, reason="no huge pages of 2 MiB are free")
def test_buffers_in_huge_pages(fio: Fio, disk: tuple[str, ...]) -> None:
    """Verify: data is right, and the pages come back."""
    before = free_huge_pages()
    words = ("--hugepage=2m", *MIXED, *VERIFY, "--size=32m", "--numjobs=1", "--thread=1")
    job = report(fio, "--name=h", *disk, *words)
    assert moved(job, "write") == moved(job, "read") == 32 * MIB
    assert free_huge_pages() == before


@pytest.mark.parametrize("target", ["ours blk", "ours scsi", "qsd blk"])
@pytest.mark.parametrize("file", job_files(), ids=lambda file: file.stem)
def test_job_files(
    fio: Fio,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    file: Path,
    target: str,
) -> None:
    """Files of fio-jobs as they are, but for the way to the disk."""
    name, device = target.split()
    running = request.getfixturevalue(name)
    place = frontend.Place(running.target.endpoints[f"{device}-jobs"], device)
    monkeypatch.setenv("RUNTIME", "1")
    job = fio.cwd / file.name
    frontend.write_job(file, job, fio.engine, place)
    said = fio(str(job))
    assert said.status == 0, said.text
    assert "err= 0" in said.text


def test_help_and_manual_name_the_same_options(fio: Fio) -> None:
    manual = (source_dir() / "docs/man/vhost_user-fio.1").read_text()
    told = subprocess.run(
        [fio.program, f"--enghelp={fio.engine}"], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"^(\w+) +:", told, re.MULTILINE)
    assert "socket" in names
    assert sorted(names) == sorted(re.findall(r"^\.It Cm (\w+) Ns =", manual, re.MULTILINE))


# ---- refusals ----


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--lun=1",), "lun= is for device=scsi"),
        (("--queues=200",), "want 200 queues"),
        (("--queue_size=100",), "power of two"),
        (("--queue_size=2",), "queue_size= wants"),
        (("--hugepage=3m",), "hugepage= wants"),
        (("--bs=1000",), "block size is not a multiple"),
        (("--filename=a:b", "--nrfiles=2"), "one disk"),
    ],
)
def test_options_that_cannot_be(fio: Fio, ours: Running, words: tuple[str, ...], part: str) -> None:
    said = fio("--name=o", ours.socket("blk"), "--rw=read", "--size=1m", *words)
    assert said.status != 0
    assert part in said.line


@pytest.mark.parametrize("words", [("--ring=round",), ("--device=nvme",), ("--queues=0",)])
def test_options_that_fio_refuses(fio: Fio, ours: Running, words: tuple[str, ...]) -> None:
    said = fio("--name=o", ours.socket("blk"), "--rw=read", "--size=1m", *words)
    assert said.status != 0
    assert words[0].removeprefix("--").partition("=")[0] in said.text


def test_nobody_listens(fio: Fio, tmp_path: Path) -> None:
    said = fio("--name=n", f"--socket={tmp_path}/none", "--connect_timeout=50", "--rw=read")
    assert said.status != 0
    assert "cannot connect" in said.line


def test_no_such_target(fio: Fio, ours: Running) -> None:
    said = fio("--name=n", ours.socket("scsi"), "--device=scsi", "--lun=9", "--rw=read")
    assert said.status != 0
    assert "no disk at target 9" in said.line


@pytest.mark.parametrize("target", ["ours", "qsd"])
def test_packed_rings(fio: Fio, request: pytest.FixtureRequest, target: str) -> None:
    running: Running = request.getfixturevalue(target)
    words = ("--name=p", running.socket("blk"), "--ring=packed", *MIXED, *VERIFY, "--size=8m")
    said = fio(*words)
    if "packed" in running.target.capabilities.ring_formats:
        assert said.status == 0, said.text
    else:
        assert said.status != 0
        assert "does not offer packed rings" in said.line


@pytest.mark.parametrize("target", ["ours", "qsd"])
def test_read_only(fio: Fio, request: pytest.FixtureRequest, target: str) -> None:
    socket = request.getfixturevalue(target).socket("blk-ro")
    assert moved(report(fio, "--name=r", socket, "--rw=read", "--bs=64k"), "read") == 8 * MIB
    for way in ("write", "trim", "randrw"):
        said = fio("--name=w", socket, f"--rw={way}", "--bs=64k")
        assert said.status != 0
        assert "read-only" in said.line


@pytest.mark.parametrize("target", ["ours", "qsd"])
def test_blocks_of_4k(fio: Fio, request: pytest.FixtureRequest, target: str) -> None:
    socket = request.getfixturevalue(target).socket("blk-4k")
    words = ("--rw=randwrite", "--bssplit=4k/60:64k/40", "--size=16m", *VERIFY)
    assert moved(report(fio, "--name=v", socket, *words), "write") == 16 * MIB
    said = fio("--name=s", socket, "--rw=read", "--bs=512")
    assert said.status != 0
    assert "not a multiple" in said.line
    # each block size is fine, an offset is not
    said = fio("--name=o", socket, "--rw=read", "--bs=4k", "--offset=512", "--size=8k")
    assert said.status != 0
    assert "blocks of 4096 bytes" in said.line


# ---- errors ----


def test_an_error_of_the_disk_is_the_jobs(fio: Fio, ours: Running) -> None:
    words = ("--name=e", ours.socket("blk-short"), "--rw=read", "--bs=64k")
    assert moved(report(fio, *words), "read") == 8 * MIB
    path = ours.controllers["blk-short"].disks[0].path
    assert path is not None
    # the file has shrunk behind the target's back: it has nothing to read there
    os.truncate(path, 1 * MIB)
    try:
        said = fio(*words, "--continue_on_error=all", "--output-format=json")
    finally:
        os.truncate(path, 8 * MIB)
    job = json.loads(said.text[said.text.index("{") :])["jobs"][0]
    assert job["total_err"] == 7 * MIB // (64 * 1024)
    assert job["first_error"] == errno.EIO
    assert moved(report(fio, *words), "read") == 8 * MIB


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Running]:
    yield from start("vhostlab", tmp_path / "mortal")


@pytest.mark.parametrize("poll", ["0", "1"])
def test_a_target_that_dies_ends_the_job(fio: Fio, mortal: Running, poll: str) -> None:
    argv = fio.argv(
        "--name=d", mortal.socket("blk-null"), "--rw=randread", "--iodepth=8", "--time_based",
        "--runtime=60", f"--poll={poll}",
    )  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        mortal.wait_for_requests("blk-null", 1000)
        mortal.kill()
        text, _ = run.communicate(timeout=FIO_DEADLINE_S)
    assert run.returncode != 0
    assert [line for line in text.splitlines() if "closed the connection" in line]


# ---- another fio ----


def patched(program: str, to: Path, old: bytes, new: bytes) -> str:
    """A copy of fio in which one text is another one."""
    assert len(old) == len(new)
    content = Path(program).read_bytes()
    assert old in content
    to.write_bytes(content.replace(old, new))
    to.chmod(0o755)
    return str(to)


def refused(fio: Fio, ours: Running, program: str) -> str:
    said = fio("--name=a", ours.socket("blk"), "--rw=read", "--size=1m", program=program)
    assert said.status != 0
    return said.line


def test_another_version_of_fio_is_refused(fio: Fio, ours: Running, tmp_path: Path) -> None:
    shown = subprocess.run([fio.program, "--version"], capture_output=True, check=True).stdout
    version = shown.strip()
    other = patched(fio.program, tmp_path / "fio", version + b"\0", version[:-1] + b"x\0")
    assert "there is no layout for it" in refused(fio, ours, other)


def test_a_fio_with_other_options_is_refused(fio: Fio, ours: Running, tmp_path: Path) -> None:
    other = patched(fio.program, tmp_path / "fio", b"\0stonewall\0", b"\0stonewell\0")
    assert "option table" in refused(fio, ours, other)


def test_a_program_that_is_not_fio_is_refused() -> None:
    code = (
        "import ctypes, sys; ops = ctypes.c_void_p(1);"
        "ctypes.CDLL(sys.argv[1]).get_ioengine(ctypes.byref(ops)); sys.exit(ops.value is not None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(find_engine())], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == (
        "vhost_user: cannot be loaded: the program is not fio, or exports no symbols\n"
    )
