# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab bench``: a matrix, or an integrity job, against a target with no guest.

The cells are those of the matrix with the parameter ``path=frontend``, so a cell that was measured
through a guest and one that was not never share an id. What comes out is a run like any other:
result.json, JUnit, report.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from vhostlab import fio, frontend, identity, measure, report, results, steady, store, summary
from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.host.capacity import capacity
from vhostlab.host.load import OthersMeter
from vhostlab.matrix import Cell, Matrix, Subject, Value, boots, choose
from vhostlab.matrix import load as load_matrix
from vhostlab.measure import series
from vhostlab.paths import source_dir
from vhostlab.process import find_program
from vhostlab.results import (
    Better,
    CellResult,
    Check,
    Fragment,
    LeftOut,
    Metric,
    ScenarioResult,
    Status,
)
from vhostlab.run import DEFAULT_TARGET
from vhostlab.run import Request as RunRequest
from vhostlab.scenario.context import Record, described
from vhostlab.scenario.layout import standard
from vhostlab.scenario.progress import Progress
from vhostlab.scenario.stage import counters, host_environment
from vhostlab.scratch import scratch_dir
from vhostlab.target import Controller, Disk, Target
from vhostlab.vmtest import Narrator

STAGE = "frontend"
MIB = 1024 * 1024

#: Writes a disk full and reads it back: how slow a disk may be before fio is given up.
VERIFY_SLOWEST_MIB_S = 4
VERIFY_JOB = "verify-frontend"
#: The job file divides the disk into quarters of whole MiB.
VERIFY_MULTIPLE_MIB = 4


@dataclass(frozen=True)
class Request:
    """What is asked for. ``verify_mib``: the integrity job on a disk of that size, no matrix."""

    target: str = DEFAULT_TARGET
    matrix: str = ""
    cells: tuple[str, ...] = ()
    poll: bool = False
    verify_mib: int = 0

    @property
    def scenario(self) -> str:
        return "verify" if self.verify_mib else "bench"

    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["vhostlab", "bench", "--target", self.target]
        words += ["--poll"] if self.poll else []
        if self.verify_mib:
            return shlex.join([*words, "--verify", str(self.verify_mib)])
        words += ["--matrix", self.matrix] if self.matrix else []
        return shlex.join(words + [w for c in self.cells for w in ("--cell", c)])

    def plan(self) -> Matrix:
        """The matrix, with cells of their own ids."""
        read = load_matrix(RunRequest(target=self.target, matrix=self.matrix).matrix_file())
        extra: dict[str, Value] = {"path": "frontend"}
        extra |= {"poll": True} if self.poll else {}
        return read.plus(extra)

    def validate(self) -> None:
        """Raise HarnessError for whatever does not exist, before anything is started."""
        if reason := targets.get(self.target).capabilities.without("sockets"):
            raise HarnessError(f"target {self.target} {reason}", "measure it through guests")
        if self.verify_mib % VERIFY_MULTIPLE_MIB:
            raise HarnessError(f"--verify wants a multiple of {VERIFY_MULTIPLE_MIB} MiB")
        self.plan().check(self.cells)


@dataclass(frozen=True)
class Tools:
    """The programs that a run needs, found before it begins."""

    fio: str
    engine: Path


def find_tools() -> Tools:
    """Raises Unavailable when something is missing."""
    return Tools(find_program("fio", "install fio"), frontend.find_engine())


