# SPDX-License-Identifier: BSD-3-Clause
"""What a VM is to be, and the QEMU command line that makes it so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images.image import Image
from vhostlab.qemu import newer
from vhostlab.qemu.disks import Disk, arguments, escaped
from vhostlab.qemu.firmware import ovmf

NUMA_DISTANCE = 20
"""From one node to another; to itself it is 10."""

NUMA_FIRST_BUS = 32
NUMA_BUSES = 32
"""The PCI bus numbers of a node; the firmware gives each port one."""


@dataclass(frozen=True)
class NumaNode:
    """One virtual NUMA node: its part of the processors and of the memory."""

    cpus: tuple[int, ...]
    memory_mib: int
    host_node: int | None = None
    """The node of the host that its memory is taken from; None: any."""


@dataclass(frozen=True)
class VmConfig:
    """One VM. Memory is always shared with other processes, as vhost-user needs it."""

    image: Image
    accel: str
    vcpus: int = 1
    memory_mib: int = 512
    machine: str = "q35"
    memory: Literal["memfd", "hugepages"] = "memfd"
    disks: tuple[Disk, ...] = ()
    hotplug_slots: int = 0
    """How many disks can be plugged in while the guest runs."""
    memory_slots: int = 0
    """How many memory modules can be."""
    numa: tuple[NumaNode, ...] = ()
    """() is a guest without NUMA. Each node has a root port (``numa_port``) for each disk."""
    max_memory_mib: int = 4096
    """With all modules, if there can be any."""
    kernel_options: tuple[str, ...] = ()
    one_thread: bool = False
    """For all processors, under TCG."""
    firmware: Literal["direct", "bios", "uefi"] = "direct"
    """Who loads the kernel: QEMU itself, where the image has one, or a firmware, from a disk."""
    incoming: bool = False
    """It does not boot: a guest that runs already comes from another QEMU."""
    extra: tuple[str, ...] = ()
    qemu: Path | None = None
    name: str = "guest"

    def program(self) -> str:
        """The QEMU to run."""
        if self.qemu:
            return str(self.qemu)
        return str(newer.program(self.image, self.accel))

    def fitted(self, disk: Disk) -> Disk:
        """The disk as this QEMU can attach it."""
        return newer.fitted(disk, Path(self.program()))


@dataclass(frozen=True)
class Channels:
    """The ends of a VM's channels that QEMU gets."""

    qmp_fd: int
    agent_fd: int
    console_socket: Path
    console_log: Path


