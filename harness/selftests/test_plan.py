# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab plan``: what it says would be run, and that the runner takes its recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vhostlab import cli, matrix, planning
from vhostlab import target as targets
from vhostlab.planning import BOOT_S, CELL_S, BootTimes
from vhostlab.run import Request

DOCUMENT = """
name = "m"
runtime_s = 4
ramp_s = 1
[axes]
device = ["blk", "scsi"]
bdev = ["null"]
pattern = ["randread"]
bs = ["4k"]
depth = [1, 32]
vms = [1, 2]
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "m.toml"
    path.write_text(DOCUMENT)
    return path


def plan(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert cli.main(["plan", *words]) == status
    said = capsys.readouterr()
    return said.out if status == 0 else said.err


def plans(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    loaded = json.loads(plan(capsys, "--json", *words))
    assert isinstance(loaded, list)
    return loaded


def test_cells_are_grouped_by_boot_and_time_adds_up(
    capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path
) -> None:
    (told,) = plans(
        capsys, "--matrix", str(small), "--accel", "tcg", "--results", str(tmp_path / "none")
    )
    assert [boot["params"] for boot in told["boots"]] == [{}, {"vms": 2}]
    assert [len(boot["cells"]) for boot in told["boots"]] == [4, 4]
    cell_s = 4 + 1 + CELL_S["tcg"]
    assert {c["seconds"] for boot in told["boots"] for c in boot["cells"]} == {cell_s}
    assert [boot["boot_seconds"] for boot in told["boots"]] == [
        BOOT_S["tcg"][0],
        2 * BOOT_S["tcg"][0],
    ]
    assert told["seconds"] == pytest.approx(3 * BOOT_S["tcg"][0] + 8 * cell_s)
    assert {c["job"] for c in told["boots"][0]["cells"]} == {"randread-4k-qd1", "randread-4k-qd32"}


def test_several_targets_and_what_is_left_out(
    capsys: pytest.CaptureFixture[str], small: Path
) -> None:
    words = ["--matrix", str(small), "--accel", "tcg"]
    words += ["--target", "qemu-storage-daemon", "--target", "vhostlab"]
    qsd, ours = plans(capsys, *words)
    assert (qsd["target"], ours["target"]) == ("qemu-storage-daemon", "vhostlab")
    assert ours["left_out"] == []
    reasons = {one["reason"] for one in qsd["left_out"]}
    assert reasons == {"target qemu-storage-daemon has no scsi devices"}
    assert len(qsd["left_out"]) == 4
    shown = plan(capsys, *words)
    assert "4 cells left out" in shown
    assert "matrix m on vhostlab, guests under tcg: 8 cells, 2 boots, about 0:0" in shown
    assert all(one["id"] in shown for one in qsd["left_out"])


def test_without_a_guest_the_ids_are_those_of_bench(
    capsys: pytest.CaptureFixture[str], small: Path
) -> None:
    (told,) = plans(capsys, "--matrix", str(small), "--no-guest")
    (boot,) = told["boots"]
    assert all(cell["params"]["path"] == "frontend" for cell in boot["cells"])
    assert {one["reason"] for one in told["left_out"]} == {
        "is about a guest's vms, and there is no guest"
    }
    assert "8 cells" not in plan(capsys, "--matrix", str(small), "--no-guest")


def test_one_cell(capsys: pytest.CaptureFixture[str]) -> None:
    (told,) = plans(capsys, "--cell", "55b593d1ab", "--accel", "tcg")
    assert [c["id"] for boot in told["boots"] for c in boot["cells"]] == ["55b593d1ab"]


def test_what_the_run_would_leave_out_the_plan_leaves_out(
    capsys: pytest.CaptureFixture[str], small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2})
    small.write_text(DOCUMENT.replace("[1, 32]", "[1, 3]"))
    (told,) = plans(capsys, "--matrix", str(small), "--accel", "kvm")
    assert [boot["params"] for boot in told["boots"]] == [{}]
    assert {one["reason"] for one in told["left_out"]} == {
        "1 cores for the target and 4 for the guests' processors are more than the 3 of this host",
        "fio-jobs has no randread-4k-qd3.fio",
    }


def test_a_recipe_starts_the_target_that_a_cell_names(
    capsys: pytest.CaptureFixture[str], small: Path
) -> None:
    small.write_text(DOCUMENT.replace("vms = [1, 2]", 'target = ["vhostlab", "qemu"]'))
    told = json.loads(plan(capsys, "--recipe", "--matrix", str(small), "--accel", "tcg"))
    assert [one["kwargs"]["target"] for one in told] == ["vhostlab", "qemu"]
    assert [one["uri"] for one in told] == ["perf@vhostlab", "perf@qemu"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--matrix nope", "no matrix is called 'nope'"),
        ("--target nope", "no target is called 'nope'"),
        ("--cell nope", "has no cell nope"),
        ("--recipe --no-guest", "a recipe is for guests on one target"),
        ("--recipe --target vhostlab --target qemu-storage-daemon", "one target"),
        ("--no-guest --accel kvm", "exclude each other"),
    ],
)
def test_bad_input_is_one_line(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = plan(capsys, *words.split(), status=2)
    assert message in said
    assert said.count("\n") == 1


def result(path: Path, accel: str, image: str, *seconds: float, guest: str = "") -> None:
    path.mkdir(parents=True)
    body = {
        "environment": {"accel": accel, "guest.image": image},
        "guests": [{"boot_seconds": s} for s in seconds],
        "cells": [{"params": {"guest": guest} if guest else {}}],
    }
    (path / "result.json").write_text(json.dumps(body))


def test_boot_times_of_earlier_runs_are_used(
    capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    result(results / "20260101T000000Z-vhostlab", "tcg", "micro-abc", 30.0, 50.0)
    result(results / "20260102T000000Z-vhostlab", "tcg", "micro-def", 40.0)
    result(results / "20260103T000000Z-vhostlab", "kvm", "micro-def", 1.0)
    result(results / "20260103T000001Z-vhostlab", "tcg", "micro-def", 900.0, guest="debian-12")
    (results / "20260104T000000Z-vhostlab").mkdir()
    (results / "20260104T000000Z-vhostlab" / "result.json").write_text("{")
    times = BootTimes.of(results)
    assert times.measured == {("tcg", "micro"): 40.0, ("kvm", "micro"): 1.0}
    assert times.seconds("tcg", "debian-13") == BOOT_S["tcg"][1]
    words = ["--matrix", str(small), "--accel", "tcg", "--results", str(results)]
    (told,) = plans(capsys, *words)
    assert told["boots"][0]["boot_seconds"] == 40.0


def test_the_runner_takes_the_recipe(
    capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(plan(capsys, "--recipe", "--matrix", str(small), "--accel", "tcg"))
    told = json.loads(recipe.read_text())
    assert [one["kwargs"]["stage"] for one in told] == ["perf", "perf-2"]
    planned = [cell for one in told for cell in one["kwargs"]["cells"].split(",")]
    assert sorted(planned) == sorted(cell.id for cell in matrix.load(small).cells)
    argv = [sys.executable, "-W", "ignore", "-m", "avocado", "-V", "list", str(recipe)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "vm-scenario: 2" in done.stdout


def test_a_plan_is_a_function_of_what_it_is_given(small: Path) -> None:
    subject = matrix.Subject("vhostlab", targets.get("vhostlab").capabilities)
    host = matrix.Host(cores=8, numa_nodes=1, memory_mib=1024 + 600, accel="kvm")
    made = planning.plan(matrix.load(small), subject, host, BootTimes())
    assert made.cells == 4
    assert {one.reason for one in made.left_out} == {
        "2 guests of micro need 1024 MiB, and 600 MiB can be had"
    }
    (one,) = planning.recipe(Request(scenarios=("perf",), matrix=str(small)), made)
    assert len(one["kwargs"]["cells"].split(",")) == 4