class Bench:
    """One run: what it has been asked for, and what it has found out so far."""

    def __init__(self, request: Request, tools: Tools, run_dir: Path, narrator: Narrator) -> None:
        self.request = request
        self.tools = tools
        self.run_dir = run_dir
        self.record = Record()
        self.fragment = Fragment(stage=STAGE)
        self.starts = 0
        """How often the target has been started."""
        self._narrator = narrator
        self._progress = Progress(run_dir)

    def tell(self, event: str, **facts: Any) -> None:
        """Write an event down, and show it."""
        self._progress.emit(event, **facts)
        self._narrator.tell({"event": event, **facts})

    def check(self, name: str, passed: bool, detail: str = "") -> None:
        """Record a statement."""
        self.record.checks.append(Check(name, passed, detail))

    def update(self, **changes: Any) -> None:
        """Take in something new and write it down."""
        logs = [*(self.run_dir / "logs").rglob("*"), *(self.run_dir / "fio").glob("*.log")]
        files = sorted(str(p.relative_to(self.run_dir)) for p in logs if p.is_file())
        self.fragment = dataclasses.replace(self.fragment, logs=tuple(files), **changes)
        results.write(self.fragment, self.run_dir / "stages" / f"{STAGE}.json")

    async def begin(self) -> None:
        """Who is measured, and on what."""
        driver = targets.get(self.request.target)
        target = identity.record(driver, await driver.version())
        environment = {"accel": results.NO_GUEST, **host_environment()}
        self.update(target=target, environment=environment)

    async def fio(
        self,
        name: str,
        job: str,
        target: Target,
        place: frontend.Place,
        runtime_s: int,
        more_s: float,
        ring: str = "split",
        options: Sequence[str] = (),
    ) -> fio.Run:
        """Run a job of fio-jobs; its files are kept under ``name``. A target that dies ends it."""
        path = self.run_dir / "fio" / f"{name}.fio"
        source = source_dir() / "fio-jobs" / f"{job}.fio"
        poll = self.request.poll
        frontend.write_job(
            source, path, self.tools.engine, place, poll=poll, ring=ring, more=options
        )
        keep = path.with_suffix(".json")
        deadline = runtime_s + more_s
        try:
            return await fio.run_here(
                self.tools.fio, path, str(place.socket), runtime_s, keep, deadline
            )
        except fio.FioError as error:
            if not target.process.alive:
                raise target.process.died(f"target {target.name}") from error
            raise

    async def cell(self, plan: Matrix, cell: Cell, target: Target, at: Found) -> None:
        """Measure one cell."""
        self.tell("cell", scenario=self.request.scenario, cell=cell.id, label=cell.label())
        statement = f"cell {cell.id} ({cell.label()})"
        place = frontend.Place.of(at.controller, at.disk.name, target.endpoints[at.controller.name])
        started = results.now()
        others, used = OthersMeter(), target.cpu_seconds()
        try:
            run = await self.fio(
                cell.id,
                cell.job,
                target,
                place,
                plan.runtime_s,
                plan.ramp_s + fio.FIO_START_STOP_S,
                cell.text("ring"),
                [*options(plan, cell), *self.series_options(cell)],
            )
            way = run.main_direction()
        except fio.FioError as error:
            self.check(statement, False, str(error))
            return
        used = target.cpu_seconds() - used
        load = Metric("others_cpu", "cores", Better.NEITHER, round(others.cores(used), 3))
        whole = way.short_ios == 0 and way.dropped_ios == 0
        self.check(statement, whole, f"{way.ios} I/Os")
        single = dataclasses.replace(self.request, cells=(cell.id,))
        seconds = self.logged(cell)
        self.record.cells.append(
            CellResult(
                id=cell.id,
                stage=STAGE,
                params=cell.params,
                metrics=(*measure.metrics(way, used * plan.measured_share), load),
                fio_file=f"fio/{cell.id}.json",
                replay=single.command(),
                started=started,
                steady=steady.verdict(series.total(seconds)),
                series=series.keep(self.run_dir, cell.id, seconds),
            )
        )
        self.update(cells=tuple(self.record.cells))

    def series_options(self, cell: Cell) -> list[str]:
        """Lines of the job file: fio is to log each second."""
        lines = [option.removeprefix("--") for option in series.OPTIONS]
        return [*lines, f"write_iops_log={self.run_dir / 'fio' / cell.id}"]

    def logged(self, cell: Cell) -> list[series.Series]:
        """What fio logged, as the one part there is; its logs go. Empty: it was too short."""
        logs = sorted((self.run_dir / "fio").glob(f"{cell.id}_iops.*.log"))
        found = series.parse([log.read_text() for log in logs])
        for log in logs:
            log.unlink()
        return [found] if found else []


@dataclass(frozen=True)
class Found:
    """A disk of the layout that a cell can be measured on."""

    controller: Controller
    disk: Disk


