# SPDX-License-Identifier: BSD-3-Clause
"""QEMU as VMs with typed configuration, monitor, console and guest agent."""

from vhostlab.qemu.config import NumaNode, VmConfig, numa_port
from vhostlab.qemu.console import Console
from vhostlab.qemu.disks import Disk, Drive, KernelScsi, VhostBlk, VhostScsi, VirtioBlk, VirtioScsi
from vhostlab.qemu.migration import move
from vhostlab.qemu.vm import Vm

__all__ = [
    "Console",
    "Disk",
    "Drive",
    "KernelScsi",
    "NumaNode",
    "VhostBlk",
    "VhostScsi",
    "VirtioBlk",
    "VirtioScsi",
    "Vm",
    "VmConfig",
    "move",
    "numa_port",
]
