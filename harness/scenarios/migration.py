# SPDX-License-Identifier: BSD-3-Clause
"""A guest that moves from one QEMU to another while its disks are busy."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.paths import socket_dir
from vhostlab.qemu import Migration, Vm
from vhostlab.results import Better
from vhostlab.scenario import HostContext, host_scenario
from vhostlab.scenario.layout import MIB, Hardware, pattern
from vhostlab.scenario.stage import COMPLAINTS
from vhostlab.target import Controller, Disk, Target
from vhostlab.wait import until

#: How often a guest moves, on each kind of rings and in each mode of the target.
MOVES = int(os.environ.get("VHOSTLAB_MIGRATIONS", "10"))

DISK_SIZE = 64 * MIB

#: What is read into the page cache while memory is copied. It does not change.
AREA = 32 * MIB
SIZE = 4 * MIB

#: Blocks of many sizes on little room: written, verified, written again, for as long as it takes.
LOAD = (
    "fio --name=load --filename={node} --size=16M --rw=randrw --rwmixread=50 --bsrange=4k-64k "
    "--bs_unaligned=0 --iodepth=16 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 "
    "--verify_backlog=64 --randseed=$n --fsync=64"
)

#: Ends when the file `over` is there, or with the first failure; leaves its status and its words.
#: It goes on while the guest moves, so nobody waits for it on the old side.
KEEP_RUNNING = (
    "rm -f /run/load.over /run/{name}.status; (n=0; status=0; "
    "while [ $status = 0 ] && [ ! -e /run/load.over ]; do n=$((n + 1)); "
    f"{LOAD} > /run/{{name}}.log 2>&1; status=$?; done; "
    "echo $status $n > /run/{name}.status) < /dev/null > /dev/null 2>&1 &"
)

LOAD_DEADLINE_S = 120.0


@dataclass
class Place:
    """Where the guest is, and what ends it there."""

    vm: Vm
    disks: tuple[GuestDisk, ...]
    stack: AsyncExitStack


@host_scenario("migration", deadline_s=300.0 + 60.0 * MOVES)
async def migration(ctx: HostContext) -> None:
    """A guest moves to another QEMU, ten times in a row, while fio verifies on all disks.

    Steps, for split and packed rings, and for a target that polls and one that sleeps: boot a guest
    on one set of controllers, and let fio write and verify. Start a second QEMU on another set of
    the same disks and copy the guest's memory there. When all of it has been copied once, drop the
    guest's page cache and read known data into it; then let the guest go, and back the same way.
    Verify: after each move the page cache, which came as memory, holds what is on the disk; fio
    never failed; the guest's kernel has nothing to say; the target gave up no queue.
    """
    capabilities = ctx.bench.target.capabilities
    if not capabilities.migration:
        ctx.skip(f"target {ctx.bench.target.name} does not serve guests that move")
    for ring in sorted(capabilities.ring_formats):
        for mode in ("event", "poll"):
            await _on(ctx, ring, mode)


async def _on(ctx: HostContext, ring: str, mode: str) -> None:
    name = f"{ring}-{mode}"
    hardware = Hardware(packed=ring == "packed")
    sides = _sides(ctx, name)
    downtimes = []
    async with (
        ctx.target([c for side in sides for c in side], mode, name) as target,
        AsyncExitStack() as rest,
    ):
        sockets = rest.enter_context(socket_dir("move"))
        here = await _boot(ctx, target, sides[0], f"{name}-0", hardware)
        rest.push_async_callback(lambda: here.stack.aclose())
        for disk in here.disks:
            await disk.write(AREA, _data(disk))
        await here.vm.guest.run("dmesg -c > /dev/null")
        await _start_load(here)
        for move in range(1, MOVES + 1):
            there = await _destination(
                ctx, target, sides[move % 2], f"{name}-{move}", here, hardware
            )
            try:
                moved = await _move(ctx, f"{name}, move {move}", here, there, sockets / "ram")
            except BaseException:
                await there.stack.aclose()
                raise
            downtimes.append(moved.downtime_ms)
            left, here = here, there
            await left.stack.aclose()
            await _check_cache(ctx, f"{name}, move {move}", here.disks)
        await _end_load(ctx, name, here)
        ctx.equal(f"{name}: the guest's kernel is silent", await _complaints(here.vm), "")
        ctx.equal(f"{name}: queues that the target gave up", await _broken(target), "")
    ctx.metric(f"longest_downtime_{ring}_{mode}", "s", Better.LOWER, max(downtimes) / 1000)


def _sides(ctx: HostContext, name: str) -> tuple[tuple[Controller, ...], ...]:
    """The same disks by two sets of controllers."""
    path = ctx.bench.scratch / f"migration-{name}.raw"
    with path.open("wb") as file:
        file.truncate(DISK_SIZE)
    aio = Disk("aio0", "aio", DISK_SIZE, path=path)
    ram = Disk("malloc0", "malloc", DISK_SIZE)
    target = Disk("malloc1", "malloc", DISK_SIZE)
    capabilities = ctx.bench.target.capabilities
    return tuple(
        tuple(
            c
            for c in (
                Controller(f"blk-aio-{side}", "blk", (aio,)),
                Controller(f"blk-malloc-{side}", "blk", (ram,), num_queues=2),
                Controller(f"scsi-{side}", "scsi", (target,), num_queues=2),
            )
            if capabilities.lacks([c]) is None
        )
        for side in ("a", "b")
    )


def _data(disk: GuestDisk) -> bytes:
    return pattern(f"migration {disk.name}", SIZE)


async def _boot(
    ctx: HostContext, target: Target, side: Sequence[Controller], name: str, hardware: Hardware
) -> Place:
    stack = AsyncExitStack()
    vm, disks = await stack.enter_async_context(ctx.guest(target, side, name, hardware))
    return Place(vm, disks, stack)


async def _destination(
    ctx: HostContext,
    target: Target,
    side: Sequence[Controller],
    name: str,
    here: Place,
    hardware: Hardware,
) -> Place:
    """The disks keep their names: they are the guest's."""
    stack = AsyncExitStack()
    vm = await stack.enter_async_context(ctx.destination(target, side, name, hardware))
    return Place(vm, tuple(replace(d, guest=vm.guest) for d in here.disks), stack)


