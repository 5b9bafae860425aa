# SPDX-License-Identifier: BSD-3-Clause
"""What both ways of measuring have in common."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from vhostlab.ab.builds import Build
from vhostlab.ab.record import Block
from vhostlab.matrix import Cell
from vhostlab.target import Controller, Disk
from vhostlab.target.base import DeviceType

MIB = 1024 * 1024
NULL_SIZE = 1024 * MIB
MALLOC_SIZE = 64 * MIB
FILE_SIZE = 128 * MIB

#: Which arm a letter of an order is.
LETTERS = {"A": "base", "B": "head"}

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Slots:
    """How long one measurement of a cell, and of the canary, takes."""

    cell_s: float
    canary_s: float
    turns: int = 2
    """Of each arm in a block, for a cell."""


class Rig(Protocol):
    """Measures blocks."""

    async def block(self, phase: str, order: str, cells: Sequence[Cell], tell: Tell) -> Block:
        """Fresh daemons, every cell on both, in turns."""
        ...


class Way(abc.ABC):
    """How cells are measured: with no guest, or in one."""

    name: ClassVar[str]

    @abc.abstractmethod
    def seconds(self, cells: int, slots: Slots) -> float:
        """About how long a block takes."""

    @abc.abstractmethod
    def open(
        self, arms: dict[str, Build], cells: Sequence[Cell], slots: Slots, scratch: Path, logs: Path
    ) -> AbstractAsyncContextManager[Rig]:
        """Ready to measure."""


def controllers(cells: Sequence[Cell], scratch: Path) -> tuple[Controller, ...]:
    """One for each device and bdev of the cells, with one queue; makes the file that aio disks
    need. Both arms get the same file: they only take turns."""
    made: dict[str, Controller] = {}
    for cell in cells:
        name = controller_name(cell)
        kind = str(cell.params["bdev"])
        if name in made:
            continue
        device: DeviceType = "scsi" if cell.params["device"] == "scsi" else "blk"
        if kind == "aio":
            disk = Disk(f"{name}-disk", "aio", FILE_SIZE, path=_written(scratch / f"{name}.raw"))
        elif kind == "malloc":
            disk = Disk(f"{name}-disk", "malloc", MALLOC_SIZE)
        else:
            disk = Disk(f"{name}-disk", "null", NULL_SIZE)
        made[name] = Controller(name, device, (disk,))
    return tuple(made.values())


def controller_name(cell: Cell) -> str:
    """The controller that a cell is measured on."""
    return f"{cell.params['device']}-{cell.params['bdev']}"


def _written(path: Path) -> Path:
    """A file without holes, which are read faster than data."""
    if not path.exists():
        with path.open("wb") as file:
            for _ in range(FILE_SIZE // MIB):
                file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())
    return path


def midmean(values: Sequence[float]) -> float:
    """The mean of the middle half: a turn that something else disturbed does not count, and a
    difference between two modes that a program has is not hidden as a median would."""
    drop = len(values) // 4
    middle = sorted(values)[drop : len(values) - drop]
    return sum(middle) / len(middle)


def sequence(first: str, turns: int) -> str:
    """Turns of both arms, ``turns`` of each (a power of 2), beginning with ``first``: after Thue
    and Morse, so that neither a drift of the machine nor a change of its drift favours an arm."""
    order = first
    while len(order) < 2 * turns:
        order += order.translate(str.maketrans("AB", "BA"))
    return order
