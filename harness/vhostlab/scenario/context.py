# SPDX-License-Identifier: BSD-3-Clause
"""What a scenario is given.

A scenario looks at things and says what it saw: :meth:`Context.check` records one statement and
goes on, :meth:`Context.require` ends the scenario when the statement is false, :meth:`Context.skip`
ends it because it does not apply. It never prints, and it never decides whether the run passes.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from vhostlab.errors import HarnessError
from vhostlab.guest import Guest
from vhostlab.guestdisk import GuestDisk
from vhostlab.images import DEFAULT_GUEST, Image
from vhostlab.paths import source_dir
from vhostlab.qemu import Vm
from vhostlab.results import Better, CellResult, Check, LeftOut, Metric
from vhostlab.scenario.layout import PLAIN, Hardware, boot, config
from vhostlab.scenario.progress import Progress
from vhostlab.target import Controller, Target

T = TypeVar("T", bound=Target)


class Skipped(Exception):
    """The scenario does not apply here; the text says why."""


class CheckFailed(Exception):
    """A statement that the scenario cannot go on without is false."""


@dataclass(frozen=True)
class Options:
    """What a caller may choose about the scenarios of a run."""

    matrix: Path
    cells: tuple[str, ...] = ()
    #: Look at one disk of each device type where all would be looked at.
    brief: bool = False
    #: Go on with what an earlier part of this run has left.
    resume: bool = False
    #: The guest image by name.
    guest: str = DEFAULT_GUEST

    def matrix_name(self) -> str:
        """How a person asks for the matrix: by name when it is one of the project's."""
        ours = source_dir() / "fio-jobs" / "matrix" / self.matrix.name
        return self.matrix.stem if self.matrix == ours else str(self.matrix)


class Keeper(Protocol):
    """Writes down at once what is found out while a scenario runs."""

    def measured(self, cell: CellResult) -> None:
        """A cell is done."""

    def leave_out(self, cell: LeftOut) -> None:
        """A cell is not measured."""

    def count(self, stats: Mapping[str, Any] | None) -> None:
        """What a target counted on its queues."""


@dataclass(frozen=True)
class Bench:
    """What all scenarios of a stage share: the image, the accelerator, where things go."""

    target: type[Target]
    image: Image
    accel: str
    options: Options
    run_dir: Path
    stage: str
    #: Big files that nobody wants to keep: disks.
    scratch: Path
    #: Told about every guest that booted.
    booted: Callable[[Vm], Awaitable[None]]
    keeper: Keeper
    progress: Progress
    #: Cells that an earlier part of this run has measured.
    kept: frozenset[str] = frozenset()

    @property
    def logs(self) -> Path:
        """Where logs of this stage are kept."""
        return self.run_dir / "logs" / self.stage

    @asynccontextmanager
    async def running_target(
        self,
        controllers: Sequence[Controller],
        logs: Path,
        mode: str = "",
        memory_slots: int = 0,
        cores: tuple[int, ...] = (),
    ) -> AsyncIterator[Target]:
        """The target, started. Its logs and start-up file are kept, its disks are not."""
        workdir = self.scratch / f"target-{logs.name}"
        try:
            async with self.target(workdir) as target:
                target.mode = mode
                target.memory_slots = memory_slots
                target.cores = cores
                await target.start(controllers)
                yield target
        finally:
            _keep_logs(workdir, logs)


@dataclass
class Record:
    """What a scenario has said so far."""

    checks: list[Check] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    cells: list[CellResult] = field(default_factory=list)


