# SPDX-License-Identifier: BSD-3-Clause
"""Packed rings."""

from __future__ import annotations

import asyncio

from vhostlab import fio
from vhostlab.guestdisk import GuestDisk
from vhostlab.paths import source_dir
from vhostlab.qemu import Vm
from vhostlab.scenario import HostContext, Needs, host_scenario
from vhostlab.scenario.layout import Hardware, standard
from vhostlab.scenario.stage import broken_queues

JOB = "verify-mixed-qd16"
RING_PACKED = 34

#: How often the guest is stopped and continued, and how long it runs before and between.
STOPS = 3
RUNNING_S = 0.5

#: From a disk to the virtio device that it hangs from.
FEATURES = {"blk": "device/features", "scsi": "device/../../../features"}


@host_scenario("packed", deadline_s=300.0, needs=Needs(features=frozenset({"packed"})))
async def packed(ctx: HostContext) -> None:
    """Data comes back on packed rings, also when the guest is stopped and continued meanwhile.

    Steps: boot a guest with ``packed=on`` for every controller of the standard layout; on every
    disk that keeps data let fio write blocks with checksums and read them back, and stop and
    continue the guest under it: its rings are stopped, and started again where they stood, with
    both wrap counters. Read the other disks.
    Verify: the driver has taken packed rings, every checksum, and no queue was given up.
    """
    controllers = standard(ctx.bench.scratch, ctx.bench.target.capabilities)
    async with (
        ctx.target(controllers) as target,
        ctx.guest(target, controllers, "guest", Hardware(packed=True)) as (vm, disks),
    ):
        for disk in disks:
            bits = await disk.attribute(FEATURES[disk.controller.device])
            ctx.check(f"{disk.label}: packed rings", bits[RING_PACKED : RING_PACKED + 1] == "1")
            if disk.writable and disk.disk.kind != "null" and disk.disk.block_size == 512:
                await _verify(ctx, vm, disk)
            else:
                md5 = await disk.md5(0, 1 << 20)
                ctx.check(f"{disk.label}: the first MiB can be read", len(md5) == 32, md5)
        broken = broken_queues(await target.stats())
        ctx.check("the target gave up no queue", not broken, "; ".join(broken))


async def _verify(ctx: HostContext, vm: Vm, disk: GuestDisk) -> None:
    job = source_dir() / "fio-jobs" / f"{JOB}.fio"
    keep = ctx.bench.run_dir / "fio" / f"packed-{disk.label.replace(':', '-')}.json"
    load = asyncio.create_task(fio.run(vm.guest, job, disk.node, 30, keep))
    stops = asyncio.create_task(_stop_and_continue(vm, load))
    try:
        run = await load
        stopped = await stops
    except fio.FioError as error:
        ctx.require(f"{disk.label}: written and read back", False, str(error))
        return
    finally:
        stops.cancel()
        load.cancel()
    reads = sum(d.ios for j in run.jobs for d in j.directions if d.name == "read")
    said = f"{reads} blocks verified, {stopped} stops"
    ctx.check(f"{disk.label}: written and read back", reads > 0 and stopped > 0, said)


async def _stop_and_continue(vm: Vm, load: asyncio.Task[fio.Run]) -> int:
    """Returns how often, while there was a load."""
    for done in range(STOPS):
        ended, _ = await asyncio.wait({load}, timeout=RUNNING_S)
        if ended:
            return done
        await vm.execute("stop")
        await vm.execute("cont")
    return STOPS
