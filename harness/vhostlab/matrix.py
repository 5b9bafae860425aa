# SPDX-License-Identifier: BSD-3-Clause
"""Turns a matrix file into the list of measurements it asks for.

Concepts: an *axis* is a parameter with several values; a *cell* is one combination of them. A
cell's id is a hash of its parameters alone, so the same measurement keeps its id whatever else the
file lists.

A matrix file is TOML::

    name = "smoke"
    runtime_s = 2

    [axes]
    device = ["blk", "scsi"]
    depth = [1, 32]

    [[exclude]]               # drop the cells that agree with every key
    device = "scsi"
    depth = 1

    [[when]]                  # cells that agree with `match` must also agree with `require`
    match = { device = "blk" }
    require = { depth = [32] }

A value in a constraint is one value or a list of allowed ones.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError

#: A parameter is something that TOML, JSON and a table can show without loss.
Value = str | int | bool

#: More cells than anybody can run point to a mistake in the file.
MAX_CELLS = 10_000

#: Digits of the hash; 40 bits keep thousands of cells apart.
ID_DIGITS = 10

_TOP_KEYS = {"name", "summary", "runtime_s", "axes", "exclude", "when"}


class MatrixError(HarnessError):
    """The matrix file cannot be used; the message names file and place."""


@dataclass(frozen=True)
class Cell:
    """One combination of parameters."""

    params: Mapping[str, Value]

    @property
    def id(self) -> str:
        """Stable over files, axis order and machines."""
        canonical = json.dumps(dict(self.params), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:ID_DIGITS]

    @property
    def job(self) -> str:
        """The name of the fio job file that the pattern, bs and depth axes stand for."""
        try:
            p = self.params
            return f"{p['pattern']}-{p['bs']}-qd{p['depth']}"
        except KeyError as error:
            raise MatrixError(f"cell {self.id} has no axis {error}, so no fio job") from error

    def label(self) -> str:
        """For people: the values in the order of the axes."""
        return " ".join(str(v) for v in self.params.values())


@dataclass(frozen=True)
class Matrix:
    """A matrix file, expanded."""

    name: str
    summary: str
    runtime_s: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class _Rule:
    match: Mapping[str, tuple[Value, ...]]
    require: Mapping[str, tuple[Value, ...]] | None

    def allows(self, params: Mapping[str, Value]) -> bool:
        if not _agrees(params, self.match):
            return True
        return self.require is not None and _agrees(params, self.require)


def _same(left: Value, right: Value) -> bool:
    # True == 1 in Python, and they are different parameters here
    return type(left) is type(right) and left == right


def _agrees(params: Mapping[str, Value], wanted: Mapping[str, tuple[Value, ...]]) -> bool:
    return all(any(_same(params[k], v) for v in values) for k, values in wanted.items())


def _value(raw: Any, where: str) -> Value:
    if isinstance(raw, str | int | bool):
        return raw
    raise MatrixError(f"{where}: {raw!r} must be a string, an integer or a boolean")


def _axes(raw: Any, where: str) -> dict[str, tuple[Value, ...]]:
    if not isinstance(raw, dict) or not raw:
        raise MatrixError(f"{where}: needs a table [axes] with at least one axis")
    axes: dict[str, tuple[Value, ...]] = {}
    for name, values in raw.items():
        if not isinstance(values, list) or not values:
            raise MatrixError(f"{where}: axis {name} must be a list with at least one value")
        axes[name] = tuple(_value(v, f"{where}: axis {name}") for v in values)
        if len({(type(v), v) for v in axes[name]}) != len(values):
            raise MatrixError(f"{where}: axis {name} lists a value twice")
    return axes


def _pattern(
    raw: Any, axes: Mapping[str, Sequence[Value]], where: str
) -> dict[str, tuple[Value, ...]]:
    if not isinstance(raw, dict) or not raw:
        raise MatrixError(f"{where}: needs at least one key")
    pattern: dict[str, tuple[Value, ...]] = {}
    for key, values in raw.items():
        if key not in axes:
            raise MatrixError(f"{where}: {key} is not an axis; there are {', '.join(axes)}")
        listed = values if isinstance(values, list) else [values]
        pattern[key] = tuple(_value(v, f"{where}: {key}") for v in listed)
        for value in pattern[key]:
            if not any(_same(value, v) for v in axes[key]):
                raise MatrixError(f"{where}: axis {key} has no value {value!r}")
    return pattern


def _rules(doc: Mapping[str, Any], axes: Mapping[str, Sequence[Value]], where: str) -> list[_Rule]:
    rules = []
    for key in ("exclude", "when"):
        if not isinstance(doc.get(key, []), list):
            raise MatrixError(f"{where}: write [[{key}]], not [{key}]")
    for n, raw in enumerate(doc.get("exclude", []), start=1):
        rules.append(_Rule(_pattern(raw, axes, f"{where}: exclude {n}"), None))
    for n, raw in enumerate(doc.get("when", []), start=1):
        place = f"{where}: when {n}"
        if not isinstance(raw, dict) or set(raw) != {"match", "require"}:
            raise MatrixError(f"{place}: needs exactly the keys match and require")
        match = _pattern(raw["match"], axes, f"{place} match")
        rules.append(_Rule(match, _pattern(raw["require"], axes, f"{place} require")))
    return rules


def expand(doc: Mapping[str, Any], where: str = "matrix") -> Matrix:
    """The cells of an already read matrix document, in the order of its axes."""
    unknown = set(doc) - _TOP_KEYS
    if unknown:
        raise MatrixError(f"{where}: unknown key {', '.join(sorted(unknown))}")
    name, runtime_s = doc.get("name"), doc.get("runtime_s")
    if not isinstance(name, str) or not name:
        raise MatrixError(f"{where}: needs a name")
    if not isinstance(runtime_s, int) or isinstance(runtime_s, bool) or runtime_s < 1:
        raise MatrixError(f"{where}: needs runtime_s, whole seconds of at least 1")
    axes = _axes(doc.get("axes"), where)
    total = 1
    for values in axes.values():
        total *= len(values)
    if total > MAX_CELLS:
        raise MatrixError(f"{where}: {total} combinations are more than {MAX_CELLS}")
    rules = _rules(doc, axes, where)
    cells = []
    for combination in itertools.product(*axes.values()):
        params = dict(zip(axes, combination, strict=True))
        if all(rule.allows(params) for rule in rules):
            cells.append(Cell(params))
    if not cells:
        raise MatrixError(f"{where}: the constraints leave no cell")
    return Matrix(name, str(doc.get("summary", "")), runtime_s, tuple(cells))


def load(path: Path) -> Matrix:
    """Read and expand a matrix file; raises MatrixError with one line that says what to do."""
    try:
        doc = tomllib.loads(path.read_text())
    except OSError as error:
        raise MatrixError(f"cannot read the matrix {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MatrixError(f"{path}: {error}") from error
    return expand(doc, str(path))
