# SPDX-License-Identifier: BSD-3-Clause
"""File systems on the target's disks."""

from __future__ import annotations

from dataclasses import dataclass

from vhostlab.guestdisk import GuestDisk
from vhostlab.scenario import GuestContext, guest_scenario

MOUNT = "/mnt"

#: Sizes that are less than a block, odd, and many blocks; in bytes.
FILES = (1, 4095, 70_001, 1_048_576, 3_000_017, 8_388_608)


@dataclass(frozen=True)
class FileSystem:
    """How to make one and how to look for damage."""

    name: str
    make: str
    check: str


EXT4 = FileSystem("ext4", "mkfs.ext4 -q -F", "e2fsck -fn")
XFS = FileSystem("xfs", "mkfs.xfs -q -f", "xfs_repair -n")


@guest_scenario("filesystem", deadline_s=300.0)
async def filesystem(ctx: GuestContext) -> None:
    """ext4 and XFS keep their files and are found clean after.

    Steps: on each disk that keeps data make ext4 (memory disks) or XFS (files), write files and
    remember their checksums, unmount, look for damage, mount again, compare, delete half, trim
    what is free, unmount, look for damage again.
    Verify: both checks find nothing; all checksums are the same after the disk was mounted again;
    trimming succeeds and harms nothing.
    """
    await ctx.guest.run("modprobe ext4; modprobe xfs", check=False)
    for disk in ctx.disks_of(writable=True):
        if disk.disk.kind != "null":
            await _cycle(ctx, disk, EXT4 if disk.disk.kind == "malloc" else XFS)


async def _cycle(ctx: GuestContext, disk: GuestDisk, fs: FileSystem) -> None:
    what = f"{disk.label} {fs.name}"
    try:
        await ctx.guest.run(f"{fs.make} {disk.node}", timeout_s=120.0)
        await ctx.guest.run(f"mount -t {fs.name} {disk.node} {MOUNT} && mkdir {MOUNT}/d")
        for number, size in enumerate(FILES):
            await ctx.guest.run(f"head -c {size} /dev/urandom > {MOUNT}/d/{number}")
        sums = (await ctx.guest.run(f"cd {MOUNT}/d && md5sum *")).stdout
        await _unmount_and_check(ctx, disk, fs, "after writing")
        await ctx.guest.run(f"mount -t {fs.name} {disk.node} {MOUNT}")
        again = (await ctx.guest.run(f"cd {MOUNT}/d && md5sum *")).stdout
        ctx.check(f"{what}: checksums after mounting again", again == sums, f"{len(FILES)} files")
        await ctx.guest.run(f"cd {MOUNT}/d && rm 1 3 5 && sync")
        if ctx.target.capabilities.discard:
            trim = await ctx.guest.run(f"fstrim {MOUNT}", check=False, timeout_s=120.0)
            ctx.check(f"{what}: free space can be trimmed", trim.rc == 0, trim.stderr.strip())
        await ctx.guest.run("echo 3 > /proc/sys/vm/drop_caches")
        kept = (await ctx.guest.run(f"cd {MOUNT}/d && md5sum *")).stdout
        expected = [line for line in sums.splitlines() if line.split()[1] in ("0", "2", "4")]
        ctx.check(f"{what}: checksums after trimming", kept.splitlines() == expected)
        await _unmount_and_check(ctx, disk, fs, "after trimming")
    finally:
        # for the scenarios after this one, when it ends half-way
        await ctx.guest.run(f"umount {MOUNT}", check=False, timeout_s=20.0)


async def _unmount_and_check(ctx: GuestContext, disk: GuestDisk, fs: FileSystem, when: str) -> None:
    await ctx.guest.run(f"sync && umount {MOUNT}", timeout_s=120.0)
    await ctx.guest.run("echo 3 > /proc/sys/vm/drop_caches")
    done = await ctx.guest.run(f"{fs.check} {disk.node}", check=False, timeout_s=120.0)
    words = (done.stdout + done.stderr).strip().splitlines()
    detail = words[-1] if words else ""
    ctx.check(f"{disk.label} {fs.name}: clean {when}", done.rc == 0, detail)
