# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab vmtest --dry-run``: a guest on the target's disks, left up for a person."""

from __future__ import annotations

import asyncio
import signal

from rich.console import Console
from rich.text import Text

from vhostlab import host, images
from vhostlab import target as targets
from vhostlab.guestdisk import GuestDisk
from vhostlab.images.progress import Shown
from vhostlab.paths import socket_dir
from vhostlab.qemu import newer
from vhostlab.run import Request
from vhostlab.scenario.layout import boot, standard
from vhostlab.scratch import scratch_dir

MIB = 1024 * 1024


def _describe(disk: GuestDisk) -> str:
    spec = disk.disk
    words = f"{disk.node:<9} {disk.label:<11} {spec.kind:<7} {spec.size_bytes // MIB:>5} MiB"
    words += f", {spec.block_size} B blocks" if spec.block_size != 512 else ""
    return words if disk.writable else words + ", read-only"


async def _stopped(vm_ended: asyncio.Task[int], console: Console) -> None:
    """Wait for Ctrl-C, SIGTERM or the end of the guest."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({waiting, vm_ended}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    console.print("the guest is gone" if vm_ended.done() else "ending the guest")


async def run(request: Request, console: Console) -> int:
    """Boot, say how to reach everything, and wait for the person to finish."""
    driver = targets.get(request.target)
    with Shown(console) as progress:
        image = await images.build(images.recipe_path(request.guest), progress=progress)
        accel = await host.accelerator(await images.build())
        await newer.ensure(image, accel, progress)
    with scratch_dir("dry") as work, socket_dir("dry") as sockets:
        qmp = sockets / "qmp"
        controllers = standard(work, driver.capabilities)
        extra = ("-qmp", f"unix:{qmp},server=on,wait=off")
        async with driver(work / "target") as target:
            await target.start(controllers)
            where = work / "guest"
            async with boot(image, accel, target, controllers, where, extra) as up:
                lines = [
                    f"the guest is up after {up.vm.boot_seconds:.1f} s ({accel}); its disks:",
                    *(f"  {_describe(disk)}" for disk in up.disks),
                    f"console:  vhostlab console {up.vm.console.socket}",
                    f"monitor:  socat - UNIX-CONNECT:{qmp}   (QMP)",
                    *(f"target:   {line}" for line in target.whereabouts()),
                ]
                lines.append("Ctrl-C here, or poweroff in the guest, ends it.")
                console.print(Text("\n".join(lines)), soft_wrap=True)
                ended = asyncio.create_task(up.vm.process.wait())
                try:
                    await _stopped(ended, console)
                finally:
                    ended.cancel()
    return 0
