# SPDX-License-Identifier: BSD-3-Clause
"""Every disk of the target, as the guest sees it."""

from __future__ import annotations

import re

from vhostlab.guestdisk import GuestDisk
from vhostlab.results import Better
from vhostlab.scenario import GuestContext, guest_scenario
from vhostlab.scenario.layout import VCPUS

#: Vital product data that a SCSI disk must have, and how a page that is there begins.
VPD_PAGES = ("0x00", "0x80", "0x83", "0xb0", "0xb1", "0xb2")


@guest_scenario("boot")
async def boot(ctx: GuestContext) -> None:
    """Every disk is there with its size, block size, serial and queues.

    Steps: boot a guest with all controllers of the standard layout; read its sysfs; ask SCSI disks
    for INQUIRY, REPORT LUNS, READ CAPACITY and the VPD pages.
    Verify: each disk hangs from its own controller, at its own SCSI address; sizes, logical block
    sizes, serial numbers and read-only flags are those that were configured; the block layer has
    as many hardware queues as the controller; every disk can be read.
    """
    ctx.metric("boot_time", "s", Better.LOWER, ctx.vm.boot_seconds)
    for disk in ctx.disks:
        await _common(ctx, disk)
        if disk.controller.device == "blk":
            await _blk(ctx, disk)
        else:
            await _scsi(ctx, disk)
        md5 = await disk.md5(0, 1 << 20)
        ctx.check(f"{disk.label}: the first MiB can be read", len(md5) == 32, md5)


async def _common(ctx: GuestContext, disk: GuestDisk) -> None:
    label, spec = disk.label, disk.disk
    # sysfs counts in 512-byte sectors whatever the block size is
    ctx.equal(f"{label}: size in bytes", await disk.number("size") * 512, spec.size_bytes)
    block = await disk.number("queue/logical_block_size")
    ctx.equal(f"{label}: logical block size", block, spec.block_size)
    ctx.equal(f"{label}: read-only flag", await disk.number("ro"), int(not disk.writable))
    expected = min(disk.controller.num_queues, VCPUS)
    ctx.equal(f"{label}: hardware queues", await disk.queues(), expected)


async def _blk(ctx: GuestContext, disk: GuestDisk) -> None:
    said = ctx.target.capabilities.serial
    expected = disk.disk.serial if said == "configured" else said
    if expected is not None:
        ctx.equal(f"{disk.label}: serial", await disk.attribute("serial"), expected)


async def _scsi(ctx: GuestContext, disk: GuestDisk) -> None:
    label, spec = disk.label, disk.disk
    inquiry = (await ctx.guest.run(f"sg_inq {disk.node}", check=False)).stdout
    ctx.check(f"{label}: INQUIRY says it is a disk", "PDT=0" in inquiry.replace(" ", ""))
    vendor = re.search(r"Vendor identification: *(\S.*)", inquiry)
    ctx.check(f"{label}: INQUIRY names a vendor", vendor is not None, vendor[1] if vendor else "")
    luns = await ctx.guest.run(f"sg_luns {disk.node}", check=False)
    ctx.check(f"{label}: REPORT LUNS", luns.rc == 0 and "0000000000000000" in luns.stdout)
    for bits, option in ((10, ""), (16, "--16")):
        done = await ctx.guest.run(f"sg_readcap {option} {disk.node}", check=False)
        size = re.search(r"Device size: (\d+) bytes", done.stdout)
        got = int(size[1]) if size else None
        ctx.equal(f"{label}: READ CAPACITY({bits})", got, spec.size_bytes)
    ready = await ctx.guest.run(f"sg_turs {disk.node}", check=False)
    ctx.equal(f"{label}: TEST UNIT READY", ready.rc, 0)
    for page in VPD_PAGES:
        done = await ctx.guest.run(f"sg_vpd --page={page} {disk.node}", check=False)
        ctx.check(f"{label}: VPD page {page}", done.rc == 0, done.stderr.strip()[:200])