async def _move(ctx: HostContext, what: str, here: Place, there: Place, socket: Path) -> Migration:
    moving = Migration(here.vm, there.vm, socket)
    await moving.begin()
    await moving.round(2)
    # What is read from now on goes to pages that have been copied before.
    await here.vm.guest.run("sync; echo 3 > /proc/sys/vm/drop_caches")
    for disk in here.disks:
        await _read_cached(disk)
    ctx.check(f"{what}: read while memory was copied", await moving.under_way())
    await moving.finish()
    return moving


async def _read_cached(disk: GuestDisk) -> str:
    """By way of the page cache; the checksum."""
    done = await disk.guest.run(
        f"dd if={disk.node} bs=1M skip={AREA // MIB} count={SIZE // MIB} 2>/dev/null | md5sum",
        timeout_s=120.0,
    )
    return done.stdout.split()[0]


async def _check_cache(ctx: HostContext, what: str, disks: Sequence[GuestDisk]) -> None:
    sums = await asyncio.gather(*(_read_cached(disk) for disk in disks))
    wrong = [
        disk.label
        for disk, md5 in zip(disks, sums, strict=True)
        if md5 != hashlib.md5(_data(disk)).hexdigest()
    ]
    ctx.require(f"{what}: the page cache holds what is on the disk", not wrong, ", ".join(wrong))


async def _start_load(here: Place) -> None:
    for disk in here.disks:
        await here.vm.guest.run(KEEP_RUNNING.format(node=disk.node, name=disk.name))


async def _end_load(ctx: HostContext, name: str, here: Place) -> None:
    await here.vm.guest.run("touch /run/load.over")
    for disk in here.disks:

        async def status(of: GuestDisk = disk) -> str | None:
            done = await of.guest.run(f"cat /run/{of.name}.status", check=False)
            return done.stdout.strip() or None

        said = await until(f"end of the load on {disk.label}", LOAD_DEADLINE_S, status)
        log = (await disk.guest.run(f"tail -n 3 /run/{disk.name}.log", check=False)).stdout
        failed = not said.startswith("0 ")
        detail = f"status and runs of fio: {said}" + (f"; {log.strip()}" if failed else "")
        ctx.check(f"{name}, {disk.label}: every checksum", not failed, detail)


async def _complaints(vm: Vm) -> str:
    log = (await vm.guest.run("dmesg", check=False)).stdout
    return "; ".join(line.strip() for line in log.splitlines() if COMPLAINTS.search(line))[:500]


async def _broken(target: Target) -> str:
    stats = await target.stats()
    if stats is None:
        raise HarnessError("the target does not say what queues it gave up")
    return "; ".join(
        f"{controller.get('ctrlr')} queue {queue.get('queue')}: {queue['broken']}"
        for controller in stats.get("controllers", [])
        for queue in controller.get("queues", [])
        if queue.get("broken")
    )
