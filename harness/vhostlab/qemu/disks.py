# SPDX-License-Identifier: BSD-3-Clause
"""The disks of a VM, as QEMU devices.

Each one says what it needs as data, so the same object serves the command line at start and QMP
(chardev-add, device_add) in a running VM.
"""

from __future__ import annotations

from collections.abc import Mapping
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

    def blockdev(self) -> Properties | None:
        """The block node in QEMU itself; None when the storage is elsewhere."""
        ...

    def device(self) -> Properties:
        """The device, "driver" and "id" first."""
        ...


@dataclass(frozen=True)
class VhostBlk:
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

    def chardev(self) -> Properties:
        return _socket(self.id, self.socket, self.reconnect)

    def blockdev(self) -> None:
        return None

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
        }


@dataclass(frozen=True)
class VhostScsi:
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

    def chardev(self) -> Properties:
        return _socket(self.id, self.socket, self.reconnect)

    def blockdev(self) -> None:
        return None

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
        }


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
    if (blockdev := disk.blockdev()) is not None:
        words += ["-blockdev", keyval(blockdev)]
    device = dict(disk.device())
    return [*words, "-device", f"{device.pop('driver')},{keyval(device)}"]


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
