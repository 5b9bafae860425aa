# SPDX-License-Identifier: BSD-3-Clause
"""A target that runs, and fio with the engine on it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from vhostlab import target as targets
from vhostlab.errors import Unavailable
from vhostlab.target import Controller, Disk, Target
from vhostlab.wait import until

MIB = 1 << 20
DISK_MIB = 96
JOBS_MIB = 112
JOBS = 5
"""What the greediest job file of fio-jobs needs: disk, and jobs at the same time."""
FIO_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Said:
    """How fio ended and what it wrote."""

    status: int
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines of the engine."""
        return [line for line in self.text.splitlines() if line.startswith("vhost_user: ")]

    @property
    def line(self) -> str:
        """The engine's one line."""
        assert len(self.lines) == 1, self.text
        return self.lines[0]


@dataclass(frozen=True)
class Fio:
    """fio with the engine."""

    program: str
    engine: Path
    cwd: Path

    def argv(self, *words: str) -> list[str]:
        return [self.program, f"--ioengine=external:{self.engine}", *words]

    def __call__(self, *words: str, program: str = "") -> Said:
        argv = self.argv(*words)
        done = subprocess.run(
            [program or argv[0], *argv[1:]],
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=FIO_DEADLINE_S,
        )
        return Said(done.returncode, done.stdout)


class Running:
    """A target, and a loop for what is asynchronous about it."""

    def __init__(
        self, target: Target, controllers: tuple[Controller, ...], loop: asyncio.Runner
    ) -> None:
        self.target = target
        self.controllers = {c.name: c for c in controllers}
        self._loop = loop

    def socket(self, controller: str) -> str:
        """``--socket=`` of a controller."""
        return f"--socket={self.target.endpoints[controller]}"

    def stats(self) -> dict[str, Any]:
        """The target's counters."""
        return self._loop.run(self.target.stats()) or {}

    def requests(self, controller: str) -> list[int]:
        """Requests so far, queue by queue."""
        found = [c for c in self.stats()["controllers"] if c["ctrlr"] == controller]
        return [int(q["requests"]) for q in found[0]["queues"]]

    def wait_for_requests(self, controller: str, count: int) -> None:
        """Returns when there have been so many."""

        async def there() -> bool | None:
            stats = await self.target.stats() or {}
            found = [c for c in stats["controllers"] if c["ctrlr"] == controller]
            return sum(int(q["requests"]) for q in found[0]["queues"]) >= count or None

        self._loop.run(until(f"{count} requests on {controller}", FIO_DEADLINE_S, there))

    def kill(self) -> None:
        """SIGKILL."""
        self._loop.run(self.target.kill())


def controllers(driver: type[Target], files: Path) -> tuple[Controller, ...]:
    """Of what the tests use, what the target can have."""
    short, fixed = files / "short.raw", files / "fixed.raw"
    for path in (short, fixed):
        with path.open("wb") as file:
            file.truncate(8 * MIB)
    wanted = (
        Controller("blk", "blk", (Disk("m0", "malloc", DISK_MIB * MIB),), num_queues=4),
        Controller("blk-4k", "blk", (Disk("m1", "malloc", DISK_MIB * MIB, 4096),)),
        Controller("blk-ro", "blk", (Disk("a0", "aio", 8 * MIB, path=fixed),), readonly=True),
        Controller("blk-short", "blk", (Disk("a1", "aio", 8 * MIB, path=short),)),
        Controller("blk-jobs", "blk", (Disk("m4", "malloc", JOBS_MIB * MIB),), num_queues=JOBS),
        Controller("scsi-jobs", "scsi", (Disk("m5", "malloc", JOBS_MIB * MIB),), num_queues=JOBS),
        Controller("blk-null", "blk", (Disk("n0", "null", 1024 * MIB),)),
        Controller(
            "scsi",
            "scsi",
            (Disk("m2", "malloc", DISK_MIB * MIB), Disk("m3", "malloc", DISK_MIB * MIB)),
            num_queues=4,
        ),
    )
    return tuple(c for c in wanted if driver.capabilities.lacks([c]) is None)


def start(name: str, workdir: Path, program: Path | None = None) -> Iterator[Running]:
    """A target with these controllers, while the generator is not closed."""
    driver = targets.get(name)
    workdir.mkdir(parents=True, exist_ok=True)
    made = controllers(driver, workdir)
    with asyncio.Runner() as loop:
        target = driver(workdir, program=program)
        loop.run(target.__aenter__())
        try:
            try:
                loop.run(target.start(made))
            except Unavailable as error:
                pytest.fail(str(error))
            yield Running(target, made, loop)
        finally:
            loop.run(target.__aexit__(None, None, None))
