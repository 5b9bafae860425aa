# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab doctor``: what this machine has for running guests."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from vhostlab import host, images
from vhostlab.errors import HarnessError
from vhostlab.process import find_program
from vhostlab.qemu.newer import HINT as QEMU_HINT
from vhostlab.target import qsd
from vhostlab.target.vhostlab import find_daemon


def _accelerator() -> str:
    async def ask() -> str:
        return await host.accelerator(await images.build())

    return {"kvm": "kvm: guests run on the processor", "tcg": "tcg: guests are emulated"}[
        asyncio.run(ask())
    ]


def _image() -> str:
    image = asyncio.run(images.build())
    return f"{image.name}-{image.id}"


def _avocado() -> str:
    if importlib.util.find_spec("avocado") is None:
        raise HarnessError("not installed for this Python", "run `make venv`")
    return "present"


def run(console: Console) -> int:
    """Print facts and what is missing; 0 when guests can be run here, 2 when not."""
    facts = host.facts()
    console.print(Text(f"{facts.distribution}, Linux {facts.kernel}"))
    console.print(Text(f"{facts.cpu_model}, {facts.cpus} CPUs, {facts.memory_mib} MiB"))
    for pool in facts.hugepages:
        console.print(Text(f"huge pages of {pool.size_kib} KiB: {pool.free} of {pool.total} free"))
    for name, version in (
        ("QEMU", facts.qemu_version),
        ("fio", facts.fio_version),
        ("DPDK", facts.dpdk_version),
    ):
        console.print(Text(f"{name}: {version or 'not installed'}"))
    needed: tuple[tuple[str, Callable[[], str]], ...] = (
        ("QEMU", lambda: find_program("qemu-system-x86_64", QEMU_HINT)),
        ("runner (avocado)", _avocado),
        ("micro guest", _image),
        ("accelerator", _accelerator),
    )
    useful: tuple[tuple[str, Callable[[], str]], ...] = (
        ("target vhostlab", lambda: str(find_daemon())),
        (
            "target qemu-storage-daemon",
            lambda: find_program("qemu-storage-daemon", qsd.HINT),
        ),
    )
    missing = sum(not _look(console, name, probe) for name, probe in needed)
    targets = sum(_look(console, name, probe) for name, probe in useful)
    return 0 if missing == 0 and targets else 2


def _look(console: Console, name: str, probe: Callable[[], str]) -> bool:
    try:
        line, good = probe(), True
    except HarnessError as error:
        line, good = str(error).splitlines()[0], False
    mark = Text("ok       " if good else "missing  ", style="green" if good else "bold red")
    console.print(mark.append(f"{name}: {line}", style="none"), soft_wrap=True)
    return good
