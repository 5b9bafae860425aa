# SPDX-License-Identifier: BSD-3-Clause
"""Carries out the cells of a matrix: boots what they need, and measures one after the other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from vhostlab import guestdisk, images, matrix
from vhostlab import target as targets
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.fio import FioError
from vhostlab.guestdisk import GuestDisk
from vhostlab.host.capacity import capacity
from vhostlab.images import Image
from vhostlab.matrix import Boot, Cell, Matrix
from vhostlab.measure import layout, placement, verify
from vhostlab.measure.cell import Apart, Place, job_file, measure
from vhostlab.measure.placement import Need, Placement
from vhostlab.qemu import Vm, newer
from vhostlab.results import PLAN_FILE, LeftOut, Metric, Plan, read, timing_of
from vhostlab.scenario.context import HostContext
from vhostlab.scenario.stage import broken_queues, complaints, while_alive
from vhostlab.target import Target, TargetCapabilities


@dataclass(frozen=True)
class Up:
    """A target and its guests, running. ``disks``: those of each guest."""

    target: Target
    vms: tuple[Vm, ...]
    disks: tuple[tuple[GuestDisk, ...], ...]
    placement: Placement

    def of(self, cell: Cell) -> list[GuestDisk]:
        """The disk in each guest on which a cell is measured."""
        wanted = cell.text("device"), cell.text("bdev")
        return [
            next(d for d in mine if (d.controller.device, d.disk.kind) == wanted)
            for mine in self.disks
        ]


def more(cell: Cell, accel: str) -> str | None:
    """What is in the way of a cell through guests, beside what the matrix knows of."""
    cores = len(os.sched_getaffinity(0))
    if reason := placement.lacking(Need.of(cell), cores, accel):
        return reason
    essential = all(name in cell.params for name in matrix.ESSENTIAL)
    if essential and not job_file(cell).is_file():
        return f"fio-jobs has no {job_file(cell).name}"
    return None


def others() -> Mapping[str, TargetCapabilities]:
    """All targets: a cell may name another one than that of the run."""
    return {name: targets.get(name).capabilities for name in targets.names()}


async def carry(ctx: HostContext) -> None:
    """Measure the cells that were asked for, and say why the others are not."""
    bench = ctx.bench
    plan = matrix.load(bench.options.matrix)
    asked = planned(bench.run_dir, bench.options.cells) or _chosen(ctx, plan)
    cells = [cell for cell in asked if cell.id not in bench.kept]
    if kept := len(asked) - len(cells):
        ctx.check("cells kept from before the interruption", True, str(kept))
    for boot in matrix.boots(cells):
        await _boot(ctx, plan, boot)


def planned(run_dir: Path, ids: Sequence[str]) -> list[Cell]:
    """The cells with these ids, if the run has planned them; they were chosen then."""
    path = run_dir / PLAN_FILE
    if not path.is_file():
        return []
    known = {cell.id: Cell(cell.params) for cell in read(Plan, path).cells}
    return [known[one] for one in ids] if ids and set(ids) <= set(known) else []


def _chosen(ctx: HostContext, plan: Matrix) -> list[Cell]:
    bench, target = ctx.bench, ctx.bench.target
    guest = bench.image.name

    def reason(cell: Cell) -> str | None:
        # a result tells one guest: what is measured in another one would pass for it
        if guest != images.DEFAULT_GUEST and cell.text("guest") != guest:
            return f"is measured in guest {cell.text('guest')}, not in {guest}"
        return more(cell, bench.accel)

    choice = matrix.choose(
        plan,
        matrix.Subject(target.name, target.capabilities),
        capacity(bench.accel),
        bench.options.cells,
        more=reason,
    )
    for cell, why in choice.left_out:
        bench.keeper.leave_out(LeftOut(cell.id, cell.params, why))
    if not choice.cells:
        ctx.skip(f"there is no cell of {plan.name} for it: {choice.left_out[0].reason}")
    return list(choice.cells)


async def _boot(ctx: HostContext, plan: Matrix, boot: Boot) -> None:
    """All cells of a boot; when one of them breaks the guest, the others get a new one."""
    waiting = list(boot.cells)
    while waiting:
        before, failed = len(waiting), _failed(ctx)
        try:
            await _on_one_boot(ctx, plan, waiting)
        except Unavailable:
            raise
        except HarnessError as error:
            if _failed(ctx) == failed:
                words = Cell(boot.params).label() or "all defaults"
                ctx.check(f"guests for {words}", False, str(error))
            if len(waiting) == before:
                # nothing was run: it does not boot, and would not the next time
                return


def _failed(ctx: HostContext) -> int:
    return sum(not check.passed for check in ctx.record.checks)


async def _on_one_boot(ctx: HostContext, plan: Matrix, waiting: list[Cell]) -> None:
    """Take cells off the list until it is empty or the guests are no good any more."""
    first = waiting[0]
    async with _up(ctx, waiting) as up:
        wanted = layout.Wanted.of(first)
        for vm, mine in zip(up.vms, up.disks, strict=True):
            await verify.numa(ctx, vm.guest, mine, wanted)
            for disk in mine:
                await verify.disk(ctx, disk, wanted)
            await complaints(vm.guest)
        place = Place(
            plan,
            ctx.bench.options.matrix_name(),
            up.target,
            ctx.bench.run_dir,
            ctx.bench.stage,
            timing_of(ctx.bench.accel),
            up.placement.words,
        )
        while waiting:
            cell = waiting.pop(0)
            statement = f"cell {cell.id} ({cell.label()})"
            body = _cell(ctx, place, cell, up, statement)
            try:
                await while_alive(body, up.target.process, f"target {up.target.name}")
            except HarnessError as error:
                ctx.check(statement, False, str(error))
                raise
        stats = await up.target.stats()
        broken = broken_queues(stats)
        ctx.check("the target gave up no queue", not broken, "; ".join(broken)[:500])
        ctx.bench.keeper.count(stats)


async def _cell(ctx: HostContext, place: Place, cell: Cell, up: Up, statement: str) -> None:
    """Measure a cell. One that went wrong is no measurement and is not kept."""
    ctx.bench.progress.emit("cell", scenario=ctx.scenario, cell=cell.id, label=cell.label())
    try:
        result = await measure(place, cell, up.of(cell), [vm.process for vm in up.vms])
        said = [line for vm in up.vms for line in await complaints(vm.guest)]
    except (FioError, Apart) as error:
        ctx.check(statement, False, str(error))
        return
    if ctx.check(statement, not said, "; ".join(said)[:500] or _words(result.metrics)):
        ctx.bench.keeper.measured(result)


def _words(metrics: Sequence[Metric]) -> str:
    iops = next((metric.value for metric in metrics if metric.name == "iops"), 0.0)
    return f"{iops:.0f} IOPS"


@asynccontextmanager
async def _up(ctx: HostContext, cells: Sequence[Cell]) -> AsyncIterator[Up]:
    """The target and the guests that some cells of one boot need, on cores of their own."""
    bench, first = ctx.bench, cells[0]
    wanted = layout.Wanted.of(first)
    number = sum(1 for _ in bench.logs.glob("boot-*")) + 1
    where = bench.logs / f"boot-{number}"
    image = await _image(ctx, wanted.guest)
    made = layout.controllers(cells, wanted, bench.scratch)
    flat = [controller for mine in made for controller in mine]

    def tell(words: str) -> None:
        bench.progress.emit("waiting", words=words)

    async with AsyncExitStack() as stack:
        seats = await stack.enter_async_context(placement.placed(Need.of(first), tell))
        target = await stack.enter_async_context(
            bench.running_target(flat, where, wanted.mode, cores=seats.target)
        )
        alone = bool(seats.guests) and len(seats.target) == 1
        if alone and target.capabilities.process:
            placement.pin_process(target.pid, seats.target)
        vms, disks = [], []
        for n, mine in enumerate(made, start=1):
            name = layout.guest_name(n)
            config = layout.vm(wanted, image, bench.accel, mine, target, seats, name)
            vm = await stack.enter_async_context(Vm(config, where / name))
            if seats.guests:
                placement.pin_threads(await vm.vcpu_threads(), seats.guests[n - 1])
            await target.serves(vm)
            if alone:
                for thread in target.threads(vm):
                    placement.pin_threads((thread,), seats.target)
            await bench.booted(vm)
            vms.append(vm)
            # a guest that boots from a disk of its own has not seen layout.kernel_options
            await vm.guest.run(verify.use_blk_mq())
            disks.append(await guestdisk.find(vm, mine))
        yield Up(target, tuple(vms), tuple(disks), seats)


async def _image(ctx: HostContext, guest: str) -> Image:
    """The image of a guest by name; the micro guest's is there already."""
    if guest == ctx.bench.image.name:
        return ctx.bench.image
    image = await images.build(images.recipe_path(guest))
    await newer.ensure(image, ctx.bench.accel)
    return image
