# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab ladder``: the same fio job at each layer between fio and a file.

Bare fio on the file, a guest on a disk of QEMU itself, and for each target a guest on it and fio's
engine on its socket. They are measured in turns, forwards and backwards, and what comes out is one
result: cells that differ in nothing but ``path`` and ``target``. What a layer costs is a
difference of two of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from vhostlab import fio, frontend, host, identity, images, measure, report, results, store, summary
from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.matrix import Cell, Value
from vhostlab.process import find_program
from vhostlab.qemu import Vm
from vhostlab.results import (
    Better,
    CellResult,
    Check,
    Fragment,
    GuestRecord,
    Metric,
    ScenarioResult,
    Status,
)
from vhostlab.run import DEFAULT_TARGET
from vhostlab.rungs import IN_PROCESS, Rung, Site, Tools, job_file, stand
from vhostlab.scenario.context import described
from vhostlab.scenario.progress import Progress
from vhostlab.scenario.stage import environment
from vhostlab.scratch import scratch_dir
from vhostlab.target.base import DeviceType
from vhostlab.vmtest import Narrator

STAGE = SCENARIO = "ladder"
JOBS = ("randread-4k-qd1", "randread-4k-qd32")
_JOB = re.compile(r"([a-z]+)-(\w+)-qd(\d+)")

#: What a measurement takes beside its run time, until it is known better.
OVERHEAD_S = 3.0


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    targets: tuple[str, ...] = (DEFAULT_TARGET,)
    device: DeviceType = "blk"
    jobs: tuple[str, ...] = JOBS
    rounds: int = 3
    runtime_s: int = 3
    directory: str = ""

    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["vhostlab", "ladder"]
        words += [w for name in self.targets for w in ("--target", name)]
        words += ["--device", self.device]
        words += [w for name in self.jobs for w in ("--job", name)]
        words += ["--rounds", str(self.rounds), "--runtime", str(self.runtime_s)]
        return shlex.join([*words, *(("--dir", self.directory) if self.directory else ())])

    def params(self, job: str) -> dict[str, Value]:
        """The parameters that all cells of a job have in common."""
        found = _JOB.fullmatch(job)
        if found is None or not job_file(job).is_file():
            raise HarnessError(
                f"no job for measurements is called '{job}'",
                "there is " + ", ".join(_jobs()),
            )
        return {
            "device": self.device,
            "bdev": "aio",
            "pattern": found[1],
            "bs": found[2],
            "depth": int(found[3]),
        }

    def validate(self) -> None:
        """Raise HarnessError for whatever does not exist, before anything is started."""
        for name in self.targets:
            lacking = {self.device} - targets.get(name).capabilities.devices
            if lacking or "aio" not in targets.get(name).capabilities.disk_kinds:
                raise HarnessError(f"target {name} has no {self.device} devices on files")
        for job in self.jobs:
            self.params(job)
        if self.rounds < 1 or self.runtime_s < 1:
            raise HarnessError("--rounds and --runtime are at least 1")
        if self.directory and not Path(self.directory).is_dir():
            raise HarnessError(f"there is no directory {self.directory}")


def _jobs() -> list[str]:
    return sorted(
        p.stem
        for p in job_file("x").parent.glob("*.fio")
        if _JOB.fullmatch(p.stem) and not p.stem.startswith("verify")
    )


