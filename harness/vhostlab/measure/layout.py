# SPDX-License-Identifier: BSD-3-Clause
"""The disks and the VM that the cells of a boot ask for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from vhostlab.images import Image
from vhostlab.matrix import Cell, guest_memory_mib
from vhostlab.measure.placement import Placement, divided
from vhostlab.qemu import Disk as QemuDisk
from vhostlab.qemu import NumaNode, VmConfig, numa_port
from vhostlab.scenario.layout import FILE_SIZE, MEMORY_DISK_SIZE, NULL_SIZE
from vhostlab.target import Controller, Disk, Target, Wiring

Kind = Literal["null", "malloc", "aio"]

#: As in the standard layout, so that a cell means the same wherever it is measured.
SIZES = {"null": NULL_SIZE, "malloc": MEMORY_DISK_SIZE, "aio": FILE_SIZE}

#: From this version on Linux has no other block layer for SCSI unless it is told so.
BLK_MQ_SINCE = (4, 17)


@dataclass(frozen=True)
class Wanted:
    """What the cells of a boot have in common."""

    vcpus: int
    vms: int
    queues: int
    queue_size: int
    packed: bool
    mode: str
    guest: str
    numa_nodes: int

    @classmethod
    def of(cls, cell: Cell) -> Wanted:
        """From any one of them."""
        vcpus, mode = cell.number("vcpus"), cell.text("polling")
        return cls(
            vcpus=vcpus,
            vms=cell.number("vms"),
            # a queue for each processor of the guest, unless asked otherwise
            queues=cell.number("queues") or vcpus,
            queue_size=cell.number("queue_size"),
            packed=cell.text("ring") == "packed",
            mode="" if mode == "adaptive" else mode,
            guest=cell.text("guest"),
            numa_nodes=2 if cell.text("numa") == "two" else 1,
        )


def guest_name(number: int) -> str:
    """Of the ``number``-th guest, from 1 on."""
    return f"vm{number}"


def controllers(
    cells: Sequence[Cell], wanted: Wanted, scratch: Path
) -> tuple[tuple[Controller, ...], ...]:
    """For each guest one controller per device and bdev, with a disk of its own."""
    pairs = list(dict.fromkeys((cell.text("device"), cell.text("bdev")) for cell in cells))
    guests = []
    for number in range(1, wanted.vms + 1):
        suffix = f"-{guest_name(number)}" if wanted.vms > 1 else ""
        mine = []
        for device, kind in pairs:
            name = f"{device}-{kind}{suffix}"
            path = scratch / f"{name}.raw" if kind == "aio" else None
            if path is not None:
                with path.open("wb") as file:
                    file.truncate(SIZES[kind])
            disk = Disk(f"{name}-disk", cast(Kind, kind), SIZES[kind], path=path)
            mine.append(
                Controller(name, "blk" if device == "blk" else "scsi", (disk,), wanted.queues)
            )
        guests.append(tuple(mine))
    return tuple(guests)


def vm(
    wanted: Wanted,
    image: Image,
    accel: str,
    mine: Sequence[Controller],
    target: Target,
    placement: Placement,
    name: str,
) -> VmConfig:
    """One guest of the boot."""
    memory = guest_memory_mib(wanted.guest)
    return VmConfig(
        image=image,
        accel=accel,
        vcpus=wanted.vcpus,
        memory_mib=memory,
        disks=tuple(_disk(wanted, c, target, n) for n, c in enumerate(mine)),
        numa=_numa(wanted, memory, placement),
        kernel_options=kernel_options(str(image.manifest.get("kernel_version", ""))),
        name=name,
    )


def _disk(wanted: Wanted, controller: Controller, target: Target, number: int) -> QemuDisk:
    # on the last node: half of the processors are near to it, half are not
    bus = numa_port(wanted.numa_nodes - 1, number) if wanted.numa_nodes > 1 else ""
    wiring = Wiring(packed=wanted.packed, queue_size=wanted.queue_size, bus=bus)
    return target.disk(controller, wiring)


def _numa(wanted: Wanted, memory_mib: int, placement: Placement) -> tuple[NumaNode, ...]:
    if wanted.numa_nodes == 1:
        return ()
    parts = divided(wanted.vcpus, wanted.numa_nodes)
    hosts = placement.host_nodes or (None,) * len(parts)
    return tuple(
        NumaNode(tuple(cpus), memory_mib // len(parts), host)
        for cpus, host in zip(parts, hosts, strict=True)
    )


def kernel_options(version: str) -> tuple[str, ...]:
    """What a guest kernel of that version must be told to use blk-mq for SCSI; unknown: nothing."""
    found = re.match(r"(\d+)\.(\d+)", version)
    old = found is not None and (int(found[1]), int(found[2])) < BLK_MQ_SINCE
    return ("scsi_mod.use_blk_mq=1",) if old else ()
