# SPDX-License-Identifier: BSD-3-Clause
"""Disks that change under a running guest: another size, another disk, none any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from vhostlab.errors import HarnessError
from vhostlab.guest import Guest
from vhostlab.guestdisk import GuestDisk, scsi_targets
from vhostlab.qemu import Vm
from vhostlab.scenario import HostContext, host_scenario
from vhostlab.scenario.layout import MIB, pattern
from vhostlab.target import Controller, Disk, Target
from vhostlab.target.vhostlab import VhostlabTarget
from vhostlab.wait import until

SIZE = 64 * MIB
#: What a guest does about a change takes seconds when it is emulated and the machine is busy.
SEEN_DEADLINE_S = 60.0

#: Writes to the first MiB and reads them back with a checksum, over and over; ends with an error,
#: or when the file {stop} is there. After the first round, {stop}.begun is.
LOAD = (
    "rm -f {stop} {stop}.begun; "
    "while [ ! -e {stop} ]; do "
    "fio --name=load --filename={node} --size=1M --rw=randwrite --bs=4k --iodepth=8 "
    "--ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 || exit 1; "
    "touch {stop}.begun; done"
)


class Load:
    """Verified writes to a disk, in the background."""

    def __init__(self, guest: Guest, disk: GuestDisk) -> None:
        self._guest = guest
        self._stop = f"/run/{disk.name}.stop"
        self.label = disk.label
        command = LOAD.format(node=disk.node, stop=self._stop)
        self._task = asyncio.create_task(guest.run(command, timeout_s=600.0, check=False))

    async def has_begun(self) -> None:
        """One round of it is through."""

        async def begun() -> bool | None:
            if self._task.done():
                raise HarnessError(f"the load on {self.label} ended: {self._task.result()}")
            done = await self._guest.run(f"test -e {self._stop}.begun", check=False)
            return True if done.rc == 0 else None

        await until(f"load on {self.label}", 120.0, begun)

    async def end(self) -> str:
        """What went wrong; empty: nothing."""
        await self._guest.run(f"touch {self._stop}")
        done = await self._task
        return "" if done.rc == 0 else (done.stderr.strip() or done.stdout.strip())[-300:]

    async def give_up(self) -> None:
        """The scenario ends without having asked."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, HarnessError):
            await self._task


@asynccontextmanager
async def loaded(ctx: HostContext, guest: Guest, disks: Sequence[GuestDisk]) -> AsyncIterator[None]:
    """All of the body happens under load, which must not notice."""
    loads = [Load(guest, disk) for disk in disks]
    try:
        for load in loads:
            await load.has_begun()
        yield
        for load in loads:
            wrong = await load.end()
            ctx.check(f"{load.label}: the load went through", not wrong, wrong)
    finally:
        for load in loads:
            await load.give_up()


@dataclass(frozen=True)
class Bench:
    """A guest on our daemon, and both ends of it."""

    ctx: HostContext
    target: VhostlabTarget
    vm: Vm
    disks: tuple[GuestDisk, ...]

    async def call(self, method: str, **params: object) -> Any:
        return await self.target.rpc.call(method, params)

    def disk(self, controller: str, index: int = 0) -> GuestDisk:
        (found,) = [d for d in self.disks if d.label in (controller, f"{controller}:{index}")]
        return found

    async def kernel_says(self, what: str, text: str) -> None:
        """The guest's kernel has logged this."""

        async def said() -> bool | None:
            done = await self.vm.guest.run("dmesg")
            return True if text in done.stdout else None

        await until(f"kernel message about {what}: {text}", SEEN_DEADLINE_S, said)
        self.ctx.check(f"{what}: the kernel says '{text}'", True)

    async def tries(self, disk: GuestDisk, command: str) -> bool:
        """Whether a direct read or write in the guest succeeds."""
        done = await self.vm.guest.run(
            f"dd bs=4096 count=1 conv=notrunc {command.format(node=disk.node)}", check=False
        )
        return done.rc == 0


@asynccontextmanager
async def bench(
    ctx: HostContext, controllers: Sequence[Controller], name: str
) -> AsyncIterator[Bench]:
    async with (
        ctx.target(controllers) as target,
        ctx.guest(target, controllers, name) as (vm, disks),
    ):
        assert isinstance(target, VhostlabTarget)
        yield Bench(ctx, target, vm, disks)
        ctx.require("the target is alive", target.process.alive, target.log_tail(5))
        await _no_queue_given_up(ctx, target)


async def _no_queue_given_up(ctx: HostContext, target: Target) -> None:
    stats = await target.stats()
    assert stats is not None
    broken = [q["broken"] for c in stats["controllers"] for q in c["queues"] if q["broken"]]
    ctx.equal("queues given up", broken, [])


