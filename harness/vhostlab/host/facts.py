# SPDX-License-Identifier: BSD-3-Clause
"""What this machine is: the part of a result's environment that belongs to the host."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_VERSION_TIMEOUT_S = 20.0
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?[^\s,()]*")


@dataclass(frozen=True)
class HugepagePool:
    """Huge pages of one size."""

    size_kib: int
    total: int
    free: int


@dataclass(frozen=True)
class HostFacts:
    """Facts about the host. An empty text: the thing is not installed or not to be known."""

    kernel: str
    cpu_model: str
    cpus: int
    usable_cpus: tuple[int, ...]
    numa_nodes: int
    memory_mib: int
    hugepages: tuple[HugepagePool, ...]
    distribution: str
    hypervisor: bool
    governor: str
    qemu_version: str
    fio_version: str
    dpdk_version: str


def facts() -> HostFacts:
    """Look at the host. Starts a few short programs to learn their versions."""
    cpuinfo = _read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    usable = usable_cpus()
    return HostFacts(
        kernel=kernel_release(),
        cpu_model=model.group(1).strip() if model else platform.machine(),
        cpus=os.cpu_count() or len(usable),
        usable_cpus=usable,
        numa_nodes=numa_nodes(),
        memory_mib=int(memory.group(1)) // 1024 if memory else 0,
        hugepages=hugepage_pools(),
        distribution=_distribution(),
        hypervisor="hypervisor" in flags.group(1).split() if flags else False,
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip(),
        qemu_version=program_version("qemu-system-x86_64", "--version"),
        fio_version=program_version("fio", "--version"),
        dpdk_version=program_version("pkg-config", "--modversion", "libdpdk"),
    )


def numa_nodes(root: Path = Path("/sys/devices/system/node")) -> int:
    """How many NUMA nodes there are."""
    return max(1, len(list(root.glob("node[0-9]*"))))


def kernel_release() -> str:
    """The version of the running kernel."""
    return platform.release()


def usable_cpus() -> tuple[int, ...]:
    """The processors that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def free_mib(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that can be had now without swapping."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read(meminfo), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0


def hugepage_pools(root: Path = Path("/sys/kernel/mm/hugepages")) -> tuple[HugepagePool, ...]:
    """The huge pages there are, smallest size first."""
    pools = []
    for directory in root.glob("hugepages-*kB"):
        size = directory.name.removeprefix("hugepages-").removesuffix("kB")
        total = _read(directory / "nr_hugepages")
        free = _read(directory / "free_hugepages")
        pools.append(HugepagePool(int(size), int(total or 0), int(free or 0)))
    return tuple(sorted(pools, key=lambda pool: pool.size_kib))


def program_version(program: str, *arguments: str) -> str:
    """The version number in what a program prints first; empty when it cannot be had."""
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = _VERSION.search(done.stdout)
    return found.group(0) if found else ""


def boot_id() -> str:
    """A text that is another one after every start of this machine."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
