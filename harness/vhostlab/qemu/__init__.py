# SPDX-License-Identifier: BSD-3-Clause
"""QEMU as VMs with typed configuration, monitor, console and guest agent."""

from vhostlab.qemu.config import NumaNode, VmConfig, numa_port
from vhostlab.qemu.console import Console
from vhostlab.qemu.disks import Disk, VhostBlk, VhostScsi
from vhostlab.qemu.migration import move
from vhostlab.qemu.vm import Vm

__all__ = [
    "Console",
    "Disk",
    "NumaNode",
    "VhostBlk",
    "VhostScsi",
    "Vm",
    "VmConfig",
    "move",
    "numa_port",
]
