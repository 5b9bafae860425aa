# SPDX-License-Identifier: BSD-3-Clause
"""Which cells of a matrix can be measured with a target on a host, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vhostlab.matrix.cells import Cell, MatrixError, Value
from vhostlab.matrix.constraints import Space
from vhostlab.matrix.parse import Matrix
from vhostlab.matrix.tway import reduce
from vhostlab.target.base import TargetCapabilities

#: Of the memory that is free, this stays so: for the harness, the target and its ramdisks.
RESERVE_MIB = 1024

_GUEST_MEMORY_MIB = {"micro": 512}
_OTHER_GUEST_MEMORY_MIB = 1024


def guest_memory_mib(guest: str) -> int:
    """How much memory a guest of that image is given."""
    return _GUEST_MEMORY_MIB.get(guest, _OTHER_GUEST_MEMORY_MIB)


@dataclass(frozen=True)
class Subject:
    """The target that is measured."""

    name: str
    capabilities: TargetCapabilities


@dataclass(frozen=True)
class Host:
    """What of the machine decides. ``accel``: kvm, tcg, or none for a run without guests."""

    cores: int
    numa_nodes: int
    #: Free, or could be at once.
    memory_mib: int
    accel: str
    #: The images that guests can be booted from.
    guests: frozenset[str] = frozenset({"micro"})


class LeftOut(NamedTuple):
    """A cell that is not measured, and why in one line."""

    cell: Cell
    reason: str


class Choice(NamedTuple):
    """What is measured, and what is not."""

    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...]


class Boot(NamedTuple):
    """Cells that one guest can serve, and the parameters which that guest must have."""

    params: Mapping[str, Value]
    cells: tuple[Cell, ...]


Reason = Callable[[Cell], str | None]
"""Why a cell cannot be measured, in one line; None when it can."""

OTHERS: Mapping[str, TargetCapabilities] = {}


def choose(
    matrix: Matrix,
    target: Subject,
    host: Host,
    only: Iterable[str] = (),
    *,
    others: Mapping[str, TargetCapabilities] = OTHERS,
    more: Reason = lambda cell: None,
) -> Choice:
    """Divide the cells of a matrix, in its order; ``only``: those ids, if any are given.

    ``others``: targets that the run can start too, for cells that name one. ``more``: what else may
    be in the way of a cell, as far as whoever measures knows.

    A reduced matrix of which cells are left out is given others at the end, so that every pair of
    values which the target and the host can have is in some cell; a plain filter would take most
    pairs away from a host that lacks little. Raises MatrixError for an id that no cell has.
    """

    def reason(cell: Cell) -> str | None:
        return lacking(cell, target, host, others) or more(cell)

    asked = [*matrix.cells, *_instead(matrix, reason)]
    if wanted := frozenset(only):
        unknown = sorted(wanted - {cell.id for cell in asked})
        if unknown:
            raise MatrixError(f"matrix {matrix.name} has no cell {', '.join(unknown)}")
        asked = [cell for cell in asked if cell.id in wanted]
    reasons = [(cell, reason(cell)) for cell in asked]
    return Choice(
        tuple(cell for cell, why in reasons if why is None),
        tuple(LeftOut(cell, why) for cell, why in reasons if why is not None),
    )


def _instead(matrix: Matrix, reason: Reason) -> list[Cell]:
    """Cells with the tuples that are in left-out cells only, though others could have them."""
    if not matrix.strength:
        return []
    usable = {
        name: tuple(v for v in values if reason(Cell({name: v})) is None)
        for name, values in matrix.axes.items()
    }
    if usable == matrix.axes or not all(usable.values()):
        return []
    space = Space(usable, matrix.rules)
    kept = [c for c in matrix.cells if reason(c) is None]
    rows = [space.row({name: cell.value(name) for name in usable}) for cell in kept]
    given = [row for row in rows if row is not None]
    return [Cell(space.params(row)) for row in reduce(space, matrix.strength, given)]


def boots(cells: Sequence[Cell]) -> tuple[Boot, ...]:
    """Cells grouped by the guest they need, in the order in which each is needed first."""
    groups: dict[tuple[tuple[str, Value], ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(sorted(cell.boot.items())), []).append(cell)
    return tuple(Boot(dict(key), tuple(group)) for key, group in groups.items())


def lacking(
    cell: Cell,
    target: Subject,
    host: Host,
    others: Mapping[str, TargetCapabilities] = OTHERS,
) -> str | None:
    """Why a cell cannot be measured; None when it can."""
    named = cell.text("target")
    if named and named != target.name:
        if named not in others:
            return f"is about target {named}"
        target = Subject(named, others[named])
    return (
        _target_lacks(cell, target)
        or (_without_guest(cell) if host.accel == "none" else _guest_lacks(cell, host))
        or _host_lacks(cell, host)
    )


def _target_lacks(cell: Cell, target: Subject) -> str | None:
    can, name = target.capabilities, f"target {target.name}"
    device, bdev, ring = cell.text("device"), cell.text("bdev"), cell.text("ring")
    mode, queues = cell.text("polling"), cell.number("queues")
    if device and device not in can.devices:
        return f"{name} has no {device} devices"
    if bdev and bdev not in can.disk_kinds:
        return f"{name} has no {bdev} disks"
    if ring not in can.ring_formats:
        return f"{name} has no {ring} rings"
    if queues > can.max_queues:
        return f"{name} has at most {can.max_queues} queues, not {queues}"
    if mode != "adaptive" and mode not in can.modes:
        return f"{name} cannot be told to wait for requests by '{mode}'"
    if cell.number("target_cores") > can.max_cores:
        return f"{name} uses at most {can.max_cores} cores, not {cell.number('target_cores')}"
    return None


def _without_guest(cell: Cell) -> str | None:
    """Parameters of a guest mean nothing where there is none."""
    of_guests = [name for name in ("guest", "vcpus", "numa", "vms") if name in cell.params]
    return (
        f"is about a guest's {', '.join(of_guests)}, and there is no guest" if of_guests else None
    )


def _guest_lacks(cell: Cell, host: Host) -> str | None:
    guest, vms, vcpus = cell.text("guest"), cell.number("vms"), cell.number("vcpus")
    if guest not in host.guests:
        return f"there is no guest image {guest} here; see `vhostlab images list`"
    needed = vms * guest_memory_mib(guest)
    if needed > (free := max(0, host.memory_mib - RESERVE_MIB)):
        return f"{vms} guests of {guest} need {needed} MiB, and {free} MiB can be had"
    if cell.text("numa") == "two" and vcpus < 2:
        return "two NUMA nodes need at least two vCPUs"
    if host.accel != "kvm":
        return None  # emulated: it shows that things work, and they do with fewer cores
    if vcpus > host.cores:
        return f"{vcpus} vCPUs on {host.cores} cores would measure the host's scheduler"
    if cell.text("numa") == "two" and host.numa_nodes < 2:
        return "two NUMA nodes in the guest tell nothing on a host that has one"
    return None


def _host_lacks(cell: Cell, host: Host) -> str | None:
    cores = cell.number("target_cores")
    if cores > host.cores:
        return f"{cores} cores for the target, and this host has {host.cores}"
    if cores > 1 and cores == host.cores and host.accel != "tcg":
        return f"{cores} cores for the target leave none of this host's to who asks it"
    return None
