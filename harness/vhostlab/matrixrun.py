# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab run``: measures a matrix through guests, and goes on with a run that was interrupted.

Each boot of the matrix is a stage of the run. The plan is written before anything is started, a
cell is written down as soon as it is measured: whatever ends the run, ``--resume`` does the rest.
"""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from vhostlab import matrix, planning, results, rundir, runner, summary, vmtest
from vhostlab import target as targets
from vhostlab.errors import Unavailable
from vhostlab.host.capacity import capacity
from vhostlab.images import DEFAULT_GUEST
from vhostlab.images.progress import Shown
from vhostlab.matrix import Cell, Matrix
from vhostlab.matrixprogress import Narrator, Pace
from vhostlab.measure import carry
from vhostlab.planning import CELL_S, BootTimes
from vhostlab.results import (
    PLAN_FILE,
    Fragment,
    LeftOut,
    Plan,
    PlannedCell,
    PlannedStage,
    Result,
)
from vhostlab.run import DEFAULT_TARGET
from vhostlab.run import Request as RunRequest

SCENARIO = "perf"
DEFAULT_MATRIX = "smoke"


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    target: str = DEFAULT_TARGET
    matrix: str = DEFAULT_MATRIX
    cells: tuple[str, ...] = ()

    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["vhostlab", "run", "--target", self.target, "--matrix", self.matrix]
        return shlex.join(words + [w for c in self.cells for w in ("--cell", c)])

    def stages(self) -> RunRequest:
        """How the stages of it are asked for."""
        return RunRequest(self.target, "", (SCENARIO,), self.matrix, self.cells)

    def load(self) -> Matrix:
        """The matrix."""
        return matrix.load(self.stages().matrix_file())

    def validate(self) -> None:
        """Raise HarnessError for whatever does not exist, before anything is started."""
        self.stages().validate()


def plan(request: Request, run_id: str, accel: str, times: BootTimes) -> Plan:
    """Which cells are measured in which boot, and why the others are not."""
    read = request.load()
    driver = targets.get(request.target)
    planned = planning.plan(
        read,
        matrix.Subject(driver.name, driver.capabilities),
        capacity(accel),
        times,
        request.cells,
        others=carry.others(),
        more=partial(carry.more, accel=accel),
    )
    boots = [one.boot for one in planned.boots]
    stages = tuple(
        PlannedStage(
            SCENARIO if n == 1 else f"{SCENARIO}-{n}",
            (SCENARIO,),
            tuple(cell.id for cell in boot.cells),
            str(boot.params.get("target", request.target)),
        )
        for n, boot in enumerate(boots, start=1)
    )
    return Plan(
        run_id=run_id,
        started=results.now(),
        suite=f"matrix {read.name}",
        command=request.command(),
        target=request.target,
        stages=stages,
        matrix=request.matrix,
        runtime_s=read.runtime_s,
        ramp_s=read.ramp_s,
        cells=tuple(PlannedCell(c.id, c.params) for boot in boots for c in boot.cells),
        left_out=tuple(LeftOut(o.cell.id, o.cell.params, o.reason) for o in planned.left_out),
    )


def missing(plan: Plan, run_dir: Path) -> tuple[PlannedStage, ...]:
    """The stages that have not said the last word, or not measured all of their cells."""
    return tuple(stage for stage in plan.stages if not _whole(stage, run_dir))


def _whole(stage: PlannedStage, run_dir: Path) -> bool:
    path = run_dir / "stages" / f"{stage.name}.json"
    if not path.exists():
        return False
    said = results.read(Fragment, path)
    settled = {c.id for c in said.cells} | {c.id for c in said.left_out}
    return bool(said.scenarios) and settled >= set(stage.cells)


def resumable(results_dir: Path, chosen: Path | None) -> tuple[Path, Plan]:
    """The run to go on with: the one named, or the latest. Unavailable says what is wrong."""
    run_dir = (chosen or results_dir / "latest").resolve()
    if not (run_dir / PLAN_FILE).is_file():
        what = f"{run_dir} is no run" if chosen else f"there is no run in {results_dir}"
        raise Unavailable(what, "name the directory of one: --resume RUN_DIR")
    said = results.read(Plan, run_dir / PLAN_FILE)
    if not said.matrix:
        raise Unavailable(
            f"{run_dir} is no run of a matrix", "only those of `vhostlab run` can be gone on with"
        )
    read = Request(said.target, said.matrix).load()
    if (read.runtime_s, read.ramp_s) != (said.runtime_s, said.ramp_s):
        raise Unavailable(f"matrix {said.matrix} has changed since", "start a new run")
    return run_dir, said


def start(request: Request, results_dir: Path, console: Console) -> tuple[Path, Result]:
    """A new run."""
    request.validate()
    with Shown(console) as progress:
        _, accel = vmtest.preflight(request.target, DEFAULT_GUEST, progress)
    made = plan(request, "", accel, BootTimes.of(results_dir))
    if not made.stages:
        raise Unavailable(
            f"no cell of matrix {request.matrix} can be measured here: {made.left_out[0].reason}",
            "`vhostlab plan` shows the reason of each",
        )
    run_dir = results.new_run_directory(results_dir.absolute(), request.target)
    made = dataclasses.replace(made, run_id=run_dir.name)
    results.write(made, run_dir / PLAN_FILE)
    count = sum(len(stage.cells) for stage in made.stages)
    words = f"matrix {request.matrix}: {count} cells, {len(made.stages)} boots of guests, {accel}"
    console.print(Text(words), soft_wrap=True)
    for one in made.left_out:
        console.print(Text(f"left out: {Cell(one.params).label()}: {one.reason}"), soft_wrap=True)
    return run_dir, _carry_out(run_dir, made, made.stages, accel, console)


def resume(results_dir: Path, chosen: Path | None, console: Console) -> tuple[Path, Result]:
    """Go on with a run; one that is complete is only summed up again."""
    run_dir, made = resumable(results_dir, chosen)
    with Shown(console) as progress:
        _, accel = vmtest.preflight(made.target, DEFAULT_GUEST, progress)
    with rundir.taken_over(run_dir):
        rest = missing(made, run_dir)
        if rest:
            made = dataclasses.replace(made, resumed=(*made.resumed, results.now()))
            results.write(made, run_dir / PLAN_FILE)
            vmtest.forget(run_dir)
    words = f"going on with {run_dir.name}: {len(rest)} of {len(made.stages)} boots to do"
    console.print(Text(words), soft_wrap=True)
    return run_dir, _carry_out(run_dir, made, rest, accel, console)


def _carry_out(
    run_dir: Path, made: Plan, stages: Sequence[PlannedStage], accel: str, console: Console
) -> Result:
    began = time.monotonic()
    status, interrupted = 0, False
    if stages:
        kept = _kept(run_dir, stages)
        times = BootTimes.of(run_dir.parent)
        pace = Pace(
            boots=len(stages),
            cells=sum(len(stage.cells) for stage in stages) - kept,
            boot_s=times.seconds(accel, "micro"),
            cell_s=made.runtime_s + made.ramp_s + CELL_S[accel],
        )
        with Narrator(console, pace) as narrator:
            status, interrupted = runner.run(f"run:{run_dir}", {}, run_dir, narrator)
    if interrupted or not stages:
        vmtest.forget(run_dir)
    result = vmtest.conclude(run_dir, time.monotonic() - began, status)
    if interrupted:
        words = f"interrupted; to go on: vhostlab run --resume {shlex.quote(str(run_dir))}"
        console.print(Text(words), soft_wrap=True)
    return result


def _kept(run_dir: Path, stages: Sequence[PlannedStage]) -> int:
    """Cells that need not be measured again."""
    found = 0
    for stage in stages:
        path = run_dir / "stages" / f"{stage.name}.json"
        if path.exists():
            found += len(results.read(Fragment, path).cells)
    return found


def run(
    request: Request | None,
    resumed: Path | None,
    results_dir: Path,
    console: Console,
) -> tuple[Path, Result]:
    """Start a run, or go on with one (``request`` None); show what came out."""
    if request is not None:
        run_dir, result = start(request, results_dir, console)
    else:
        run_dir, result = resume(results_dir, resumed, console)
    summary.show(result, run_dir, console)
    return run_dir, result
