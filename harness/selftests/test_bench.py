# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab bench``: jobs for a socket, what is asked for, what a run leaves. No fio is run."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console
from vhostlab import bench, cli, fio, frontend, matrix, measure, results
from vhostlab.errors import Unavailable
from vhostlab.frontend import Place
from vhostlab.host.load import OthersMeter, busy_seconds
from vhostlab.paths import source_dir
from vhostlab.results import Status
from vhostlab.target import Controller, Disk

JOBS = sorted((source_dir() / "fio-jobs").glob("*.fio"))
ENGINE = Path("/x/vhost_user.so")


def options(text: str) -> dict[str, dict[str, str]]:
    """Sections of a job file and their options; an option that is said twice is an error."""
    sections: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith(";"):
            key, _, value = line.partition("=")
            assert key not in section
            section[key] = value
    return sections


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.stem)
def test_every_job_can_be_had_for_a_socket(path: Path) -> None:
    before = options(path.read_text())
    after = options(frontend.job_text(path.read_text(), ENGINE, Place(Path("/s/a"), "scsi", 2)))
    assert list(after) == list(before)
    assert before["global"].pop("filename") == "${DEVICE}"
    assert before["global"].pop("ioengine") == "libaio"
    made = after["global"]
    assert made.pop("ioengine") == f"external:{ENGINE}"
    assert (made.pop("socket"), made.pop("device"), made.pop("lun")) == ("/s/a", "scsi", "2")
    assert made.pop("thread") == "1"
    made.pop("cpus_allowed", None)
    assert after == before


def test_options_of_a_job() -> None:
    blk = Place(Path("/s/b"), "blk")
    plain = options(frontend.job_text("[global]\nbs=4k\n[a]\nrw=read", ENGINE, blk))["global"]
    assert not {"lun", "poll", "ring"} & set(plain)
    more = options(frontend.job_text("[a]\nrw=read", ENGINE, blk, poll=True, ring="packed"))
    assert (more["global"]["poll"], more["global"]["ring"]) == ("1", "packed")
    assert more["a"] == {"rw": "read"}


def test_fio_keeps_off_the_targets_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 0, 2})
    assert frontend.other_cores() == "2,3"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert "cpus_allowed" not in frontend.job_text("[a]", ENGINE, Place(Path("/s"), "blk"))


def cell(**params: matrix.Value) -> matrix.Cell:
    return matrix.Cell({"device": "blk", **params})


def plan_of(*cells: matrix.Cell) -> matrix.Matrix:
    return matrix.Matrix("m", "", 4, cells, ramp_s=1)


def test_what_a_cell_says_reaches_the_job() -> None:
    asked = cell(jobs=2, queues=4, queue_size=256)
    assert bench.options(plan_of(asked), asked) == [
        *("ramp_time=1", "numjobs=2"),
        *("queues=2", "queue_size=256"),
    ]
    assert bench.options(plan_of(cell()), cell()) == ["ramp_time=1"]
    text = frontend.job_text(
        "[a]\nrw=read",
        ENGINE,
        Place(Path("/s/b"), "blk"),
        more=bench.options(plan_of(asked), asked),
    )
    assert options(text)["global"]["queues"] == "2"


def test_what_needs_a_guest_or_more_cores_is_left_out() -> None:
    assert bench.lacking_without_guest(cell(jobs=2, queues=4)) is None
    assert bench.lacking_without_guest(cell(jobs=4)) is None
    assert "queues of their own" in str(bench.lacking_without_guest(cell(jobs=4, queues=2)))
    assert "one core, not 2" in str(bench.lacking_without_guest(cell(target_cores=2)))


def test_place_of_a_disk() -> None:
    one, two = Disk("m", "malloc", 1 << 20), Disk("n", "null", 1 << 20)
    scsi, blk = Controller("s", "scsi", (one, two)), Controller("b", "blk", (two,))
    assert Place.of(scsi, "n", Path("/s")) == Place(Path("/s"), "scsi", 1)
    assert Place.of(blk, "n", Path("/b")) == Place(Path("/b"), "blk", 0)


def test_cells_have_ids_of_their_own() -> None:
    through_guests = matrix.load(source_dir() / "fio-jobs/matrix/smoke.toml").cells
    plain, poll = bench.Request().plan().cells, bench.Request(poll=True).plan().cells
    assert [c.job for c in plain] == [c.job for c in through_guests]
    ids = [{c.id for c in cells} for cells in (through_guests, plain, poll)]
    assert len(ids[0] | ids[1] | ids[2]) == 3 * len(through_guests)
    assert all(c.params["path"] == "frontend" for c in plain)


