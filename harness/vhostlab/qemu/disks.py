# SPDX-License-Identifier: BSD-3-Clause
"""The disks of a VM, as QEMU devices.

Each one says what it needs as data, so the same object serves the command line at start and QMP
(chardev-add, device_add) in a running VM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Properties = Mapping[str, str | int | bool]


class Disk(Protocol):
    """Anything that ends up as a disk controller of the guest."""

    @property
    def id(self) -> str: ...

    def chardev(self) -> Properties | None:
        """The socket to the back-end ("id", "path", "reconnect"); None when there is none."""
        ...

    def objects(self) -> Sequence[Properties]:
        """Objects of QEMU that the device needs ("qom-type" and "id" first): threads."""
        ...

    def blockdevs(self) -> Sequence[Properties]:
        """Block nodes in QEMU itself, lowest first; none when the storage is elsewhere."""
        ...

    def device(self) -> Properties:
        """The device, "driver" and "id" first."""
        ...

    def units(self) -> Sequence[Properties]:
        """Devices that hang on this one: the disks of a SCSI controller in QEMU."""
        ...


class _Outside:
    """The storage is not in QEMU."""

    def objects(self) -> Sequence[Properties]:
        return ()

    def blockdevs(self) -> Sequence[Properties]:
        return ()

    def units(self) -> Sequence[Properties]:
        return ()


@dataclass(frozen=True)
class VhostBlk(_Outside):
    """A vhost-user-blk device."""

    socket: Path
    num_queues: int = 1
    queue_size: int = 128
    id: str = "blk0"
    reconnect: int = 0
    packed: bool = False
    event_idx: bool = True
    indirect: bool = True
    discard: bool = True
    modern: bool = False
    boot_index: int | None = None
    bus: str = ""
    """Where it is plugged in; "": wherever QEMU likes."""

    def chardev(self) -> Properties:
        return _socket(self.id, self.socket, self.reconnect)

    def device(self) -> Properties:
        return {
            "driver": "vhost-user-blk-pci",
            "id": self.id,
            "chardev": f"char-{self.id}",
            "num-queues": self.num_queues,
            "queue-size": self.queue_size,
            **({} if self.discard else {"discard": False, "write-zeroes": False}),
            **_ring(self.packed, self.event_idx, self.indirect),
            **_modern(self.modern),
            **_boot(self.boot_index),
            **({"bus": self.bus} if self.bus else {}),
        }


@dataclass(frozen=True)
class VhostScsi(_Outside):
    """A vhost-user-scsi controller; what targets it has is the back-end's affair."""

    socket: Path
    num_queues: int = 1
    id: str = "scsi0"
    queue_size: int = 128
    reconnect: int = 0
    packed: bool = False
    event_idx: bool = True
    indirect: bool = True
    modern: bool = False
    boot_index: int | None = None
    bus: str = ""
    """Where it is plugged in; "": wherever QEMU likes."""

    def chardev(self) -> Properties:
        return _socket(self.id, self.socket, self.reconnect)

    def device(self) -> Properties:
        return {
            "driver": "vhost-user-scsi-pci",
            "id": self.id,
            "chardev": f"char-{self.id}",
            "num_queues": self.num_queues,
            "virtqueue_size": self.queue_size,
            **_ring(self.packed, self.event_idx, self.indirect),
            **_modern(self.modern),
            **_boot(self.boot_index),
            **({"bus": self.bus} if self.bus else {}),
        }


@dataclass(frozen=True)
class KernelScsi(_Outside):
    """A vhost-scsi controller of the host's kernel, named by its world wide port name."""

    wwpn: str
    num_queues: int = 1
    id: str = "scsi0"
    queue_size: int = 128
    packed: bool = False
    bus: str = ""

    def chardev(self) -> None:
        return None

    def device(self) -> Properties:
        return {
            "driver": "vhost-scsi-pci",
            "id": self.id,
            "wwpn": self.wwpn,
            "num_queues": self.num_queues,
            "virtqueue_size": self.queue_size,
            **_ring(self.packed, True, True),
            **({"bus": self.bus} if self.bus else {}),
        }


@dataclass(frozen=True)
class Drive:
    """A disk that QEMU itself serves: its block nodes, the top one by name."""

    node: str
    nodes: tuple[Properties, ...]
    block_size: int = 512
    serial: str | None = None

    def properties(self) -> dict[str, str | int | bool]:
        """What the device in front of it is told."""
        sizes = {"logical_block_size": self.block_size, "physical_block_size": self.block_size}
        serial = {} if self.serial is None else {"serial": self.serial}
        # 512 is the default
        return {"drive": self.node, **(sizes if self.block_size != 512 else {}), **serial}


