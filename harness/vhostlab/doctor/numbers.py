# SPDX-License-Identifier: BSD-3-Clause
"""What keeps the figures of this host from being honest: the same every time, and its own.

Each function looks at one thing below a :class:`Root`, and has an answer for a host that lacks it:
in a virtual machine most of this is the affair of the machine beneath.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vhostlab.doctor.finding import Area, Finding, State
from vhostlab.host.root import Root
from vhostlab.host.tuning import DEEP_IDLE_US, HUGEPAGES

CPU = "sys/devices/system/cpu"
THP = "sys/kernel/mm/transparent_hugepage"

#: With `--tune` a run does it itself, and undoes it.
BY_TUNE = "or `--tune`"

#: More of a core than this, taken by others, shows in a figure.
BUSY_CORES = 0.1
STEAL_SHARE = 0.005

#: Clocks that are read without leaving the guest or the program.
FAST_CLOCKS = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")


def _ok(name: str, meaning: str) -> Finding:
    return Finding(Area.NUMBERS, name, State.OK, meaning)


def _warn(name: str, meaning: str, remedy: str) -> Finding:
    return Finding(Area.NUMBERS, name, State.WARNING, meaning, remedy)


def virtual(root: Root) -> Finding:
    """Whether this is a virtual machine."""
    flags = re.search(r"^flags\s*:\s*(.*)$", root.read("proc/cpuinfo"), re.MULTILINE)
    if flags and "hypervisor" in flags.group(1).split():
        return _warn(
            "virtual machine",
            "its hypervisor decides when a processor runs, and at which speed",
            "measure on a machine of metal; here compare in turns, never by single figures",
        )
    return _ok("virtual machine", "no, a machine of metal")


def governor(root: Root) -> Finding:
    """The frequency governors."""
    paths = root.names(f"{CPU}/cpu*/cpufreq/scaling_governor")
    found = sorted({root.read(path) for path in paths})
    if not found:
        return _ok("governor", "frequencies are not decided by this kernel")
    if found == ["performance"]:
        return _ok("governor", "performance")
    return _warn(
        "governor",
        f"{', '.join(found)}: the frequency follows the load, and lags behind it",
        f"cpupower frequency-set -g performance ({BY_TUNE})",
    )


def turbo(root: Root) -> Finding:
    """Frequencies that depend on temperature and on neighbours."""
    name = "turbo"
    words = "frequencies depend on temperature and on what other cores do"
    if root.number(f"{CPU}/intel_pstate/no_turbo") == 0:
        return _warn(name, words, f"echo 1 > /{CPU}/intel_pstate/no_turbo ({BY_TUNE})")
    if root.number(f"{CPU}/cpufreq/boost") == 1:
        return _warn(name, words, f"echo 0 > /{CPU}/cpufreq/boost ({BY_TUNE})")
    return _ok(name, "off, or not decided by this kernel")


def smt(root: Root) -> Finding:
    """Two processors that are one core."""
    if root.number(f"{CPU}/smt/active") == 1:
        return _warn(
            "SMT",
            "two processors share one core: what runs on one slows the other",
            f"echo off > /{CPU}/smt/control, or keep both threads of a core for one purpose",
        )
    return _ok("SMT", "off, or there is none")


def numa(root: Root) -> Finding:
    """Several nodes, and a kernel that moves memory between them."""
    nodes = len(root.names("sys/devices/system/node/node[0-9]*"))
    if nodes < 2:
        return _ok("NUMA", "one node")
    if root.number("proc/sys/kernel/numa_balancing"):
        return _warn(
            "NUMA",
            f"{nodes} nodes, and the kernel moves memory between them while something is measured",
            f"sysctl kernel.numa_balancing=0 ({BY_TUNE})",
        )
    return _ok("NUMA", f"{nodes} nodes, memory stays where it is; keep target and guest on one")


def irqbalance(root: Root) -> Finding:
    """A daemon that moves interrupts."""
    for path in root.names("proc/[0-9]*/comm"):
        if root.read(path) == "irqbalance":
            return _warn(
                "irqbalance",
                "it moves interrupts to other processors while something is measured",
                "systemctl stop irqbalance",
            )
    return _ok("irqbalance", "is not running")


def idle_states(root: Root) -> Finding:
    """States of idleness from which it takes long to wake up."""
    deep = []
    for path in root.names(f"{CPU}/cpu*/cpuidle/state*/latency"):
        latency = root.number(path) or 0
        off = root.number(path.replace("latency", "disable"))
        if latency > DEEP_IDLE_US and not off:
            deep.append(latency)
    if deep:
        return _warn(
            "C-states",
            f"a processor that sleeps takes up to {max(deep)} us to wake up, and latency shows it",
            f"cpupower idle-set -D {DEEP_IDLE_US} ({BY_TUNE})",
        )
    return _ok("C-states", f"none that takes more than {DEEP_IDLE_US} us to wake up from")


def mitigations(root: Root) -> Finding:
    """Whether the kernel protects itself as those of others do."""
    files = root.names(f"{CPU}/vulnerabilities/*")
    on = sum(root.read(path).startswith("Mitigation") for path in files)
    if re.search(r"\bmitigations=off\b", root.read("proc/cmdline")):
        return _warn(
            "mitigations",
            "off: system calls are cheaper than where this will be used",
            "boot without mitigations=off, or say so beside each figure",
        )
    return _ok("mitigations", f"as the kernel wants them, {on} in force")


def swap(root: Root) -> Finding:
    """Memory of guests and ramdisks that may be on a disk."""
    rows = [line.split() for line in root.read("proc/swaps").splitlines()[1:]]
    if not rows:
        return _ok("swap", "none")
    used = sum(int(row[3]) for row in rows if len(row) > 3 and row[3].isdigit()) // 1024
    return _warn(
        "swap",
        f"memory of a guest or a ramdisk may be on a disk; {used} MiB of something are",
        "swapoff -a",
    )


def thp(root: Root) -> Finding:
    """Transparent huge pages of anonymous memory."""
    chosen = root.chosen(f"{THP}/enabled")
    if chosen == "always":
        return _warn(
            "transparent huge pages",
            "always: the kernel moves memory about to make them while something is measured",
            f"echo madvise > /{THP}/enabled ({BY_TUNE})",
        )
    return _ok("transparent huge pages", chosen or "the kernel has none")


def guest_memory(root: Root) -> Finding:
    """The size of the pages that guests and ramdisks have."""
    pages = root.number(HUGEPAGES) or 0
    if pages:
        return _ok("huge pages", f"{pages} of the default size")
    shmem = root.chosen(f"{THP}/shmem_enabled")
    if shmem in ("advise", "always", "within_size", "force"):
        return _ok("huge pages", f"none reserved; shared memory may have them (shmem: {shmem})")
    return _warn(
        "huge pages",
        "none: guests and ramdisks are in pages of 4 KiB, and address translation costs more",
        "sysctl vm.nr_hugepages=1024 (or `--tune-hugepages 1024`), "
        f"or echo advise > /{THP}/shmem_enabled",
    )


def ksm(root: Root) -> Finding:
    """Equal pages of guests, made one."""
    if root.number("sys/kernel/mm/ksm/run") == 1:
        return _warn(
            "KSM",
            "the kernel merges equal pages of guests, and copies them when they are written to",
            f"echo 0 > /sys/kernel/mm/ksm/run ({BY_TUNE})",
        )
    return _ok("KSM", "off")


def watchdog(root: Root) -> Finding:
    """The interrupt of the NMI watchdog, which also takes a performance counter."""
    if root.number("proc/sys/kernel/nmi_watchdog") == 1:
        return _warn(
            "NMI watchdog",
            "it interrupts every processor, and takes one of its performance counters",
            f"sysctl kernel.nmi_watchdog=0 ({BY_TUNE})",
        )
    return _ok("NMI watchdog", "off")


def clock(root: Root) -> Finding:
    """What reading the time costs: fio does it twice for each request."""
    current = root.read("sys/devices/system/clocksource/clocksource0/current_clocksource")
    if current and current not in FAST_CLOCKS:
        return _warn(
            "clock",
            f"{current} is slow to read, and fio reads it twice for each request",
            "boot with clocksource=tsc, if dmesg says that the TSC is stable",
        )
    return _ok("clock", current or "not to be known")


def quota(root: Root) -> Finding:
    """A container that is stopped when it has used its share."""
    text = root.read("sys/fs/cgroup/cpu.max").split()
    if len(text) == 2 and text[0] != "max":
        cores = int(text[0]) / int(text[1])
        return _warn(
            "CPU quota",
            f"this container is stopped when it has used the time of {cores:g} cores; polling does",
            "run outside of the container, or pin it to cores (--cpuset-cpus) instead",
        )
    return _ok("CPU quota", "none")


CHECKS: tuple[Callable[[Root], Finding], ...] = (
    *(virtual, governor, turbo, smt, numa, irqbalance, idle_states, mitigations, swap),
    *(thp, guest_memory, ksm, watchdog, clock, quota),
)


@dataclass(frozen=True)
class Times:
    """CPU time of a host, in ticks, as the first line of /proc/stat has it."""

    columns: tuple[int, ...]

    @classmethod
    def of(cls, root: Root) -> Times:
        """Now."""
        first = root.read("proc/stat").split("\n", 1)[0].split()
        return cls(tuple(int(word) for word in first[1:9]))

    def since(self, before: Times) -> Times:
        """What has come to it."""
        pairs = zip(self.columns, before.columns, strict=True)
        return Times(tuple(after - earlier for after, earlier in pairs))


def load(before: Times, after: Times, seconds: float, ticks: int) -> Sequence[Finding]:
    """What others, and the hypervisor, took between two looks."""
    user, nice, system, _, _, irq, softirq, steal = after.since(before).columns
    busy = (user + nice + system + irq + softirq) / ticks / seconds
    total = max(1, sum(after.since(before).columns))
    others = (
        _warn("other load", f"others keep {busy:.1f} cores busy", "end it: `top` shows what it is")
        if busy > BUSY_CORES
        else _ok("other load", f"{busy:.2f} cores")
    )
    share = steal / total
    stolen = (
        _warn(
            "steal time",
            f"the hypervisor gave {100 * share:.1f} % of the time to others",
            "measure when it is quiet, or on a machine of one's own",
        )
        if share > STEAL_SHARE
        else _ok("steal time", f"{100 * share:.1f} %")
    )
    return others, stolen
