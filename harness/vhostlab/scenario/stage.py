# SPDX-License-Identifier: BSD-3-Clause
"""Carries out one stage: boots what its scenarios need, runs them, writes the stage's fragment.

The fragment is written after every scenario, so what a stage learnt survives its death.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vhostlab import host, identity, images
from vhostlab import target as targets
from vhostlab.errors import REPLAY, HarnessError, MilestoneTimeout, Unavailable
from vhostlab.guest import Guest
from vhostlab.host import tuning
from vhostlab.matrix import Cell
from vhostlab.paths import source_dir
from vhostlab.process import Process
from vhostlab.qemu import Vm, newer
from vhostlab.results import (
    CellResult,
    Fragment,
    GuestRecord,
    LeftOut,
    QueueCounters,
    ScenarioResult,
    Status,
    TargetRecord,
    read,
    replay_scenario,
    write,
)
from vhostlab.scenario.context import (
    Bench,
    CheckFailed,
    GuestContext,
    HostContext,
    Options,
    Record,
    Skipped,
    described,
)
from vhostlab.scenario.layout import Booted, boot, standard
from vhostlab.scenario.progress import Progress
from vhostlab.scenario.registry import Scenario
from vhostlab.scratch import scratch_dir
from vhostlab.target import Controller, Target

#: What a healthy guest kernel never says about its disks.
COMPLAINTS = re.compile(
    r"I/O error|critical (?:target|medium|space allocation) error|Buffer I/O|timed out|"
    r"WARNING: CPU|Call Trace|BUG:|blocked for more than|virtio\S*: .*(?:fail|error|broken)|"
    r"rejecting I/O|Attached scsi .* offline",
    re.IGNORECASE,
)

#: How long a scenario may take to clean up after what it depends on has died.
GIVE_UP_S = 2.0

#: How long a guest may take to show that it is alive after a scenario went wrong.
ALIVE_S = 10.0


def host_environment() -> dict[str, Any]:
    """The facts of the host, flat."""
    facts = host.facts()
    flat: dict[str, Any] = {}
    for name, value in dataclasses.asdict(facts).items():
        if name == "hugepages":
            for pool in facts.hugepages:
                flat[f"host.hugepages_{pool.size_kib}kib"] = pool.total
        else:
            flat[f"host.{name}"] = list(value) if isinstance(value, tuple) else value
    return flat | tuning.recorded()


def environment(accel: str, image: images.Image) -> dict[str, Any]:
    """What the numbers of this stage are made on, flat."""
    return {"accel": accel, "guest.image": f"{image.name}-{image.id}", **host_environment()}


def counters(stage: str, stats: Mapping[str, Any] | None) -> tuple[QueueCounters, ...]:
    """The per-queue numbers in what a target says about itself."""
    found = []
    for controller in (stats or {}).get("controllers", []):
        name = str(controller.get("ctrlr") or controller.get("name"))
        for number, queue in enumerate(controller.get("queues", [])):
            index = queue.get("index", queue.get("queue", number))
            numbers = {
                key: value
                for key, value in queue.items()
                if type(value) is int and key not in ("index", "queue", "size")
            }
            found.append(QueueCounters(stage, name, int(index), numbers))
    return tuple(found)


class Stage:
    """One stage of a run, and what it has found out so far."""

    def __init__(
        self,
        name: str,
        run_dir: Path,
        target: type[Target],
        progress: Progress,
        options: Options,
    ) -> None:
        self.name = name
        self.target = target
        self.options = options
        self.fragment = Fragment(stage=name)
        self._run_dir = run_dir
        self.progress = progress

    def update(self, **changes: Any) -> None:
        """Take in something new and write it down."""
        logs = (self._run_dir / "logs" / self.name).rglob("*")
        files = sorted(str(p.relative_to(self._run_dir)) for p in logs if p.is_file())
        self.fragment = dataclasses.replace(self.fragment, logs=tuple(files), **changes)
        write(self.fragment, self._run_dir / "stages" / f"{self.name}.json")

    def replay(self, scenario: Scenario) -> str:
        """The command that runs a scenario again."""
        matrix = self.options.matrix_name() if scenario.measures else ""
        cells = self.options.cells if scenario.measures else ()
        guest = self.options.guest
        return replay_scenario(scenario.name, self.target.name, matrix, cells, guest)

    def ended(
        self,
        scenario: Scenario,
        status: Status,
        seconds: float = 0.0,
        reason: str | None = None,
        record: Record | None = None,
    ) -> None:
        """A scenario is over."""
        record = record or Record()
        result = ScenarioResult(
            name=scenario.name,
            stage=self.name,
            status=status,
            seconds=round(seconds, 3),
            replay=self.replay(scenario),
            skip_reason=reason if status is Status.SKIP else None,
            error=reason if status not in (Status.PASS, Status.SKIP) else None,
            checks=tuple(record.checks),
            metrics=tuple(record.metrics),
        )
        self.update(
            scenarios=(*self.fragment.scenarios, result),
        )
        self.progress.emit(
            "ended",
            scenario=scenario.name,
            status=str(status),
            seconds=seconds,
            reason=(reason or "").split("\n")[0],
            checks=len(record.checks),
        )

    async def booted(self, vm: Vm) -> None:
        """A guest came up."""
        kernel = (await vm.guest.run("uname -r")).stdout.strip()
        record = GuestRecord(self.name, tuple(vm.argv), round(vm.boot_seconds, 3), kernel)
        self.update(guests=(*self.fragment.guests, record))
        self.progress.emit("booted", stage=self.name, seconds=vm.boot_seconds, kernel=kernel)

    def measured(self, cell: CellResult) -> None:
        """A cell is done; should the run be interrupted, it need not be measured again."""
        self.update(cells=(*self.fragment.cells, cell))
        iops = next((m.value for m in cell.metrics if m.name == "iops"), 0.0)
        self.progress.emit("measured", cell=cell.id, iops=iops, steady=str(cell.steady))

    def leave_out(self, cell: LeftOut) -> None:
        """A cell is not measured."""
        self.update(left_out=(*self.fragment.left_out, cell))
        label = Cell(cell.params).label()
        self.progress.emit("left out", cell=cell.id, label=label, reason=cell.reason)

    def resume(self, scenarios: Iterable[str]) -> None:
        """Take over what an earlier part of this run wrote down, but for these scenarios."""
        path = self._run_dir / "stages" / f"{self.name}.json"
        if path.exists():
            before, again = read(Fragment, path), set(scenarios)
            rest = tuple(s for s in before.scenarios if s.name not in again)
            self.fragment = dataclasses.replace(before, scenarios=rest, left_out=())

    def set_out(self, target: TargetRecord, environment: Mapping[str, Any]) -> None:
        """Write down what the numbers are made on; they must all be made on the same."""
        before = self.fragment.environment
        now = json.loads(json.dumps(environment))
        changed = [k for k in sorted({*before, *now}) if before and before.get(k) != now.get(k)]
        if self.fragment.target not in (None, target):
            changed.append("target")
        if changed:
            words = ", ".join(changed)
            raise HarnessError(f"not as it was when the run began: {words}", "start a new run")
        self.update(target=target, environment=now)

    def count(self, stats: Mapping[str, Any] | None) -> None:
        """What the target counted."""
        found = counters(self.name, stats)
        self.update(queue_counters=(*self.fragment.queue_counters, *found))


async def complaints(guest: Guest) -> list[str]:
    """What the guest's kernel complained about since the last time it was asked."""
    log = (await guest.run("dmesg -c", check=False)).stdout
    return [line.strip() for line in log.splitlines() if COMPLAINTS.search(line)]


