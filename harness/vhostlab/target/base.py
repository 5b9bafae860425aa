# SPDX-License-Identifier: BSD-3-Clause
"""The one interface to storage targets, whoever wrote them."""

from __future__ import annotations

import abc
import os
import re
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from vhostlab.errors import HarnessError, MilestoneTimeout
from vhostlab.paths import check_socket_path, socket_dir
from vhostlab.process import Process, output_of
from vhostlab.qemu import Disk as QemuDisk
from vhostlab.qemu import VhostBlk, VhostScsi, Vm

DeviceType = Literal["blk", "scsi"]
VERSION_TIMEOUT_S = 20.0
READY_DEADLINE_S = 30.0


@dataclass(frozen=True)
class Disk:
    """A block device that a target is to offer."""

    name: str
    kind: Literal["null", "malloc", "aio"]
    size_bytes: int
    block_size: int = 512
    path: Path | None = None
    serial: str | None = None
    readonly: bool = False

    def __post_init__(self) -> None:
        if self.block_size < 512 or self.block_size & (self.block_size - 1):
            raise HarnessError(f"disk {self.name}: block size {self.block_size} is no power of 2")
        if self.size_bytes <= 0 or self.size_bytes % self.block_size:
            raise HarnessError(
                f"disk {self.name}: {self.size_bytes} bytes are no whole number of blocks of "
                f"{self.block_size}"
            )
        if (self.path is None) == (self.kind == "aio"):
            raise HarnessError(f"disk {self.name}: a path is for aio disks, and they need one")


@dataclass(frozen=True)
class Controller:
    """A vhost-user socket with a device behind it. On scsi a disk's index is its target number."""

    name: str
    device: DeviceType
    disks: tuple[Disk, ...]
    num_queues: int = 1
    readonly: bool = False

    def __post_init__(self) -> None:
        if self.device == "blk" and len(self.disks) != 1:
            raise HarnessError(f"controller {self.name}: a blk device has exactly one disk")


@dataclass(frozen=True)
class Wiring:
    """How a guest's device in front of a controller is to be."""

    reconnect: int = 0
    """Seconds after which QEMU tries to connect a blk disk again when the target has gone; 0: it
    does not."""
    packed: bool = False
    """Packed rings."""
    discard: bool = True
    """Discards and writes of zeroes on blk disks, if the target has them."""
    queue_size: int = 128
    bus: str = ""
    """Where it is plugged in; "": wherever QEMU likes."""


PLAIN_WIRING = Wiring()

#: What a scenario may need of a target, and what is wrong with one that has it not.
FEATURES = {
    "process": "is no process of its own, which could be killed and started again",
    "sockets": "has no vhost-user sockets",
    "packed": "has no packed rings",
    "migration": "cannot move guests",
    "counters": "does not count its requests",
    "sleeps": "never sleeps",
}


@dataclass(frozen=True)
class TargetCapabilities:
    """What a target can do, so that a scenario is skipped with a reason and not failed.

    ``serial`` says what the guest reads as a blk disk's serial: "configured" is the Disk's own, any
    other text is what every disk says, None that it is not known. ``modes``: the ways in which it
    can be told to wait for requests. ``migration``: guests move to another QEMU on it, which shares
    the disk meanwhile. ``max_cores``: how many it can be told to serve with. ``process``: it can be
    killed and started again. ``sockets``: it speaks vhost-user. ``counters``: ``stats`` tells the
    requests of each controller. ``sleeps``: an idle one uses no CPU. ``write_cache``: guests see
    one in front of files, and so flush them.
    """

    devices: frozenset[str]
    disk_kinds: frozenset[str]
    discard: bool
    write_zeroes: bool
    readonly: bool
    ring_formats: frozenset[str]
    max_queues: int
    serial: str | None
    modes: frozenset[str] = frozenset()
    migration: bool = False
    max_cores: int = 1
    process: bool = True
    sockets: bool = True
    counters: bool = False
    sleeps: bool = True
    write_cache: bool = False

    def without(self, feature: str) -> str | None:
        """What is wrong with the target, for who needs one of FEATURES; None when it has it."""
        there = "packed" in self.ring_formats if feature == "packed" else getattr(self, feature)
        return None if there else FEATURES[feature]

    def lacks(self, controllers: Sequence[Controller]) -> str | None:
        """Why these controllers cannot be had from the target; None when they can."""
        for controller in controllers:
            if controller.device not in self.devices:
                return f"it has no {controller.device} devices"
            if controller.num_queues > self.max_queues:
                return f"it has at most {self.max_queues} queues, not {controller.num_queues}"
            if not self.readonly and _readonly(controller):
                return "it has no read-only disks"
            for disk in controller.disks:
                if disk.kind not in self.disk_kinds:
                    return f"it has no {disk.kind} disks"
        return None


def _readonly(controller: Controller) -> bool:
    return controller.readonly or any(disk.readonly for disk in controller.disks)


