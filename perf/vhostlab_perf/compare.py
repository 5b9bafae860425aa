# SPDX-License-Identifier: BSD-3-Clause
"""Sets cells beside one another: layer by layer, and one release against the one before.

Concepts: a *ladder* holds what did the same work on the same kind of storage; each *rung* is one
way to it, from the bare file up to a guest on a vhost-user target. A *change* is one metric of one
cell then and now. Emulated timings are in neither: they say nothing about speed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vhostlab_perf.aggregate import CONFIDENCE, Estimate, Measured, Ratio, ratio
from vhostlab_perf.figures import CPU, IOPS, P99, Column

#: Ways to a disk, the barest first; others come after them.
PATHS = ("file", "host", "frontend", "guest")

#: What a release is compared by.
COMPARED = (IOPS, P99, CPU)

_WORK = ("pattern", "bs", "depth", "jobs", "rate", "rwmix", "vms")
#: What bare fio reads when it reads the file that an aio bdev would serve.
_FILE_BDEV = "aio"


@dataclass(frozen=True)
class Rung:
    """One way to the storage. ``added_ns``: mean latency on top of that of the first rung."""

    cell: Measured
    name: str
    ratio: Ratio | None
    added_ns: float | None


@dataclass(frozen=True)
class Ladder:
    """The same work on the same storage, by every way that was measured."""

    title: str
    rungs: tuple[Rung, ...]


def _storage(cell: Measured) -> str:
    return str(cell.params.get("bdev") or (_FILE_BDEV if cell.path == "file" else ""))


def _rank(cell: Measured) -> int:
    return PATHS.index(cell.path) if cell.path in PATHS else len(PATHS)


def _name(cell: Measured) -> str:
    """The way first, then what else there is to say."""
    rest = cell.words({*_WORK, "path", "target", "bdev"})
    return " ".join(w for w in (cell.path, cell.target if cell.path != "file" else "", rest) if w)


def ladders(cells: Sequence[Measured]) -> tuple[Ladder, ...]:
    """Every group of measured cells that has two ways or more."""
    groups: dict[tuple[object, ...], list[Measured]] = {}
    for cell in cells:
        if not cell.functional and "iops" in cell.metrics:
            work = tuple(str(cell.params.get(k)) for k in _WORK)
            groups.setdefault((*work, _storage(cell)), []).append(cell)
    return tuple(
        Ladder(_title(found[0]), _climb(sorted(found, key=_rank)))
        for found in groups.values()
        if len({(c.path, c.target) for c in found}) > 1
    )


def _title(cell: Measured) -> str:
    return " ".join(w for w in (cell.workload(), f"on {_storage(cell)}") if w)


def _climb(cells: Sequence[Measured]) -> tuple[Rung, ...]:
    base, *_ = cells
    rungs = []
    for cell in cells:
        mean, bare = cell.value("latency_mean"), base.value("latency_mean")
        other = cell is not base
        rungs.append(
            Rung(
                cell,
                _name(cell),
                ratio(cell.metrics["iops"], base.metrics["iops"]) if other else None,
                mean - bare if other and mean is not None and bare is not None else None,
            )
        )
    return tuple(rungs)


@dataclass(frozen=True)
class Change:
    """One metric of one cell in this release and in the previous one."""

    cell: Measured
    column: Column
    before: Estimate
    now: Estimate
    ratio: Ratio
    verdict: str

    @property
    def loss(self) -> float:
        """How far it went the wrong way, as a logarithm; below 0 it went the right way."""
        change = math.log(self.ratio.value)
        return -change if self.now.direction == "higher" else change


BETTER, WORSE, ALIKE, UNSURE = "better", "worse", "no difference seen", "too few runs to tell"


def verdict(found: Ratio, direction: str) -> str:
    """What the interval allows to say."""
    if found.confidence < CONFIDENCE:
        return UNSURE
    if found.low <= 1 <= found.high:
        return ALIKE
    return BETTER if (found.low > 1) == (direction == "higher") else WORSE


@dataclass(frozen=True)
class Since:
    """This release against the one before: changes, the worst first, and cells without a pair."""

    changes: tuple[Change, ...]
    new: tuple[Measured, ...]
    gone: tuple[Measured, ...]


def since(now: Sequence[Measured], before: Sequence[Measured]) -> Since:
    """Compare measured cells of the same id on the same target."""
    old = {(c.id, c.target): c for c in before if not c.functional}
    new = {(c.id, c.target): c for c in now if not c.functional}
    changes = []
    for key in new.keys() & old.keys():
        for column in COMPARED:
            a, b = new[key].metrics.get(column.metric), old[key].metrics.get(column.metric)
            found = ratio(a, b) if a and b and a.unit == b.unit else None
            if a and b and found:
                said = verdict(found, a.direction)
                changes.append(Change(new[key], column, b, a, found, said))
    changes.sort(key=lambda c: (-c.loss, c.cell.label(), c.column.metric))
    return Since(
        tuple(changes),
        tuple(c for k, c in new.items() if k not in old),
        tuple(c for k, c in old.items() if k not in new),
    )