def broken_queues(stats: Mapping[str, Any] | None) -> list[str]:
    """The queues that a target gave up, by what it says about itself."""
    return [
        f"{controller.get('ctrlr')} queue {queue.get('queue')}: {queue['broken']}"
        for controller in (stats or {}).get("controllers", [])
        for queue in controller.get("queues", [])
        if queue.get("broken")
    ]


async def _kernel_complaints(ctx: GuestContext, allowed: str) -> None:
    """Record whether the guest's kernel complained since the last time it was asked."""
    lines = await complaints(ctx.guest)
    if allowed:
        lines = [line for line in lines if not re.search(allowed, line)]
    ctx.check("the guest's kernel does not complain", not lines, "; ".join(lines)[:500])


async def _broken_queues(ctx: GuestContext) -> None:
    """Record whether the target gave up a queue, where it can be asked."""
    stats = await ctx.target.stats()
    if stats is None:
        return
    broken = broken_queues(stats)
    ctx.check("the target gave up no queue", not broken, "; ".join(broken)[:500])


async def while_alive(body: Coroutine[Any, Any, None], process: Process, what: str) -> None:
    """Await ``body``, and give it up as soon as the process it depends on has ended."""
    task, end = asyncio.create_task(body), asyncio.create_task(process.wait())
    try:
        await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        else:
            raise process.died(what)
    finally:
        end.cancel()
        if not task.done():
            # once for the body, once more for a clean-up that waits for what is gone
            task.cancel()
            await asyncio.wait({task}, timeout=GIVE_UP_S)
            task.cancel()
            await asyncio.wait({task}, timeout=GIVE_UP_S)


