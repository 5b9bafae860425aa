# SPDX-License-Identifier: BSD-3-Clause
"""The standard layout: the controllers and disks that most scenarios share, and booting on them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from vhostlab import guestdisk
from vhostlab.guestdisk import GuestDisk
from vhostlab.images import Image
from vhostlab.qemu import Disk as QemuDisk
from vhostlab.qemu import Vm, VmConfig
from vhostlab.target import Controller, Disk, Target, TargetCapabilities, Wiring

MIB = 1024 * 1024

#: Two, so that there are two queues to send requests through.
VCPUS = 2
MEMORY_MIB = 512

#: The read-only disk has known content: the guest must read it and cannot change it.
READONLY_SIZE = 8 * MIB

#: XFS takes no less than 300 MiB.
FILE_SIZE = 512 * MIB
MEMORY_DISK_SIZE = 128 * MIB
NULL_SIZE = 1024 * MIB


@dataclass(frozen=True)
class Booted:
    """A guest that is up, and the disks that it sees."""

    vm: Vm
    disks: tuple[GuestDisk, ...]


def pattern(seed: str, size: int) -> bytes:
    """Bytes that look random and can be made again from the seed; no two blocks are alike."""
    return hashlib.shake_128(seed.encode()).digest(size)


def _file(path: Path, size: int, content: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(content)
        file.truncate(size)
    return path


def standard(scratch: Path, capabilities: TargetCapabilities) -> tuple[Controller, ...]:
    """The standard controllers, as far as the target can have them; makes the files they need."""
    ro = scratch / "readonly.raw"
    wanted = (
        Controller(
            "blk-malloc",
            "blk",
            (Disk("malloc0", "malloc", MEMORY_DISK_SIZE, serial="VL-MALLOC-0"),),
            num_queues=2,
        ),
        Controller(
            "blk-aio",
            "blk",
            (Disk("aio0", "aio", FILE_SIZE, path=scratch / "blk.raw", serial="VL-AIO-0"),),
        ),
        Controller("blk-null", "blk", (Disk("null0", "null", NULL_SIZE),)),
        Controller("blk-4k", "blk", (Disk("malloc1", "malloc", MEMORY_DISK_SIZE, 4096),)),
        Controller("blk-ro", "blk", (Disk("aio2", "aio", READONLY_SIZE, path=ro),), readonly=True),
        Controller(
            "scsi",
            "scsi",
            (
                Disk("malloc2", "malloc", MEMORY_DISK_SIZE),
                Disk("aio1", "aio", FILE_SIZE, path=scratch / "scsi.raw"),
                Disk("null1", "null", NULL_SIZE),
            ),
            num_queues=2,
        ),
    )
    controllers = tuple(c for c in wanted if capabilities.lacks([c]) is None)
    for disk in (d for c in controllers for d in c.disks):
        if disk.path is not None:
            content = pattern("read-only disk", READONLY_SIZE) if disk.path == ro else b""
            _file(disk.path, disk.size_bytes, content)
    return controllers


@dataclass(frozen=True)
class Hardware:
    """What of its VM a scenario wants otherwise."""

    memory_slots: int = 0
    """For modules that are plugged in later."""
    reconnect: int = 0
    """Seconds after which QEMU tries to connect again when the target has gone; 0: it does not."""
    packed: bool = False
    """Packed rings."""
    discard: bool = True
    """Discards and writes of zeroes on blk disks, if the target has them."""
    moves: bool = False
    """It goes to another QEMU: all its processors on one thread of TCG, see docs/TESTING.md."""


PLAIN = Hardware()


def qemu_disks(
    target: Target, controllers: Sequence[Controller], hardware: Hardware = PLAIN
) -> tuple[QemuDisk, ...]:
    """The devices that connect a VM to the target's controllers."""
    wiring = Wiring(hardware.reconnect, hardware.packed, hardware.discard)
    return tuple(target.disk(c, wiring) for c in controllers)


def config(
    image: Image,
    accel: str,
    target: Target,
    controllers: Sequence[Controller],
    extra: tuple[str, ...] = (),
    hardware: Hardware = PLAIN,
) -> VmConfig:
    """The VM on which scenarios run."""
    return VmConfig(
        image=image,
        accel=accel,
        vcpus=VCPUS,
        memory_mib=max(MEMORY_MIB, image.memory_mib),
        disks=qemu_disks(target, controllers, hardware),
        extra=extra,
        memory_slots=hardware.memory_slots,
        one_thread=hardware.moves,
    )


@asynccontextmanager
async def boot(
    image: Image,
    accel: str,
    target: Target,
    controllers: Sequence[Controller],
    workdir: Path,
    extra: tuple[str, ...] = (),
    hardware: Hardware = PLAIN,
) -> AsyncIterator[Booted]:
    """A guest on the target's controllers; it is up when the body begins and gone afterwards."""
    wanted = config(image, accel, target, controllers, extra, hardware)
    async with Vm(wanted, workdir) as vm:
        await target.serves(vm)
        yield Booted(vm, await guestdisk.find(vm, controllers))
