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
from vhostlab_perf.labels import param

#: Ways to a disk, the barest first; others come after them.
PATHS = ("file", "host", "frontend", "guest")

#: What a release is compared by.
COMPARED = (IOPS, P99, CPU)

_WORK = ("pattern", "bs", "depth", "jobs", "rate", "rwmix")
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
    """The way, and who serves it; nobody serves a bare file."""
    own = set(cell.params) - {"poll"}
    words = [cell.path, "" if cell.path == "file" else cell.target, cell.words({*own, "target"})]
    return " ".join(w for w in words if w)


def _built(cell: Measured) -> dict[str, str]:
    """How the disk is made and shown to the driver: what must be the same on every rung."""
    hidden = {*_WORK, "path", "target", "bdev", "poll"}
    return {k: str(v) for k, v in cell.params.items() if k not in hidden}


def ladders(cells: Sequence[Measured]) -> tuple[Ladder, ...]:
    """Every group of measured cells that has two ways or more and differs in nothing else.

    A bare file has no device and no rings: it is the first rung of each group that does its work.
    """
    groups: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], list[Measured]] = {}
    files: dict[tuple[str, ...], list[Measured]] = {}
    for cell in cells:
        if cell.functional or "iops" not in cell.metrics:
            continue
        work = (*(str(cell.params.get(k)) for k in _WORK), _storage(cell))
        if cell.path == "file":
            files.setdefault(work, []).append(cell)
        else:
            built = tuple(sorted(_built(cell).items()))
            groups.setdefault((work, built), []).append(cell)
    made = []
    for (work, _), found in groups.items():
        rungs = sorted([*files.get(work, ()), *found], key=_rank)
        if len({(c.path, c.target) for c in rungs}) > 1:
            made.append(Ladder(_title(found[0]), _climb(rungs)))
    return tuple(made)


def _title(cell: Measured) -> str:
    built = " ".join(param(k, v) for k, v in cell.params.items() if k in _built(cell))
    return " ".join(w for w in (cell.workload(), f"on {_storage(cell)}", built) if w)


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


def _change(now: Measured, before: Measured, column: Column) -> Change | None:
    a, b = now.metrics.get(column.metric), before.metrics.get(column.metric)
    found = ratio(a, b) if a and b and a.unit == b.unit else None
    return Change(column, b, a, found, verdict(found, a.direction)) if a and b and found else None


@dataclass(frozen=True)
class Since:
    """This release against the one before: changes, the worst first, and cells without a pair."""

    changes: tuple[tuple[Measured, tuple[Change | None, ...]], ...]
    """A row for each cell, with a change for each of COMPARED."""
    new: tuple[Measured, ...]
    gone: tuple[Measured, ...]

    def confidences(self) -> tuple[str, ...]:
        """The smallest and the largest one, as people write them."""
        found = sorted(c.ratio.confidence for _, row in self.changes for c in row if c)
        shown = [f"{v:.1%}" for v in found[:1] + found[-1:] if v]
        return tuple(dict.fromkeys(shown))


def since(now: Sequence[Measured], before: Sequence[Measured]) -> Since:
    """Compare measured cells of the same id on the same target."""
    old = {(c.id, c.target): c for c in before if not c.functional}
    new = {(c.id, c.target): c for c in now if not c.functional}
    changes = [
        (cell, tuple(_change(cell, old[key], column) for column in COMPARED))
        for key, cell in new.items()
        if key in old
    ]
    changes.sort(key=lambda c: (-max((x.loss for x in c[1] if x), default=0.0), c[0].label()))
    return Since(
        tuple(changes),
        tuple(c for k, c in new.items() if k not in old),
        tuple(c for k, c in old.items() if k not in new),
    )