async def _in_guest(scenario: Scenario, ctx: GuestContext) -> None:
    assert scenario.in_guest is not None
    await scenario.in_guest(ctx)
    await _kernel_complaints(ctx, scenario.kernel_messages)
    await _broken_queues(ctx)


async def _carry_out(scenario: Scenario, ctx: GuestContext | HostContext) -> None:
    async with asyncio.timeout(scenario.deadline_s):
        if isinstance(ctx, GuestContext):
            process = ctx.target.process
            await while_alive(_in_guest(scenario, ctx), process, f"target {ctx.target.name}")
        else:
            assert scenario.on_host is not None
            await scenario.on_host(ctx)


def _verdict(record: Record) -> tuple[Status, str | None]:
    failed = [c for c in record.checks if not c.passed]
    if not failed:
        return Status.PASS, None
    lines = [f"{c.name}: {c.detail}" if c.detail else c.name for c in failed]
    return Status.FAIL, "\n".join(lines)


async def judge(scenario: Scenario, ctx: GuestContext | HostContext, stage: Stage) -> Status:
    """Run one scenario and record how it ended."""
    stage.progress.emit("started", scenario=scenario.name, summary=scenario.summary)
    ctx.replay = stage.replay(scenario)
    REPLAY.set(ctx.replay)
    began = time.monotonic()
    reason: str | None
    try:
        await _carry_out(scenario, ctx)
        status, reason = _verdict(ctx.record)
    except Skipped as skipped:
        # what was seen to be wrong before is not forgiven
        status, reason = _verdict(ctx.record)
        if status is Status.PASS:
            status, reason = Status.SKIP, str(skipped)
    except CheckFailed:
        status, reason = _verdict(ctx.record)
    except Unavailable as error:
        status, reason = Status.UNAVAILABLE, described(error)
    except TimeoutError:
        status = Status.ERROR
        reason = f"did not end within its deadline of {scenario.deadline_s:g} s"
    except MilestoneTimeout as error:
        if isinstance(ctx, GuestContext):
            tails = ctx.vm.console.tail(), ctx.target.log_tail()
            error.add_evidence(console_tail=tails[0], target_log_tail=tails[1])
        status, reason = Status.ERROR, str(error)
    except Exception as error:  # a broken scenario must not take the others with it
        status, reason = Status.ERROR, described(error)
    stage.ended(scenario, status, time.monotonic() - began, reason, ctx.record)
    return status


async def _usable(booted: Booted, target: Target) -> bool:
    if not target.process.alive or not booted.vm.process.alive:
        return False
    return await booted.vm.guest.answers(ALIVE_S)