def _find(controllers: Sequence[Controller], cell: Cell) -> Found | None:
    for controller in controllers:
        for disk in controller.disks:
            fits = (controller.device, disk.kind) == (cell.params["device"], cell.params["bdev"])
            if fits and not controller.readonly and not disk.readonly and disk.block_size == 512:
                return Found(controller, disk)
    return None


def lacking_without_guest(cell: Cell) -> str | None:
    """Why fio alone cannot do a cell, though a guest could."""
    jobs, queues, cores = (cell.number(n) for n in ("jobs", "queues", "target_cores"))
    if queues and queues % jobs:
        return f"without a guest {jobs} jobs have queues of their own, not {queues} in common"
    return f"without a guest the target has one core, not {cores}" if cores > 1 else None


def options(plan: Matrix, cell: Cell) -> list[str]:
    """What a cell says beyond its job file, as lines of it. ``queues`` of the engine is per job."""
    lines = [option.removeprefix("--") for option in plan.fio_options(cell)]
    if queues := cell.number("queues"):
        lines.append(f"queues={queues // cell.number('jobs')}")
    if "queue_size" in cell.params:
        lines.append(f"queue_size={cell.number('queue_size')}")
    return lines


def _with_queues(controller: Controller, cells: Sequence[Cell]) -> Controller:
    """The controller with as many queues as some cell uses: each job has at least one."""
    most = max(max(cell.number("queues"), cell.number("jobs")) for cell in cells)
    return dataclasses.replace(controller, num_queues=max(controller.num_queues, most))


async def _measure(bench: Bench, scratch: Path) -> None:
    """The cells of the matrix; the target is started anew where they want another one."""
    request, plan = bench.request, bench.request.plan()
    driver = targets.get(request.target)
    chosen = choose(
        plan,
        Subject(driver.name, driver.capabilities),
        capacity(results.NO_GUEST),
        request.cells,
        more=lacking_without_guest,
    )
    bench.update(
        left_out=tuple(LeftOut(one.cell.id, one.cell.params, one.reason) for one in chosen.left_out)
    )
    for cell, reason in chosen.left_out:
        bench.tell("left out", cell=cell.id, label=cell.label(), reason=reason)
    if not chosen.cells:
        raise Unavailable(
            f"no cell of matrix {plan.name} can be measured here: {chosen.left_out[0].reason}",
            "`vhostlab plan --no-guest` shows the reason of each",
        )
    for boot in boots(chosen.cells):
        controllers = tuple(
            _with_queues(c, boot.cells) for c in standard(scratch, driver.capabilities)
        )
        mode = boot.cells[0].text("polling") if "polling" in boot.params else ""
        async with _running(bench, controllers, scratch, mode) as target:
            for cell in boot.cells:
                if found := _find(controllers, cell):
                    await bench.cell(plan, cell, target, found)
                else:
                    bench.check(f"cell {cell.id} ({cell.label()})", False, "no such disk")


async def _verify(bench: Bench, target: Target, controllers: Sequence[Controller]) -> None:
    mib = bench.request.verify_mib
    for controller in controllers:
        label = f"{controller.device}: {mib} MiB written and read back"
        bench.tell("cell", scenario=bench.request.scenario, cell="", label=label)
        disk = controller.disks[0].name
        place = frontend.Place.of(controller, disk, target.endpoints[controller.name])
        name = f"verify-{controller.device}"
        try:
            run = await bench.fio(
                name,
                VERIFY_JOB,
                target,
                place,
                0,
                fio.FIO_START_STOP_S + mib / VERIFY_SLOWEST_MIB_S,
            )
        except fio.FioError as error:
            bench.check(label, False, str(error))
            continue
        moved = dict.fromkeys(fio.DIRECTIONS, 0)
        for direction in (d for job in run.jobs for d in job.directions):
            moved[direction.name] += direction.bytes
        words = ", ".join(f"{way} {n / MIB:.0f} MiB" for way, n in moved.items())
        bench.check(label, moved["write"] == moved["read"] == mib * MIB, words)


