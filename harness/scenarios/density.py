# SPDX-License-Identifier: BSD-3-Clause
"""Several guests on one target."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from vhostlab import fio, host
from vhostlab.guestdisk import GuestDisk
from vhostlab.host.load import OthersMeter
from vhostlab.measure.metrics import fairness
from vhostlab.paths import source_dir
from vhostlab.results import Better
from vhostlab.scenario import HostContext, Needs, host_scenario
from vhostlab.scenario.layout import MEMORY_MIB, MIB
from vhostlab.target import Controller, Disk, Target

#: As much as goes; under emulation, where that is a matter of the guests' processors, a rate that
#: each guest can do, and makes up for when it was held up.
JOBS = {"kvm": "verify-4k-qd16", "tcg": "verify-4k-qd4"}
RUNTIME_S = 8

#: How many guests, and what each of them takes with its QEMU.
FEWEST, MOST = 3, 8
GUEST_MIB = MEMORY_MIB + 256

SIZE = 64 * MIB

#: What Jain's index has to be at least. One of three guests that gets nothing makes 0.67.
FAIR = 0.9

#: Cores that other programs may use meanwhile: emulated guests get their processors beside them, by
#: chance, and then shares say nothing of the target.
OTHERS = 0.5


@dataclass(frozen=True)
class Share:
    """What one guest had of the target."""

    iops: float
    p99_ns: float
    began: float
    ended: float
    verified: int


@host_scenario("density", deadline_s=300.0, needs=Needs(memory_mib=FEWEST * GUEST_MIB))
async def density(ctx: HostContext) -> None:
    """Several guests on one target have equal shares of it, and each its own data.

    Steps: boot as many guests as memory and processors allow, three at least, each on a controller
    and a disk of its own; let fio write and verify in all of them at the same time.
    Verify: every checksum in every guest; they ran at the same time; Jain's index of their request
    rates is high (emulated guests are not judged beside other programs). It, the worst 99th
    percentile and the sum of the rates are in the result.
    """
    count = _count()
    controllers = _controllers(ctx, count)
    async with ctx.target(controllers) as target, AsyncExitStack() as stack:
        disks = await _boot(ctx, stack, target, controllers)
        meter, used = OthersMeter(), _used(target)
        shares = await asyncio.gather(*(_load(ctx, disk) for disk in disks))
        others = meter.cores(_used(target) - used)
    for disk, share in zip(disks, shares, strict=True):
        said = f"{share.verified} blocks, {share.iops:.0f} requests/s"
        ctx.check(f"{disk.label}: every checksum", share.verified > 0, said)
    overlap = min(s.ended for s in shares) - max(s.began for s in shares)
    rates = [share.iops for share in shares]
    index = fairness(rates)
    judged = ctx.bench.accel == "kvm" or others <= OTHERS
    said = "" if judged else f"; shares are not judged, as others used {others:.1f} cores"
    ctx.check("they ran at the same time", overlap > RUNTIME_S / 2, f"for {overlap:.1f} s{said}")
    if judged:
        ctx.check(
            "the shares are fair", index >= FAIR, f"Jain's index {index:.3f}, not below {FAIR:g}"
        )
    ctx.metric("guests", "", Better.NEITHER, count)
    ctx.metric("fairness_jain", "", Better.HIGHER, index)
    ctx.metric("latency_p99_worst_vm", "ns", Better.LOWER, max(share.p99_ns for share in shares))
    ctx.metric("iops_of_all", "1/s", Better.HIGHER, sum(rates))


def _count() -> int:
    by_cores = max(FEWEST, len(host.usable_cpus()))
    return min(MOST, by_cores, host.free_mib() // GUEST_MIB)


def _controllers(ctx: HostContext, count: int) -> tuple[Controller, ...]:
    device = min(ctx.bench.target.capabilities.devices)
    return tuple(
        Controller(
            f"{device}-{number}",
            "blk" if device == "blk" else "scsi",
            (Disk(f"malloc{number}", "malloc", SIZE),),
            num_queues=2,
        )
        for number in range(count)
    )


def _used(target: Target) -> float:
    """CPU time of the guests, and of the target if that is no part of them."""
    guests = sum(vm.process.cpu_seconds() for vm in target.guests)
    return guests + (0.0 if target.inside else target.cpu_seconds())


async def _boot(
    ctx: HostContext, stack: AsyncExitStack, target: Target, controllers: Sequence[Controller]
) -> list[GuestDisk]:
    async def one(number: int) -> GuestDisk:
        mine = controllers[number : number + 1]
        _, disks = await stack.enter_async_context(ctx.guest(target, mine, f"guest-{number}"))
        return disks[0]

    async with asyncio.TaskGroup() as group:
        booting = [group.create_task(one(number)) for number in range(len(controllers))]
    return [task.result() for task in booting]


async def _load(ctx: HostContext, disk: GuestDisk) -> Share:
    job = source_dir() / "fio-jobs" / f"{JOBS[ctx.bench.accel]}.fio"
    keep = ctx.bench.run_dir / "fio" / f"density-{disk.label.replace(':', '-')}.json"
    began = time.monotonic()
    try:
        run = await fio.run(disk.guest, job, disk.node, RUNTIME_S, keep)
    except fio.FioError as error:
        ctx.require(f"{disk.label}: every checksum", False, str(error))
        raise
    ways = [way for job_ in run.jobs for way in job_.directions]
    return Share(
        # the reads are the verification, whose time fio does not count
        iops=sum(way.iops for way in ways if way.name == "write"),
        p99_ns=max(float(way.latency.percentile(99.0) or 0) for way in ways),
        began=began,
        ended=time.monotonic(),
        verified=sum(way.ios for way in ways if way.name == "read"),
    )
