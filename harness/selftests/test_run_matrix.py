# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab run``: what it plans, what is missing in a run, and how it shows how far it is."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast

import pytest
from rich.console import Console
from vhostlab import cli, matrixrun, results, rundir, vmtest
from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.matrix import Cell, load
from vhostlab.matrixprogress import Narrator, Pace, duration
from vhostlab.matrixrun import Request
from vhostlab.measure import carry
from vhostlab.planning import BootTimes
from vhostlab.results import Fragment, LeftOut, Plan, PlannedStage, Status, TargetRecord
from vhostlab.runner import Interrupt
from vhostlab.scenario import HostContext, Options
from vhostlab.scenario.context import Skipped
from vhostlab_avocado.resolver import ScenarioResolver

MATRIX = """
name = "small"
runtime_s = 3
ramp_s = 1

[axes]
device = ["blk", "scsi"]
bdev = ["null"]
pattern = ["randread", "no-such-pattern"]
bs = ["4k"]
depth = [1]
ring = ["split", "packed"]
target = ["vhostlab", "qemu-storage-daemon", "nobody"]
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(MATRIX)
    return path


def planned(path: Path) -> Plan:
    return matrixrun.plan(Request(matrix=str(path)), "run-1", "tcg", BootTimes())


def test_a_stage_for_each_boot_and_a_reason_for_the_others(small: Path) -> None:
    plan = planned(small)
    assert [(s.name, s.target, len(s.cells)) for s in plan.stages] == [
        ("perf", "vhostlab", 2),
        ("perf-2", "qemu-storage-daemon", 1),
        ("perf-3", "vhostlab", 2),
    ]
    assert {cell.id for cell in plan.cells} == {c for s in plan.stages for c in s.cells}
    reasons = {o.reason for o in plan.left_out}
    assert reasons == {
        "is about target nobody",
        "target qemu-storage-daemon has no packed rings",
        "target qemu-storage-daemon has no scsi devices",
        "fio-jobs has no no-such-pattern-4k-qd1.fio",
    }
    assert len(plan.cells) + len(plan.left_out) == len(load(small).cells)
    assert (plan.matrix, plan.runtime_s, plan.ramp_s) == (str(small), 3, 1)


def test_the_command_of_a_request_asks_for_the_same() -> None:
    request = Request("qemu-storage-daemon", "smoke", ("4c7d890862",))
    options = cli._parser().parse_args(shlex.split(request.command())[1:])
    assert (options.target, options.matrix, options.cell) == (
        "qemu-storage-daemon",
        "smoke",
        ["4c7d890862"],
    )
    again = shlex.split(results.replay_cell("4c7d890862", "vhostlab", "smoke"))
    assert cli._parser().parse_args(again[1:]).cell == ["4c7d890862"]


def cell(stage: PlannedStage, number: int) -> results.CellResult:
    metric = results.Metric("iops", "1/s", results.Better.HIGHER, 1.0)
    return results.CellResult(
        stage.cells[number], stage.name, {"depth": 1}, (metric,), "fio/x.json", "again"
    )


def said(stage: PlannedStage, status: Status = Status.PASS) -> results.ScenarioResult:
    error = None if status is Status.PASS else "it was interrupted"
    return results.ScenarioResult("perf", stage.name, status, 1.0, "again", error=error)


def test_what_is_missing_in_a_run(small: Path, tmp_path: Path) -> None:
    plan = planned(small)
    run_dir = tmp_path / "run-1"
    results.write(plan, run_dir / results.PLAN_FILE)
    first, second, third = plan.stages

    def left(name: str, fragment: Fragment) -> list[str]:
        results.write(fragment, run_dir / "stages" / f"{name}.json")
        return [stage.name for stage in matrixrun.missing(plan, run_dir)]

    both = (cell(first, 0), cell(first, 1))
    every = ["perf", "perf-2", "perf-3"]
    assert left("perf", Fragment("perf")) == every
    assert left("perf", Fragment("perf", cells=both)) == every, "it said nothing at its end"
    assert left("perf", Fragment("perf", cells=both[:1], scenarios=(said(first),))) == every
    assert left("perf", Fragment("perf", cells=both, scenarios=(said(first),))) == every[1:]
    # left out by the stage itself counts as settled, a failure does not
    out = LeftOut(second.cells[0], {"depth": 1}, "no memory any more")
    done = Fragment("perf-2", left_out=(out,), scenarios=(said(second),))
    assert left("perf-2", done) == ["perf-3"]
    failed = Fragment("perf-3", cells=(cell(third, 1),), scenarios=(said(third, Status.FAIL),))
    assert left("perf-3", failed) == ["perf-3"]

    found = ScenarioResolver().resolve(f"run:{run_dir}").resolutions
    assert [(r.kwargs["stage"], r.kwargs["resume"]) for r in found] == [("perf-3", "yes")]
    assert found[0].kwargs["cells"].split(",") == list(third.cells)
    merged = results.finish(run_dir, 1.0)
    assert [c.id for c in merged.cells] == [*first.cells, third.cells[1]]
    assert merged.left_out == (*plan.left_out, out)


def test_the_cells_of_a_plan_need_no_matrix(small: Path, tmp_path: Path) -> None:
    plan = planned(small)
    assert carry.planned(tmp_path, plan.stages[0].cells) == []
    results.write(plan, tmp_path / results.PLAN_FILE)
    ids = plan.stages[2].cells
    assert [c.id for c in carry.planned(tmp_path, ids)] == list(ids)
    assert carry.planned(tmp_path, ("0123456789",)) == []


def test_no_cell_is_measured_in_another_guest_than_was_asked_for(small: Path) -> None:
    def skip(reason: str) -> NoReturn:
        raise Skipped(reason)

    def chosen(guest: str) -> tuple[list[Cell], list[LeftOut]]:
        left: list[LeftOut] = []
        bench = SimpleNamespace(
            target=targets.get("vhostlab"),
            image=SimpleNamespace(name=guest),
            accel="tcg",
            options=Options(small),
            keeper=SimpleNamespace(leave_out=left.append),
        )
        ctx = cast(HostContext, SimpleNamespace(bench=bench, skip=skip))
        return carry._chosen(ctx, load(small)), left

    cells, left = chosen("micro")
    assert cells and not any("micro" in one.reason for one in left)
    with pytest.raises(Skipped, match="is measured in guest micro, not in debian-12"):
        chosen("debian-12")


def test_a_run_that_cannot_be_gone_on_with(small: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="there is no run in"):
        matrixrun.resumable(tmp_path, None)
    with pytest.raises(HarnessError, match="is no run; name the directory"):
        matrixrun.resumable(tmp_path, tmp_path)
    run_dir, plan = tmp_path / "latest", planned(small)
    results.write(replace(plan, matrix=""), run_dir / results.PLAN_FILE)
    with pytest.raises(HarnessError, match="no run of a matrix"):
        matrixrun.resumable(tmp_path, None)
    results.write(plan, run_dir / results.PLAN_FILE)
    assert matrixrun.resumable(tmp_path, None) == (run_dir, plan)
    small.write_text(MATRIX.replace("runtime_s = 3", "runtime_s = 4"))
    with pytest.raises(HarnessError, match="has changed since; start a new run"):
        matrixrun.resumable(tmp_path, run_dir)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--matrix nope", "no matrix is called 'nope'"),
        ("--cell abc", "matrix smoke has no cell abc"),
        ("--target nope", "no target is called 'nope'"),
        ("--resume --cell abc", "--resume knows its target, matrix and cells"),
        ("--resume --target qemu", "--resume knows its target, matrix and cells"),
        ("--resume", "there is no run in"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["run", "--results", str(tmp_path / "r"), *words.split()]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("vhostlab: ") and message in told.err
    assert told.err.count("\n") == 1 and told.out == ""
    assert not (tmp_path / "r").exists()


def test_a_stage_goes_on_only_where_it_began(tmp_path: Path) -> None:
    from vhostlab.scenario.progress import Progress
    from vhostlab.scenario.stage import Stage

    def stage() -> Stage:
        options = Options(tmp_path, resume=True)
        return Stage("perf", tmp_path, targets.get("vhostlab"), Progress(tmp_path), options)

    record, here = TargetRecord("vhostlab", "1"), {"accel": "tcg", "host.usable_cpus": (0, 1)}
    first = stage()
    first.set_out(record, here)
    one = PlannedStage("perf", ("perf",), ("0123456789",))
    first.measured(cell(one, 0))
    first.update(scenarios=(said(one, Status.ERROR),))
    again = stage()
    again.resume(["perf"])
    assert [c.id for c in again.fragment.cells] == ["0123456789"]
    assert again.fragment.scenarios == ()
    again.set_out(record, here)
    with pytest.raises(HarnessError, match=r"not as it was when the run began: accel; start a new"):
        again.set_out(record, {**here, "accel": "kvm"})
    with pytest.raises(HarnessError, match="began: target"):
        again.set_out(TargetRecord("vhostlab", "2"), here)


def test_no_cell_at_all_is_unavailable(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.write_text(MATRIX.replace('["vhostlab", "qemu-storage-daemon", "nobody"]', '["nobody"]'))
    monkeypatch.setattr(vmtest, "preflight", lambda *_: (None, "tcg"))
    with pytest.raises(Unavailable, match="can be measured here: is about target nobody"):
        matrixrun.start(Request(matrix=str(small)), tmp_path / "r", Console(file=io.StringIO()))
    assert not (tmp_path / "r").exists()


# -- who is at work


def test_nobody_goes_on_with_a_run_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    half = tmp_path / "stages" / "perf.json.partial"
    half.write_text("{")
    with rundir.at_work(tmp_path), rundir.at_work(tmp_path):
        assert not rundir.wait_idle(tmp_path, 0.1)
        with pytest.raises(HarnessError, match="still going on"), rundir.taken_over(tmp_path, 0.1):
            pass
    assert half.exists()
    with rundir.taken_over(tmp_path, 5):
        assert not half.exists()
        # its stages join it, another one does not
        with rundir.at_work(tmp_path):
            assert not rundir.wait_idle(tmp_path, 0.1)
    assert rundir.wait_idle(tmp_path, 5)


def test_a_dead_process_is_not_at_work(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from vhostlab import rundir\n"
        "with rundir.at_work(Path(sys.argv[1])): print('in', flush=True); time.sleep(600)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"in\n"
        assert not rundir.wait_idle(tmp_path, 0.05)
        child.kill()
    assert rundir.wait_idle(tmp_path, 20)


def test_signals_are_remembered_and_given_back() -> None:
    interrupt = Interrupt()
    before = signal.getsignal(signal.SIGTERM)
    with interrupt.caught():
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    assert threading.current_thread() is threading.main_thread()


# -- progress


def test_time_left_is_guessed_and_then_learnt() -> None:
    pace = Pace(boots=2, cells=4, boot_s=10.0, cell_s=5.0)
    assert pace.left_s() == 40.0
    pace.boot_took(20.0)
    assert pace.left_s() == 40.0
    pace.cell_took(1.0)
    pace.cell_took(3.0)
    assert pace.left_s() == 20.0 + 2 * 2.0
    for _ in range(5):
        pace.cell_took(2.0)
    assert pace.left_s() == 20.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (59.4, "59 s"), (90, "2 min"), (3660, "1 h 01 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_lines(terminal: bool) -> None:
    out, now = io.StringIO(), [0.0]
    console = Console(file=out, width=120, force_terminal=terminal, color_system=None)
    pace = Pace(boots=1, cells=3, boot_s=10.0, cell_s=5.0)
    with Narrator(console, pace, lambda: now[0]) as narrator:
        narrator.tell({"event": "started", "scenario": "perf", "summary": "measures"})
        narrator.tell({"event": "waiting", "words": "waiting for 2 cores: process 7 has 0-1"})
        narrator.tell({"event": "booted", "stage": "perf", "seconds": 6.5, "kernel": "6.1"})
        for step, event in (
            (0, {"event": "cell", "cell": "a", "label": "blk null"}),
            (4, {"event": "measured", "cell": "a", "iops": 12345.6, "steady": "steady"}),
            (0, {"event": "cell", "cell": "b", "label": "scsi null"}),
            # it fails: nothing is measured, and the next one begins
            (2, {"event": "cell", "cell": "c", "label": "scsi aio"}),
            (3, {"event": "measured", "cell": "c", "iops": 1.0, "steady": "unknown"}),
        ):
            now[0] += step
            narrator.tell(event)
        end = {"event": "ended", "scenario": "perf", "status": "fail", "reason": "cell b: EIO"}
        narrator.tell(end)
        narrator.tell({"event": "something new"})
    text = out.getvalue().replace("\N{NO-BREAK SPACE}", " ")
    for line in (
        "waiting for 2 cores: process 7 has 0-1",
        "guest of perf is up, Linux 6.1",
        "a           1/3  blk null: 12 346 IOPS, steady; about 8 s left",
        "c           3/3  scsi aio: 1 IOPS, unknown; about 0 s left",
        "fail        perf: cell b: EIO",
    ):
        assert line in text, line


def test_labels_of_planned_cells_are_those_of_the_matrix(small: Path) -> None:
    plan = planned(small)
    labels = {c.id: c.label() for c in load(small).cells}
    assert all(Cell(c.params).label() == labels[c.id] for c in plan.cells)