def qemu_argv(config: VmConfig, channels: Channels) -> list[str]:
    """The whole command line."""
    accel = config.accel
    if accel == "tcg":
        accel = f"tcg,thread={'single' if config.one_thread else 'multi'}"
    words = [
        config.program(),
        *("-name", config.name),
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none"),
        # graphics=off: the firmware speaks on the serial port, too.
        *("-machine", _machine(config)),
        *("-accel", accel),
        *("-cpu", "max" if config.accel == "tcg" else "host"),
        *("-smp", str(config.vcpus)),
        *("-m", _size(config)),
        *_memory(config),
        *_boot(config),
        *("-chardev", f"socket,id=qmp,fd={channels.qmp_fd}"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-chardev", _console(channels)),
        *("-serial", "chardev:console"),
        # With nodes there are several buses to choose from.
        *("-device", f"virtio-serial-pci,id=serial0{',bus=pcie.0' if config.numa else ''}"),
        *("-chardev", f"socket,id=agent,fd={channels.agent_fd}"),
        *("-device", "virtserialport,bus=serial0.0,chardev=agent,name=org.qemu.guest_agent.0"),
    ]
    for slot in range(config.hotplug_slots):
        # On pcie.0 itself nothing can be plugged in.
        words += ["-device", f"pcie-root-port,id=slot{slot},chassis={slot + 1},bus=pcie.0"]
    for number in range(len(config.numa)):
        words += _numa_bus(number, len(config.disks))
    words += [*config.image.devices, *_own_disk(config)]
    for disk in config.disks:
        words += arguments(config.fitted(disk))
    if config.incoming:
        words += ["-incoming", "defer"]
    return [*words, *config.extra]


def _boot(config: VmConfig) -> list[str]:
    """What starts the guest."""
    image, firmware = config.image, config.firmware
    if firmware == "direct" and image.kernel is not None:
        words = ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
        return [*words, "-append", " ".join((image.cmdline, *config.kernel_options))]
    if (image.firmware if firmware == "direct" else firmware) == "bios":
        return []
    code, variables = ovmf()
    flash = "if=pflash,format=raw"
    return [
        *("-drive", f"{flash},unit=0,readonly=on,file={escaped(code)}"),
        # What the firmware remembers, it forgets with the guest.
        *("-drive", f"{flash},unit=1,snapshot=on,file={escaped(variables)}"),
    ]


def _own_disk(config: VmConfig) -> list[str]:
    """The disk of the image, below an overlay of QEMU's that has no name and ends with it."""
    disk = config.image.disk
    if disk is None:
        return []
    direct = config.firmware == "direct" and config.image.kernel is not None
    more = ("" if direct else ",bootindex=0") + (",bus=pcie.0" if config.numa else "")
    return [
        *("-drive", f"if=none,id=root,format=qcow2,snapshot=on,file={escaped(disk)}"),
        *("-device", f"virtio-blk-pci,id=root,drive=root{more}"),
    ]


def _console(channels: Channels) -> str:
    return (
        f"socket,id=console,path={channels.console_socket},server=on,wait=off,"
        f"logfile={escaped(channels.console_log)}"
    )


def _size(config: VmConfig) -> str:
    if config.memory_slots == 0:
        return f"{config.memory_mib}M"
    return f"{config.memory_mib}M,slots={config.memory_slots},maxmem={config.max_memory_mib}M"


def numa_port(node: int, number: int) -> str:
    """The bus with which a disk is plugged into a node: the ``number``-th port there."""
    return f"numa{node}-port{number}"


def _machine(config: VmConfig) -> str:
    # With nodes each one names its own memory.
    memory = "" if config.numa else ",memory-backend=mem"
    return f"{config.machine},graphics=off{memory}"


def _memory(config: VmConfig) -> list[str]:
    """The memory, and how processors and it are divided among nodes."""
    if not config.numa:
        return ["-object", _backend(config, "mem", config.memory_mib)]
    _check_numa(config)
    words: list[str] = []
    for number, node in enumerate(config.numa):
        bound = "" if node.host_node is None else f",host-nodes={node.host_node},policy=bind"
        backend = _backend(config, f"mem{number}", node.memory_mib)
        cpus = ",".join(f"cpus={cpu}" for cpu in node.cpus)
        words += [
            "-object",
            f"{backend}{bound}{',prealloc=on' if bound and config.memory == 'memfd' else ''}",
        ]
        words += ["-numa", f"node,nodeid={number},{cpus},memdev=mem{number}"]
    for number in range(1, len(config.numa)):
        for other in range(number):
            words += ["-numa", f"dist,src={other},dst={number},val={NUMA_DISTANCE}"]
    return words


def _check_numa(config: VmConfig) -> None:
    cpus = sorted(cpu for node in config.numa for cpu in node.cpus)
    if cpus != list(range(config.vcpus)):
        raise HarnessError(f"the NUMA nodes of {config.name} have the processors {cpus}")
    if sum(node.memory_mib for node in config.numa) != config.memory_mib:
        raise HarnessError(f"the NUMA nodes of {config.name} do not add up to its memory")


def _numa_bus(node: int, ports: int) -> list[str]:
    """A PCI bus that belongs to a node, with a port for each disk."""
    bus = f"numa{node}"
    number = NUMA_FIRST_BUS + NUMA_BUSES * node
    words = ["-device", f"pxb-pcie,id={bus},bus_nr={number},numa_node={node},bus=pcie.0"]
    for port in range(ports):
        chassis = NUMA_FIRST_BUS + ports * node + port
        words += [
            "-device",
            f"pcie-root-port,id={numa_port(node, port)},bus={bus},chassis={chassis}",
        ]
    return words


def _backend(config: VmConfig, name: str, memory_mib: int) -> str:
    size = f"size={memory_mib}M,share=on"
    if config.memory == "memfd":
        return f"memory-backend-memfd,id={name},{size}"
    path = hugetlbfs()
    check_hugepages(config.memory_mib, os.statvfs(path).f_bsize // 1024)
    return f"memory-backend-file,id={name},{size},mem-path={path},prealloc=on"


def hugetlbfs(mounts: Path = Path("/proc/mounts")) -> Path:
    """Where huge pages can be had as files."""
    for line in mounts.read_text().splitlines():
        fields = line.split()
        if fields[2] == "hugetlbfs":
            return Path(fields[1])
    raise Unavailable(
        "no hugetlbfs is mounted",
        "mount one (mount -t hugetlbfs none /dev/hugepages) or use memfd memory",
    )


def check_hugepages(
    memory_mib: int, page_kib: int, root: Path = Path("/sys/kernel/mm/hugepages")
) -> None:
    """Raise when there are too few free huge pages for this much memory."""
    needed = -(-memory_mib * 1024 // page_kib)
    pool = root / f"hugepages-{page_kib}kB"
    try:
        free = int((pool / "free_hugepages").read_text())
    except OSError:
        free = 0
    if free < needed:
        raise Unavailable(
            f"{needed} huge pages of {page_kib} KiB are needed for {memory_mib} MiB of guest "
            f"memory, {free} are free",
            f"as root: echo N > {pool}/nr_hugepages, or use memfd memory",
        )
