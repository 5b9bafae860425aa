# SPDX-License-Identifier: BSD-3-Clause
"""QEMU itself: virtio-blk and virtio-scsi in the process of the guest, with I/O threads.

There is nothing to start but the guest. A controller is a device of QEMU's command line with an I/O
thread of its own; what the target costs is what those threads use.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError
from vhostlab.process import find_program, thread_cpu_seconds
from vhostlab.qemu import Disk as QemuDisk
from vhostlab.qemu import Drive, VirtioBlk, VirtioScsi, Vm
from vhostlab.qemu.newer import HINT as QEMU_HINT
from vhostlab.target.base import (
    PLAIN_WIRING,
    Controller,
    TargetCapabilities,
    Wiring,
)
from vhostlab.target.nodes import block_nodes
from vhostlab.target.processless import Processless

PROGRAM = "qemu-system-x86_64"

#: What is counted of each controller, and QEMU's names for it.
COUNTERS = {
    "reads": "rd_operations",
    "writes": "wr_operations",
    "flushes": "flush_operations",
    "discards": "unmap_operations",
    "read_bytes": "rd_bytes",
    "write_bytes": "wr_bytes",
}


class Qemu(Processless):
    """In-process virtio: no target process, no vhost-user."""

    name = "qemu"
    capabilities = TargetCapabilities(
        devices=frozenset({"blk", "scsi"}),
        disk_kinds=frozenset({"null", "malloc", "aio"}),
        discard=True,
        write_zeroes=True,
        readonly=True,
        ring_formats=frozenset({"split", "packed"}),
        max_queues=64,
        serial="configured",
        write_cache=True,
        process=False,
        sockets=False,
    )

    def __init__(
        self, workdir: Path, *, program: Path | None = None, sockets: Path | None = None
    ) -> None:
        super().__init__(workdir, program=program, sockets=sockets)
        self._threads: dict[int, dict[int, float]] = {}
        """QEMU -> its I/O threads and what each has used, as far as it is known."""

    @classmethod
    def preflight(cls) -> str:
        return find_program(PROGRAM, QEMU_HINT)

    def disk(self, controller: Controller, wiring: Wiring = PLAIN_WIRING) -> QemuDisk:
        readonly = controller.readonly
        drives = tuple(
            Drive(
                d.name,
                tuple(block_nodes(d, self.workdir, readonly or d.readonly)),
                d.block_size,
                # without one QEMU's SCSI disks have no page 0x80
                d.serial or (d.name if controller.device == "scsi" else None),
            )
            for d in controller.disks
        )
        common: dict[str, Any] = {
            "num_queues": controller.num_queues,
            "id": controller.name,
            "queue_size": wiring.queue_size,
            "packed": wiring.packed,
            "bus": wiring.bus,
        }
        if controller.device == "blk":
            return VirtioBlk(drives, **common, discard=wiring.discard)
        return VirtioScsi(drives, **common)

    async def serves(self, vm: Vm) -> None:
        await super().serves(vm)
        threads = await vm.execute("query-iothreads")
        self._threads[vm.pid] = {int(t["thread-id"]): 0.0 for t in threads}

    def threads(self, vm: Vm) -> tuple[int, ...]:
        return tuple(self._threads.get(vm.pid, {}))

    def cpu_seconds(self) -> float:
        """CPU time of all I/O threads so far; of threads that ended, what was last known."""
        for pid, threads in self._threads.items():
            for thread in threads:
                threads[thread] = thread_cpu_seconds(pid, thread, threads[thread])
        return sum(sum(threads.values()) for threads in self._threads.values())

    def whereabouts(self) -> list[str]:
        threads = ", ".join(str(t) for t in self._threads.get(self.pid, {}))
        return [f"in QEMU, process {self.pid}, I/O threads {threads}"]

    async def stats(self) -> dict[str, Any] | None:
        """What QEMU counted per device. It does not tell queues apart: all is queue 0's."""
        controllers = []
        for vm in (vm for vm in self.guests if vm.process.alive):
            found: dict[str, dict[str, int]] = {}
            for entry in await vm.execute("query-blockstats"):
                # /machine/peripheral/NAME/virtio-backend; the unit TARGET of scsi is NAME-TARGET
                words = str(entry.get("qdev", "")).removeprefix("/machine/peripheral/").split("/")
                name = _controller(words[0], vm)
                if name is None:
                    continue
                sums = found.setdefault(name, dict.fromkeys(COUNTERS, 0))
                for ours, theirs in COUNTERS.items():
                    sums[ours] += int(entry["stats"].get(theirs, 0))
            controllers += [
                {"ctrlr": name, "queues": [{"queue": 0, **sums}]} for name, sums in found.items()
            ]
        return {"controllers": controllers}

    async def _start(self, controllers: tuple[Controller, ...]) -> None:
        for controller in controllers:
            for disk in controller.disks:
                if disk.path is not None and not os.access(disk.path, os.R_OK):
                    raise HarnessError(f"disk {disk.name}: {disk.path} cannot be read")


def _controller(device: str, vm: Vm) -> str | None:
    """The controller that a device of QEMU is, or hangs on."""
    names = {disk.id for disk in vm.config.disks}
    return next((n for n in (device, device.rpartition("-")[0]) if n in names), None)
