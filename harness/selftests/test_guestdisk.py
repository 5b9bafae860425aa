# SPDX-License-Identifier: BSD-3-Clause
"""Which disk of a guest is which, from what QEMU and sysfs say."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from vhostlab import guestdisk
from vhostlab.guest import Guest
from vhostlab.guestdisk import match
from vhostlab.qemu import Vm
from vhostlab.target import Controller, Disk

MIB = 1 << 20
NO_GUEST = cast(Guest, None)

BLK = Controller("blk", "blk", (Disk("a", "null", MIB),))
RO = Controller("ro", "blk", (Disk("r", "null", MIB),), readonly=True)
SCSI = Controller("scsi", "scsi", (Disk("b", "null", MIB), Disk("c", "null", MIB)))

ADDRESSES = {"blk": "0000:00:05.0", "ro": "0000:00:03.0", "scsi": "0000:00:04.0"}

LISTING = """\
sda /sys/devices/pci0000:00/0000:00:04.0/virtio2/host2/target2:0:1/2:0:1:0/block/sda
sdb /sys/devices/pci0000:00/0000:00:04.0/virtio2/host2/target2:0:0/2:0:0:0/block/sdb
vda /sys/devices/pci0000:00/0000:00:03.0/virtio1/block/vda
vdb /sys/devices/pci0000:00/0000:00:05.0/virtio3/block/vdb
"""


def test_disks_are_found_by_address_whatever_they_are_called() -> None:
    found = match(LISTING, ADDRESSES, (BLK, RO, SCSI), NO_GUEST)
    assert found is not None
    assert [(d.label, d.name, d.node, d.writable) for d in found] == [
        ("blk", "vdb", "/dev/vdb", True),
        ("ro", "vda", "/dev/vda", False),
        ("scsi:0", "sdb", "/dev/sdb", True),
        ("scsi:1", "sda", "/dev/sda", True),
    ]


@pytest.mark.parametrize("gone", ["sda", "vdb"])
def test_not_all_there_yet(gone: str) -> None:
    lines = [line for line in LISTING.splitlines() if not line.startswith(gone)]
    assert match("\n".join(lines), ADDRESSES, (BLK, RO, SCSI), NO_GUEST) is None


def test_targets_of_now() -> None:
    """Whatever the controller began with: targets come and go."""

    class Answers:
        """A guest whose only command is the listing, and the monitor of its QEMU."""

        stdout = LISTING.replace("2:0:1", "2:0:6")

        @property
        def guest(self) -> Answers:
            return self

        async def run(self, cmd: str, check: bool = True) -> Answers:
            return self

        async def execute(self, command: str) -> list[dict[str, Any]]:
            assert command == "query-pci"
            device = {"bus": 0, "slot": 4, "function": 0, "qdev_id": "scsi"}
            return [{"bus": 0, "devices": [device]}]

    found = asyncio.run(guestdisk.scsi_targets(cast(Vm, Answers()), SCSI))
    assert found == {0: "sdb", 6: "sda"}


def test_addresses_from_query_pci_also_behind_bridges() -> None:
    def device(bus: int, slot: int, name: str, **more: Any) -> dict[str, Any]:
        return {"bus": bus, "slot": slot, "function": 0, "qdev_id": name, **more}

    port = device(0, 4, "", pci_bridge={"devices": [device(1, 0, "behind")]})
    buses = [{"bus": 0, "devices": [device(0, 31, "blk"), port]}]
    assert guestdisk._addresses(buses) == {"blk": "0000:00:1f.0", "behind": "0000:01:00.0"}


@pytest.mark.parametrize(
    ("values", "unit"),
    [((0, 1 << 20), 1 << 20), ((8 * MIB, 4096), 4096), ((512, 1024), 512), ((3 * MIB,), MIB)],
)
def test_unit_divides_everything(values: tuple[int, ...], unit: int) -> None:
    assert guestdisk._unit(*values) == unit