def _file(ctx: HostContext, name: str) -> Disk:
    path = ctx.bench.scratch / f"{name}.raw"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return Disk(name, "aio", SIZE, path=path)


# -- another size --


@host_scenario("resize", targets=("vhostlab",), deadline_s=600.0)
async def resize(ctx: HostContext) -> None:
    """Disks grow and shrink under load, one is taken away and replaced; the guest sees it all.

    Steps: with verified writes to memory, file and null disks on blk and on scsi, give each
    another size by RPC, larger, then smaller than at the beginning; take the disk of a blk
    controller away by force, and put another one in its place.
    Verify: the guest's kernel reports each new capacity by itself; what lies beyond the old end
    can be written and read; the load never fails; a disk without storage gives I/O errors and
    nothing else, and serves its guest again when it has been replaced.
    """
    controllers = (
        Controller("blk-malloc", "blk", (Disk("m0", "malloc", SIZE),), num_queues=2),
        Controller("blk-aio", "blk", (_file(ctx, "a0"),)),
        Controller("scsi", "scsi", (Disk("m1", "malloc", SIZE), _file(ctx, "a1")), num_queues=2),
        Controller("blk-gone", "blk", (Disk("n0", "null", SIZE),)),
    )
    async with bench(ctx, controllers, "resized") as b:
        changing = [b.disk("blk-malloc"), b.disk("blk-aio"), b.disk("scsi"), b.disk("scsi", 1)]
        async with loaded(ctx, b.vm.guest, changing):
            for size in (SIZE * 2, SIZE * 2 + 4096, SIZE // 2, SIZE):
                for disk in changing:
                    await _resize(b, disk, size)
        await b.kernel_says("blk-malloc", f"[{b.disk('blk-malloc').name}] new size: ")
        await b.kernel_says("scsi", "Capacity data has changed")
        await _taken_away(b, b.disk("blk-gone"))


async def _resize(b: Bench, disk: GuestDisk, size: int) -> None:
    ctx, label = b.ctx, disk.label
    before = await disk.number("size") * 512
    if disk.disk.path is not None:
        with disk.disk.path.open("r+b") as file:
            file.truncate(size)
        await b.call("bdev_aio_rescan", name=await _bdev_of(b, disk))
    else:
        await b.call("bdev_malloc_resize", name=await _bdev_of(b, disk), num_blocks=size // 512)

    async def seen() -> bool | None:
        return True if await disk.number("size") * 512 == size else None

    await until(f"{label}: capacity {size} in the guest", SEEN_DEADLINE_S, seen)
    ctx.check(f"{label}: the guest sees {before} become {size}", True)
    data = pattern(f"{label} {size}", 4096)
    await disk.write(size - 4096, data)
    ctx.check(f"{label}: the last block of {size}", await disk.read(size - 4096, 4096) == data)


async def _bdev_of(b: Bench, disk: GuestDisk) -> str:
    (shown,) = await b.call("vhost_get_controllers", name=disk.controller.name)
    backend = shown["backend_specific"]
    if disk.controller.device == "blk":
        return str(backend["block"]["bdev"])
    number = disk.controller.disks.index(disk.disk)
    (luns,) = [t["luns"] for t in backend["scsi"] if t["id"] == number]
    return str(luns[0]["bdev_name"])


async def _taken_away(b: Bench, disk: GuestDisk) -> None:
    ctx, label = b.ctx, disk.label
    read, write = "if={node} of=/dev/null iflag=direct", "if=/dev/zero of={node} oflag=direct"
    ctx.check(f"{label}: it can be read", await b.tries(disk, read))
    await b.call("bdev_delete", name=await _bdev_of(b, disk), force=True)
    ctx.check(f"{label}: taken away, reads fail", not await b.tries(disk, read))
    ctx.check(f"{label}: taken away, writes fail", not await b.tries(disk, write))
    ctx.equal(f"{label}: it is still to be seen", await disk.number("size") * 512, SIZE)
    await b.kernel_says(label, f"I/O error, dev {disk.name}")
    await b.call("bdev_null_create", name="another", num_blocks=SIZE // 1024, block_size=512)
    await b.call("vhost_blk_controller_set_bdev", ctrlr=label, bdev_name="another")

    async def smaller() -> bool | None:
        return True if await disk.number("size") * 512 == SIZE // 2 else None

    await until(f"{label}: capacity of the disk in its place", SEEN_DEADLINE_S, smaller)
    ctx.check(f"{label}: replaced, reads succeed", await b.tries(disk, read))
    ctx.check(f"{label}: replaced, writes succeed", await b.tries(disk, write))


# -- targets come and go --

#: Reads a disk until that fails, one MiB after the other.
READER = "while dd if=/dev/{name} of=/dev/null bs=1M count=1 iflag=direct; do :; done"


@host_scenario("hotplug", devices=("scsi",), targets=("vhostlab",), deadline_s=600.0)
async def hotplug(ctx: HostContext) -> None:
    """SCSI targets come and go under load, and the guest hears of each by the right event.

    Steps: with verified writes to target 0, add target 3, use it, remove it under reads; forget
    target 1 in the guest; pause the guest, add and remove target 5 and add target 6 meanwhile, let
    it go on; take the storage of target 6 away by force.
    Verify: the disks appear in the guest and vanish by themselves; the daemon counts exactly one
    event for each change; what happened to target 5 is reported as a missed event, which makes the
    guest look at all targets and find target 1 again; the load never fails.
    """
    disks = (Disk("m0", "malloc", SIZE), Disk("m1", "malloc", SIZE))
    controller = Controller("scsi", "scsi", disks, num_queues=2)
    async with bench(ctx, (controller,), "plugged") as b:
        for name in ("three", "five", "six"):
            await b.call("bdev_malloc_create", name=name, num_blocks=SIZE // 512, block_size=512)
        async with loaded(ctx, b.vm.guest, [b.disk("scsi")]):
            await _add_and_remove(b, controller)
            await _miss_events(b, controller)
            await b.call("bdev_delete", name="six", force=True)
            await _see(b, controller, {0, 1}, "the disk of target 6 was taken away")
            await _told(b, 4, 1)


async def _add(b: Bench, number: int, bdev: str) -> None:
    await b.call(
        "vhost_scsi_controller_add_target", ctrlr="scsi", scsi_target_num=number, bdev_name=bdev
    )


async def _remove(b: Bench, number: int) -> None:
    await b.call("vhost_scsi_controller_remove_target", ctrlr="scsi", scsi_target_num=number)


async def _see(b: Bench, controller: Controller, targets: set[int], after: str) -> dict[int, str]:
    """Wait until the guest has disks on exactly these targets."""

    async def seen() -> dict[int, str] | None:
        there = await scsi_targets(b.vm, controller)
        return there if set(there) == targets else None

    there = await until(f"targets {sorted(targets)} in the guest: {after}", SEEN_DEADLINE_S, seen)
    b.ctx.check(f"{after}: the guest has targets {sorted(targets)}", True)
    return there


async def _told(b: Bench, delivered: int, missed: int) -> None:
    stats = await b.target.stats()
    assert stats is not None
    (controller,) = stats["controllers"]
    expected = {"delivered": delivered, "missed": missed}
    b.ctx.equal(f"events so far: {delivered}, {missed} missed", controller["events"], expected)


async def _add_and_remove(b: Bench, controller: Controller) -> None:
    guest = b.vm.guest
    await _add(b, 3, "three")
    name = (await _see(b, controller, {0, 1, 3}, "target 3 was added"))[3]
    await b.kernel_says("target 3", f":3:0: [{name}] Attached SCSI disk")
    await _told(b, 1, 0)
    disk = GuestDisk(guest, name, f"/sys/block/{name}", controller, Disk("three", "malloc", SIZE))
    data = pattern("target 3", MIB)
    await disk.write(8 * MIB, data)
    b.ctx.check("target 3: data", await disk.read(8 * MIB, MIB) == data)

    reader = asyncio.create_task(guest.run(READER.format(name=name), timeout_s=120.0, check=False))
    reads = int((await disk.attribute("stat")).split()[0])

    async def busy() -> bool | None:
        return True if int((await disk.attribute("stat")).split()[0]) >= reads + 10 else None

    await until("reads of target 3", SEEN_DEADLINE_S, busy)
    await _remove(b, 3)
    await b.call("bdev_delete", name="three")
    await _see(b, controller, {0, 1}, "target 3 was removed")
    b.ctx.check("target 3: its reader has ended", (await reader).rc == 0)
    await _told(b, 2, 0)


async def _miss_events(b: Bench, controller: Controller) -> None:
    there = await scsi_targets(b.vm, controller)
    await b.vm.guest.run(f"echo 1 > /sys/block/{there[1]}/device/delete")
    await _see(b, controller, {0}, "target 1 was forgotten")
    await b.vm.execute("stop")
    try:
        await _add(b, 5, "five")
        await _remove(b, 5)
        await _add(b, 6, "six")
    finally:
        await b.vm.execute("cont")
    # An event of target 6 alone would not bring target 1 back.
    await _see(b, controller, {0, 1, 6}, "events were missed")
    await _told(b, 3, 1)
