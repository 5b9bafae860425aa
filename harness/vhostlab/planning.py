# SPDX-License-Identifier: BSD-3-Clause
"""What a run of a matrix would do: which cells, in which guests, how long, and what is left out.

Concepts: a *plan* is the matrix after the filters, for one target. Times are estimates: the run
time of each cell is in the matrix, what starting fio and booting a guest take is taken from earlier
runs on this machine where there are any, and from the tables below where not.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vhostlab.matrix import Boot, Cell, Host, LeftOut, Matrix, Subject, boots, choose
from vhostlab.matrix.choose import OTHERS, Reason
from vhostlab.results import NO_GUEST, RESULT_FILE
from vhostlab.run import RUNNABLE_KIND, Request
from vhostlab.target.base import TargetCapabilities

#: Seconds until a guest can be used: of the micro guest, and of one with a distribution in it.
BOOT_S: Mapping[str, tuple[float, float]] = {
    "kvm": (3.0, 20.0),
    "tcg": (12.0, 240.0),
    NO_GUEST: (1.0, 1.0),
}

#: Seconds that a cell takes beyond its run time: fio starts, lays out, writes its result.
CELL_S: Mapping[str, float] = {"kvm": 1.0, "tcg": 3.0, NO_GUEST: 0.6}

#: The latest runs that are looked at for boot times.
RECENT_RUNS = 20


@dataclass(frozen=True)
class BootTimes:
    """How long guests take to boot. ``measured``: medians by accelerator and guest."""

    measured: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def seconds(self, accel: str, guest: str) -> float:
        """The best guess for a guest."""
        micro, other = BOOT_S[accel]
        return self.measured.get((accel, guest), micro if guest == "micro" else other)

    @classmethod
    def of(cls, results_dir: Path) -> BootTimes:
        """What the runs in a directory of results have seen; files that are no result are not."""
        seen: dict[tuple[str, str], list[float]] = {}
        runs = sorted(p.parent for p in results_dir.glob(f"2*/{RESULT_FILE}"))[-RECENT_RUNS:]
        for run in runs:
            for key, seconds in _boots_of(run / RESULT_FILE):
                seen.setdefault(key, []).append(seconds)
        return cls({key: statistics.median(values) for key, values in seen.items()})


def _boots_of(path: Path) -> Iterable[tuple[tuple[str, str], float]]:
    try:
        raw = json.loads(path.read_text())
        guest = str(raw["environment"]["guest.image"]).rpartition("-")[0]
        if any("guest" in cell["params"] for cell in raw.get("cells", [])):
            return []  # of which guest each boot was is not said
        accel = str(raw["environment"]["accel"])
        return [((accel, guest), float(g["boot_seconds"])) for g in raw["guests"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@dataclass(frozen=True)
class PlannedBoot:
    """One boot of a guest and what it serves."""

    boot: Boot
    boot_s: float
    cell_s: float

    @property
    def seconds(self) -> float:
        return self.boot_s + self.cell_s * len(self.boot.cells)


@dataclass(frozen=True)
class Plan:
    """The matrix for one target."""

    matrix: str
    target: str
    accel: str
    boots: tuple[PlannedBoot, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def cells(self) -> int:
        return sum(len(planned.boot.cells) for planned in self.boots)

    @property
    def seconds(self) -> float:
        return sum(planned.seconds for planned in self.boots)


def plan(
    matrix: Matrix,
    target: Subject,
    host: Host,
    times: BootTimes,
    only: Iterable[str] = (),
    *,
    others: Mapping[str, TargetCapabilities] = OTHERS,
    more: Reason = lambda cell: None,
) -> Plan:
    """What a run would do; ``others`` and ``more`` as for ``choose``."""
    chosen = choose(matrix, target, host, only, others=others, more=more)
    cell_s = matrix.runtime_s + matrix.ramp_s + CELL_S[host.accel]
    return Plan(
        matrix.name,
        target.name,
        host.accel,
        tuple(
            PlannedBoot(b, _boot_seconds(b, host.accel, times), cell_s) for b in boots(chosen.cells)
        ),
        chosen.left_out,
    )


def _boot_seconds(boot: Boot, accel: str, times: BootTimes) -> float:
    first = boot.cells[0]
    # they boot side by side, but each waits for the others' processors
    return times.seconds(accel, first.text("guest")) * first.number("vms")


def boot_words(boot: Mapping[str, Any]) -> str:
    """The parameters of a boot for a person."""
    return Cell(boot).label() or "all defaults"


def as_json(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Plans for a script."""
    return [
        {
            "matrix": p.matrix,
            "target": p.target,
            "accel": p.accel,
            "seconds": round(p.seconds, 1),
            "boots": [
                {
                    "params": dict(b.boot.params),
                    "seconds": round(b.seconds, 1),
                    "boot_seconds": round(b.boot_s, 1),
                    "cells": [
                        {
                            "id": cell.id,
                            "params": dict(cell.params),
                            "job": cell.job,
                            "seconds": round(b.cell_s, 1),
                        }
                        for cell in b.boot.cells
                    ],
                }
                for b in p.boots
            ],
            "left_out": [
                {"id": one.cell.id, "params": dict(one.cell.params), "reason": one.reason}
                for one in p.left_out
            ],
        }
        for p in plans
    ]


def recipe(request: Request, planned: Plan) -> list[dict[str, Any]]:
    """The boots of a plan as runnables, in the form of Avocado's recipe files: one for each."""
    found = []
    for number, one in enumerate(planned.boots, start=1):
        target = str(one.boot.params.get("target", request.target))
        part = replace(request, target=target, cells=tuple(cell.id for cell in one.boot.cells))
        (stage,) = part.stages()
        told = part.told(
            replace(stage, name=f"{stage.name}-{number}" if number > 1 else stage.name)
        )
        found.append({"kind": RUNNABLE_KIND, "uri": part.uri(stage), "kwargs": told})
    return found
