# SPDX-License-Identifier: BSD-3-Clause
"""Runs that nobody disturbs, and two that might disturb each other."""

from __future__ import annotations

import json
import os
from pathlib import Path

from vhostlab.results import RESULT_FILE, Result, Status, read

from runtests.run import EVENT_DEADLINE_S, Run, World

ONE_CELL = """
name = "one"
runtime_s = 2

[axes]
device = ["blk"]
bdev = ["malloc"]
pattern = ["randread"]
bs = ["4k"]
depth = [1]
"""


def expect_success(world: World, run: Run) -> None:
    assert run.end(EVENT_DEADLINE_S) == 0, run.log.read_text()[-3000:]


def results_of(world: World) -> list[tuple[Path, Result]]:
    return [(p.parent, read(Result, p)) for p in sorted(world.results.glob(f"2*/{RESULT_FILE}"))]


def test_guests_are_what_their_cell_asks_for(world: World) -> None:
    asked = 'vms = [2]\nnuma = ["two"]\nqueues = [1]\nqueue_size = [256]\nring = ["packed"]\n'
    world.matrix.write_text(ONE_CELL + asked + 'jobs = [2]\npolling = ["event"]\n')
    expect_success(world, Run(world))
    world.expect_clean()
    ((run_dir, result),) = results_of(world)
    assert len(result.guests) == 2 and all("pxb-pcie" in " ".join(g.argv) for g in result.guests)
    (scenario,) = result.scenarios
    seen = {check.name: check.detail for check in scenario.checks if check.passed}
    for guest in ("vm1", "vm2"):
        disk = f"blk-malloc-{guest}"
        assert seen[f"{disk}: NUMA node"] == "1"
        assert seen[f"{disk}: rings"] == "packed"
        assert seen[f"{disk}: requests per queue"] == "256"
        assert seen[f"{disk}: hardware queues and their processors"] == "1 for processors 0-1"
        assert "none" in seen[f"{disk}: no scheduler"]
    assert seen["processors of the NUMA nodes"] == "['0', '1']"
    (cell,) = result.cells
    values = {metric.name: metric.value for metric in cell.metrics}
    assert values["iops"] == sum(values[f"vm{n}_iops"] for n in (1, 2))
    assert 0.5 <= values["fairness_jain"] <= 1 and 0.5 <= values["vms_together"] <= 1
    assert cell.started >= result.started and cell.placement
    jobs = json.loads((run_dir / cell.fio_file).read_text())["jobs"]
    assert [job["jobname"].split(":")[0] for job in jobs] == ["vm1", "vm2"]
    assert {job["job options"].get("numjobs", "2") for job in jobs} == {"2"}
    head = (run_dir / cell.series).read_text().splitlines()[0]
    assert head == "second,iops,iops_vm1,iops_vm2"


def test_two_runs_do_not_disturb_each_other(world: World) -> None:
    # each pins the target and a vCPU: with two cores the second one waits for the first
    world.matrix.write_text(ONE_CELL + "vcpus = [1]\n")
    first = Run(world)
    assert first.wait_event("booted")
    (world.results / "latest").unlink()
    second = Run(world)
    assert second.wait_event("started")
    # it asks for its cores now, and the first one may have given its own back already
    at_once = "measured" not in first.events()
    for run in (first, second):
        expect_success(world, run)
    world.expect_clean()
    found = [result for _, result in results_of(world)]
    assert [r.status for r in found] == [Status.PASS] * 2
    pinned = [cell.placement for r in found for cell in r.cells]
    assert len(pinned) == 2 and all(words.startswith("target ") for words in pinned)
    cores = len(os.sched_getaffinity(0))
    waited = any("waiting for 2 cores" in run.log.read_text() for run in (first, second))
    assert waited or cores >= 4 or not at_once
