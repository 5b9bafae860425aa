# SPDX-License-Identifier: BSD-3-Clause
"""A VM that changes the disk it is given and powers itself off: installers and first boots."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qemu.qmp import QMPClient, QMPError

from vhostlab.errors import HarnessError, MilestoneTimeout
from vhostlab.images.progress import Progress
from vhostlab.process import Process, find_program
from vhostlab.qemu.console import plain
from vhostlab.qemu.disks import escaped
from vhostlab.qemu.firmware import ovmf
from vhostlab.qemu.newer import HINT, PROGRAM
from vhostlab.wait import until

_KEYS, _KEY_INTERVAL_S = 60, 1.0


@dataclass(frozen=True)
class Milestone:
    """Something that the VM says on its serial port on its way."""

    name: str
    pattern: str


async def install(
    disk: Path,
    discs: Sequence[Path],
    milestones: Sequence[Milestone],
    progress: Progress,
    work: Path,
    *,
    failure: str,
    firmware: str,
    memory_mib: int,
    timeout_s: float,
    network: bool = False,
    press_key: bool = False,
    drives: bool = False,
    extra: Sequence[str] = (),
) -> None:
    """Run it until it powers itself off. The last milestone is the evidence that all was done;
    ``failure`` on the serial port says that it was not. ``press_key``: the first disc boots when
    somebody presses a key. ``drives``: the discs are in drives, and bootable after the disk;
    otherwise they are disks, since kernels for clouds may know no drives.
    """
    # The accelerator is found out by booting a guest, which needs an image, which may need this.
    from vhostlab.host.accel import installer_accelerator

    accel = await installer_accelerator()
    log = work / "serial.log"
    argv = [find_program(PROGRAM, HINT), "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-machine", "q35", "-accel", accel, "-cpu", "max" if accel == "tcg" else "host"]
    argv += ["-smp", "2", "-m", f"{memory_mib}M", "-serial", f"file:{escaped(log)}"]
    argv += ["-drive", f"if=none,id=root,format=qcow2,cache=unsafe,file={escaped(disk)}"]
    argv += ["-device", "virtio-blk-pci,drive=root,bootindex=0"]
    for number, disc in enumerate(discs):
        argv += ["-drive", f"if=none,id=disc{number},format=raw,readonly=on,file={escaped(disc)}"]
        device = f"ide-cd,bus=ide.{number},bootindex={number + 1}" if drives else "virtio-blk-pci"
        argv += ["-device", f"{device},drive=disc{number}"]
    if firmware == "uefi":
        code, empty = ovmf()
        variables = work / "variables.fd"
        shutil.copyfile(empty, variables)
        argv += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={escaped(code)}"]
        argv += ["-drive", f"if=pflash,format=raw,unit=1,file={escaped(variables)}"]
    if network:
        argv += ["-nic", "user,model=virtio-net-pci"]
    async with _started([*argv, *extra], work / "install.log", name=disk.parent.name) as running:
        process, monitor = running
        pressing = asyncio.create_task(_press(monitor)) if press_key else None
        try:
            await _follow(process, log, milestones, progress, failure, timeout_s)
        finally:
            if pressing is not None:
                pressing.cancel()


@asynccontextmanager
async def _started(
    argv: Sequence[str], log: Path, name: str
) -> AsyncIterator[tuple[Process, QMPClient]]:
    """QEMU, and its monitor."""
    near, far = socket.socketpair()
    monitor = QMPClient(name)
    words = ["-chardev", f"socket,id=qmp,fd={far.fileno()}", "-mon", "chardev=qmp,mode=control"]
    process = Process([*argv, *words], log, pass_fds=(far.fileno(),))
    try:
        await process.start()
    finally:
        far.close()
    try:
        try:
            await monitor.connect(near)
        except (QMPError, OSError, EOFError) as error:
            await process.wait(5.0)
            raise process.died("QEMU") from error
        yield process, monitor
    finally:
        with suppress(QMPError, OSError, EOFError):
            await monitor.disconnect()
        await process.stop()


async def _press(monitor: QMPClient) -> None:
    """The space bar, for as long as the firmware may ask."""
    key = [{"type": "qcode", "data": "spc"}]
    with suppress(QMPError, OSError, EOFError):
        for _ in range(_KEYS):
            await monitor.execute("send-key", {"keys": key})
            await asyncio.sleep(_KEY_INTERVAL_S)


async def _follow(
    process: Process,
    log: Path,
    milestones: Sequence[Milestone],
    progress: Progress,
    failure: str,
    timeout_s: float,
) -> None:
    began = time.monotonic()
    last = milestones[-1]

    async def ended() -> bool | None:
        said = _said(log)
        if failure in said:
            why = next(line.strip() for line in said.splitlines() if failure in line)
            raise HarnessError(f"the guest could not be prepared: {why}")
        reached = sum(re.search(m.pattern, said) is not None for m in milestones)
        progress.amount(reached, len(milestones))
        if process.alive:
            return None
        if process.returncode != 0:
            raise process.died("QEMU")
        if not re.search(last.pattern, said):
            minutes = (time.monotonic() - began) / 60
            raise HarnessError(
                f"the guest powered itself off after {minutes:.1f} minutes without saying "
                f"'{last.name}': {_tail(said)}"
            )
        return True

    try:
        await until(f"end of the preparation of {log.parent.name}", timeout_s, ended)
    except MilestoneTimeout as error:
        error.add_evidence(console_tail=_tail(_said(log)))
        raise


def _said(log: Path) -> str:
    try:
        return plain(log.read_text(errors="replace"))
    except FileNotFoundError:
        return ""


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-10:])
