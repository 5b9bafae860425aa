# SPDX-License-Identifier: BSD-3-Clause
"""What our daemon is told: a start-up file, and RPC calls for what the file cannot say.

The file gives all memory disks one size and numbers them, and counts sizes in whole MiB; what does
not fit is created by RPC after the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vhostlab.errors import HarnessError
from vhostlab.target.base import Controller, Disk, distinct

MIB = 1024 * 1024

DEFAULT_QUEUES = 64
"""What a controller offers at most unless it is told another number."""

Call = tuple[str, dict[str, object]]


@dataclass(frozen=True)
class Plan:
    """How to bring a set of controllers about."""

    conf: str
    calls: tuple[Call, ...]
    bdevs: dict[str, str]
    """Disk -> the name of its bdev."""
    listening: tuple[str, ...]
    """The controllers that the file makes."""


def plan(controllers: Sequence[Controller], reactor_mask: str = "0x1") -> Plan:
    """Divide the work between the file and RPC."""
    disks = distinct(controllers)
    malloc = [disk for disk in disks if disk.kind == "malloc"]
    alike = len({(disk.size_bytes, disk.block_size) for disk in malloc}) == 1
    bdevs = {disk.name: disk.name for disk in disks}
    in_file = {disk.name for disk in disks if _expressible(disk) and disk.kind != "malloc"}
    text = [f"[Global]\n  ReactorMask {reactor_mask}\n"]
    if alike and _expressible(malloc[0]):
        in_file |= {disk.name for disk in malloc}
        bdevs |= {disk.name: f"Malloc{number}" for number, disk in enumerate(malloc)}
        text.append(
            f"[Malloc]\n  NumberOfLuns {len(malloc)}\n"
            f"  LunSizeInMB {malloc[0].size_bytes // MIB}\n  BlockSize {malloc[0].block_size}\n"
        )
    for kind, section in (("null", "Null"), ("aio", "AIO")):
        lines = [_disk_line(d) for d in disks if d.kind == kind and d.name in in_file]
        if lines:
            text.append(f"[{section}]\n" + "".join(lines))
    listening = [c for c in controllers if all(disk.name in in_file for disk in c.disks)]
    text += [_section(number, controller, bdevs) for number, controller in enumerate(listening)]
    calls = [_create_bdev(disk) for disk in disks if disk.name not in in_file]
    for controller in controllers:
        if controller not in listening:
            calls += _create_controller(controller, bdevs)
    return Plan("\n".join(text), tuple(calls), bdevs, tuple(c.name for c in listening))


def _expressible(disk: Disk) -> bool:
    return disk.kind == "aio" or disk.size_bytes % MIB == 0


def _disk_line(disk: Disk) -> str:
    if disk.kind == "aio":
        # The block size of a file is not in the file: 512 unless said otherwise.
        block_size = "" if disk.block_size == 512 else f" {disk.block_size}"
        return f"  AIO {quoted(str(disk.path))} {disk.name}{block_size}\n"
    return f"  Dev {disk.name} {disk.size_bytes // MIB} {disk.block_size}\n"


def _section(number: int, controller: Controller, bdevs: dict[str, str]) -> str:
    kind = "Blk" if controller.device == "blk" else "Scsi"
    lines = [f"[Vhost{kind}{number}]", f"  Name {quoted(controller.name)}"]
    if controller.device == "scsi":
        lines += [f"  Dev {t} {bdevs[disk.name]}" for t, disk in enumerate(controller.disks)]
    else:
        disk = controller.disks[0]
        lines.append(f"  Dev {bdevs[disk.name]}")
        if controller.readonly or disk.readonly:
            lines.append("  ReadOnly yes")
        if disk.serial is not None:
            lines.append(f"  Serial {quoted(disk.serial)}")
    if controller.num_queues > DEFAULT_QUEUES:
        lines.append(f"  Queues {controller.num_queues}")
    return "\n".join(lines) + "\n"


def _create_bdev(disk: Disk) -> Call:
    return (
        f"bdev_{disk.kind}_create",
        {
            "name": disk.name,
            "num_blocks": disk.size_bytes // disk.block_size,
            "block_size": disk.block_size,
        },
    )


def _create_controller(controller: Controller, bdevs: dict[str, str]) -> list[Call]:
    if controller.device == "scsi":
        calls: list[Call] = [("vhost_create_scsi_controller", _queues(controller))]
        for target, disk in enumerate(controller.disks):
            options = {
                "ctrlr": controller.name,
                "scsi_target_num": target,
                "bdev_name": bdevs[disk.name],
            }
            calls.append(("vhost_scsi_controller_add_target", options))
        return calls
    disk = controller.disks[0]
    create = {**_queues(controller), "dev_name": bdevs[disk.name]}
    if controller.readonly or disk.readonly:
        create["readonly"] = True
    if disk.serial is not None:
        create["serial"] = disk.serial
    return [("vhost_create_blk_controller", create)]


def _queues(controller: Controller) -> dict[str, object]:
    options: dict[str, object] = {"ctrlr": controller.name}
    if controller.num_queues > DEFAULT_QUEUES:
        options["queues"] = controller.num_queues
    return options


def quoted(text: str) -> str:
    """A value of the file, in quotes when it has to be."""
    if text and not any(c.isspace() or c in "\"'\\#" for c in text):
        return text
    if "\n" in text:
        raise HarnessError("a value of the configuration file cannot hold a line break")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