class Target(abc.ABC):
    """A storage target: ``async with target: await target.start(controllers)``.

    Most are a process with sockets. One that is not says so in its capabilities, and overrides
    what a guest is given (``disk``), who serves (``process``) and what that costs
    (``cpu_seconds``); it learns by ``serves`` which guests there are.

    Sockets are made in a short private directory, or in that of another target (``sockets``) which
    this one takes turns with; logs and files in ``workdir``.
    """

    name: ClassVar[str]
    inside: ClassVar[bool] = False
    """Whether those who serve are part of the guests' QEMU processes."""
    capabilities: TargetCapabilities

    def __init__(
        self, workdir: Path, *, program: Path | None = None, sockets: Path | None = None
    ) -> None:
        self.workdir = workdir
        self.log = workdir / f"{self.name}.log"
        self.endpoints: dict[str, Path] = {}
        self.guests: list[Vm] = []
        """All that have been booted on it."""
        self.mode = ""
        """How it waits for requests, one of its modes; "": as it likes."""
        self.memory_slots = 0
        """How many it offers to a front-end, if it can be told; 0: as many as it has."""
        self.cores: tuple[int, ...] = ()
        """The cores of this machine that serve requests, if it can be told; (): it chooses."""
        self._program = program
        self._stack = AsyncExitStack()
        self._sockets = sockets
        self._process: Process | None = None

    @classmethod
    @abc.abstractmethod
    def preflight(cls) -> str:
        """What will be run, for a person. Raises Unavailable when this machine lacks it."""

    @classmethod
    async def version(cls) -> str:
        """What the target says about its version; "unknown" when it says nothing."""
        return version_in(await output_of([cls.preflight(), "--version"], VERSION_TIMEOUT_S))

    async def __aenter__(self) -> Self:
        self.workdir.mkdir(parents=True, exist_ok=True)
        if self._sockets is None:
            self._sockets = self._stack.enter_context(socket_dir("target"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, MilestoneTimeout):
            error.add_evidence(target_log_tail=self.log_tail())
        await self.stop()
        await self._stack.aclose()

    async def start(self, controllers: Sequence[Controller]) -> None:
        """Start the target and return when every controller can be connected to."""
        if reason := self.capabilities.lacks(controllers):
            raise HarnessError(f"target {self.name} cannot run this: {reason}")
        if self._process is not None and self._process.alive:
            raise HarnessError(f"target {self.name} is running already")
        self.endpoints = {c.name: check_socket_path(self.sockets / c.name) for c in controllers}
        if len(self.endpoints) != len(controllers):
            raise HarnessError("two controllers have the same name")
        for path in self.endpoints.values():
            path.unlink(missing_ok=True)
        try:
            await self._start(tuple(controllers))
        except MilestoneTimeout as error:
            error.add_evidence(target_log_tail=self.log_tail())
            raise

    async def stop(self) -> None:
        """End the target in an orderly way, by force if it does not obey."""
        if self._process is not None:
            await self._process.stop()

    async def kill(self) -> None:
        """SIGKILL, and wait for the end. ``start`` may follow."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    def disk(self, controller: Controller, wiring: Wiring = PLAIN_WIRING) -> QemuDisk:
        """The device of a guest that is served by one of the target's controllers."""
        kind = VhostBlk if controller.device == "blk" else VhostScsi
        disk = kind(
            self.endpoints[controller.name],
            num_queues=controller.num_queues,
            queue_size=wiring.queue_size,
            id=controller.name,
            # vhost-user-scsi of QEMU cannot before 8.2: it does not even start then
            reconnect=wiring.reconnect if controller.device == "blk" else 0,
            packed=wiring.packed,
            bus=wiring.bus,
        )
        return replace(disk, discard=wiring.discard) if isinstance(disk, VhostBlk) else disk

    async def serves(self, vm: Vm) -> None:
        """A guest has been booted on the target's controllers."""
        self.guests.append(vm)

    def threads(self, vm: Vm) -> tuple[int, ...]:
        """The threads that serve a guest, where they are not those of the target's process."""
        return ()

    def whereabouts(self) -> list[str]:
        """Where to look while it runs: lines for a person."""
        return [f"process {self.pid}, log {self.log}"]

    @property
    def sockets(self) -> Path:
        """The directory of the sockets."""
        if self._sockets is None:
            raise HarnessError(f"target {self.name} is used outside its `async with`")
        return self._sockets

    @property
    def process(self) -> Process:
        """Who serves: when it ends, so do all requests."""
        if self._process is None:
            raise HarnessError(f"target {self.name} was not started")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_seconds(self) -> float:
        """CPU time of the target so far, all threads."""
        return self.process.cpu_seconds()

    def log_tail(self, lines: int = 20) -> str:
        return self._process.log_tail(lines) if self._process else ""

    def terminate(self) -> None:
        """SIGTERM without waiting."""
        self.process.signal(signal.SIGTERM)

    async def stats(self) -> dict[str, Any] | None:
        """The target's own counters; None when it has none."""
        return None

    @abc.abstractmethod
    async def _start(self, controllers: tuple[Controller, ...]) -> None:
        """Start the process and wait until ``endpoints`` can be connected to."""


def distinct(controllers: Sequence[Controller]) -> list[Disk]:
    """Every disk once, in order; the same name must mean the same disk."""
    disks: dict[str, Disk] = {}
    for disk in (disk for controller in controllers for disk in controller.disks):
        if disks.setdefault(disk.name, disk) != disk:
            raise HarnessError(f"two different disks are called {disk.name}")
    return list(disks.values())


def version_in(said: str) -> str:
    """The version number in the first line of what a program prints."""
    lines = said.splitlines()
    found = re.search(r"\d+\.\d\S*", lines[0]) if lines else None
    return found[0] if found else "unknown"


def backing_file(workdir: Path, disk: Disk) -> Path:
    """A sparse file of the disk's size, for targets that have no memory disks."""
    path = workdir / f"{disk.name}.raw"
    if not path.exists():
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            os.truncate(file.fileno(), disk.size_bytes)
        fresh.rename(path)
    return path
