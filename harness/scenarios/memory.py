# SPDX-License-Identifier: BSD-3-Clause
"""Guest memory that grows and shrinks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from vhostlab import fio
from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.paths import source_dir
from vhostlab.qemu import Vm
from vhostlab.results import Better
from vhostlab.scenario import HostContext, Needs, host_scenario
from vhostlab.scenario.layout import MIB, Hardware
from vhostlab.target import Controller, Disk
from vhostlab.wait import until

DISK_SIZE = 128 * MIB

#: With the two regions of the board these are more than the eight that a memory table holds.
MODULES = 8
MODULE_MIB = 128

QUIET_S = 10
LOAD_S = 45
ONLINE_DEADLINE_S = 30.0

#: A disk that stands still for longer is not what users call a running one. On a machine that is
#: busy with other things requests take long without any change, too.
STALL_LIMIT_S = 2.0
STALL_LIMIT_OF_QUIET = 3.0

FIO = (
    "fio --name=data --filename={node} --offset=64M --size=48M --bs=512k --ioengine=libaio "
    "--direct=1 --verify=crc32c --verify_fatal=1 --verify_dump=0 --verify_state_save=0"
)
FILL = f"{FIO} --rw=write --iodepth=4 --do_verify=0"
#: Buffers of programs are what the kernel takes from the new memory first. So many at a time that
#: all of them are used.
READ_DEPTH = 96
READ = f"{FIO} --rw=read --iodepth={READ_DEPTH}"
READ_PAGES = READ_DEPTH * 512 // 4
TAKEN = "awk '/^pgalloc_movable/ { print $2 }' /proc/vmstat"


@host_scenario("memory", deadline_s=420.0, needs=Needs(memory_mib=2048))
async def memory(ctx: HostContext) -> None:
    """A guest gets more memory and gives it back while its disks are busy.

    Steps: measure the longest request of a verified random load on a blk and a SCSI disk; start it
    again, and meanwhile plug in eight memory modules, read checksummed data into them, and take two
    of them out again.
    Verify: the guest uses each module; every checksum is right; the load goes on to its end without
    an error; no request took longer than 2 s, or three times the longest of before.
    """
    controllers = _controllers(ctx)
    async with (
        ctx.target(controllers) as target,
        ctx.guest(target, controllers, "guest", Hardware(memory_slots=MODULES)) as (vm, disks),
    ):
        quiet = await _load(ctx, vm, disks, "quiet", QUIET_S)
        load = asyncio.create_task(_load(ctx, vm, disks, "changing", LOAD_S))
        try:
            before = await _usable_mib(vm)
            for number in range(MODULES):
                await _plug(vm, f"module{number}")
            grown = await _usable_mib(vm) - before
            ctx.check("the guest uses all modules", grown == MODULES * MODULE_MIB, f"{grown} MiB")
            for disk in disks:
                await _read_into_new_memory(ctx, vm, disk)
            for number in range(2):
                await vm.unplug_memory(f"module{number}")
            left = await _usable_mib(vm) - before
            expected = (MODULES - 2) * MODULE_MIB
            ctx.check("the guest has given two back", left == expected, f"{left} MiB")
            ctx.check("the load ran all the time", not load.done())
            longest = await load
        finally:
            load.cancel()
            with suppress(asyncio.CancelledError, HarnessError):
                await load
        ctx.metric("longest_request_quiet", "s", Better.LOWER, quiet)
        ctx.metric("longest_request_memory_changing", "s", Better.LOWER, longest)
        ctx.check(
            "no request takes long",
            longest < max(STALL_LIMIT_S, STALL_LIMIT_OF_QUIET * quiet),
            f"the longest {longest:.3f} s, without changes {quiet:.3f} s",
        )


def _controllers(ctx: HostContext) -> tuple[Controller, ...]:
    path = ctx.bench.scratch / "memory.raw"
    with path.open("wb") as file:
        file.truncate(DISK_SIZE)
    wanted = (
        Controller("blk", "blk", (Disk("aio0", "aio", DISK_SIZE, path=path),), num_queues=2),
        Controller("scsi", "scsi", (Disk("malloc0", "malloc", DISK_SIZE),)),
    )
    return tuple(c for c in wanted if ctx.bench.target.capabilities.lacks([c]) is None)


async def _load(
    ctx: HostContext, vm: Vm, disks: Sequence[GuestDisk], name: str, seconds: int
) -> float:
    """Runs the load on all disks at a time; the longest that any request took."""
    job = source_dir() / "fio-jobs" / "verify-4k-qd4.fio"
    keep = ctx.bench.run_dir / "fio"
    runs = await asyncio.gather(
        *(
            fio.run(vm.guest, job, d.node, seconds, keep / f"memory-{name}-{d.node[5:]}.json")
            for d in disks
        )
    )
    found = [d.latency.max_ns for run in runs for job in run.jobs for d in job.directions]
    return max(found) / 1e9


async def _plug(vm: Vm, name: str) -> None:
    """Puts a module in and lets the guest use it, for memory that can be given back."""
    before = await _usable_mib(vm)
    await vm.plug_memory(name, MODULE_MIB)

    async def used() -> bool | None:
        await vm.guest.run(
            "for state in /sys/devices/system/memory/memory*/state; do "
            "grep -q offline $state && echo online_movable > $state; done; true"
        )
        return True if await _usable_mib(vm) - before >= MODULE_MIB else None

    await until(f"use of memory module {name}", ONLINE_DEADLINE_S, used)


async def _usable_mib(vm: Vm) -> int:
    """What the guest's kernel has online."""
    text = (
        await vm.guest.run(
            "grep -l online /sys/devices/system/memory/memory*/state | wc -l; "
            "cat /sys/devices/system/memory/block_size_bytes"
        )
    ).stdout.split()
    return int(text[0]) * int(text[1], 16) // MIB


async def _read_into_new_memory(ctx: HostContext, vm: Vm, disk: GuestDisk) -> None:
    await vm.guest.run(FILL.format(node=disk.node), timeout_s=120.0)
    before = int((await vm.guest.run(TAKEN)).stdout)
    done = await vm.guest.run(READ.format(node=disk.node), timeout_s=120.0, check=False)
    pages = int((await vm.guest.run(TAKEN)).stdout) - before
    ctx.check(f"{disk.label}: checksums", done.rc == 0, done.stderr.strip()[:200])
    ctx.check(f"{disk.label}: data went to new memory", pages >= READ_PAGES, f"{pages} pages")
