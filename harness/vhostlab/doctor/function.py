# SPDX-License-Identifier: BSD-3-Clause
"""What has to be here for guests to boot and for targets to be measured at all."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vhostlab import host, images, paths
from vhostlab import target as known
from vhostlab.doctor.finding import Area, Finding, State
from vhostlab.errors import HarnessError
from vhostlab.host.accel import KVM
from vhostlab.host.facts import free_mib, program_version
from vhostlab.host.root import Root
from vhostlab.process import find_program
from vhostlab.qemu.newer import HINT as QEMU_HINT

#: Images, packages and results need about so much.
CACHE_MIB = 2048
MEMORY_MIB = 2048

#: Contexts for asynchronous I/O: a disk takes up to a thousand on each core that serves it.
AIO_SPARE = 16_384


def _found(name: str, meaning: str, area: Area = Area.FUNCTION) -> Finding:
    return Finding(area, name, State.OK, meaning)


def _tried(
    area: Area, name: str, probe: Callable[[], str], state: State = State.MISSING
) -> Finding:
    """A probe that says what it found, or raises with the remedy as its hint."""
    try:
        return Finding(area, name, State.OK, probe())
    except HarnessError as error:
        return Finding(area, name, state, error.message.splitlines()[0], error.hint)


def program(name: str, command: tuple[str, ...], hint: str, needed: bool = True) -> Finding:
    """A program and its version."""

    def probe() -> str:
        find_program(command[0], hint)
        return program_version(*command) or "version unknown"

    return _tried(Area.FUNCTION, name, probe, State.MISSING if needed else State.WARNING)


def python() -> Finding:
    """The interpreter; the package asks for what it needs when it is installed."""
    return _found("Python", platform.python_version())


def runner() -> Finding:
    """Avocado, for this interpreter."""

    def probe() -> str:
        if importlib.util.find_spec("avocado") is None:
            raise HarnessError("avocado is not installed for this Python", "make venv")
        return f"avocado {importlib.metadata.version('avocado-framework')}"

    return _tried(Area.FUNCTION, "runner", probe)


def dpdk() -> Finding:
    """What our target is built with."""
    version = program_version("pkg-config", "--modversion", "libdpdk")
    if version:
        return _found("DPDK", version)
    return Finding(
        Area.FUNCTION,
        "DPDK",
        State.WARNING,
        "not installed: our target cannot be built here",
        "ci/setup.sh",
    )


def kernel(root: Root) -> Finding:
    """The kernel of this host."""
    return _found("kernel", root.read("proc/sys/kernel/osrelease") or platform.release())


def memory(root: Root) -> Finding:
    """Room for a guest, a target and its ramdisks."""
    free = free_mib(root.path / "proc/meminfo")
    if free < MEMORY_MIB:
        words = f"{free} MiB can be had; a guest and its target take {MEMORY_MIB} MiB"
        return Finding(Area.FUNCTION, "memory", State.WARNING, words, "end what uses it")
    return _found("memory", f"{free} MiB can be had")


def aio(root: Root) -> Finding:
    """Contexts of asynchronous I/O, of which a host has a number."""
    limit, used = root.number("proc/sys/fs/aio-max-nr"), root.number("proc/sys/fs/aio-nr")
    if limit is None or used is None:
        return _found("asynchronous I/O", "no limit is known")
    if limit - used < AIO_SPARE:
        words = (
            f"{limit - used} requests are left of {limit}: aio disks of many queues will not open"
        )
        remedy = "sysctl fs.aio-max-nr=1048576"
        return Finding(Area.FUNCTION, "asynchronous I/O", State.WARNING, words, remedy)
    return _found("asynchronous I/O", f"{limit - used} requests are left of {limit}")


def cache(free_mib: Callable[[Path], int] | None = None) -> Finding:
    """Room for images."""
    there = paths.cache_dir()
    place = next(p for p in (there, *there.parents) if p.exists())
    free = (free_mib or _free_mib)(place)
    if free < CACHE_MIB:
        words = f"{free} MiB are free in {there}; images take {CACHE_MIB} MiB and more"
        return Finding(
            Area.FUNCTION,
            "disk space",
            State.WARNING,
            words,
            "make room, or set VHOSTLAB_CACHE to a directory on another disk",
        )
    return _found("disk space", f"{free} MiB are free in {there}")


def _free_mib(place: Path) -> int:
    return shutil.disk_usage(place).free // (1024 * 1024)


def micro_guest() -> Finding:
    """The image that every run has, built if need be."""

    def probe() -> str:
        image = asyncio.run(images.build())
        return f"{image.name}-{image.id}"

    return _tried(Area.FUNCTION, "micro guest", probe)


@dataclass(frozen=True)
class Kvm:
    """What is known about KVM. ``device``: /dev/kvm is there; ``usable``: we may open it."""

    device: bool
    usable: bool
    accel: str
    why: str = ""


def kvm_of_this_host() -> Kvm:
    """Boots a guest, unless that was done since this machine was started."""

    async def ask() -> tuple[str, str]:
        return await host.verdict(await images.build())

    return Kvm(KVM.exists(), os.access(KVM, os.R_OK | os.W_OK), *asyncio.run(ask()))


def accelerator(probe: Callable[[], Kvm] = kvm_of_this_host) -> Finding:
    """KVM, proved by a guest that has booted."""
    try:
        kvm = probe()
    except HarnessError as error:
        return Finding(Area.FUNCTION, "KVM", State.MISSING, error.message, error.hint)
    if kvm.accel == "kvm":
        return _found("KVM", "a guest has booted with it")
    if os.environ.get("VHOSTLAB_ACCEL") == "tcg":
        words, remedy = "VHOSTLAB_ACCEL=tcg forbids it", "unset VHOSTLAB_ACCEL"
    elif not kvm.device:
        words, remedy = "there is no /dev/kvm", "modprobe kvm_intel (or kvm_amd); VT-x in the BIOS"
    elif not kvm.usable:
        words, remedy = "/dev/kvm may not be opened", f"usermod -aG kvm {_user()}, and log in again"
    else:
        words = "/dev/kvm is there, and no guest boots with it"
        words += f" ({' '.join(kvm.why.split())[:120]})" if kvm.why else ""
        remedy = "measure on a machine of metal, or where nested virtualisation works"
    meaning = f"{words}: guests are emulated (TCG), and their timings are functional only"
    return Finding(Area.FUNCTION, "KVM", State.WARNING, meaning, remedy)


def _user() -> str:
    return os.environ.get("USER", "$USER")


def targets() -> list[Finding]:
    """Which targets could be measured. Only ours is missed where it is not there."""
    return [
        _tried(
            Area.TARGET,
            name,
            known.get(name).preflight,
            State.MISSING if name == "vhostlab" else State.WARNING,
        )
        for name in known.names()
    ]


def look(root: Root) -> list[Finding]:
    """All of it."""
    return [
        kernel(root),
        python(),
        runner(),
        program("QEMU", ("qemu-system-x86_64", "--version"), QEMU_HINT),
        program("fio", ("fio", "--version"), "install fio", needed=False),
        dpdk(),
        memory(root),
        aio(root),
        cache(),
        micro_guest(),
        accelerator(),
    ]
