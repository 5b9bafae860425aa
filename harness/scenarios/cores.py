# SPDX-License-Identifier: BSD-3-Clause
"""One disk on two cores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.scenario import HostContext, Needs, host_scenario
from vhostlab.scenario.layout import MIB, VCPUS
from vhostlab.target import Controller, Disk, Target
from vhostlab.target.vhostlab import VhostlabTarget
from vhostlab.wait import until

SIZE = 64 * MIB

#: How often all queues are sent about.
TURNS = 5
DEADLINE_S = 60.0

#: A job on each processor of the guest, each of which has a queue of its own: written and verified.
LOAD = (
    "fio --name=load --filename={node} --numjobs={jobs} --cpus_allowed=0-{last} "
    "--cpus_allowed_policy=split --size=4M --offset_increment=8M --rw=randrw --bsrange=4k-32k "
    "--bs_unaligned=0 --iodepth=8 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 "
    "--verify_backlog=32 --randseed={seed}"
)

#: Of a SCSI controller; the two before are idle.
FIRST_REQUEST_QUEUE = 2

#: Controller, queue -> core, requests so far.
Queues = dict[tuple[str, int], tuple[int, int]]


@host_scenario("cores", targets=("vhostlab",), deadline_s=600.0, needs=Needs(cores=2))
async def cores(ctx: HostContext) -> None:
    """A disk's queues run on two cores and move between them under load; no guest notices.

    Steps: boot a guest on a daemon with two reactors and three controllers (blk on memory, blk on a
    file, scsi), each with a queue for each virtual processor; write and verify with fio from all
    processors; move queues, narrow and widen the Cpumask, rebalance, again and again.
    Verify: at first the queues of each controller are on both cores; requests flow on every queue
    after each change; fio sees every checksum; every request queue has worked on both cores; so did
    both reactors; the guest's kernel has nothing to say.
    """
    usable = sorted(os.sched_getaffinity(0))[:2]
    controllers = (
        Controller("blk-malloc", "blk", (Disk("m0", "malloc", SIZE),), num_queues=VCPUS),
        Controller("blk-aio", "blk", (_file(ctx),), num_queues=VCPUS),
        Controller("scsi", "scsi", (Disk("m1", "malloc", SIZE),), num_queues=VCPUS),
    )
    bench = replace(ctx.bench, target=_on(usable))
    async with (
        bench.running_target(controllers, bench.logs) as target,
        ctx.guest(target, controllers, "spread") as (vm, disks),
    ):
        await vm.guest.run("dmesg -c >/dev/null")
        _judge_start(ctx, await _queues(target), usable)
        before = await _busy(target)
        over = asyncio.Event()
        loads = [asyncio.create_task(_load(disk, over)) for disk in disks]
        try:
            worked = await _send_about(target, usable, [c.name for c in controllers], loads)
            over.set()
            runs = await asyncio.gather(*loads)
        finally:
            for load in loads:
                load.cancel()
                with suppress(asyncio.CancelledError, HarnessError):
                    await load
        for disk, n in zip(disks, runs, strict=True):
            ctx.check(f"{disk.label}: every checksum", n > 0, f"{n} runs of fio, {TURNS} turns")
        there = {(name, queue) for name, queue, _ in worked}
        missing = {(*queue, core) for queue in there for core in usable} - worked
        ctx.check("every queue has worked on both cores", not missing, f"missing: {missing}")
        after = await _busy(target)
        grown = {core: after[core] - before[core] for core in usable}
        ctx.check("both reactors have worked", min(grown.values()) > 100, f"busy rounds: {grown}")
        said = (await vm.guest.run("dmesg")).stdout.strip()
        ctx.equal("the guest's kernel is silent", said, "")


def _on(usable: Sequence[int]) -> type[VhostlabTarget]:
    class OnTwoCores(VhostlabTarget):
        reactor_mask = f"[{usable[0]},{usable[1]}]"

    return OnTwoCores


def _file(ctx: HostContext) -> Disk:
    path = ctx.bench.scratch / "cores.raw"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return Disk("a0", "aio", SIZE, path=path)


async def _load(disk: GuestDisk, over: asyncio.Event) -> int:
    """fio again and again; how often. It fails for an I/O error and for a wrong checksum."""
    runs = 0
    while not over.is_set():
        runs += 1
        command = LOAD.format(node=disk.node, jobs=VCPUS, last=VCPUS - 1, seed=runs)
        await disk.guest.run(command, timeout_s=300.0)
    return runs


async def _call(target: Target, method: str, **params: object) -> Any:
    assert isinstance(target, VhostlabTarget)
    return await target.rpc.call(method, params)


async def _busy(target: Target) -> dict[int, int]:
    shown = await _call(target, "framework_get_reactors")
    return {r["lcore"]: r["busy_rounds"] for r in shown["reactors"]}


async def _queues(target: Target) -> Queues:
    """The queues through which requests come."""
    stats = await target.stats() or {}
    return {
        (c["ctrlr"], q["queue"]): (q["lcore"], q["requests"])
        for c in stats.get("controllers", [])
        for q in c["queues"]
        if q["running"] and (c["type"] == "blk" or q["queue"] >= FIRST_REQUEST_QUEUE)
    }


def _judge_start(ctx: HostContext, queues: Queues, usable: Sequence[int]) -> None:
    def on(controller: str) -> list[int]:
        return sorted(core for (name, _), (core, _) in queues.items() if name == controller)

    for name in ("blk-malloc", "blk-aio", "scsi"):
        ctx.equal(f"{name}: a queue on each core", on(name), list(usable))


async def _send_about(
    target: Target,
    usable: Sequence[int],
    controllers: Sequence[str],
    loads: Sequence[asyncio.Task[int]],
) -> set[tuple[str, int, int]]:
    """Which queue has worked on which core."""
    worked = await _flow(target, loads)
    for turn in range(TURNS):
        here, there = usable[turn % 2], usable[(turn + 1) % 2]
        for name in controllers:
            first = FIRST_REQUEST_QUEUE if name == "scsi" else 0
            for queue, core in ((first, there), (first + 1, here)):
                await _call(
                    target, "vhost_controller_move_queue", ctrlr=name, queue=queue, lcore=core
                )
        worked |= await _flow(target, loads)
        for name in controllers:
            await _call(target, "vhost_controller_set_cpumask", ctrlr=name, cpumask=f"[{there}]")
        worked |= await _flow(target, loads)
        for name in controllers:
            await _call(target, "vhost_controller_set_cpumask", ctrlr=name)
        await _call(target, "vhost_controller_rebalance")
        worked |= await _flow(target, loads)
    return worked


async def _flow(target: Target, loads: Sequence[asyncio.Task[int]]) -> set[tuple[str, int, int]]:
    """Waits until requests have come on every queue; which of them stayed where they were."""
    begin = await _queues(target)

    async def flowed() -> Queues | None:
        if not target.process.alive:
            raise target.process.died("the target")
        for load in loads:
            if load.done():
                await load
                raise HarnessError("a load ended before its time")
        now = await _queues(target)
        return now if all(now[queue][1] > n for queue, (_, n) in begin.items()) else None

    now = await until("requests on every queue", DEADLINE_S, flowed)
    return {(*queue, core) for queue, (core, _) in begin.items() if now[queue][0] == core}
