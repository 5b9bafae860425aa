# SPDX-License-Identifier: BSD-3-Clause
"""The host's kernel: vhost-scsi, set up through configfs (LIO).

A controller is a world wide port name of the vhost fabric; its disk number N is the LUN 0 of the
portal group N, so that guests see target numbers as on any other target. Requests are served by a
kernel thread for each QEMU, whose time is what the target costs. Work that the kernel hands on to
its work queues is not in it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import ClassVar

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.host.facts import kernel_release
from vhostlab.host.leases import start_time
from vhostlab.paths import runtime_dir
from vhostlab.process import process_cpu_seconds, thread_cpu_seconds
from vhostlab.qemu import Disk as QemuDisk
from vhostlab.qemu import KernelScsi, Vm
from vhostlab.target.base import (
    PLAIN_WIRING,
    Controller,
    Disk,
    TargetCapabilities,
    Wiring,
    distinct,
)
from vhostlab.target.configfs import Guard, Journal, Tree, guard_command, left_behind
from vhostlab.target.processless import Processless
from vhostlab.wait import until

PAGE = 4096
REMOVAL_DEADLINE_S = 30.0
FABRIC = "vhost"


class Kernel(Processless):
    """vhost-scsi of the running kernel."""

    name = "kernel"
    capabilities = TargetCapabilities(
        devices=frozenset({"scsi"}),
        disk_kinds=frozenset({"null", "malloc", "aio"}),
        discard=False,
        write_zeroes=False,
        readonly=False,
        ring_formats=frozenset({"split"}),
        max_queues=64,
        serial=None,
        process=False,
        sockets=False,
    )

    configfs: ClassVar[Path] = Path("/sys/kernel/config")
    device: ClassVar[Path] = Path("/dev/vhost-scsi")
    proc: ClassVar[Path] = Path("/proc")

    def __init__(
        self, workdir: Path, *, program: Path | None = None, sockets: Path | None = None
    ) -> None:
        super().__init__(workdir, program=program, sockets=sockets)
        self._tree = self.tree()
        self._journal = Journal.of_this_process(runtime_dir(), f"{id(self):x}")
        self._guard: Guard | None = None
        self._workers: dict[Path, float] = {}
        """Threads that serve, and what each has used as far as it is known."""

    @classmethod
    def tree(cls) -> Tree:
        """The part of configfs that is the kernel target's."""
        return Tree(cls.configfs / "target")

    @classmethod
    def guard_command(cls, journal: Journal) -> list[str]:
        """Who removes what was made if this process is killed."""
        return guard_command(cls.configfs / "target", journal)

    @classmethod
    def preflight(cls) -> str:
        if not cls.configfs.is_dir() or not any(cls.configfs.iterdir()):
            raise Unavailable(
                f"no configfs is mounted at {cls.configfs}, or the kernel has no target core",
                f"as root: modprobe vhost_scsi; mount -t configfs none {cls.configfs}",
            )
        where = cls.configfs / "target"
        if not where.is_dir():
            raise Unavailable(
                f"the kernel has no target core: {where} is missing", "as root: modprobe vhost_scsi"
            )
        if not cls.device.exists():
            raise Unavailable(
                f"the kernel has no vhost-scsi: {cls.device} is missing",
                "as root: modprobe vhost_scsi",
            )
        if not os.access(where / "core", os.W_OK):
            raise Unavailable(f"{where} cannot be written to", "run as root")
        return str(where)

    @classmethod
    async def version(cls) -> str:
        return kernel_release()

    def disk(self, controller: Controller, wiring: Wiring = PLAIN_WIRING) -> QemuDisk:
        return KernelScsi(
            port_name(controller.name),
            num_queues=controller.num_queues,
            id=controller.name,
            queue_size=wiring.queue_size,
            bus=wiring.bus,
        )

    async def _start(self, controllers: tuple[Controller, ...]) -> None:
        self.preflight()
        for old in left_behind(runtime_dir()):
            old.undo(self._tree)
        if self._guard is None:
            self._guard = Guard(self.guard_command(self._journal))
        try:
            self._make(controllers)
        except OSError as error:
            raise HarnessError(
                f"the kernel refused {error.filename or 'a step'}: {error.strerror}"
            ) from error

    async def stop(self) -> None:
        """Remove all that was made. QEMU has to have ended."""

        async def gone() -> bool | None:
            return None if self._journal.undo(self._tree) else True

        watchman, self._guard = self._guard, None
        try:
            await until("removal of the target from configfs", REMOVAL_DEADLINE_S, gone)
        except BaseException:
            if watchman is not None:
                watchman.release()
            raise
        if watchman is not None:
            watchman.dismiss()

    def _make(self, controllers: tuple[Controller, ...]) -> None:
        if not self._tree.exists(FABRIC):
            self._journal.note("shared", FABRIC)
            self._tree.mkdir(FABRIC)
        stores = {d.name: self._store(d, n) for n, d in enumerate(distinct(controllers))}
        for controller in controllers:
            port = f"{FABRIC}/{port_name(controller.name)}"
            self._mkdir(port)
            for number, disk in enumerate(controller.disks):
                group = f"{port}/tpgt_{number}"
                self._mkdir(group)
                # before the LUN: it cannot be taken away while there is one
                self._journal.note("nexus", f"{group}/nexus")
                self._tree.write(f"{group}/nexus", port_name(f"{controller.name} {number} guest"))
                self._mkdir(f"{group}/lun/lun_0")
                self._journal.note("link", f"{group}/lun/lun_0/disk")
                self._tree.link(f"{group}/lun/lun_0/disk", stores[disk.name])

    def _store(self, disk: Disk, number: int) -> str:
        plugin = "fileio" if disk.kind == "aio" else "rd_mcp"
        adapter = f"core/{plugin}_{os.getpid() * 64 + number}"
        self._mkdir(adapter)
        store = f"{adapter}/{disk.name}"
        self._mkdir(store)
        self._tree.write(f"{store}/control", _control(disk))
        self._tree.write(f"{store}/enable", "1")
        self._tree.write(f"{store}/attrib/block_size", str(disk.block_size))
        self._tree.write(f"{store}/wwn/vpd_unit_serial", disk.serial or _digits(disk.name, 16))
        return store

    def _mkdir(self, path: str) -> None:
        self._journal.note("dir", path)
        self._tree.mkdir(path)

    def cpu_seconds(self) -> float:
        """Of the threads that serve our guests: before Linux 6.4 threads of the kernel, then of
        QEMU's process; both have the same name."""
        for vm in self.guests:
            for worker in self._named(f"vhost-{vm.pid}", vm.pid):
                self._workers.setdefault(worker, 0.0)
        for worker, known in self._workers.items():
            self._workers[worker] = self._used(worker, known)
        return sum(self._workers.values())

    def threads(self, vm: Vm) -> tuple[int, ...]:
        return tuple(int(w.name) for w in self._named(f"vhost-{vm.pid}", vm.pid))

    def _named(self, name: str, qemu: int) -> list[Path]:
        found = []
        for pattern in (f"{qemu}/task/[0-9]*/comm", "[0-9]*/comm"):
            for comm in self.proc.glob(pattern):
                try:
                    same = comm.read_text().strip() == name[:15]
                except OSError:
                    continue
                if same:
                    found.append(comm.parent)
        return found

    @staticmethod
    def _used(worker: Path, known: float) -> float:
        if worker.parent.name == "task":
            pid = int(worker.parent.parent.name)
            return thread_cpu_seconds(pid, int(worker.name), known)
        try:
            return process_cpu_seconds(int(worker.name))
        except OSError:
            return known

    def whereabouts(self) -> list[str]:
        names = [p.name for p in (self._tree.root / FABRIC).glob("naa.*")]
        return [f"in the kernel, {self._tree.root / FABRIC}: {' '.join(names)}"]


def port_name(what: str) -> str:
    """A world wide name that nobody else uses while this process lives."""
    pid = os.getpid()
    return f"naa.5001405{_digits(f'{pid} {start_time(pid)} {what}', 9)}"


def _digits(seed: str, count: int) -> str:
    return hashlib.sha256(seed.encode()).hexdigest()[:count]


def _control(disk: Disk) -> str:
    if disk.path is None:
        pages = -(-disk.size_bytes // PAGE)
        return f"rd_pages={pages}" + (",rd_nullio=1" if disk.kind == "null" else "")
    path = str(disk.path.absolute())
    if "," in path or "\n" in path:
        raise HarnessError(f"disk {disk.name}: the kernel takes no path with a comma: {path}")
    return f"fd_dev_name={path},fd_dev_size={disk.size_bytes},fd_async_io=1"
