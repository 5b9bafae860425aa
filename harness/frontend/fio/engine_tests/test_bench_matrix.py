# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab bench`` with a matrix whose cells want targets, rings and queues of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vhostlab import cli, matrix

from .rig import Fio

DOCUMENT = """
name = "wide"
runtime_s = 1
ramp_s = 1
[axes]
device = ["blk", "scsi"]
bdev = ["malloc"]
pattern = ["randrw70"]
bs = ["4k"]
depth = [8]
[defaults]
jobs = 2
queues = 4
queue_size = 256
[[report]]
device = "blk"
ring = "packed"
[[report]]
device = "blk"
polling = "event"
[[report]]
device = "scsi"
vms = 2
"""


def run(tmp_path: Path, target: str, document: str = DOCUMENT, status: int = 0) -> dict[str, Any]:
    (tmp_path / "wide.toml").write_text(document)
    words = ["--matrix", str(tmp_path / "wide.toml"), "--results", str(tmp_path / "r")]
    assert cli.main(["bench", "--target", target, *words]) == status
    loaded = json.loads((tmp_path / "r" / "latest" / "result.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize(("target", "cells"), [("vhostlab", 4), ("qemu-storage-daemon", 1)])
def test_cells_are_what_they_say(fio: Fio, tmp_path: Path, target: str, cells: int) -> None:
    """Verify: each cell was measured, on the rings and queues it names; the rest has a reason."""
    result = run(tmp_path, target)
    assert result["status"] == "pass"
    assert len(result["cells"]) == cells
    for measured in result["cells"]:
        cell = matrix.Cell(measured["params"])
        assert cell.id == measured["id"]
        job = (tmp_path / "r/latest/fio" / f"{cell.id}.fio").read_text().splitlines()
        assert {"numjobs=2", "queues=2", "queue_size=256", "ramp_time=1"} <= set(job)
        assert ("ring=packed" in job) == (cell.text("ring") == "packed")
        raw = json.loads((tmp_path / "r/latest/fio" / f"{cell.id}.json").read_text())
        assert raw["global options"]["numjobs"] == "2"
        assert raw["jobs"][0]["read"]["total_ios"] > 0
        assert measured["started"]
        assert measured["steady"] == "unknown"  # a second does not tell
    assert not list((tmp_path / "r/latest/fio").glob("*_iops*"))
    left = {c["reason"] for c in result["left_out"]}
    assert "is about a guest's vms, and there is no guest" in left or cells == 1
    if cells == 1:
        assert f"target {target} has no packed rings" in left
        assert f"target {target} cannot be told to wait for requests by 'event'" in left
        return
    # adaptive with split rings, packed rings, event: three starts of the daemon
    counters = {c["stage"] for c in result["queue_counters"] if c["counters"]["requests"] > 0}
    assert counters == {"frontend", "frontend-2", "frontend-3"}
    used = [
        c
        for c in result["queue_counters"]
        if c["controller"] == "blk-malloc" and c["counters"]["requests"] > 0
    ]
    assert {c["queue"] for c in used} == {0, 1, 2, 3}


def test_rates_of_each_second_say_whether_they_were_steady(fio: Fio, tmp_path: Path) -> None:
    """Verify: each measured second is a line, as far as both jobs were at it; five are enough."""
    document = DOCUMENT.split("[[report]]")[0].replace("runtime_s = 1", "runtime_s = 8")
    (measured,) = run(tmp_path, "qemu-storage-daemon", document)["cells"]
    assert measured["steady"] in ("steady", "not steady")
    lines = (tmp_path / "r/latest" / measured["series"]).read_text().splitlines()
    assert lines[0] == "second,iops" and float(lines[1].split(",")[1]) > 0
    assert 5 <= len(lines) - 1 <= 9


def test_a_target_that_has_none_of_the_cells(tmp_path: Path) -> None:
    """Verify: that is something that this machine lacks, told with the reason."""
    document = DOCUMENT.replace('["blk", "scsi"]', '["scsi"]').split("[[report]]")[0]
    result = run(tmp_path, "qemu-storage-daemon", document, status=2)
    assert result["status"] == "unavailable"
    assert "target qemu-storage-daemon has no scsi devices" in result["scenarios"][0]["error"]
    assert len(result["left_out"]) == 1
