# SPDX-License-Identifier: BSD-3-Clause
"""The example of the published guide, command by command."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from vhostlab import guestdisk
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.guestdisk import GuestDisk
from vhostlab.host import Leases
from vhostlab.host.facts import hugepage_pools
from vhostlab.process import Process, output_of
from vhostlab.qemu import Vm, VmConfig
from vhostlab.qemu.config import Channels
from vhostlab.scenario import HostContext, host_scenario
from vhostlab.scenario.layout import MIB, pattern
from vhostlab.target import Controller, Disk
from vhostlab.target.vhostlab import find_daemon
from vhostlab.wait import until

#: The guest has 1 GiB of them; the rest is for the daemon, which takes what is left.
PAGES = 600
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
HUGETLBFS = Path("/dev/hugepages")

#: As in the guide, trailing comments included.
CONF = """\
[Global]
  ReactorMask 0x1

[Malloc]
  NumberOfLuns 2
  LunSizeInMB 64

[VhostScsi0]
  Name vhost.0    # Name of vhost socket
  Dev 0 Malloc0   # "Malloc0" is block device name from previous
                  # sections in config file
  #Cpumask 0x1    # Optional parameter defining which core controller uses

[VhostBlk0]
  Name vhost.1    # Name of vhost socket
  Dev Malloc1     # "Malloc1" is block device name from previous
                  # sections in config file
  #Cpumask 0x1    # Optional parameter defining which core controller uses
"""

#: What the guide has on QEMU's command line, with the disks' devices of today: their size comes
#: from the target.
GUIDE_OPTIONS = (
    *("-m", "1024"),
    *("-object", "memory-backend-file,id=mem,size=1G,mem-path=/dev/hugepages,share=on"),
    *("-numa", "node,memdev=mem"),
    *("-chardev", "socket,id=char0,path=./vhost.0"),
    *("-device", "vhost-user-scsi-pci,id=scsi0,chardev=char0"),
    *("-chardev", "socket,id=char1,path=./vhost.1"),
    *("-device", "vhost-user-blk-pci,chardev=char1"),
)

DISK = 64 * MIB


class GuideVm(Vm):
    """QEMU with the guide's options; firmware and system disk are replaced by the micro guest."""

    def command(self, channels: Channels) -> list[str]:
        words = iter(super().command(channels))
        own: list[str] = []
        for word in words:
            if word in ("-m", "-object"):
                next(words)
            elif word == "-machine":
                own += [word, next(words).replace(",memory-backend=mem", "")]
            else:
                own.append(word)
        return [*own, *GUIDE_OPTIONS]


@host_scenario("guide", devices=("blk", "scsi"), targets=("vhostlab",), deadline_s=240.0)
async def guide(ctx: HostContext) -> None:
    """The published guide's example works as written, on huge pages.

    Steps: reserve huge pages; in a directory with the guide's configuration file run
    ``app/vhost/vhost -c vhost.conf``; there start QEMU with the guide's options.
    Verify: both disks are in the guest with the configured size and keep data; SIGTERM ends the
    daemon within a second and leaves no socket.
    """
    home = ctx.bench.scratch / "target"
    program = home / "app" / "vhost" / "vhost"
    program.parent.mkdir(parents=True)
    program.symlink_to(find_daemon())
    (home / "vhost.conf").write_text(CONF)
    try:
        async with hugepages(ctx):
            await _example(ctx, home)
    finally:
        ctx.bench.logs.mkdir(parents=True, exist_ok=True)
        for path in (*home.glob("*.log"), home / "vhost.conf"):
            shutil.copyfile(path, ctx.bench.logs / path.name)


