# SPDX-License-Identifier: BSD-3-Clause
"""Blocks in a guest: one is booted, and its target becomes the other build and back.

QEMU connects again by itself (``reconnect=1``), so a swap costs a second and not a boot. Every turn
has a fresh daemon: it is started, the guest's disks answer, each cell's fio job runs, it is ended.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from vhostlab import fio, host, images
from vhostlab.ab.builds import Build
from vhostlab.ab.meters import Counter, Guard, cpu_ns
from vhostlab.ab.record import Block, Figures
from vhostlab.ab.rig import LETTERS, Slots, Tell, Way, controller_name, controllers
from vhostlab.errors import HarnessError
from vhostlab.guestdisk import GuestDisk
from vhostlab.matrix import Cell
from vhostlab.paths import source_dir
from vhostlab.process import find_program, process_cpu_seconds
from vhostlab.qemu import Vm
from vhostlab.qemu.newer import HINT as QEMU_HINT
from vhostlab.scenario.layout import Hardware, boot
from vhostlab.target import Controller
from vhostlab.target.vhostlab import VhostlabTarget

#: QEMU tries to connect once a second; the rest is for slow machines.
RECONNECT_S = 30.0
#: fio's start and end in a guest, and a swap; more under emulation.
RUN_OVERHEAD_S = 1.5
SWAP_S = 2.5
CANARY = (
    "fio --name=canary --ioengine=null --size=1G --rw=randread --bs=4k --iodepth=32 "
    "--time_based=1 --runtime={seconds} --output-format=json+ --output={output}"
)


class GuestRig:
    """Measures blocks under one guest."""

    def __init__(
        self,
        arms: dict[str, VhostlabTarget],
        wanted: Sequence[Controller],
        vm: Vm,
        disks: Sequence[GuestDisk],
        slots: Slots,
        logs: Path,
    ) -> None:
        self._arms = arms
        self._controllers = wanted
        self._vm = vm
        self._disks = {d.controller.name: d for d in disks}
        self._slots = slots
        self._logs = logs
        self._random = random.Random()

    async def block(self, phase: str, order: str, cells: Sequence[Cell], tell: Tell) -> Block:
        """See Rig."""
        found: dict[str, dict[str, Figures]] = {cell.id: {} for cell in cells}
        canary: dict[str, Figures] = {}
        guard, used, began = Guard(), 0.0, process_cpu_seconds(self._vm.pid)
        turn = list(cells)
        self._random.shuffle(turn)
        for letter in order:
            arm = LETTERS[letter]
            target = self._arms[arm]
            tell("swapping the target")
            for other in self._arms.values():
                await other.stop()
            await target.start(self._controllers)
            await self._answers(target)
            tell("canary")
            canary[arm] = await self._canary()
            for cell in turn:
                tell(cell.label())
                found[cell.id][arm] = await self._cell(cell, target)
            used += target.cpu_seconds()
        ours = used + process_cpu_seconds(self._vm.pid) - began
        return Block(phase, order, found, canary, guard.figures(ours))

    async def _answers(self, target: VhostlabTarget) -> None:
        """Every disk has read something from this very target."""
        for disk in self._disks.values():
            line = f"dd if={disk.node} of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null"
            await self._vm.guest.run(line, timeout_s=RECONNECT_S)
        if not target.process.alive:
            raise target.process.died("the daemon")

    async def _canary(self) -> Figures:
        output = f"{fio.GUEST_DIR}/canary.json"
        seconds = max(1, round(self._slots.canary_s))
        await self._vm.guest.run(f"mkdir -p {fio.GUEST_DIR}", timeout_s=RECONNECT_S)
        line = CANARY.format(seconds=seconds, output=output)
        await self._vm.guest.run(line, timeout_s=seconds + fio.FIO_START_STOP_S)
        text = (await self._vm.guest.read_file(output)).decode(errors="replace")
        return {"fio_null": fio.parse(text).main_direction().iops}

    async def _cell(self, cell: Cell, target: VhostlabTarget) -> Figures:
        job = source_dir() / "fio-jobs" / f"{cell.job}.fio"
        node = self._disks[controller_name(cell)].node
        counter = Counter(target.pid)
        before, counted = cpu_ns(target.pid), counter.read()
        try:
            seconds = max(1, round(self._slots.cell_s))
            run = await fio.run(
                self._vm.guest, job, node, seconds, self._logs / "fio" / f"{cell.id}.json"
            )
            used, counted = cpu_ns(target.pid) - before, counter.read() - counted
        except HarnessError as error:
            if not target.process.alive:
                raise target.process.died("the daemon") from error
            raise
        finally:
            counter.close()
        way = run.main_direction()
        found = {"iops": way.iops, "target_cpu_per_io": used / way.ios}
        for which in (50.0, 99.0):
            value = way.latency.percentile(which)
            if value:
                found[f"latency_p{which:g}"] = float(value)
        if counted:
            found["target_instructions_per_io"] = counted / way.ios
        return found


class InGuest(Way):
    """Under one booted guest."""

    name = "guest"

    def __init__(self, image: images.Image, accel: str) -> None:
        self.image = image
        self.accel = accel

    @classmethod
    async def make(cls) -> InGuest:
        """Build the image, and find out how guests run here."""
        find_program("qemu-system-x86_64", QEMU_HINT)
        image = await images.build()
        return cls(image, await host.accelerator(image))

    def seconds(self, cells: int, slots: Slots) -> float:
        """See Way."""
        slow = 2.0 if self.accel == "tcg" else 1.0
        runs = cells * (max(1.0, slots.cell_s) + RUN_OVERHEAD_S * slow)
        canary = max(1.0, slots.canary_s) + RUN_OVERHEAD_S * slow
        return 2 * (SWAP_S * slow + runs + canary)

    @asynccontextmanager
    async def open(
        self, arms: dict[str, Build], cells: Sequence[Cell], slots: Slots, scratch: Path, logs: Path
    ) -> AsyncIterator[GuestRig]:
        """See Way. The guest boots on base."""
        wanted = controllers(cells, scratch)
        short = Path(tempfile.mkdtemp(prefix="swap-", dir=scratch))
        base = VhostlabTarget(short / "base", program=arms["base"].program)
        async with base:
            head = VhostlabTarget(
                short / "head", program=arms["head"].program, sockets=base.sockets
            )
            async with head:
                await base.start(wanted)
                async with boot(
                    self.image, self.accel, base, wanted, logs, hardware=Hardware(reconnect=1)
                ) as up:
                    rig = {"base": base, "head": head}
                    yield GuestRig(rig, wanted, up.vm, up.disks, slots, logs)
