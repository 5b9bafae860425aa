# SPDX-License-Identifier: BSD-3-Clause
"""Flushes and write caches."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from vhostlab.errors import Unavailable
from vhostlab.guestdisk import GuestDisk
from vhostlab.host.loop import flushes, loop_device
from vhostlab.scenario import HostContext, host_scenario
from vhostlab.scenario.layout import MIB, Hardware, pattern
from vhostlab.target import Controller, Disk, Target

SIZE = 32 * MIB
WRITES = 8
AREA = 8 * MIB
AREA_SIZE = 256 * 1024

#: The column of the guest's /sys/block/*/stat that counts flushes.
GUEST_FLUSHES = 15

BACK, THROUGH = CACHES = ("write back", "write through")

#: Where the guest sets a disk's own cache mode, from the disk in sysfs.
MODE = {"blk": "cache_type", "scsi": "device/scsi_disk/*/cache_type"}


@dataclass(frozen=True)
class Storage:
    """A disk's file on the host, and the loop device on it if there is one."""

    file: Path
    device: Path | None
    uncounted: str = ""
    """Why there is none, as the end of a sentence."""

    @property
    def path(self) -> Path:
        return self.device or self.file


@host_scenario("flush")
async def flush(ctx: HostContext) -> None:
    """A flush of the guest is one of the disk's, and what was flushed outlives the target.

    Steps: boot a guest on disks that are loop devices of the host, which count flushes. Write with
    and without a flush after each write; set the disk to write through, where it can be set, and
    write again. Write and flush; kill the target with SIGKILL; start it again.
    Verify: disks tell of a write cache; the host's device is flushed as often as the guest asks,
    not without being asked, and after each write to a disk that writes through; the file has the
    data that was flushed before the kill, and the guest reads it after.
    """
    async with AsyncExitStack() as stack:
        places = await _storage(ctx, stack)
        controllers = _controllers(places)
        async with (
            ctx.target(controllers) as target,
            ctx.guest(target, controllers, "guest", Hardware(reconnect=1)) as (_, disks),
        ):
            for disk in disks:
                await _caches(ctx, target, disk, places[disk.controller.name])
            for disk in disks:
                await disk.write(AREA, pattern(f"flush {disk.label}", AREA_SIZE))
            if target.capabilities.process:
                await target.kill()
            for disk in disks:
                with places[disk.controller.name].file.open("rb") as file:
                    file.seek(AREA)
                    kept = file.read(AREA_SIZE) == pattern(f"flush {disk.label}", AREA_SIZE)
                ctx.check(f"{disk.label}: the file has what was flushed", kept)
            if target.capabilities.process:
                await target.start(controllers)
                # vhost-user-scsi of QEMU does not reconnect before 8.2
                for disk in (d for d in disks if d.controller.device == "blk"):
                    got = await disk.read(AREA, AREA_SIZE)
                    kept = got == pattern(f"flush {disk.label}", AREA_SIZE)
                    ctx.check(f"{disk.label}: the guest reads what it flushed", kept)


async def _storage(ctx: HostContext, stack: AsyncExitStack) -> dict[str, Storage]:
    """A file for each device type, behind a loop device where that is possible."""
    places = {}
    for device in sorted(ctx.bench.target.capabilities.devices):
        path = ctx.bench.scratch / f"flush-{device}.raw"
        with path.open("wb") as file:
            file.truncate(SIZE)
        try:
            place = Storage(path, await stack.enter_async_context(loop_device(path)))
        except Unavailable as error:
            place = Storage(path, None, f"; the host's flushes are not counted: {error.message}")
        places[device] = place
    return places


def _controllers(places: Mapping[str, Storage]) -> tuple[Controller, ...]:
    made = []
    for name, place in places.items():
        disk = Disk(f"aio-{name}", "aio", SIZE, path=place.path)
        made.append(Controller(name, "blk" if name == "blk" else "scsi", (disk,)))
    return tuple(made)


async def _caches(ctx: HostContext, target: Target, disk: GuestDisk, place: Storage) -> None:
    cache = await disk.attribute("queue/write_cache")
    ctx.check(f"{disk.label}: how it keeps writes", cache in CACHES, cache + place.uncounted)
    if target.capabilities.write_cache:
        ctx.equal(f"{disk.label}: a file has a write cache", cache, BACK)
    if cache != BACK:
        await _owed(ctx, disk, place)
        return
    asked, done = await _written(disk, place, flush=False)
    ctx.equal(f"{disk.label}: flushes by the guest, unasked", asked, 0)
    if done is not None:
        ctx.equal(f"{disk.label}: flushes of the host's device, unasked", done, 0)
    asked, done = await _written(disk, place, flush=True)
    ctx.check(f"{disk.label}: flushes by the guest", asked >= WRITES, f"{asked} for {WRITES}")
    if done is not None:
        said = f"{done} for {asked} by the guest"
        ctx.check(f"{disk.label}: flushes of the host's device", done >= asked, said)
    await _through(ctx, disk, place)


async def _through(ctx: HostContext, disk: GuestDisk, place: Storage) -> None:
    """With the disk's own cache off, where the guest may turn it off."""
    if not await _set(disk, THROUGH):
        return
    now = await disk.attribute("queue/write_cache")
    ctx.equal(f"{disk.label}: set to write through", now, THROUGH)
    await _owed(ctx, disk, place)
    await _set(disk, BACK)
    ctx.equal(f"{disk.label}: set back", await disk.attribute("queue/write_cache"), BACK)


async def _owed(ctx: HostContext, disk: GuestDisk, place: Storage) -> None:
    """A disk that writes through is not flushed by its guest, and owes as much for each write."""
    asked, done = await _written(disk, place, flush=True)
    ctx.equal(f"{disk.label}: flushes by the guest, writing through", asked, 0)
    if done is not None:
        said = f"{done} flushes for {WRITES} writes"
        ctx.check(f"{disk.label}: each write through is on the host's device", done >= WRITES, said)


async def _set(disk: GuestDisk, cache: str) -> bool:
    path = f"{disk.sysfs}/{MODE[disk.controller.device]}"
    done = await disk.guest.run(f"for f in {path}; do echo '{cache}' > $f; done", check=False)
    return done.rc == 0


async def _written(disk: GuestDisk, place: Storage, flush: bool) -> tuple[int, int | None]:
    """Write a few blocks; how often guest and host flushed meanwhile."""
    how = "notrunc,fsync" if flush else "notrunc"
    before = await _guest_flushes(disk)
    here = flushes(place.device) if place.device else 0
    await disk.guest.run(
        f"for n in $(seq {WRITES}); do dd if=/dev/zero of={disk.node} bs=4096 seek=$n count=1 "
        f"oflag=direct conv={how} 2>/dev/null || exit 1; done"
    )
    asked = await _guest_flushes(disk) - before
    return asked, flushes(place.device) - here if place.device else None


async def _guest_flushes(disk: GuestDisk) -> int:
    return int((await disk.attribute("stat")).split()[GUEST_FLUSHES])