@dataclass
class Measured:
    """All rounds of one cell."""

    cell: Cell
    rung: Rung
    rounds: list[list[Metric]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def metrics(self) -> tuple[Metric, ...]:
        """The median of each metric; of the rate also the ends, as a measure of its unrest."""
        names = {m.name: m for found in self.rounds for m in found}
        values = {
            name: [m.value for r in self.rounds for m in r if m.name == name] for name in names
        }
        made = [replace(m, value=statistics.median(values[n])) for n, m in names.items()]
        made.append(Metric("iops_min", "1/s", Better.NEITHER, min(values["iops"])))
        made.append(Metric("iops_max", "1/s", Better.NEITHER, max(values["iops"])))
        return tuple(made)

    def file(self) -> str:
        """What fio wrote in the round whose rate is the median, or next to it."""
        rates = [next(m.value for m in r if m.name == "iops") for r in self.rounds]
        return self.files[rates.index(statistics.median_low(rates))]

    def value(self, name: str) -> float | None:
        """A metric of the cell."""
        return next((m.value for m in self.metrics() if m.name == name), None)


class Ladder:
    """One run: what it has found out so far, and where that is written down."""

    def __init__(self, request: Request, run_dir: Path, narrator: Narrator) -> None:
        self.request = request
        self.run_dir = run_dir
        self.fragment = Fragment(stage=STAGE)
        self.checks: list[Check] = []
        self.measured: list[Measured] = []
        self._narrator = narrator
        self._progress = Progress(run_dir)

    def tell(self, event: str, **facts: Any) -> None:
        """Write an event down, and show it."""
        self._progress.emit(event, **facts)
        self._narrator.tell({"event": event, **facts})

    def update(self, **changes: Any) -> None:
        """Take in something new and write it down."""
        logs = [*(self.run_dir / "logs").rglob("*"), *(self.run_dir / "fio").glob("*.log")]
        files = sorted(str(p.relative_to(self.run_dir)) for p in logs if p.is_file())
        self.fragment = replace(self.fragment, logs=tuple(files), **changes)
        results.write(self.fragment, self.run_dir / "stages" / f"{STAGE}.json")

    async def booted(self, vm: Vm) -> None:
        """A guest came up."""
        kernel = (await vm.guest.run("uname -r")).stdout.strip()
        record = GuestRecord(STAGE, tuple(vm.argv), round(vm.boot_seconds, 3), kernel)
        self.update(guests=(*self.fragment.guests, record))
        self.tell("booted", stage=STAGE, seconds=vm.boot_seconds, kernel=kernel)

    async def climb(self, rungs: Sequence[Rung]) -> None:
        """Measure all cells in turns: each round in the opposite order of the one before."""
        for job in self.request.jobs:
            common = self.request.params(job)
            for rung in rungs:
                cell = Cell({**common, "path": rung.path, "target": rung.target})
                self.measured.append(Measured(cell, rung))
        total = self.request.rounds * len(self.measured)
        began, done = time.monotonic(), 0
        for number in range(self.request.rounds):
            for one in self.measured if number % 2 == 0 else reversed(self.measured):
                each = (
                    (time.monotonic() - began) / done
                    if done
                    else self.request.runtime_s + OVERHEAD_S
                )
                left = each * (total - done)
                label = f"{done + 1} of {total}, {left:.0f} s left: {one.cell.job} {one.rung.label}"
                self.tell("cell", scenario=SCENARIO, cell=one.cell.id, label=label)
                await self._measure(one, number)
                done += 1
            seconds = time.monotonic() - began
            left = seconds / done * (total - done)
            self.tell("round", number=number + 1, rounds=self.request.rounds, left=left)
            self._take_in()

    async def _measure(self, one: Measured, number: int) -> None:
        name = f"fio/{one.cell.id}-{number + 1}.json"
        statement = f"{one.cell.job} {one.rung.label}, round {number + 1}"
        try:
            run, used = await one.rung.measure(
                one.cell.job, self.request.runtime_s, self.run_dir / name
            )
            way = run.main_direction()
        except fio.FioError as error:
            self.checks.append(Check(statement, False, str(error)))
            return
        whole = way.short_ios == 0 and way.dropped_ios == 0
        self.checks.append(Check(statement, whole, f"{way.ios} I/Os"))
        one.rounds.append(measure.metrics(way, used))
        one.files.append(name)

    def _take_in(self) -> None:
        cells = tuple(
            CellResult(
                id=one.cell.id,
                stage=STAGE,
                params=one.cell.params,
                metrics=one.metrics(),
                fio_file=one.file(),
                replay=self.request.command(),
            )
            for one in self.measured
            if one.rounds
        )
        self.update(cells=cells)


async def _carry_out(ladder: Ladder) -> None:
    request = ladder.request
    ladder.tell("started", scenario=SCENARIO, summary="the same job at each layer")
    began = time.monotonic()
    status, reason = Status.PASS, None
    try:
        await _stand_and_climb(ladder)
        if failed := [f"{c.name}: {c.detail}" for c in ladder.checks if not c.passed]:
            status, reason = Status.FAIL, "\n".join(failed)
    except Unavailable as error:
        status, reason = Status.UNAVAILABLE, described(error)
    except HarnessError as error:
        status, reason = Status.ERROR, described(error)
    seconds = round(time.monotonic() - began, 3)
    ended = ScenarioResult(
        name=SCENARIO,
        stage=STAGE,
        status=status,
        seconds=seconds,
        replay=request.command(),
        error=reason,
        checks=tuple(ladder.checks),
    )
    ladder.update(scenarios=(ended,))
    ladder.tell(
        "ended",
        scenario=SCENARIO,
        status=str(status),
        seconds=seconds,
        reason=(reason or "").split("\n")[0],
        checks=len(ladder.checks),
    )


async def _stand_and_climb(ladder: Ladder) -> None:
    request = ladder.request
    tools = Tools(find_program("fio", "install fio"), frontend.find_engine())
    image = await images.build()
    accel = await host.accelerator(image)
    names = tuple(dict.fromkeys((IN_PROCESS, *request.targets)))
    kinds = [targets.get(name) for name in names]
    built = [identity.record(kind, await kind.version()) for kind in kinds]
    ladder.update(
        target=results.joined(built),
        environment=environment(accel, image),
    )
    parent = Path(request.directory) if request.directory else None
    with scratch_dir("ladder", parent) as made:
        site = Site(
            tools=tools,
            image=image,
            accel=accel,
            device=request.device,
            scratch=made,
            logs=ladder.run_dir / "logs" / STAGE,
            booted=ladder.booted,
        )
        async with stand(request.targets, site) as rungs:
            await ladder.climb(rungs)


def layers(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """A line for each layer of each job, with what it adds to bare fio."""
    found = []
    for one in measured:
        if not one.rounds:
            continue
        latency = one.value("latency_mean") or 0.0
        same = {k: v for k, v in one.cell.params.items() if k not in ("path", "target")}
        bare = next(
            (
                o
                for o in measured
                if o.rounds and o.rung.path == "file" and o.cell.job == one.cell.job
            ),
            None,
        )
        found.append(
            {
                **same,
                "path": one.rung.path,
                "target": one.rung.target,
                "iops": one.value("iops"),
                "latency_mean_ns": latency,
                "added_ns": latency - (bare.value("latency_mean") or 0.0) if bare else None,
                "target_cpu_per_io_ns": one.value("target_cpu_per_io"),
            }
        )
    return found


def _show(found: Sequence[dict[str, Any]], accel: str, console: Console) -> None:
    note = "; guests are emulated: functional timing" if accel == "tcg" else ""
    tables: dict[str, Table] = {}
    for line in found:
        job = f"{line['pattern']} {line['bs']} qd{line['depth']}"
        if job not in tables:
            tables[job] = Table(title=f"{job}{note}", title_justify="left", box=box.SIMPLE)
            tables[job].add_column("layer")
            for heading in ("IOPS", "mean µs", "over file", "CPU µs/IO"):
                tables[job].add_column(heading, justify="right", no_wrap=True)
        label = line["path"] if line["path"] == "file" else f"{line['path']} {line['target']}"
        numbers = (line["latency_mean_ns"], line["added_ns"], line["target_cpu_per_io_ns"])
        shown = ["" if n is None else f"{n / 1000:.1f}" for n in numbers]
        tables[job].add_row(label, f"{line['iops']:.0f}", *shown)
    for table in tables.values():
        console.print(table)


def run(
    request: Request, results_dir: Path, console: Console, as_json: bool = False, db: str = ""
) -> int:
    """Carry out a run; return the exit status for the shell."""
    request.validate()
    for name in (IN_PROCESS, *request.targets):
        targets.get(name).preflight()
    run_dir = results.new_run_directory(results_dir.absolute(), "ladder")
    plan = results.Plan(
        run_id=run_dir.name,
        started=results.now(),
        suite=SCENARIO,
        command=request.command(),
        target="+".join(dict.fromkeys((IN_PROCESS, *request.targets))),
        stages=(results.PlannedStage(STAGE, (SCENARIO,)),),
    )
    results.write(plan, run_dir / results.PLAN_FILE)
    began = time.monotonic()
    said = Console(stderr=True, highlight=False) if as_json else console
    with Narrator(said) as narrator:
        ladder = Ladder(request, run_dir, narrator)
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_carry_out(ladder))
    result = results.finish(run_dir, time.monotonic() - began)
    report.make(run_dir)
    found = layers(ladder.measured)
    if as_json:
        answer = {"result": str(run_dir / results.RESULT_FILE), "status": str(result.status)}
        print(json.dumps({**answer, "timing": result.timing, "layers": found}, indent=1))
    else:
        _show(found, str(result.environment.get("accel", "")), console)
        summary.show(result, run_dir, console)
    store.keep(run_dir, said, db)
    return results.exit_code(result.status)
