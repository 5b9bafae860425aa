# SPDX-License-Identifier: BSD-3-Clause
"""Data comes back as it was written, and only what was meant to be changed is changed."""

from __future__ import annotations

import re

from vhostlab import fio
from vhostlab.guestdisk import GuestDisk
from vhostlab.paths import source_dir
from vhostlab.scenario import GuestContext, guest_scenario
from vhostlab.scenario.layout import MIB, pattern

JOB = "verify-mixed-qd16"

KIB = 1024

#: The part of a disk on which discard and write-zeroes are tried, and where in it.
AREA = 8 * MIB
SIZE = 1 * MIB

#: Relative to the area, in bytes: a round range, and one that fits no alignment but 4 KiB.
DISCARDED = (256 * KIB, 256 * KIB)
ZEROED = (640 * KIB + 3 * 4096, 37 * 4096)


@guest_scenario("integrity", deadline_s=300.0)
async def integrity(ctx: GuestContext) -> None:
    """What is written is read back, whatever the block size; holes and zeroes have exact edges.

    Steps: on every disk that keeps data, let fio write blocks of 512 B to 1 MiB with a crc32c in
    each, read them back in the same run and again in a new process. Then write a pattern, discard
    one part of it and have zeroes written to another.
    Verify: every checksum; the pattern around both parts is untouched; the part with zeroes reads
    zeroes, and so does the discarded one where the disk promises it (else old data may be left,
    never anything else). For disks that are files, the file holds what the guest wrote.
    """
    for disk in _disks(ctx):
        if disk.disk.block_size == 512:
            await _verify(ctx, disk)
        await _holes(ctx, disk)


def _disks(ctx: GuestContext) -> list[GuestDisk]:
    """The disks that keep data; the first of each device type when it is to be brief."""
    disks = [d for d in ctx.disks_of(writable=True) if d.disk.kind != "null"]
    if not ctx.bench.options.brief:
        return disks
    return list({d.controller.device: d for d in reversed(disks)}.values())


async def _verify(ctx: GuestContext, disk: GuestDisk) -> None:
    job = source_dir() / "fio-jobs" / f"{JOB}.fio"
    keep = ctx.bench.run_dir / "fio" / f"integrity-{disk.label.replace(':', '-')}"
    for name, extra in (("written and read back", ()), ("read again", ("--verify_only",))):
        await ctx.guest.run("echo 3 > /proc/sys/vm/drop_caches")
        path = keep.with_name(f"{keep.name}{'-again' if extra else ''}.json")
        try:
            run = await fio.run(ctx.guest, job, disk.node, 30, path, *extra)
        except fio.FioError as error:
            ctx.require(f"{disk.label}: {name}", False, str(error))
            return
        reads = sum(d.ios for j in run.jobs for d in j.directions if d.name == "read")
        ctx.check(f"{disk.label}: {name}", reads > 0, f"{reads} blocks verified")


async def _promises_zeroes(ctx: GuestContext, disk: GuestDisk) -> bool:
    """Whether the disk says that what was discarded reads as zeroes; virtio-blk cannot say so."""
    if disk.controller.device == "blk":
        return False
    capacity = (await ctx.guest.run(f"sg_readcap --16 {disk.node}", check=False)).stdout
    return re.search(r"lbprz\s*=\s*1", capacity) is not None


async def _holes(ctx: GuestContext, disk: GuestDisk) -> None:
    content = bytearray(pattern(f"integrity {disk.label}", SIZE))
    await disk.write(AREA, bytes(content))
    if disk.disk.path is not None:
        await ctx.guest.run("sync")
        with disk.disk.path.open("rb") as file:
            file.seek(AREA)
            on_host = file.read(SIZE)
        ctx.check(f"{disk.label}: the file holds what was written", on_host == content)

    if await _has(ctx, disk, "discard", ctx.target.capabilities.discard):
        await _discard(ctx, disk, content)
    await _zero(ctx, disk, content)


async def _has(ctx: GuestContext, disk: GuestDisk, what: str, promised: bool) -> bool:
    limit = await disk.number(f"queue/{what}_max_bytes")
    if promised:
        ctx.check(f"{disk.label}: {what} is offered", limit > 0, f"up to {limit} bytes")
    return limit > 0


async def _discard(ctx: GuestContext, disk: GuestDisk, content: bytearray) -> None:
    start, length = DISCARDED
    await ctx.guest.run(f"/sbin/blkdiscard -o {AREA + start} -l {length} {disk.node}")
    got = await disk.read(AREA, SIZE)
    hole = got[start : start + length]
    if await _promises_zeroes(ctx, disk):
        ctx.check(f"{disk.label}: what was discarded reads zeroes", not any(hole), "as promised")
    else:
        old = content[start : start + length]
        blocks = [(hole[n : n + 4096], old[n : n + 4096]) for n in range(0, length, 4096)]
        odd = sum(1 for new, was in blocks if any(new) and new != was)
        ctx.equal(f"{disk.label}: discarded blocks with foreign data", odd, 0)
    content[start : start + length] = hole
    ctx.check(f"{disk.label}: discard changed nothing around it", got == content)


async def _zero(ctx: GuestContext, disk: GuestDisk, content: bytearray) -> None:
    await _has(ctx, disk, "write_zeroes", ctx.target.capabilities.write_zeroes)
    start, length = ZEROED
    await ctx.guest.run(f"/sbin/blkdiscard -z -o {AREA + start} -l {length} {disk.node}")
    content[start : start + length] = bytes(length)
    got = await disk.read(AREA, SIZE)
    zeroed = got[start : start + length]
    ctx.check(f"{disk.label}: written zeroes read zeroes", not any(zeroed))
    ctx.check(f"{disk.label}: writing zeroes changed nothing around it", got == content)