def _keep_logs(workdir: Path, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    for path in (*workdir.glob("*.log"), *workdir.glob("*.conf")):
        shutil.copyfile(path, logs / path.name)


class Context:
    """The part that every scenario has."""

    def __init__(self, bench: Bench, scenario: str) -> None:
        self.bench = bench
        self.scenario = scenario
        self.record = Record()
        #: The command that runs this scenario again.
        self.replay = ""

    def check(self, name: str, passed: bool, detail: str = "") -> bool:
        """Record a statement; return whether it holds."""
        self.record.checks.append(Check(name, passed, detail))
        return passed

    def equal(self, name: str, got: object, expected: object) -> bool:
        """Record that two values are equal."""
        same = got == expected
        detail = f"{got}" if same else f"got {got!r}, expected {expected!r}"
        return self.check(name, same, detail)

    def require(self, name: str, passed: bool, detail: str = "") -> None:
        """Record a statement, and end the scenario when it is false."""
        if not self.check(name, passed, detail):
            raise CheckFailed(f"{name}: {detail}" if detail else name)

    def metric(self, name: str, unit: str, direction: Better, value: float) -> None:
        """Record a value that this scenario measured."""
        self.record.metrics.append(Metric(name, unit, direction, value))

    def skip(self, reason: str) -> NoReturn:
        """End the scenario: it does not apply."""
        raise Skipped(reason)


class GuestContext(Context):
    """For scenarios that share one booted guest with all disks of the standard layout."""

    def __init__(
        self, bench: Bench, scenario: str, vm: Vm, target: Target, disks: Sequence[GuestDisk]
    ) -> None:
        super().__init__(bench, scenario)
        self.vm = vm
        self.target = target
        self.disks = tuple(disks)

    @property
    def guest(self) -> Guest:
        """Commands and files of the guest."""
        return self.vm.guest

    def disks_of(
        self, device: str | None = None, kind: str | None = None, writable: bool | None = None
    ) -> tuple[GuestDisk, ...]:
        """The disks that fit; what is None does not matter."""
        return tuple(
            d
            for d in self.disks
            if (device is None or d.controller.device == device)
            and (kind is None or d.disk.kind == kind)
            and (writable is None or d.writable == writable)
        )


class HostContext(Context):
    """For scenarios that start and end targets and guests themselves."""

    @asynccontextmanager
    async def target(
        self,
        controllers: Sequence[Controller],
        mode: str = "",
        name: str = "",
        memory_slots: int = 0,
    ) -> AsyncIterator[Target]:
        """The target under test with these controllers, running. ``name``: one of several."""
        if reason := self.bench.target.capabilities.lacks(controllers):
            self.skip(f"target {self.bench.target.name}: {reason}")
        logs = self.bench.logs / name
        async with self.bench.running_target(controllers, logs, mode, memory_slots) as target:
            yield target

    @asynccontextmanager
    async def substitute(self, driver: type[T], target: Target) -> AsyncIterator[T]:
        """Another target for the sockets of one, not started: they take turns."""
        workdir = self.bench.scratch / f"target-{driver.name}"
        try:
            async with driver(workdir, sockets=target.sockets) as other:
                yield other
        finally:
            _keep_logs(workdir, self.bench.logs)

    @asynccontextmanager
    async def guest(
        self,
        target: Target,
        controllers: Sequence[Controller],
        name: str,
        hardware: Hardware = PLAIN,
    ) -> AsyncIterator[tuple[Vm, tuple[GuestDisk, ...]]]:
        """A guest on these controllers, booted, and its disks."""
        workdir = self.bench.logs / name
        image, accel = self.bench.image, self.bench.accel
        async with boot(image, accel, target, controllers, workdir, hardware=hardware) as up:
            await self.bench.booted(up.vm)
            yield up.vm, up.disks

    @asynccontextmanager
    async def destination(
        self,
        target: Target,
        controllers: Sequence[Controller],
        name: str,
        hardware: Hardware = PLAIN,
    ) -> AsyncIterator[Vm]:
        """A QEMU on these controllers that waits for a guest to come from another one."""
        if self.bench.image.disk is not None:
            self.skip(f"guest {self.bench.image.name} has a disk that two QEMUs cannot share")
        wanted = config(self.bench.image, self.bench.accel, target, controllers, (), hardware)
        async with Vm(replace(wanted, incoming=True), self.bench.logs / name) as vm:
            yield vm


def described(error: BaseException) -> str:
    """An error as the text of a result."""
    if isinstance(error, HarnessError | CheckFailed):
        return str(error)
    return f"{type(error).__name__}: {error}"


__all__ = [
    "Bench",
    "CheckFailed",
    "Context",
    "GuestContext",
    "HostContext",
    "Options",
    "Record",
    "Skipped",
    "described",
]
