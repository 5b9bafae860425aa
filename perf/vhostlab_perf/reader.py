# SPDX-License-Identifier: BSD-3-Clause
"""Reads result.json (docs/result.schema.json) into what the reports need.

It is read leniently: the report of a broken run is the one that is looked at most. What cannot be
understood is left out and named in ``problems``, which the page shows. Only a file that is no
result at all, or of another format version, is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vhostlab_perf import series

#: The newest format this reader understands.
SCHEMA_VERSION = 1

RESULT_FILE = "result.json"
PLAN_FILE = "plan.json"

#: What a name, a parameter or a line of a table may have; the rest is cut off, and says so.
LONGEST_WORD = 200
#: The same for text that is shown in a block of its own: an error with its console, a command.
LONGEST_TEXT = 20_000
#: More problems than this say nothing that the first ones do not.
MOST_PROBLEMS = 20

Scalar = str | int | float | bool | None
_T = TypeVar("_T")
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


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
    metrics: Mapping[str, Metric]
    replay: str
    steady: str = "unknown"
    series: tuple[float, ...] = ()
    """I/Os of each second, where they were kept."""


@dataclass(frozen=True)
class LeftOut:
    """A cell that was asked for and not measured."""

    id: str
    params: Mapping[str, Scalar]
    reason: str


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
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[str, ...] = ()
    """What of the file could not be read, a sentence each."""

    def count(self, status: str) -> int:
        """How many scenarios ended so."""
        return sum(s.status == status for s in self.scenarios)


def clean(value: Any) -> Any:
    """The same data with text that any file and any page can carry.

    Consoles are full of control characters, and JSON can say halves of a surrogate pair.
    """
    if isinstance(value, str):
        return (
            "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value)
            .encode("utf-8", "replace")
            .decode()
        )
    if isinstance(value, list):
        return [clean(v) for v in value]
    if isinstance(value, dict):
        return {clean(k): clean(v) for k, v in value.items()}
    return value


def word(value: Any, longest: int = LONGEST_WORD) -> str:
    """Text of bounded length."""
    text = "" if value is None else str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def text(value: Any) -> str:
    """Text that is shown in a block of its own."""
    return word(value, LONGEST_TEXT)


def number(value: Any) -> float:
    """A finite number; raises ValueError for anything else that JSON or Python takes for one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{word(value)!r} is not a number")
    if not math.isfinite(float(value)):
        raise ValueError(f"{value} is not finite")
    return float(value)