async def _example(ctx: HostContext, home: Path) -> None:
    sockets = (home / "vhost.0", home / "vhost.1")
    daemon = Process(["app/vhost/vhost", "-c", "vhost.conf"], home / "vhost.log", cwd=home)
    async with daemon:

        async def listening() -> bool | None:
            if not daemon.alive:
                raise daemon.died("app/vhost/vhost -c vhost.conf")
            return True if all(s.is_socket() for s in sockets) else None

        await until("sockets ./vhost.0 and ./vhost.1", 30.0, listening)
        config = VmConfig(ctx.bench.image, ctx.bench.accel, name="guide")
        async with GuideVm(config, home) as vm:
            await ctx.bench.booted(vm)
            await _disks(ctx, vm)
        daemon.signal(15)
        try:
            status = await daemon.wait(1.0)
            ctx.equal("exit status of the daemon after SIGTERM", status, 0)
        except TimeoutError:
            ctx.check("SIGTERM ends the daemon within a second", False)
        left = [s.name for s in sockets if s.exists()]
        ctx.check("no socket is left", not left, ", ".join(left))


async def _disks(ctx: HostContext, vm: Vm) -> None:
    scsi = Controller("scsi0", "scsi", (Disk("Malloc0", "malloc", DISK),))
    blk = Controller("blk", "blk", (Disk("Malloc1", "malloc", DISK),))
    disks = list(await guestdisk.find(vm, (scsi,)))
    # the guide gives this one no id by which QEMU could say where it is
    names = (await vm.guest.run("ls -d /sys/block/vd*", check=False)).stdout.split()
    ctx.require("one virtio-blk disk is there", len(names) == 1, " ".join(names))
    name = Path(names[0]).name
    disks.append(GuestDisk(vm.guest, name, names[0], blk, blk.disks[0]))
    for disk in disks:
        ctx.equal(f"{disk.label}: size in bytes", await disk.number("size") * 512, DISK)
        data = pattern(disk.label, MIB)
        await disk.write(MIB, data)
        ctx.check(f"{disk.label}: data is read back", await disk.read(MIB, MIB) == data)


@asynccontextmanager
async def hugepages(ctx: HostContext) -> AsyncIterator[None]:
    """Huge pages and their file system, reserved for us and given back after."""
    if os.geteuid() != 0:
        ctx.skip("huge pages can only be reserved by root")
    if _pool() is None:
        ctx.skip("this kernel has no huge pages of 2 MiB")
    free = next((p.free for p in hugepage_pools() if p.size_kib == 2048), 0)
    got = _grow(max(PAGES - free, 0))
    mounted = False
    try:
        if free + got < PAGES:
            ctx.skip(f"{PAGES} free huge pages of 2 MiB are needed, {free + got} could be had")
        mounted = await _mount(ctx)
        try:
            async with Leases().hugepages(PAGES, deadline_s=60.0):
                yield
        except Unavailable as error:
            ctx.skip(str(error))
    finally:
        if mounted:
            await output_of(["umount", str(HUGETLBFS)], 20.0)
        _grow(-got)


def _pool() -> int | None:
    try:
        return int(POOL.read_text())
    except OSError:
        return None


def _grow(pages: int) -> int:
    """Make the pool larger or smaller; return by how many pages it really became so."""
    before = _pool() or 0
    if pages:
        POOL.write_text(f"{before + pages}\n")
    return (_pool() or 0) - before


async def _mount(ctx: HostContext) -> bool:
    """Have a hugetlbfs at the place of the guide; return whether it was mounted for us."""
    if _is_mounted(HUGETLBFS):
        return False
    try:
        await output_of(["mkdir", "-p", str(HUGETLBFS)], 20.0)
        await output_of(["mount", "-t", "hugetlbfs", "none", str(HUGETLBFS)], 20.0)
    except HarnessError as error:
        ctx.skip(f"{HUGETLBFS} cannot be mounted: {error}")
    return True


def _is_mounted(path: Path) -> bool:
    lines = Path("/proc/mounts").read_text().splitlines()
    return any(line.split()[1:3] == [str(path), "hugetlbfs"] for line in lines)
