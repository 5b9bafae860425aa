# SPDX-License-Identifier: BSD-3-Clause
"""A target that dies under a running guest."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.qemu import Vm
from vhostlab.results import Better
from vhostlab.scenario import HostContext, Needs, host_scenario
from vhostlab.scenario.layout import MIB, Hardware
from vhostlab.scenario.stage import COMPLAINTS
from vhostlab.target import Controller, Disk, Target
from vhostlab.wait import until

#: How often the target is killed; `make torture` says more.
KILLS = int(os.environ.get("VHOSTLAB_KILLS", "5"))

#: How long the guest's requests may flow before the next kill.
FLOW_S = (0.1, 1.0)

#: QEMU tries to connect once a second only; the rest is for slow machines. How soon a target serves
#: a front-end that is already waiting is measured without QEMU, by test_torture.py.
SERVICE_S = 5.0
DEADLINE_S = 30.0
DISK_SIZE = 64 * MIB
RING_PACKED = 34

#: The counters tell when a target that was started again serves.
KILLED = frozenset({"process", "sockets", "counters"})

#: Blocks of many sizes on little room: written, verified, written again; in the end all are read.
LOAD = (
    "fio --name=load --filename={node} --size=16M --rw=randrw --rwmixread=30 --bsrange=4k-64k "
    "--bs_unaligned=0 --iodepth=16 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 "
    "--verify_backlog=64 --randseed={seed} --fsync=64"
)


@host_scenario("reconnect", deadline_s=300.0 + 15.0 * KILLS, needs=Needs(features=KILLED))
async def reconnect(ctx: HostContext) -> None:
    """A target is killed again and again under a guest, which does not notice.

    Steps: boot a guest whose QEMU reconnects; write and verify with fio on all disks; kill the
    target with SIGKILL at a random moment, start it on the same files and sockets, wait until it
    serves requests, and again. Then let fio end.
    Verify: fio saw no error and every checksum; the guest's kernel has nothing to say; requests
    flow soon after the target listens.
    """
    await _killed_under_a_guest(ctx, Hardware(reconnect=1))


@host_scenario(
    "reconnect-packed",
    deadline_s=300.0 + 15.0 * KILLS,
    needs=Needs(features=KILLED | {"packed"}),
)
async def reconnect_packed(ctx: HostContext) -> None:
    """The same on packed rings.

    Steps: those of ``reconnect``, with ``packed=on`` for every controller. QEMU cannot tell the
    next target where the last one stopped: a packed ring has no index for it to read.
    Verify: the same, and that the driver has taken packed rings.
    """
    await _killed_under_a_guest(ctx, Hardware(reconnect=1, packed=True))


async def _killed_under_a_guest(ctx: HostContext, hardware: Hardware) -> None:
    chance = random.Random(1)
    controllers = _controllers(ctx)
    slowest = 0.0
    async with (
        ctx.target(controllers) as target,
        ctx.guest(target, controllers, "guest", hardware) as (vm, disks),
    ):
        for disk in disks:
            bits = await disk.attribute("device/features")
            packed = bits[RING_PACKED : RING_PACKED + 1] == "1"
            ctx.equal(f"{disk.label}: packed rings", packed, hardware.packed)
        await vm.guest.run("dmesg -c >/dev/null")
        over = asyncio.Event()
        loads = [asyncio.create_task(_load(d, over)) for d in disks]
        try:
            for _ in range(KILLS):
                await _flow(target, chance.uniform(*FLOW_S), loads)
                await target.kill()
                await target.start(controllers)
                listening = time.monotonic()
                await until(
                    "requests from the guest", DEADLINE_S, lambda: _busy(target, controllers)
                )
                slowest = max(slowest, time.monotonic() - listening)
            over.set()
            runs = await asyncio.gather(*loads)
        finally:
            for load in loads:
                load.cancel()
                with suppress(asyncio.CancelledError, HarnessError):
                    await load
        for disk, n in zip(disks, runs, strict=True):
            ctx.check(f"{disk.label}: every checksum", n > 0, f"{n} runs of fio, {KILLS} kills")
        ctx.check("service again", slowest < SERVICE_S, f"after {slowest:.2f} s at most")
        ctx.metric("service_after_listen", "s", Better.LOWER, slowest)
        ctx.equal("the guest's kernel is silent", await _complaints(vm), "")


def _controllers(ctx: HostContext) -> tuple[Controller, ...]:
    """Disks that outlive the target. vhost-user-scsi reconnects from QEMU 8.2 on."""
    made = []
    for name, queues in (("blk-one", 1), ("blk-two", 2)):
        path = ctx.bench.scratch / f"{name}.raw"
        with path.open("wb") as file:
            file.truncate(DISK_SIZE)
        disk = Disk(f"aio-{name}", "aio", DISK_SIZE, path=path)
        made.append(Controller(name, "blk", (disk,), num_queues=queues))
    return tuple(made)


async def _load(disk: GuestDisk, over: asyncio.Event) -> int:
    """fio again and again; how often. It fails for an I/O error and for a wrong checksum."""
    runs = 0
    while not over.is_set():
        runs += 1
        await disk.guest.run(LOAD.format(node=disk.node, seed=runs), timeout_s=300.0)
    return runs


async def _flow(target: Target, seconds: float, loads: list[asyncio.Task[int]]) -> None:
    """Lets requests flow for a while; neither the load nor the target may end."""
    died = asyncio.create_task(target.process.wait())
    try:
        done, _ = await asyncio.wait(
            {*loads, died}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if died in done:
            raise target.process.died("the target")
        for load in done:
            load.result()
            raise HarnessError("the load ended before the target was killed")
    finally:
        died.cancel()


def _requests(stats: Mapping[str, Any]) -> dict[str, int]:
    return {
        str(c.get("ctrlr") or c.get("name")): sum(int(q["requests"]) for q in c.get("queues", []))
        for c in stats.get("controllers", [])
    }


async def _busy(target: Target, controllers: tuple[Controller, ...]) -> bool | None:
    """Whether this life of the target has served every controller."""
    stats = await target.stats()
    if stats is None:
        raise HarnessError("the target does not count its requests")
    served = _requests(stats)
    return True if all(served.get(c.name, 0) > 0 for c in controllers) else None


async def _complaints(vm: Vm) -> str:
    log = (await vm.guest.run("dmesg", check=False)).stdout
    return "; ".join(line.strip() for line in log.splitlines() if COMPLAINTS.search(line))[:500]
