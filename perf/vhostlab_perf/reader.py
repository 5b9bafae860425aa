# SPDX-License-Identifier: BSD-3-Clause
"""Reads result.json (docs/result.schema.json) into what the report needs.

It is read leniently: the report of a broken run is the one that is looked at most. Only a file that
is no result at all, or of another format version, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The newest format this reader understands.
SCHEMA_VERSION = 1

Scalar = str | int | float | bool | None


class BadResult(Exception):
    """The file is not a result; the message names it."""


@dataclass(frozen=True)
class Metric:
    """One measured value."""

    name: str
    unit: str
    direction: str
    value: float


@dataclass(frozen=True)
class Check:
    """One thing a scenario looked at."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Scenario:
    """One scenario."""

    name: str
    stage: str
    status: str
    seconds: float
    reason: str
    replay: str
    checks: tuple[Check, ...]
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Cell:
    """One measured cell of the matrix."""

    id: str
    params: Mapping[str, Scalar]
    metrics: Mapping[str, float]
    replay: str
    unsaid: frozenset[str] = frozenset()
    """Parameters that tell it from no other cell of the result."""

    def label(self) -> str:
        """Every parameter that says something, for a table or a bar."""
        return self._words(self.unsaid)

    def series(self) -> str:
        """What is compared with one another: the device on its bdev."""
        return " ".join(str(self.params[k]) for k in ("device", "bdev") if k in self.params)

    def workload(self) -> str:
        """What is the same for all that are compared."""
        return self._words(self.unsaid | {"device", "bdev"})

    def _words(self, without: frozenset[str]) -> str:
        return " ".join(_param(k, v) for k, v in self.params.items() if k not in without)


@dataclass(frozen=True)
class Guest:
    """A guest that was booted."""

    stage: str
    command: tuple[str, ...]
    boot_seconds: float
    kernel: str


@dataclass(frozen=True)
class Queue:
    """The target's counters of one queue."""

    stage: str
    controller: str
    queue: int
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Result:
    """One run."""

    run_id: str
    started: str
    seconds: float
    suite: str
    status: str
    command: str
    target: str
    target_version: str
    environment: Mapping[str, Any]
    fingerprint: str
    timing: str
    scenarios: tuple[Scenario, ...]
    cells: tuple[Cell, ...]
    guests: tuple[Guest, ...]
    queues: tuple[Queue, ...]

    def count(self, status: str) -> int:
        """How many scenarios ended so."""
        return sum(s.status == status for s in self.scenarios)


def _param(name: str, value: Scalar) -> str:
    if name == "depth":
        return f"qd{value}"
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name}={value}" if isinstance(value, int) else str(value)


def _metric(raw: Mapping[str, Any]) -> Metric:
    return Metric(raw["name"], raw["unit"], raw["direction"], float(raw["value"]))


def _scenario(raw: Mapping[str, Any]) -> Scenario:
    return Scenario(
        name=raw["name"],
        stage=raw["stage"],
        status=raw["status"],
        seconds=float(raw["seconds"]),
        reason=raw.get("error") or raw.get("skip_reason") or "",
        replay=raw["replay"],
        checks=tuple(Check(c["name"], c["passed"], c["detail"]) for c in raw["checks"]),
        metrics=tuple(_metric(m) for m in raw["metrics"]),
    )


def _unsaid(cells: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The way to the disks, where all cells went the same one: the head of the report has it."""
    return frozenset({"path"} if len({c["params"].get("path") for c in cells}) == 1 else ())


def _result(raw: Mapping[str, Any]) -> Result:
    unsaid = _unsaid(raw["cells"])
    return Result(
        run_id=raw["run_id"],
        started=raw["started"],
        seconds=float(raw["seconds"]),
        suite=raw["suite"],
        status=raw["status"],
        command=raw["command"],
        target=raw["target"]["name"],
        target_version=raw["target"]["version"],
        environment=raw["environment"],
        fingerprint=raw["fingerprint"],
        timing=raw["timing"],
        scenarios=tuple(_scenario(s) for s in raw["scenarios"]),
        cells=tuple(
            Cell(
                id=c["id"],
                params=c["params"],
                metrics={m["name"]: float(m["value"]) for m in c["metrics"]},
                replay=c["replay"],
                unsaid=unsaid,
            )
            for c in raw["cells"]
        ),
        guests=tuple(
            Guest(g["stage"], tuple(g["argv"]), float(g["boot_seconds"]), g["kernel"])
            for g in raw["guests"]
        ),
        queues=tuple(
            Queue(q["stage"], q["controller"], q["queue"], q["counters"])
            for q in raw["queue_counters"]
        ),
    )


def read(path: Path) -> Result:
    """Read a result file; raises BadResult with one line."""
    try:
        raw = json.loads(path.read_text())
    except OSError as error:
        raise BadResult(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise BadResult(f"{path} is not JSON: {error}") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise BadResult(f"{path} has schema_version {version!r}, this reads {SCHEMA_VERSION}")
    try:
        return _result(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadResult(f"{path} is not a result: {type(error).__name__} {error}") from error