@dataclass(frozen=True)
class _Inside:
    """A virtio controller of QEMU itself, served by an I/O thread of its own."""

    drives: tuple[Drive, ...]
    num_queues: int = 1
    id: str = "disk0"
    queue_size: int = 128
    packed: bool = False
    bus: str = ""

    @property
    def thread(self) -> str:
        """The id of its I/O thread."""
        return f"io-{self.id}"

    def chardev(self) -> None:
        return None

    def objects(self) -> Sequence[Properties]:
        return ({"qom-type": "iothread", "id": self.thread},)

    def blockdevs(self) -> Sequence[Properties]:
        return tuple(node for drive in self.drives for node in drive.nodes)


@dataclass(frozen=True)
class VirtioBlk(_Inside):
    """virtio-blk in QEMU; it has one drive."""

    discard: bool = True

    def device(self) -> Properties:
        return {
            "driver": "virtio-blk-pci",
            "id": self.id,
            "iothread": self.thread,
            "num-queues": self.num_queues,
            "queue-size": self.queue_size,
            **self.drives[0].properties(),
            **({} if self.discard else {"discard": False, "write-zeroes": False}),
            **_ring(self.packed, True, True),
            **({"bus": self.bus} if self.bus else {}),
        }

    def units(self) -> Sequence[Properties]:
        return ()


@dataclass(frozen=True)
class VirtioScsi(_Inside):
    """virtio-scsi in QEMU; the place of a drive is its target number."""

    def device(self) -> Properties:
        return {
            "driver": "virtio-scsi-pci",
            "id": self.id,
            "iothread": self.thread,
            "num_queues": self.num_queues,
            "virtqueue_size": self.queue_size,
            **_ring(self.packed, True, True),
            **({"bus": self.bus} if self.bus else {}),
        }

    def units(self) -> Sequence[Properties]:
        return tuple(
            {
                "driver": "scsi-hd",
                "id": f"{self.id}-{target}",
                "bus": f"{self.id}.0",
                "scsi-id": target,
                "lun": 0,
                **drive.properties(),
            }
            for target, drive in enumerate(self.drives)
        )


def keyval(properties: Properties) -> str:
    """``a=1,b=on``, the form of QEMU's command line; a comma in a value is doubled."""

    def text(value: str | int | bool) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        return str(value).replace(",", ",,")

    return ",".join(f"{key}={text(value)}" for key, value in properties.items())


def escaped(path: Path) -> str:
    """A path as a value on QEMU's command line."""
    return str(path).replace(",", ",,")


def arguments(disk: Disk) -> list[str]:
    """The command-line options that make a disk."""
    words: list[str] = []
    if (chardev := disk.chardev()) is not None:
        words += ["-chardev", f"socket,{keyval(chardev)}"]
    for thing in disk.objects():
        words += ["-object", _first("qom-type", thing)]
    for node in disk.blockdevs():
        words += ["-blockdev", keyval(node)]
    for device in (disk.device(), *disk.units()):
        words += ["-device", _first("driver", device)]
    return words


def _first(key: str, properties: Properties) -> str:
    """The form of options that begin with the value of one key alone."""
    rest = dict(properties)
    return f"{rest.pop(key)},{keyval(rest)}"


def _socket(device_id: str, path: Path, reconnect: int) -> dict[str, str | int | bool]:
    options: dict[str, str | int | bool] = {"id": f"char-{device_id}", "path": str(path)}
    if reconnect:
        options["reconnect"] = reconnect
    return options


def _ring(packed: bool, event_idx: bool, indirect: bool) -> dict[str, str | int | bool]:
    """Only what differs from QEMU's defaults."""
    options: dict[str, str | int | bool] = {}
    if packed:
        options["packed"] = True
    if not event_idx:
        options["event_idx"] = False
    if not indirect:
        options["indirect_desc"] = False
    return options


def _modern(wanted: bool) -> dict[str, str | int | bool]:
    """OVMF takes the legacy half of a transitional device, which a back-end may not serve."""
    return {"disable-legacy": True} if wanted else {}


def _boot(index: int | None) -> dict[str, str | int | bool]:
    return {} if index is None else {"bootindex": index}
