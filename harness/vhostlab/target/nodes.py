# SPDX-License-Identifier: BSD-3-Clause
"""Disks as QEMU's block layer has them, in QEMU and in qemu-storage-daemon."""

from __future__ import annotations

from pathlib import Path

from vhostlab.qemu.disks import Properties
from vhostlab.target.base import Disk, backing_file


def block_nodes(disk: Disk, workdir: Path, readonly: bool) -> list[Properties]:
    """QEMU block nodes of a disk, lowest first; the top one has the disk's name."""
    if disk.kind == "null":
        return [
            {
                "driver": "null-co",
                "node-name": disk.name,
                "size": disk.size_bytes,
                "read-zeroes": True,
                "read-only": readonly,
            }
        ]
    common: dict[str, str | int | bool] = {"read-only": readonly, "discard": "unmap"}
    file: dict[str, str | int | bool] = {
        "driver": "host_device" if disk.path and disk.path.is_block_device() else "file",
        "node-name": f"{disk.name}-file",
        "filename": str(disk.path or backing_file(workdir, disk)),
        **common,
    }
    if disk.kind == "aio":
        file |= {"aio": "native", "cache.direct": True}
    return [
        file,
        {"driver": "raw", "node-name": disk.name, "file": f"{disk.name}-file", **common},
    ]
