# SPDX-License-Identifier: BSD-3-Clause
"""The layers between fio and a file, each as something that a job can be run on.

Concepts: a *rung* is one way from fio to a file of its own: bare (``file``), through a guest's disk
(``guest``), or through a vhost-user socket without a guest (``frontend``). All rungs stand at the
same time, so that they can be measured in turns; those that are not being measured are idle.
"""

from __future__ import annotations

import abc
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from vhostlab import fio, frontend
from vhostlab import target as targets
from vhostlab.guestdisk import GuestDisk
from vhostlab.images import Image
from vhostlab.paths import source_dir
from vhostlab.qemu import Vm
from vhostlab.scenario.layout import MIB, Booted, boot, pattern
from vhostlab.target import Controller, Disk, Target
from vhostlab.target.base import DeviceType

#: The target inside of QEMU: what a guest without vhost-user has.
IN_PROCESS = "qemu"

FILE_SIZE = 128 * MIB


@dataclass(frozen=True)
class Tools:
    """The programs that are run on this host."""

    fio: str
    engine: Path


class Rung(abc.ABC):
    """One layer. ``target`` is "none" where nothing is between fio and the file."""

    path: str
    target: str

    @property
    def label(self) -> str:
        """For people."""
        return self.path if self.target == "none" else f"{self.path} {self.target}"

    @abc.abstractmethod
    async def measure(self, job: str, runtime_s: int, keep: Path) -> tuple[fio.Run, float | None]:
        """Run a job of fio-jobs; what fio says, and the CPU time of the target if there is one."""


class FileRung(Rung):
    """fio on the file."""

    path, target = "file", "none"

    def __init__(self, tools: Tools, file: Path) -> None:
        self._tools = tools
        self._file = file

    async def measure(self, job: str, runtime_s: int, keep: Path) -> tuple[fio.Run, float | None]:
        text = frontend.file_job_text(job_file(job).read_text(), self._file)
        made = keep.with_suffix(".fio")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
        deadline = runtime_s + fio.FIO_START_STOP_S
        run = await fio.run_here(self._tools.fio, made, str(self._file), runtime_s, keep, deadline)
        return run, None


class FrontendRung(Rung):
    """fio's engine on a socket of the target."""

    path = "frontend"

    def __init__(self, tools: Tools, target: Target, controller: Controller) -> None:
        self.target = target.name
        self._tools = tools
        self._on = target
        disk = controller.disks[0].name
        self._place = frontend.Place.of(controller, disk, target.endpoints[controller.name])

    async def measure(self, job: str, runtime_s: int, keep: Path) -> tuple[fio.Run, float | None]:
        made = keep.with_suffix(".fio")
        frontend.write_job(job_file(job), made, self._tools.engine, self._place)
        deadline = runtime_s + fio.FIO_START_STOP_S
        used = self._on.cpu_seconds()
        socket = str(self._place.socket)
        run = await fio.run_here(self._tools.fio, made, socket, runtime_s, keep, deadline)
        return run, self._on.cpu_seconds() - used


class GuestRung(Rung):
    """fio in a guest."""

    path = "guest"

    def __init__(self, target: Target, vm: Vm, disk: GuestDisk) -> None:
        self.target = target.name
        self._on = target
        self._vm = vm
        self._disk = disk

    async def measure(self, job: str, runtime_s: int, keep: Path) -> tuple[fio.Run, float | None]:
        used = self._on.cpu_seconds()
        run = await fio.run(self._vm.guest, job_file(job), self._disk.node, runtime_s, keep)
        return run, self._on.cpu_seconds() - used


@dataclass(frozen=True)
class Site:
    """Where the rungs stand."""

    tools: Tools
    image: Image
    accel: str
    device: DeviceType
    scratch: Path
    logs: Path
    booted: Callable[[Vm], Awaitable[None]]


@asynccontextmanager
async def stand(names: Sequence[str], site: Site) -> AsyncIterator[tuple[Rung, ...]]:
    """The file, a guest on QEMU's own disk, then a guest and a front-end for each target."""
    rungs: list[Rung] = [FileRung(site.tools, filled(site.scratch / "file.raw"))]
    async with AsyncExitStack() as stack:
        for name in dict.fromkeys((IN_PROCESS, *names)):
            driver = targets.get(name)
            guest = _controller(site, name, "guest")
            direct = [_controller(site, name, "direct")] if driver.capabilities.sockets else []
            workdir = site.scratch / name
            stack.callback(_keep_logs, workdir, site.logs / name)
            target = await stack.enter_async_context(driver(workdir))
            await target.start((guest, *direct))
            up: Booted = await stack.enter_async_context(
                boot(site.image, site.accel, target, (guest,), site.logs / name)
            )
            await site.booted(up.vm)
            rungs.append(GuestRung(target, up.vm, up.disks[0]))
            rungs += [FrontendRung(site.tools, target, controller) for controller in direct]
        yield tuple(rungs)


def job_file(name: str) -> Path:
    """A job of the project."""
    return source_dir() / "fio-jobs" / f"{name}.fio"


def filled(path: Path) -> Path:
    """A file that is there to its last block: all of them are as fast as they can be."""
    block = pattern("ladder", MIB)
    with path.open("wb") as file:
        for _ in range(FILE_SIZE // MIB):
            file.write(block)
        file.flush()
    return path


def _controller(site: Site, target: str, name: str) -> Controller:
    path = filled(site.scratch / f"{target}-{name}.raw")
    disk = Disk(f"aio-{name}", "aio", FILE_SIZE, path=path)
    return Controller(name, site.device, (disk,))


def _keep_logs(workdir: Path, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    for path in (*workdir.glob("*.log"), *workdir.glob("*.conf")):
        shutil.copyfile(path, logs / path.name)
