# SPDX-License-Identifier: BSD-3-Clause
"""The limits: perf/gates.toml, and the coverage that was reached before."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GATES = "gates.toml"
REACHED = "coverage.json"


class BadRules(Exception):
    """A file of limits that cannot be used."""


@dataclass(frozen=True)
class WorkMetric:
    """``least``: a change that is smaller than that, in absolute terms, is none."""

    name: str
    title: str
    least: float


@dataclass(frozen=True)
class WorkRules:
    """A count may grow by ``floor`` of itself, or by ``factor`` times the spread of two counts of
    the same build; with a limit beyond ``most`` nothing is said."""

    floor: float
    factor: float
    most: float
    metrics: tuple[WorkMetric, ...]


@dataclass(frozen=True)
class CoverageRules:
    """Percent of changed lines; how few of them say nothing; by how much the total may fall."""

    changed_percent: float
    changed_fewest: int
    total_tolerance: float


@dataclass(frozen=True)
class Reached:
    """Percent of lines and branches, by which parts of the tests."""

    parts: frozenset[str]
    lines: float
    branches: float


@dataclass(frozen=True)
class Rules:
    work: WorkRules
    coverage: CoverageRules
    reached: Reached | None


def read(directory: Path) -> Rules:
    """The rules of a directory; BadRules says what is wrong with them."""
    path = directory / GATES
    try:
        table = tomllib.loads(path.read_text())
        return Rules(_work(table["work"]), CoverageRules(**table["coverage"]), _reached(directory))
    except OSError as error:
        raise BadRules(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadRules(f"{path}: {error}") from error


def _work(table: dict[str, Any]) -> WorkRules:
    metrics = tuple(
        WorkMetric(name, values["title"], float(values["least"]))
        for name, values in table["metrics"].items()
    )
    return WorkRules(table["floor"], table["factor"], table["most"], metrics)


def _reached(directory: Path) -> Reached | None:
    path = directory / REACHED
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    return Reached(frozenset(kept["parts"]), float(kept["lines"]), float(kept["branches"]))
