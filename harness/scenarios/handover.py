# SPDX-License-Identifier: BSD-3-Clause
"""A target that hands over to another process under a running guest."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.qemu import Vm
from vhostlab.results import Better
from vhostlab.scenario import HostContext, host_scenario
from vhostlab.scenario.layout import MIB, pattern
from vhostlab.scenario.stage import COMPLAINTS
from vhostlab.target import Controller, Disk
from vhostlab.target.vhostlab import VhostlabTarget
from vhostlab.wait import until

#: How often the target hands over; `make torture` says more.
HANDOVERS = int(os.environ.get("VHOSTLAB_HANDOVERS", "5"))

#: Requests of each disk between two hand-overs: the rings are well in use then.
BUSY_REQUESTS = 50
DEADLINE_S = 60.0
DISK_SIZE = 64 * MIB
AREA = 32 * MIB

#: No guest loses patience with a disk so soon. What it is on an idle machine is told as a metric.
PAUSE_MS = 5000.0

#: Blocks of many sizes on little room: written, verified, written again; in the end all are read.
LOAD = (
    "fio --name=load --filename={node} --size=16M --rw=randrw --rwmixread=30 --bsrange=4k-64k "
    "--bs_unaligned=0 --iodepth=16 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 "
    "--verify_backlog=64 --randseed={seed} --fsync=64"
)


@host_scenario("handover", targets=("vhostlab",), deadline_s=300.0 + 15.0 * HANDOVERS)
async def handover(ctx: HostContext) -> None:
    """A target hands over to another process again and again; the guest sees a pause, no more.

    Steps: boot a guest whose QEMU does not reconnect, with disks in memory and in files, blk and
    scsi; leave a pattern on each; write and verify with fio on all of them; let the target hand
    over, by management and by signal, wait until requests flow, and again. Then let fio end.
    Verify: fio saw no error and every checksum; the pattern is there; each front-end has connected
    once; the guest's kernel has nothing to say. The longest pause is reported.
    """
    controllers = _controllers(ctx)
    longest = 0.0
    async with (
        ctx.target(controllers) as target,
        ctx.guest(target, controllers, "guest") as (vm, disks),
    ):
        assert isinstance(target, VhostlabTarget)
        await vm.guest.run("dmesg -c >/dev/null")
        for disk in disks:
            await disk.write(AREA, pattern(f"handover {disk.label}", MIB))
        connections = await _connections(target)
        over = asyncio.Event()
        loads = [asyncio.create_task(_load(d, over)) for d in disks]
        try:
            for turn in range(HANDOVERS):
                await _busy(target, loads)
                longest = max(longest, await target.hand_over(by_signal=turn % 2 == 1))
            await _busy(target, loads)
            over.set()
            runs = await asyncio.gather(*loads)
        finally:
            for load in loads:
                load.cancel()
                with suppress(asyncio.CancelledError, HarnessError):
                    await load
        for disk, n in zip(disks, runs, strict=True):
            ctx.check(f"{disk.label}: every checksum", n > 0, f"{n} runs of fio")
            kept = await disk.read(AREA, MIB) == pattern(f"handover {disk.label}", MIB)
            ctx.check(f"{disk.label}: data from before", kept)
        ctx.equal("connections of front-ends", await _connections(target), connections)
        ctx.check("a short pause", longest < PAUSE_MS, f"{longest:.3f} ms of {HANDOVERS}")
        ctx.metric("handover_longest_pause", "ms", Better.LOWER, longest)
        ctx.equal("the guest's kernel is silent", await _complaints(vm), "")


def _controllers(ctx: HostContext) -> tuple[Controller, ...]:
    path = ctx.bench.scratch / "handover.raw"
    with path.open("wb") as file:
        file.truncate(DISK_SIZE)
    return (
        Controller("blk-malloc", "blk", (Disk("malloc0", "malloc", DISK_SIZE),), num_queues=2),
        Controller("blk-aio", "blk", (Disk("aio0", "aio", DISK_SIZE, path=path),)),
        Controller("scsi", "scsi", (Disk("malloc1", "malloc", DISK_SIZE),)),
    )


async def _load(disk: GuestDisk, over: asyncio.Event) -> int:
    """fio again and again; how often. It fails for an I/O error and for a wrong checksum."""
    runs = 0
    while not over.is_set():
        runs += 1
        await disk.guest.run(LOAD.format(node=disk.node, seed=runs), timeout_s=300.0)
    return runs


async def _requests(target: VhostlabTarget) -> dict[str, int]:
    stats = await target.stats() or {}
    return {c["ctrlr"]: sum(q["requests"] for q in c["queues"]) for c in stats["controllers"]}


async def _connections(target: VhostlabTarget) -> dict[str, int]:
    shown = await target.rpc.call("vhost_get_controllers")
    return {c["ctrlr"]: c["sessions_accepted"] for c in shown if c["connected"]}


async def _busy(target: VhostlabTarget, loads: list[asyncio.Task[int]]) -> None:
    """Requests flow on every controller; neither the load nor the target may end."""
    before = await _requests(target)

    async def flowing() -> bool | None:
        for load in loads:
            if load.done():
                load.result()
                raise HarnessError("the load ended before the last hand-over")
        if not target.process.alive:
            raise target.process.died("the target")
        now = await _requests(target)
        return True if all(now[c] - n >= BUSY_REQUESTS for c, n in before.items()) else None

    await until("requests from the guest", DEADLINE_S, flowing)


async def _complaints(vm: Vm) -> str:
    log = (await vm.guest.run("dmesg", check=False)).stdout
    return "; ".join(line.strip() for line in log.splitlines() if COMPLAINTS.search(line))[:500]