@pytest.mark.parametrize(
    "request_",
    [
        bench.Request(),
        bench.Request("qemu-storage-daemon", "quick", ("abc", "def"), poll=True),
        bench.Request(verify_mib=64),
    ],
)
def test_the_command_of_a_request_asks_for_the_same(request_: bench.Request) -> None:
    words = shlex.split(request_.command())
    assert words[:2] == ["vhostlab", "bench"]
    read = cli._parser().parse_args(words[1:])
    asked = bench.Request(read.target, read.matrix, tuple(read.cell), read.poll, read.verify)
    assert asked == request_


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--target nope", "no target is called 'nope'"),
        ("--target qemu", "target qemu has no vhost-user sockets; measure it through guests"),
        ("--matrix nope", "no matrix is called 'nope'"),
        ("--cell abc", "matrix smoke has no cell abc"),
        ("--verify -4", "positive size"),
        ("--verify 64 --matrix smoke", "no matrix"),
        ("--verify 6", "multiple of 4 MiB"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["bench", "--results", str(tmp_path / "r"), *words.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("vhostlab: ") and message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_an_engine_that_is_not_built_is_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VHOSTLAB_FIO_ENGINE", str(tmp_path / "absent"))
    with pytest.raises(Unavailable, match="not built"):
        frontend.find_engine()
    assert cli.main(["bench", "--results", str(tmp_path / "r")]) == 2
    assert "run `make`" in capsys.readouterr().err


def finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[bench.Bench], None]
) -> results.Result:
    """A run whose target and fio are played by ``act``."""

    async def on_target(run: bench.Bench, scratch: Path) -> None:
        act(run)

    async def begin(run: bench.Bench) -> None:
        run.update(environment={"accel": results.NO_GUEST, "host.cpus": 2})

    monkeypatch.setattr(bench, "_on_target", on_target)
    monkeypatch.setattr(bench.Bench, "begin", begin)
    monkeypatch.setattr(bench, "find_tools", lambda: bench.Tools("fio", ENGINE))
    console = Console(file=io.StringIO(), width=120)
    status = bench.run(bench.Request(), tmp_path, console)
    run_dir = tmp_path / "latest"
    result = results.read(results.Result, run_dir / results.RESULT_FILE)
    schema = json.loads((source_dir() / "docs/result.schema.json").read_text())
    jsonschema.validate(json.loads((run_dir / results.RESULT_FILE).read_text()), schema)
    assert (run_dir / results.REPORT_FILE).stat().st_size > 1000
    assert status == results.exit_code(result.status)
    return result


def test_timings_without_a_guest_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(run: bench.Bench) -> None:
        run.check("something", True)

    result = finished(tmp_path, monkeypatch, act)
    assert (result.timing, result.status) == ("performance", Status.PASS)
    assert result.environment["accel"] == "none"
    assert result.scenarios[0].replay == "vhostlab bench --target vhostlab"


def test_a_check_that_fails_and_a_target_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(run: bench.Bench) -> None:
        run.check("cell x", False, "bad checksum")

    def dies(run: bench.Bench) -> None:
        raise Unavailable("no daemon", "run `make`")

    result = finished(tmp_path / "a", monkeypatch, wrong)
    assert (result.status, result.scenarios[0].error) == (Status.FAIL, "cell x: bad checksum")
    assert finished(tmp_path / "b", monkeypatch, dies).status is Status.UNAVAILABLE


def test_metrics_of_a_cell() -> None:
    latency = fio.Latency(4, 2000.0, 1.0, 10, 9000, {50.0: 1500, 99.9: 8000}, {})
    way = fio.Direction("read", 4, 16384, 100.0, 409600.0, 40, 0, 0, latency)
    found = {m.name: (m.value, m.unit) for m in measure.metrics(way, 0.002)}
    assert found == {
        "iops": (100.0, "1/s"),
        "bandwidth": (409600.0, "B/s"),
        "latency_mean": (2000.0, "ns"),
        "latency_p50": (1500.0, "ns"),
        "latency_p99_9": (8000.0, "ns"),
        "target_cpu_per_io": (500000.0, "ns"),
    }


FAKE_FIO = """#!/bin/sh
out=${2#--output=}
case "$3" in
*good*) echo '{"fio version": "fio-3.33", "jobs": []}' > "$out"; echo "$DEVICE $RUNTIME" ;;
*bad*) echo '{}' > "$out"; echo "no such disk"; exit 1 ;;
*slow*) exec sleep 60 ;;
*) echo nothing; exit 3 ;;
esac
"""


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("bad", "exit status 1.*no such disk"),
        ("slow", "did not end within"),
        ("odd", "left no result .exit status 3.: nothing"),
    ],
)
def test_fio_that_fails_here(tmp_path: Path, job: str, message: str) -> None:
    program = tmp_path / "fio"
    program.write_text(FAKE_FIO)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    run = fio.run_here(str(program), tmp_path / job, "/dev/x", 2, tmp_path / "out.json", 1.0)
    with pytest.raises(fio.FioError, match=message):
        asyncio.run(run)


def test_fio_that_succeeds_here(tmp_path: Path) -> None:
    program = tmp_path / "fio"
    program.write_text(FAKE_FIO)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    keep = tmp_path / "kept" / "out.json"
    done = asyncio.run(fio.run_here(str(program), tmp_path / "good", "/run/my disk", 7, keep, 20.0))
    assert done.jobs == ()
    assert keep.with_suffix(".log").read_text() == "/run/my disk 7\n"


def test_load_of_others(tmp_path: Path) -> None:
    fake = tmp_path / "stat"
    fake.write_text("cpu  100 20 30 9999 500 4 6 40 7 8\ncpu0 1 2 3\n")
    assert busy_seconds(fake) == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))
    meter = OthersMeter()
    assert 0.0 <= meter.cores(0.0) <= (os.cpu_count() or 1) + 1
    assert meter.cores(1e9) == 0.0
