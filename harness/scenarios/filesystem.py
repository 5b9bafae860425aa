# SPDX-License-Identifier: BSD-3-Clause
"""File systems on the target's disks."""

from __future__ import annotations

from collections.abc import Mapping
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
    #: Reads everything that is in use, while it is mounted, and compares checksums of its own.
    scrub: str = ""


EXT4 = FileSystem("ext4", "mkfs.ext4 -q -F", "e2fsck -fn")
XFS = FileSystem("xfs", "mkfs.xfs -q -f", "xfs_repair -n")
BTRFS = FileSystem(
    "btrfs",
    "mkfs.btrfs -q -f",
    "btrfs check --readonly",
    f"mkdir -p /var/lib/btrfs && btrfs scrub start -B {MOUNT}",
)

#: What a disk has to hold in turn. XFS and btrfs want more room than a memory disk has.
ON: Mapping[str, tuple[FileSystem, ...]] = {"malloc": (EXT4,), "aio": (XFS, BTRFS)}


@guest_scenario("filesystem", deadline_s=300.0)
async def filesystem(ctx: GuestContext) -> None:
    """ext4, XFS and btrfs keep their files and are found clean after.

    Steps: on each disk that keeps data make ext4 (memory disks), or XFS and then btrfs (files),
    write files and remember their checksums, unmount, look for damage, mount again, compare, let
    btrfs scrub itself, delete half, trim what is free, unmount, look for damage again.
    Verify: both checks find nothing; all checksums are the same after the disk was mounted again;
    trimming succeeds and harms nothing.
    """
    await ctx.guest.run("modprobe ext4; modprobe xfs; modprobe btrfs", check=False, timeout_s=120.0)
    for disk in ctx.disks_of(writable=True):
        for fs in ON.get(disk.disk.kind, ()):
            await _cycle(ctx, disk, fs)


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
        if fs.scrub:
            done = await ctx.guest.run(fs.scrub, check=False, timeout_s=120.0)
            words = (done.stdout + done.stderr).strip().splitlines()
            ctx.check(f"{what}: nothing to scrub", done.rc == 0, words[-1] if words else "")
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
