# SPDX-License-Identifier: BSD-3-Clause
"""Disks as a guest sees them, and which of them is which.

A disk is found by where it is: QEMU says at which PCI address it put a controller, the guest's
sysfs says which disk hangs there. Nothing is assumed about the order of names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vhostlab.errors import HarnessError
from vhostlab.guest import Guest
from vhostlab.qemu import Vm
from vhostlab.target import Controller, Disk
from vhostlab.wait import until

#: From the guest agent's first word until all disks are there; SCSI scans while the guest boots.
DISKS_DEADLINE_S = 30.0

#: One line per disk: name, and the path in sysfs that shows what it hangs from.
_LIST = 'for d in /sys/block/[sv]d*; do [ -e "$d" ] && echo "${d##*/} $(readlink -f "$d")"; done'


@dataclass(frozen=True)
class GuestDisk:
    """A disk of the guest and what the target was told to put there."""

    guest: Guest
    name: str
    sysfs: str
    controller: Controller
    disk: Disk

    @property
    def node(self) -> str:
        """The device file in the guest."""
        return f"/dev/{self.name}"

    @property
    def label(self) -> str:
        """For check names: what it is, not how the guest happened to call it."""
        if self.controller.device == "blk":
            return self.controller.name
        return f"{self.controller.name}:{self.controller.disks.index(self.disk)}"

    @property
    def writable(self) -> bool:
        """Whether the target was told to accept writes."""
        return not (self.controller.readonly or self.disk.readonly)

    async def attribute(self, path: str) -> str:
        """A file below /sys/block/<name>; empty when there is none."""
        done = await self.guest.run(f"cat {self.sysfs}/{path}", check=False)
        return done.stdout.strip() if done.rc == 0 else ""

    async def number(self, path: str) -> int:
        """A number below /sys/block/<name>."""
        text = await self.attribute(path)
        if not text.isdigit():
            raise HarnessError(f"{self.label}: {path} of the guest holds {text!r}, not a number")
        return int(text)

    async def queues(self) -> int:
        """Hardware queues that the guest's block layer uses."""
        return len((await self.guest.run(f"ls {self.sysfs}/mq")).stdout.split())

    async def write(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset`` past every cache; both are multiples of the block size."""
        path = f"/run/{self.name}.in"
        await self.guest.write_file(path, data)
        block = _unit(offset, len(data))
        await self.guest.run(
            f"dd if={path} of={self.node} bs={block} seek={offset // block} "
            f"oflag=direct conv=notrunc,fsync && rm {path}",
            timeout_s=120.0,
        )

    async def read(self, offset: int, size: int) -> bytes:
        """Read past every cache."""
        path = f"/run/{self.name}.out"
        block = _unit(offset, size)
        await self.guest.run(
            f"dd if={self.node} of={path} bs={block} skip={offset // block} "
            f"count={size // block} iflag=direct",
            timeout_s=120.0,
        )
        data = await self.guest.read_file(path)
        await self.guest.run(f"rm {path}")
        return data

    async def md5(self, offset: int, size: int) -> str:
        """The checksum of a part, read past every cache."""
        block = _unit(offset, size)
        done = await self.guest.run(
            f"dd if={self.node} bs={block} skip={offset // block} count={size // block} "
            "iflag=direct 2>/dev/null | md5sum",
            timeout_s=120.0,
        )
        return done.stdout.split()[0]


def _unit(*values: int) -> int:
    """The largest power of two up to 1 MiB that divides all values."""
    unit = 1 << 20
    while any(v % unit for v in values):
        unit //= 2
    return unit


def _addresses(buses: list[dict[str, Any]]) -> dict[str, str]:
    """QEMU's device ids and their PCI addresses, from query-pci."""
    found: dict[str, str] = {}
    for bus in buses:
        for device in bus["devices"]:
            where = f"0000:{device['bus']:02x}:{device['slot']:02x}.{device['function']:x}"
            if device.get("qdev_id"):
                found[device["qdev_id"]] = where
            if "pci_bridge" in device:
                found |= _addresses([{"devices": device["pci_bridge"].get("devices", [])}])
    return found


def _listed(listing: str, address: str) -> dict[str, str]:
    """Disk names and sysfs paths of what hangs at a PCI address."""
    paths = dict(line.split(" ", 1) for line in listing.splitlines() if " " in line)
    return {name: path for name, path in paths.items() if f"/{address}/" in path}


async def scsi_targets(vm: Vm, controller: Controller) -> dict[int, str]:
    """The targets that have a disk now, whatever the controller began with, and its name."""
    address = _addresses(await vm.execute("query-pci"))[controller.name]
    here = _listed((await vm.guest.run(_LIST, check=False)).stdout, address)
    numbers = {name: _scsi_target(path) for name, path in here.items()}
    return {number: name for name, number in numbers.items() if number is not None}


def match(
    listing: str, addresses: dict[str, str], controllers: Sequence[Controller], guest: Guest
) -> tuple[GuestDisk, ...] | None:
    """The disks in the order of the controllers; None while one is not there yet."""
    found: list[GuestDisk] = []
    for controller in controllers:
        here = _listed(listing, addresses[controller.name])
        for index, disk in enumerate(controller.disks):
            names = [
                name
                for name, path in here.items()
                if controller.device == "blk" or _scsi_target(path) == index
            ]
            if len(names) != 1:
                return None
            found.append(GuestDisk(guest, names[0], here[names[0]], controller, disk))
    return tuple(found)


def _scsi_target(path: str) -> int | None:
    """The target number in a path such as .../target0:0:3/0:0:3:0/block/sda."""
    address = re.search(r"/\d+:\d+:(\d+):\d+/block/", path)
    return int(address[1]) if address else None


async def find(vm: Vm, controllers: Sequence[Controller]) -> tuple[GuestDisk, ...]:
    """Wait until every disk of the controllers is there."""
    addresses = _addresses(await vm.execute("query-pci"))
    missing = [c.name for c in controllers if c.name not in addresses]
    if missing:
        raise HarnessError(f"QEMU has no PCI device {', '.join(missing)}")

    async def there() -> tuple[GuestDisk, ...] | None:
        listing = (await vm.guest.run(_LIST, check=False)).stdout
        return match(listing, addresses, controllers, vm.guest)

    return await until("all disks in the guest", DISKS_DEADLINE_S, there)
