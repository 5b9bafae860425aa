# SPDX-License-Identifier: BSD-3-Clause
"""The measurements of a matrix file, cell by cell."""

from __future__ import annotations

import time
from collections import Counter

from vhostlab import fio, matrix, measure
from vhostlab.guestdisk import GuestDisk
from vhostlab.paths import source_dir
from vhostlab.results import CellResult
from vhostlab.scenario import GuestContext, guest_scenario


@guest_scenario("perf", deadline_s=1800.0, measures=True)
async def perf(ctx: GuestContext) -> None:
    """Every cell of the matrix runs without an error and is measured.

    Steps: for each cell run its fio job in the guest on the disk of that device type and bdev.
    Verify: fio reports I/O and no error. What was measured is judged elsewhere.
    """
    version = await fio.probe(ctx.guest)
    ctx.check("fio in the guest", True, version.text)
    plan = matrix.load(ctx.bench.options.matrix)
    cells = _chosen(ctx, plan)
    left_out: Counter[str] = Counter()
    for cell in cells:
        disk = _disk(ctx, cell)
        if disk is None:
            left_out[f"{cell.params['device']} {cell.params['bdev']}"] += 1
            continue
        await _measure(ctx, plan, cell, disk)
    if not ctx.record.cells:
        ctx.skip(f"target {ctx.target.name} has none of the disks of matrix {plan.name}")
    if left_out:
        words = ", ".join(f"{n} of {what}" for what, n in left_out.items())
        ctx.check("cells left out, as the target has no such disk", True, words)


def _chosen(ctx: GuestContext, plan: matrix.Matrix) -> tuple[matrix.Cell, ...]:
    wanted = ctx.bench.options.cells
    if not wanted:
        return plan.cells
    unknown = set(wanted) - {c.id for c in plan.cells}
    ctx.require("the cells asked for are in the matrix", not unknown, ", ".join(sorted(unknown)))
    return tuple(c for c in plan.cells if c.id in wanted)


def _disk(ctx: GuestContext, cell: matrix.Cell) -> GuestDisk | None:
    device, kind = str(cell.params["device"]), str(cell.params["bdev"])
    fitting = ctx.disks_of(device=device, kind=kind, writable=True)
    return fitting[0] if fitting else None


async def _measure(
    ctx: GuestContext, plan: matrix.Matrix, cell: matrix.Cell, disk: GuestDisk
) -> None:
    ctx.bench.progress.emit("cell", scenario=ctx.scenario, cell=cell.id, label=cell.label())
    job = source_dir() / "fio-jobs" / f"{cell.job}.fio"
    fio_file = f"fio/{cell.id}.json"
    keep = ctx.bench.run_dir / fio_file
    used, began = ctx.target.cpu_seconds(), time.monotonic()
    try:
        run = await fio.run(ctx.guest, job, disk.node, plan.runtime_s, keep)
    except fio.FioError as error:
        ctx.check(f"cell {cell.id} ({cell.label()})", False, str(error))
        return
    used, seconds = ctx.target.cpu_seconds() - used, time.monotonic() - began
    way = run.main_direction()
    ctx.check(
        f"cell {cell.id} ({cell.label()})",
        way.short_ios == 0 and way.dropped_ios == 0,
        f"{way.ios} I/Os in {seconds:.1f} s",
    )
    ctx.record.cells.append(
        CellResult(
            id=cell.id,
            stage=ctx.bench.stage,
            params=cell.params,
            metrics=tuple(measure.metrics(way, used)),
            fio_file=fio_file,
            replay=f"{ctx.replay} --cell {cell.id}",
        )
    )