async def _on_one_guest(
    waiting: list[Scenario], bench: Bench, stage: Stage, controllers: Sequence[Controller]
) -> None:
    """Take scenarios off the list until it is empty or the guest is no good any more."""
    number = len(stage.fragment.guests)
    name = "guest" if number == 0 else f"guest-{number}"
    where = bench.logs / name
    async with (
        bench.running_target(controllers, where) as target,
        boot(bench.image, bench.accel, target, controllers, where) as booted,
    ):
        await bench.booted(booted.vm)
        await booted.vm.guest.run("dmesg -c >/dev/null")
        while waiting:
            scenario = waiting.pop(0)
            ctx = GuestContext(bench, scenario.name, booted.vm, target, booted.disks)
            status = await judge(scenario, ctx, stage)
            if status is not Status.PASS and not await _usable(booted, target):
                break
        stage.count(await target.stats() if target.process.alive else None)


async def _in_guests(scenarios: Sequence[Scenario], bench: Bench, stage: Stage) -> None:
    """The scenarios that share a guest; a new one is booted when one of them breaks it."""
    controllers = standard(bench.scratch, bench.target.capabilities)
    waiting = list(scenarios)
    while waiting:
        before = len(waiting)
        try:
            await _on_one_guest(waiting, bench, stage, controllers)
        except HarnessError as error:
            status = Status.UNAVAILABLE if isinstance(error, Unavailable) else Status.ERROR
            if len(waiting) == before:
                # nothing was run: it does not boot, and would not the next time
                for scenario in waiting:
                    stage.ended(scenario, status, reason=str(error))
                return


async def run(
    name: str,
    scenarios: Sequence[Scenario],
    target_name: str,
    options: Options,
    run_dir: Path,
    progress: Progress,
) -> Fragment:
    """Carry out a stage and return its fragment, which is also in the run's directory."""
    target = targets.get(target_name)
    stage = Stage(name, run_dir, target, progress, options)
    if options.resume:
        stage.resume(s.name for s in scenarios)
    stage.update()
    wanted = []
    for scenario in scenarios:
        reason = scenario.inapplicable(target.name, target.capabilities)
        if reason := reason or scenario.needs.missing(len(host.usable_cpus()), host.free_mib()):
            stage.ended(scenario, Status.SKIP, reason=reason)
        else:
            wanted.append(scenario)
    if not wanted:
        return stage.fragment
    try:
        await _run_wanted(wanted, stage, run_dir, progress)
    except HarnessError as error:
        status = Status.UNAVAILABLE if isinstance(error, Unavailable) else Status.ERROR
        done = {s.name for s in stage.fragment.scenarios}
        for scenario in wanted:
            if scenario.name not in done:
                stage.ended(scenario, status, reason=str(error))
    return stage.fragment


async def _run_wanted(
    wanted: Sequence[Scenario], stage: Stage, run_dir: Path, progress: Progress
) -> None:
    image = await images.build(images.recipe_path(stage.options.guest))
    accel = await host.accelerator(await images.build())
    await newer.ensure(image, accel)
    stage.set_out(
        identity.record(stage.target, await stage.target.version()),
        environment(accel, image),
    )
    with scratch_dir("stage") as scratch:
        bench = Bench(
            target=stage.target,
            image=image,
            accel=accel,
            options=stage.options,
            run_dir=run_dir,
            stage=stage.name,
            scratch=scratch,
            booted=stage.booted,
            keeper=stage,
            progress=progress,
            kept=frozenset(cell.id for cell in stage.fragment.cells),
        )
        shared = [s for s in wanted if s.in_guest]
        if shared:
            await _in_guests(shared, bench, stage)
        for scenario in (s for s in wanted if s.on_host):
            await judge(scenario, HostContext(bench, scenario.name), stage)


def scenario_directory() -> Path:
    """Where the project's own scenarios are."""
    return source_dir() / "harness" / "scenarios"
