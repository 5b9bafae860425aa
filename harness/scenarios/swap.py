# SPDX-License-Identifier: BSD-3-Clause
"""A guest whose target becomes another program and back."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress

from vhostlab import fio
from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.process import find_program
from vhostlab.qemu import Vm
from vhostlab.results import Better
from vhostlab.scenario import HostContext, host_scenario
from vhostlab.scenario.layout import MIB, Hardware, pattern
from vhostlab.scenario.stage import COMPLAINTS
from vhostlab.target import Controller, Disk, Target
from vhostlab.target.qsd import HINT, QemuStorageDaemon
from vhostlab.wait import until

#: How often the target becomes the other program and itself again.
SWAPS = int(os.environ.get("VHOSTLAB_SWAPS", "3"))

#: Requests of each disk that a target must have served before it is replaced.
BUSY_REQUESTS = 100
DEADLINE_S = 60.0
DISK_SIZE = 64 * MIB

#: How often the target may be in need of more time than it has when it is told to end.
END_ATTEMPTS = 5

#: QEMU tries to connect once a second; the rest is for slow machines.
PAUSE_S = 10.0

#: Behind the load: one block of each target that served, in turn.
MARKS = 32 * MIB
MARK = 64 * 1024

#: What the other target has. QEMU refuses one that has fewer than the one before, and no property
#: of its devices tells it to be content with fewer.
MEMORY_SLOTS = 32

#: What both programs can do. The driver takes the limits of discards from the target that it meets
#: first, and those of the other one are lower.
HARDWARE = Hardware(reconnect=1, discard=False)

#: Blocks of many sizes on little room: written, verified, written again; in the end all are read.
LOAD = (
    "fio --name=load --filename={node} --size=16M --rw=randrw --rwmixread=30 --bsrange=4k-64k "
    "--bs_unaligned=0 --iodepth=16 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 "
    "--verify_backlog=64 --verify_state_save=0 --verify_dump=0 --randseed={seed} --fsync=64 "
    "--output-format=json+ --output={output}"
)


@host_scenario("swap", targets=("vhostlab",), deadline_s=300.0 + 60.0 * SWAPS)
async def swap(ctx: HostContext) -> None:
    """A target is replaced by qemu-storage-daemon and back under a guest, which does not notice.

    Steps: boot a guest whose QEMU reconnects on disks in files; write and verify with fio on all of
    them. End the target with SIGTERM, let qemu-storage-daemon serve the same files on the same
    sockets, end that with SIGTERM, and start the target again; and so on. In every second turn the
    target is killed with SIGKILL before, and started again to finish what was under way. The guest
    leaves a mark on each disk whenever another program serves.
    Verify: fio saw no error and every checksum; the guest's kernel has nothing to say; no request
    took longer than 10 s; the files have all marks, and what the guest reads.
    """
    find_program(QemuStorageDaemon.name, HINT)
    controllers = _controllers(ctx)
    async with (
        ctx.target(controllers, memory_slots=MEMORY_SLOTS) as target,
        ctx.substitute(QemuStorageDaemon, target) as other,
        ctx.guest(target, controllers, "guest", HARDWARE) as (vm, disks),
    ):
        other.iothread = False
        await vm.guest.run("dmesg -c >/dev/null")
        over = asyncio.Event()
        loads = [asyncio.create_task(_load(d, over)) for d in disks]
        marks: list[str] = []
        try:
            for turn in range(SWAPS):
                if turn % 2 == 1:
                    await target.kill()
                    await _serve(target, controllers, disks, loads, marks)
                await _end(target, controllers, disks, loads, marks)
                await _serve(other, controllers, disks, loads, marks)
                await other.stop()
                ctx.equal(f"{other.name} ended", other.process.returncode, 0)
                await _serve(target, controllers, disks, loads, marks)
            over.set()
            runs = await asyncio.gather(*loads)
        finally:
            for load in loads:
                load.cancel()
                with suppress(asyncio.CancelledError, HarnessError):
                    await load
        for disk, found in zip(disks, runs, strict=True):
            ctx.check(f"{disk.label}: every checksum", len(found) > 0, f"{len(found)} runs of fio")
        longest = max(pause for found in runs for pause in found)
        ctx.check("a short pause", longest < PAUSE_S, f"{longest:.3f} s in {SWAPS} swaps and back")
        ctx.metric("swap_longest_request", "s", Better.LOWER, longest)
        ctx.equal("the guest's kernel is silent", await _complaints(vm), "")
        sums = [await disk.md5(0, DISK_SIZE) for disk in disks]
    for disk, seen in zip(disks, sums, strict=True):
        _check_file(ctx, disk, marks, seen)


def _controllers(ctx: HostContext) -> tuple[Controller, ...]:
    """vhost-user-scsi of QEMU reconnects from 8.2 on, and the other target does not have it."""
    made = []
    for name, queues in (("blk-one", 1), ("blk-two", 2)):
        path = ctx.bench.scratch / f"swap-{name}.raw"
        with path.open("wb") as file:
            file.truncate(DISK_SIZE)
        disk = Disk(f"aio-{name}", "aio", DISK_SIZE, path=path)
        made.append(Controller(name, "blk", (disk,), num_queues=queues))
    return tuple(made)


async def _load(disk: GuestDisk, over: asyncio.Event) -> list[float]:
    """fio again and again; the longest request of each run, in seconds.

    It fails for an I/O error and for a wrong checksum.
    """
    longest: list[float] = []
    output = f"/run/load-{disk.name}.json"
    while not over.is_set():
        line = LOAD.format(node=disk.node, seed=len(longest) + 1, output=output)
        await disk.guest.run(line, timeout_s=120.0)
        run = fio.parse((await disk.guest.read_file(output)).decode(errors="replace"))
        longest.append(max(d.latency.max_ns for j in run.jobs for d in j.directions) / 1e9)
    return longest


async def _serve(
    target: Target,
    controllers: Sequence[Controller],
    disks: Sequence[GuestDisk],
    loads: Sequence[asyncio.Task[list[float]]],
    marks: list[str],
) -> None:
    """Start a target, and return when it has served every disk and has its mark on it."""
    await target.start(controllers)
    before = [await _completed(disk) for disk in disks]

    async def flowing() -> bool | None:
        for load in loads:
            if load.done():
                load.result()
                raise HarnessError("the load ended before the last swap")
        if not target.process.alive:
            raise target.process.died(target.name)
        now = [await _completed(disk) for disk in disks]
        done = all(n - b >= BUSY_REQUESTS for n, b in zip(now, before, strict=True))
        return True if done else None

    await until(f"requests from the guest to {target.name}", DEADLINE_S, flowing)
    mark = f"{len(marks)} {target.name}"
    for disk in disks:
        await disk.write(MARKS + len(marks) * MARK, pattern(f"{mark} {disk.label}", MARK))
    marks.append(mark)


async def _end(
    target: Target,
    controllers: Sequence[Controller],
    disks: Sequence[GuestDisk],
    loads: Sequence[asyncio.Task[list[float]]],
    marks: list[str],
) -> None:
    """End the target with nothing under way; the other one does not know of the in-flight area.

    The target does not wait for a slow disk for long and says so in its status. Then it has to be
    started again.
    """
    for _ in range(END_ATTEMPTS):
        await target.stop()
        if target.process.returncode == 0:
            return
        await _serve(target, controllers, disks, loads, marks)
    raise HarnessError(f"{target.name} never ended with nothing under way", f"see {target.log}")


async def _completed(disk: GuestDisk) -> int:
    """Reads and writes of the disk that have come back to the guest."""
    words = (await disk.attribute("stat")).split()
    return int(words[0]) + int(words[4])


def _check_file(ctx: HostContext, disk: GuestDisk, marks: Sequence[str], seen: str) -> None:
    """Past all targets: what is in the file when nobody serves it any more."""
    assert disk.disk.path is not None
    content = disk.disk.path.read_bytes()
    for number, mark in enumerate(marks):
        where = MARKS + number * MARK
        same = content[where : where + MARK] == pattern(f"{mark} {disk.label}", MARK)
        ctx.check(f"{disk.label}: mark {mark}", same)
    ctx.equal(f"{disk.label}: the file is what the guest reads", _md5(content), seen)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


async def _complaints(vm: Vm) -> str:
    log = (await vm.guest.run("dmesg", check=False)).stdout
    return "; ".join(line.strip() for line in log.splitlines() if COMPLAINTS.search(line))[:500]