def _seconds(value: Any) -> float:
    try:
        return max(number(value), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _finite(value: Any) -> Any:
    """The same data without what JSON as others read it cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return value


def _params(raw: Mapping[str, Any]) -> dict[str, Scalar]:
    return {
        word(k): v if isinstance(v, bool | int | float) else word(v)
        for k, v in _finite(dict(raw)).items()
    }


class _Reader:
    """Goes through one document and keeps what it could not read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.problems: list[str] = []

    def each(self, raw: Mapping[str, Any], key: str, make: Callable[[Any], _T]) -> tuple[_T, ...]:
        """The entries of a list, those that can be read."""
        entries = raw.get(key) or []
        if not isinstance(entries, list):
            self.problems.append(f"{key} is not a list")
            return ()
        made = []
        for n, entry in enumerate(entries):
            try:
                made.append(make(entry))
            except _UNREADABLE as error:
                self.problems.append(f"{key}[{n}]: {type(error).__name__} {word(error)}")
        return tuple(made)

    def metric(self, raw: Any) -> Metric:
        name = word(raw["name"])
        try:
            value = number(raw["value"])
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{name}: {error}") from error
        return Metric(name, word(raw.get("unit")), word(raw.get("direction", "neither")), value)

    def scenario(self, raw: Any) -> Scenario:
        return Scenario(
            name=word(raw["name"]),
            stage=word(raw.get("stage")),
            status=word(raw["status"]),
            seconds=_seconds(raw.get("seconds")),
            reason=text(raw.get("error") or raw.get("skip_reason") or ""),
            replay=text(raw.get("replay")),
            checks=self.each(raw, "checks", _check),
            metrics=self.each(raw, "metrics", self.metric),
        )

    def cell(self, raw: Any) -> Cell:
        metrics = self.each(raw, "metrics", self.metric)
        kept = raw.get("series")
        return Cell(
            id=word(raw["id"]),
            params=_params(raw["params"]),
            metrics={m.name: m for m in metrics},
            replay=text(raw.get("replay")),
            steady=word(raw.get("steady") or "unknown"),
            series=series.read(self.directory, kept) if isinstance(kept, str) and kept else (),
        )

    def result(self, raw: Mapping[str, Any]) -> Result:
        target = raw.get("target")
        target = target if isinstance(target, Mapping) else {"name": target}
        environment = raw.get("environment")
        return Result(
            run_id=word(raw["run_id"]),
            started=word(raw.get("started")),
            seconds=_seconds(raw.get("seconds")),
            suite=word(raw.get("suite") or "run"),
            status=word(raw.get("status") or "error"),
            command=text(raw.get("command")),
            target=word(target.get("name") or "unknown"),
            target_version=word(target.get("version")),
            environment=_finite(environment) if isinstance(environment, dict) else {},
            fingerprint=word(raw.get("fingerprint")),
            # a run that does not say how it was made must not pass for a measurement
            timing="performance" if raw.get("timing") == "performance" else "functional",
            scenarios=self.each(raw, "scenarios", self.scenario),
            cells=self.each(raw, "cells", self.cell),
            guests=self.each(raw, "guests", _guest),
            queues=self.each(raw, "queue_counters", _queue),
            left_out=self.each(raw, "left_out", _left_out),
            problems=self._listed(),
        )

    def _listed(self) -> tuple[str, ...]:
        more = len(self.problems) - MOST_PROBLEMS
        return (*self.problems[:MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else ()))


def _check(raw: Any) -> Check:
    return Check(word(raw["name"]), raw["passed"] is True, text(raw.get("detail")))


def _left_out(raw: Any) -> LeftOut:
    return LeftOut(word(raw.get("id")), _params(raw.get("params") or {}), text(raw["reason"]))


def _guest(raw: Any) -> Guest:
    argv = tuple(str(a) for a in raw["argv"])
    return Guest(word(raw["stage"]), argv, _seconds(raw["boot_seconds"]), word(raw["kernel"]))


def _queue(raw: Any) -> Queue:
    counters = {word(k): int(v) for k, v in raw["counters"].items()}
    return Queue(word(raw["stage"]), word(raw["controller"]), int(raw["queue"]), counters)


def _load(path: Path) -> Any:
    try:
        return clean(json.loads(path.read_text(errors="replace")))
    except OSError as error:
        raise BadResult(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadResult(f"{path} is not JSON: {error}") from error


def _unfinished(directory: Path) -> Any:
    """What the plan and the stages of a run say that was ended before it wrote its result."""
    plan = _load(directory / PLAN_FILE)
    try:
        raw: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "status": "error",
            **{k: plan.get(k) for k in ("run_id", "started", "suite", "command")},
            "target": {"name": plan.get("target")},
            "environment": {},
            "left_out": [*(plan.get("left_out") or [])],
        }
        for stage in plan["stages"]:
            path = directory / "stages" / f"{Path(str(stage['name'])).name}.json"
            said = _load(path) if path.exists() else {}
            raw["environment"] |= said.get("environment") or {}
            raw["target"] = said.get("target") or raw["target"]
            for key in ("cells", "scenarios", "guests", "queue_counters", "left_out"):
                raw.setdefault(key, []).extend(said.get(key) or [])
            done = {s.get("name") for s in said.get("scenarios") or []}
            raw["scenarios"] += [
                {"name": s, "status": "error", "error": "the run ended before this scenario did"}
                for s in stage["scenarios"]
                if s not in done
            ]
    except (*_UNREADABLE, BadResult) as error:
        raise BadResult(f"{directory} is not the directory of a run: {error}") from error
    accel = raw["environment"].get("accel")
    raw["timing"] = "performance" if accel in ("kvm", "none") else "functional"
    return raw


def read(path: Path) -> Result:
    """Read a result file or the directory of a run; raises BadResult with one line."""
    file = path / RESULT_FILE if path.is_dir() else path
    whole = not path.is_dir() or file.exists() or not (path / PLAN_FILE).exists()
    raw = _load(file) if whole else _unfinished(path)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise BadResult(f"{file} has schema_version {version!r}, this reads {SCHEMA_VERSION}")
    reader = _Reader(file.parent)
    if not whole:
        reader.problems.append(f"the run left no {RESULT_FILE}: this is what its stages wrote")
    try:
        return reader.result(raw)
    except _UNREADABLE as error:
        raise BadResult(f"{file} is not a result: {type(error).__name__} {error}") from error
