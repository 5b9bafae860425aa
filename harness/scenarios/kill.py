# SPDX-License-Identifier: BSD-3-Clause
"""A front-end that vanishes."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.qemu import Vm
from vhostlab.scenario import HostContext, Needs, host_scenario
from vhostlab.scenario.layout import MIB, pattern
from vhostlab.target import Controller, Disk
from vhostlab.wait import until

AREA = 4 * MIB
SIZE = 1 * MIB
DISK_SIZE = 64 * MIB

#: Requests that must have come through before QEMU is killed: the rings are well in use then.
BUSY_REQUESTS = 200

#: Random writes beyond the area whose content is compared later.
LOAD = (
    "fio --name=load --filename={node} --offset=16M --size=32M --rw=randwrite --bs=4k --iodepth=16 "
    "--ioengine=libaio --direct=1 --time_based --runtime=300"
)


@host_scenario("kill", deadline_s=300.0, needs=Needs(features=frozenset({"process"})))
async def kill(ctx: HostContext) -> None:
    """A target goes on serving after QEMU was killed during I/O, and keeps the data.

    Steps: write a pattern to every disk and flush it; start random writes elsewhere on all of them;
    kill QEMU with SIGKILL once requests flow; boot a second guest on the same sockets.
    Verify: the target is the same process and alive; the second guest finds all disks, reads the
    pattern from each, and can write and read again.
    """
    controllers = _controllers(ctx)
    async with ctx.target(controllers) as target:
        pid = target.pid
        async with ctx.guest(target, controllers, "first") as (vm, disks):
            for disk in disks:
                await disk.write(AREA, pattern(f"kill {disk.label}", SIZE))
            await vm.guest.run("sync")
            await _kill_while_busy(ctx, vm, disks)
        ctx.require("the target survives", target.process.alive, target.log_tail(5))
        async with ctx.guest(target, controllers, "second") as (vm, disks):
            for disk in disks:
                got = await disk.read(AREA, SIZE)
                intact = got == pattern(f"kill {disk.label}", SIZE)
                ctx.check(f"{disk.label}: data from before", intact)
                fresh = pattern(f"kill again {disk.label}", SIZE)
                await disk.write(AREA, fresh)
                ctx.check(f"{disk.label}: new data", await disk.read(AREA, SIZE) == fresh)
        ctx.equal("process of the target", target.pid, pid)


def _controllers(ctx: HostContext) -> tuple[Controller, ...]:
    path = ctx.bench.scratch / "kill.raw"
    with path.open("wb") as file:
        file.truncate(DISK_SIZE)
    wanted = (
        Controller("blk-malloc", "blk", (Disk("malloc0", "malloc", DISK_SIZE),), num_queues=2),
        Controller("blk-aio", "blk", (Disk("aio0", "aio", DISK_SIZE, path=path),)),
        Controller("scsi", "scsi", (Disk("malloc1", "malloc", DISK_SIZE),)),
    )
    return tuple(c for c in wanted if ctx.bench.target.capabilities.lacks([c]) is None)


async def _kill_while_busy(ctx: HostContext, vm: Vm, disks: tuple[GuestDisk, ...]) -> None:
    before = {d.label: await _writes(d) for d in disks}
    loads = [
        asyncio.create_task(vm.guest.run(LOAD.format(node=d.node), timeout_s=300.0)) for d in disks
    ]

    async def busy() -> bool | None:
        for load in loads:
            if load.done():
                load.result()
                raise HarnessError("the load ended before QEMU was killed")
        counts = [await _writes(d) - before[d.label] for d in disks]
        return True if min(counts) >= BUSY_REQUESTS else None

    try:
        await until("random writes on every disk", 60.0, busy)
        vm.kill()
        status = await vm.wait_exit()
        ctx.equal("QEMU ended by SIGKILL", status, -signal.SIGKILL)
    finally:
        for load in loads:
            load.cancel()
            with suppress(asyncio.CancelledError, HarnessError):
                await load


async def _writes(disk: GuestDisk) -> int:
    return int((await disk.attribute("stat")).split()[4])
