# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab ladder``: in which order it measures, what comes out, what it refuses. No guest."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console
from vhostlab import cli, fio, frontend, host, images, ladder, results, rungs
from vhostlab import target as targets
from vhostlab.images import Image
from vhostlab.matrix import Cell
from vhostlab.paths import source_dir
from vhostlab.results import Status

ENGINE = Path("/nowhere/vhost_user.so")


class FakeRung(rungs.Rung):
    """Takes as long for a request as it is told, and a little longer in each round."""

    def __init__(self, path: str, target: str, order: list[str], mean_ns: float) -> None:
        self.path, self.target = path, target
        self._order = order
        self._mean_ns = mean_ns
        self.broken = False

    async def measure(self, job: str, runtime_s: int, keep: Path) -> tuple[fio.Run, float | None]:
        self._order.append(f"{job} {self.label}")
        if self.broken:
            raise fio.FioError("no such disk")
        self._mean_ns += 1000.0
        latency = fio.Latency(4, self._mean_ns, 1.0, 10, 9000, {50.0: 1500}, {})
        way = fio.Direction("read", 4, 16384, 1e9 / self._mean_ns, 1.0, 40, 0, 0, latency)
        used = None if self.target == "none" else 0.000004
        return fio.Run(fio.Version("fio-3.33", (3, 33)), (fio.Job("j", 0, (way,)),)), used


def climbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str = "", **asked: Any
) -> tuple[results.Result, list[str], str]:
    """A whole run on fake rungs; the result, the order of measurements, what was printed."""
    order: list[str] = []
    made = [
        FakeRung("file", "none", order, 10_000.0),
        FakeRung("guest", "qemu", order, 50_000.0),
        FakeRung("guest", "vhostlab", order, 40_000.0),
        FakeRung("frontend", "vhostlab", order, 15_000.0),
    ]
    for rung in made:
        rung.broken = rung.label == broken

    @asynccontextmanager
    async def stand(*_: object) -> AsyncIterator[list[FakeRung]]:
        yield made

    async def image() -> Image:
        return Image("micro", "0", Path("/k"), Path("/i"), "", {})

    async def accel(_: Image) -> str:
        return "tcg"

    async def version(_: object = None) -> str:
        return "1.0"

    monkeypatch.setattr(ladder, "stand", stand)
    monkeypatch.setattr(images, "build", image)
    monkeypatch.setattr(host, "accelerator", accel)
    monkeypatch.setattr(frontend, "find_engine", lambda: ENGINE)
    for driver in (targets.get(n) for n in ("qemu", "vhostlab")):
        monkeypatch.setattr(driver, "preflight", lambda: "/bin/true")
        monkeypatch.setattr(driver, "version", version)
    out = io.StringIO()
    request = ladder.Request(**asked)
    status = ladder.run(request, tmp_path, Console(file=out, width=140))
    raw = json.loads((tmp_path / "latest" / results.RESULT_FILE).read_text())
    jsonschema.validate(raw, json.loads((source_dir() / "docs/result.schema.json").read_text()))
    result = results.read(results.Result, tmp_path / "latest" / results.RESULT_FILE)
    assert status == results.exit_code(result.status)
    return result, order, out.getvalue()


def test_layers_are_measured_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, order, said = climbed(tmp_path, monkeypatch, jobs=("randread-4k-qd1",), rounds=3)
    assert len(order) == 12
    assert order[:4] == list(reversed(order[4:8])) == order[8:]
    assert result.status is Status.PASS and result.timing == "functional"
    assert [(c.params["path"], c.params["target"]) for c in result.cells] == [
        ("file", "none"),
        ("guest", "qemu"),
        ("guest", "vhostlab"),
        ("frontend", "vhostlab"),
    ]
    rest = [
        {k: v for k, v in c.params.items() if k not in ("path", "target")} for c in result.cells
    ]
    assert all(r == rest[0] for r in rest)
    values = {m.name: m.value for m in result.cells[0].metrics}
    assert values["latency_mean"] == 12_000.0
    assert "target_cpu_per_io" not in values
    assert values["iops_min"] < values["iops"] < values["iops_max"]
    assert result.cells[0].fio_file.endswith("-2.json")
    assert {m.name: m.value for m in result.cells[2].metrics}["target_cpu_per_io"] == 1000.0
    # 42 - 12 us
    assert "30.0" in said and "guest vhostlab" in said and "functional" in said


def test_a_layer_that_fails_is_told_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _, _ = climbed(tmp_path, monkeypatch, "guest qemu", jobs=("randread-4k-qd1",), rounds=2)
    assert result.status is Status.FAIL
    assert "randread-4k-qd1 guest qemu, round 1: no such disk" in (result.scenarios[0].error or "")
    assert len(result.cells) == 3


def test_what_a_layer_adds() -> None:
    made = [
        ladder.Measured(Cell(ladder.Request().params("randread-4k-qd1")), rung)
        for rung in (FakeRung("file", "none", [], 0.0), FakeRung("guest", "qemu", [], 0.0))
    ]
    for one, mean in zip(made, (10.0, 35.0), strict=True):
        for name in ("latency_mean", "iops"):
            metric = results.Metric(name, "ns", results.Better.LOWER, mean)
            one.rounds.append([metric]) if name == "latency_mean" else one.rounds[0].append(metric)
    found = ladder.layers(made)
    assert [line["added_ns"] for line in found] == [0.0, 25.0]


@pytest.mark.parametrize(
    "asked",
    [
        ladder.Request(),
        ladder.Request(("vhostlab", "qemu-storage-daemon"), "scsi", ("read-4k-qd1",), 2, 5, "/tmp"),
    ],
)
def test_the_command_asks_for_the_same(asked: ladder.Request) -> None:
    words = shlex.split(asked.command())
    read = cli._parser().parse_args(words[1:])
    assert asked == ladder.Request(
        tuple(read.target), read.device, tuple(read.job), read.rounds, read.runtime, read.dir
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--target nope", "no target is called 'nope'"),
        ("--target qemu-storage-daemon --device scsi", "has no scsi devices"),
        ("--job nope", "no job for measurements is called 'nope'; there is"),
        ("--job verify-4k-qd9", "no job for measurements"),
        ("--rounds 0", "at least 1"),
        ("--dir /no/such/place", "there is no directory"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["ladder", "--results", str(tmp_path / "r"), *words.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("vhostlab: ") and message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_bare_fio_runs_the_same_job(tmp_path: Path) -> None:
    text = rungs.job_file("randread-4k-qd32").read_text()
    mine = frontend.file_job_text(text, tmp_path / "f.raw")
    kept = [line for line in text.splitlines() if not line.startswith("filename=")]
    assert all(line in mine.splitlines() for line in kept)
    assert f"filename={tmp_path / 'f.raw'}" in mine
    assert "ioengine=libaio" in mine
