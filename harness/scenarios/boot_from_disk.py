# SPDX-License-Identifier: BSD-3-Clause
"""A guest whose firmware boots from a disk of the target."""

from __future__ import annotations

import shutil
from typing import Literal

from vhostlab import guestdisk
from vhostlab.images import boot_disk
from vhostlab.images.bootdisk import MARKER
from vhostlab.qemu import VhostBlk, VhostScsi, Vm, VmConfig
from vhostlab.results import Better
from vhostlab.scenario import HostContext, host_scenario
from vhostlab.scenario.layout import MEMORY_MIB, MIB, pattern
from vhostlab.target import Controller, Disk, Target

#: Firmware reads by small requests, under TCG on a machine that may be busy.
STAGES = {"firmware": 60.0, "kernel": 180.0, "init": 60.0, "agent": 60.0}

#: Comes first on the bus: a firmware that ignored the boot index would try it, and fail.
BLANK_SIZE = 8 * MIB
BLANK = pattern("a disk that nobody can boot", BLANK_SIZE)

Firmware = Literal["bios", "uefi"]


@host_scenario("boot-from-disk", deadline_s=900.0)
async def boot_from_disk(ctx: HostContext) -> None:
    """SeaBIOS and OVMF boot from a vhost-user-blk and a vhost-user-scsi disk.

    Steps: put GRUB, a kernel and an initramfs on a disk of the target, and beside it one that
    cannot be booted; start a VM without a kernel whose firmware is to boot from the first, under
    BIOS and UEFI, on blk and on SCSI.
    Verify: the guest comes up; its kernel's command line is the one of that disk; under UEFI it has
    EFI's run-time services and under BIOS it has not; it reads what the host has put on both disks.
    """
    if ctx.bench.image.disk is not None:
        ctx.skip(f"guest {ctx.bench.image.name} is too large for a small disk")
    source = await boot_disk(ctx.bench.image)
    path = ctx.bench.scratch / "boot.raw"
    shutil.copyfile(source, path)
    (ctx.bench.scratch / "blank.raw").write_bytes(BLANK)
    for device in ("blk", "scsi"):
        if device not in ctx.bench.target.capabilities.devices:
            continue
        controllers = _controllers(ctx, device)
        async with ctx.target(controllers, name=device) as target:
            for firmware in ("bios", "uefi"):
                await _boot(ctx, target, controllers, firmware)


def _controllers(ctx: HostContext, device: str) -> tuple[Controller, ...]:
    where = ctx.bench.scratch
    size = (where / "boot.raw").stat().st_size
    blank = Disk("blank0", "aio", BLANK_SIZE, path=where / "blank.raw")
    boot = Disk("boot0", "aio", size, path=where / "boot.raw")
    kind: Literal["blk", "scsi"] = "blk" if device == "blk" else "scsi"
    return (Controller("blank", kind, (blank,)), Controller("boot", kind, (boot,)))


async def _boot(
    ctx: HostContext, target: Target, controllers: tuple[Controller, ...], firmware: Firmware
) -> None:
    what = f"{controllers[0].device}, {firmware}"
    devices = [_device(target, c, index) for index, c in enumerate(controllers)]
    config = VmConfig(
        image=ctx.bench.image,
        accel=ctx.bench.accel,
        memory_mib=MEMORY_MIB,
        firmware=firmware,
        disks=tuple(devices),
    )
    where = ctx.bench.logs / f"{controllers[0].device}-{firmware}"
    async with Vm(config, where, stage_deadlines_s=STAGES) as vm:
        await ctx.bench.booted(vm)
        cmdline = (await vm.guest.run("cat /proc/cmdline")).stdout
        ctx.check(f"{what}: the disk's command line", MARKER in cmdline.split(), cmdline.strip())
        efi = (await vm.guest.run("test -d /sys/firmware/efi", check=False)).rc == 0
        ctx.equal(f"{what}: EFI run-time services", efi, firmware == "uefi")
        for disk in await guestdisk.find(vm, controllers):
            assert disk.disk.path is not None
            # Both begin with something else than zeroes, and the rest of them is long.
            got = await disk.read(0, MIB)
            with disk.disk.path.open("rb") as file:
                ctx.check(f"{what}: content of {disk.label}", got == file.read(MIB))
        ctx.metric(
            f"boot_time_{controllers[0].device}_{firmware}", "s", Better.LOWER, vm.boot_seconds
        )


def _device(target: Target, controller: Controller, index: int) -> VhostBlk | VhostScsi:
    driver = VhostBlk if controller.device == "blk" else VhostScsi
    # The second disk is the first choice.
    return driver(
        target.endpoints[controller.name], id=controller.name, modern=True, boot_index=1 - index
    )