def _verify_layout(request: Request, driver: type[Target], scratch: Path) -> tuple[Controller, ...]:
    made = []
    for device in sorted(driver.capabilities.devices & {"blk", "scsi"}):
        path = scratch / f"{device}.raw"
        with path.open("wb") as file:
            file.truncate(request.verify_mib * MIB)
        disk = Disk(f"{device}0", "aio", request.verify_mib * MIB, path=path)
        made.append(Controller(device, "blk" if device == "blk" else "scsi", (disk,), 2))
    return tuple(made)


async def _on_target(bench: Bench, scratch: Path) -> None:
    if not bench.request.verify_mib:
        await _measure(bench, scratch)
        return
    controllers = _verify_layout(bench.request, targets.get(bench.request.target), scratch)
    async with _running(bench, controllers, scratch) as target:
        await _verify(bench, target, controllers)


@contextlib.asynccontextmanager
async def _running(
    bench: Bench, controllers: tuple[Controller, ...], scratch: Path, mode: str = ""
) -> AsyncIterator[Target]:
    """The target, started. Its counters, logs and start-up file are kept."""
    number = bench.starts = bench.starts + 1
    workdir = scratch / f"target-{number}"
    try:
        async with targets.get(bench.request.target)(workdir) as target:
            target.mode = mode
            await target.start(controllers)
            yield target
            if target.process.alive:
                found = counters(
                    STAGE if number == 1 else f"{STAGE}-{number}", await target.stats()
                )
                bench.update(queue_counters=(*bench.fragment.queue_counters, *found))
    finally:
        logs = bench.run_dir / "logs" / STAGE / ("" if number == 1 else str(number))
        logs.mkdir(parents=True, exist_ok=True)
        for path in (*workdir.glob("*.log"), *workdir.glob("*.conf")):
            shutil.copyfile(path, logs / path.name)


def _verdict(record: Record) -> tuple[Status, str | None]:
    failed = [c for c in record.checks if not c.passed]
    lines = [f"{c.name}: {c.detail}" if c.detail else c.name for c in failed]
    return (Status.FAIL, "\n".join(lines)) if failed else (Status.PASS, None)


async def _carry_out(bench: Bench) -> None:
    name = bench.request.scenario
    bench.tell("started", scenario=name, summary="fio on the target's sockets, no guest")
    began = time.monotonic()
    reason: str | None
    try:
        await bench.begin()
        with scratch_dir("bench") as scratch:
            await _on_target(bench, scratch)
        status, reason = _verdict(bench.record)
    except Unavailable as error:
        status, reason = Status.UNAVAILABLE, described(error)
    except HarnessError as error:
        status, reason = Status.ERROR, described(error)
    seconds = round(time.monotonic() - began, 3)
    bench.update(
        scenarios=(
            ScenarioResult(
                name=name,
                stage=STAGE,
                status=status,
                seconds=seconds,
                replay=bench.request.command(),
                error=reason,
                checks=tuple(bench.record.checks),
            ),
        )
    )
    checks = len(bench.record.checks)
    first = (reason or "").split("\n")[0]
    bench.tell(
        "ended", scenario=name, status=str(status), seconds=seconds, reason=first, checks=checks
    )


def run(request: Request, results_dir: Path, console: Console, db: str = "") -> int:
    """Carry out a run; return the exit status for the shell."""
    request.validate()
    tools = find_tools()
    console.print(Text(f"target {request.target}, no guest"), soft_wrap=True)
    run_dir = results.new_run_directory(results_dir.absolute(), request.target)
    plan = results.Plan(
        run_id=run_dir.name,
        started=results.now(),
        suite=request.scenario,
        command=request.command(),
        target=request.target,
        stages=(results.PlannedStage(STAGE, (request.scenario,)),),
    )
    results.write(plan, run_dir / results.PLAN_FILE)
    began = time.monotonic()
    with Narrator(console) as narrator:
        bench = Bench(request, tools, run_dir, narrator)
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_carry_out(bench))
    result = results.finish(run_dir, time.monotonic() - began)
    report.make(run_dir)
    summary.show(result, run_dir, console)
    store.keep(run_dir, console, db)
    return results.exit_code(result.status)
