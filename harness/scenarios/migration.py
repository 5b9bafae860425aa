# SPDX-License-Identifier: BSD-3-Clause
"""A guest that moves from one QEMU to another while its disks are busy."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.paths import socket_dir
from vhostlab.qemu import Vm, move
from vhostlab.results import Better
from vhostlab.scenario import HostContext, Needs, host_scenario
from vhostlab.scenario.layout import MEMORY_MIB, MIB, Hardware
from vhostlab.scenario.stage import COMPLAINTS
from vhostlab.target import Controller, Disk, Target
from vhostlab.wait import until

#: How often a guest moves.
MOVES = int(os.environ.get("VHOSTLAB_MIGRATIONS", "10"))

#: On which rings, in which mode of the target, and how much of that; the pairs that are left add
#: little but time.
SERIES = (
    ("split", "event", MOVES),
    ("packed", "poll", MOVES),
    ("split", "poll", MOVES // 5),
    ("packed", "event", MOVES // 5),
)

DISK_SIZE = 64 * MIB

_FIO = (
    "fio --name={job} --filename={node} --ioengine=libaio --direct=1 --verify=crc32c "
    "--verify_fatal=1 --verify_dump=0 --verify_state_save=0"
)

#: Blocks of many sizes on little room: written, verified, written again, for as long as it takes.
WRITE = (
    f"{_FIO} --size=8M --rw=randrw --rwmixread=50 --bsrange=4k-64k --bs_unaligned=0 --iodepth=16 "
    "--verify_backlog=64 --randseed=$n --fsync=64"
)

#: Data that does not change is read again and again into buffers that no processor writes to: what
#: the disk puts there arrives with the guest only if it is in the log. When the guest stops, so
#: many requests are under way; what they read is looked at where it has gone.
FILL = f"{_FIO} --offset=32M --size=24M --rw=write --bs=64k --iodepth=16 --do_verify=0"
READ = f"{_FIO} --offset=32M --size=24M --rw=randread --bs=64k --iodepth=32"

JOBS = {"write": WRITE, "read": READ}

#: Again and again until it fails or is told to end. It goes on while the guest moves, so nobody
#: waits for it on the old side: it leaves its words in a file, and in the end its status and how
#: often it ran.
KEEP = (
    "(n=0; status=0; while [ $status = 0 ] && [ ! -e /run/over ]; do n=$((n + 1)); "
    "{command} > /run/{job}.log 2>&1; status=$?; done; "
    "echo $status $n > /run/{job}.status) < /dev/null > /dev/null 2>&1 &"
)

END_DEADLINE_S = 120.0


@dataclass
class Place:
    """Where the guest is, and what ends it there."""

    vm: Vm
    disks: tuple[GuestDisk, ...]
    stack: AsyncExitStack


@host_scenario(
    "migration",
    deadline_s=300.0 + 60.0 * MOVES,
    needs=Needs(memory_mib=2 * MEMORY_MIB, features=frozenset({"migration"})),
)
async def migration(ctx: HostContext) -> None:
    """A guest moves to another QEMU, ten times in a row, while fio verifies on all disks.

    Steps: boot a guest on one set of controllers; let fio write and verify on every disk, and read
    and verify without writing. Start a second QEMU on another set of controllers of the same disks
    and move the guest there; then back in the same way, and so on. All of this on split and on
    packed rings, with a target that sleeps and one that polls.
    Verify: fio never failed, also after the last move; the guest's kernel has nothing to say; the
    target gave up no queue.
    """
    capabilities = ctx.bench.target.capabilities
    for ring, mode, moves in SERIES:
        if ring in capabilities.ring_formats and mode in capabilities.modes and moves > 0:
            await _series(ctx, ring, mode, moves)


async def _series(ctx: HostContext, ring: str, mode: str, moves: int) -> None:
    name = f"{ring}-{mode}"
    hardware = Hardware(packed=ring == "packed", moves=True)
    sides = _sides(ctx, name)
    downtimes = []
    async with (
        ctx.target([c for side in sides for c in side], mode, name) as target,
        AsyncExitStack() as rest,
    ):
        sockets = rest.enter_context(socket_dir("move"))
        here = await _boot(ctx, target, sides[0], f"{name}-0", hardware)
        rest.push_async_callback(lambda: here.stack.aclose())
        await here.vm.guest.run("dmesg -c > /dev/null")
        await _start_load(here)
        for number in range(1, moves + 1):
            there = await _destination(
                ctx, target, sides[number % 2], f"{name}-{number}", here, hardware
            )
            try:
                downtimes.append(await move(here.vm, there.vm, sockets / "ram"))
            except BaseException:
                await there.stack.aclose()
                raise
            left, here = here, there
            await left.stack.aclose()
            await _check_load(ctx, f"{name}, move {number}", here)
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


async def _start_load(here: Place) -> None:
    for disk in here.disks:
        fill = FILL.format(job=f"fill-{disk.name}", node=disk.node)
        await here.vm.guest.run(fill, timeout_s=120.0)
        for job, fio in JOBS.items():
            name = f"{job}-{disk.name}"
            command = fio.format(job=name, node=disk.node)
            await here.vm.guest.run(KEEP.format(job=name, command=command))


async def _status(disk: GuestDisk, job: str) -> str:
    """What a load said when it ended; empty as long as it runs."""
    done = await disk.guest.run(f"cat /run/{job}-{disk.name}.status", check=False)
    return done.stdout.strip()


async def _words(disk: GuestDisk, job: str) -> str:
    log = await disk.guest.run(f"tail -n 4 /run/{job}-{disk.name}.log", check=False)
    return " ".join(log.stdout.split())[:300]


async def _check_load(ctx: HostContext, what: str, here: Place) -> None:
    """Whoever has ended has failed."""
    for disk in here.disks:
        for job in JOBS:
            if said := await _status(disk, job):
                words = await _words(disk, job)
                ctx.require(f"{what}, {disk.label}: {job}", False, f"fio: {said}; {words}")
    ctx.check(f"{what}: all loads go on", True)


async def _end_load(ctx: HostContext, name: str, here: Place) -> None:
    await here.vm.guest.run("touch /run/over")
    for disk, job in itertools.product(here.disks, JOBS):

        async def ended(of: GuestDisk = disk, what: str = job) -> str | None:
            return await _status(of, what) or None

        said = await until(f"end of {job} on {disk.label}", END_DEADLINE_S, ended)
        words = "" if said.startswith("0 ") else await _words(disk, job)
        detail = f"status and runs of fio: {said} {words}"
        ctx.check(f"{name}, {disk.label}: {job}", said.startswith("0 "), detail)


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
