# SPDX-License-Identifier: BSD-3-Clause
"""Turns a matrix file into the list of measurements it asks for."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vhostlab.matrix.cells import ESSENTIAL, PARAMETERS, Cell, MatrixError, Value, default
from vhostlab.matrix.constraints import Rule, Space, among
from vhostlab.matrix.tway import reduce

#: More cells than anybody can run point to a mistake in the file.
MAX_CELLS = 10_000

#: Beyond, finding the cells would take minutes.
MAX_STRENGTH = 3

_TOP_KEYS = {
    *("name", "summary", "runtime_s", "ramp_s", "strength"),
    *("axes", "defaults", "exclude", "when", "report"),
}

Axes = Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True)
class Matrix:
    """A matrix file, expanded. ``ramp_s``: how long a job runs before it is measured.

    Where ``strength`` is not 0 the cells are not the whole product of the axes, and a target or a
    host that cannot have some of them is given others instead (see ``choose``).
    """

    name: str
    summary: str
    runtime_s: int
    cells: tuple[Cell, ...]
    ramp_s: int = 0
    strength: int = 0
    axes: Axes = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def check(self, ids: Iterable[str]) -> None:
        """Raise MatrixError for an id that no cell can have, as far as the file alone says."""
        unknown = sorted(set(ids) - {cell.id for cell in self.cells})
        if unknown and not self.strength:
            raise MatrixError(f"matrix {self.name} has no cell {', '.join(unknown)}")

    def plus(self, params: Mapping[str, Value]) -> Matrix:
        """The same with parameters that all cells have in common."""
        return replace(
            self,
            cells=tuple(Cell({**cell.params, **params}) for cell in self.cells),
            axes={**self.axes, **{name: (value,) for name, value in params.items()}},
        )

    @property
    def measured_share(self) -> float:
        """Which part of a job's time is measured: of CPU time taken meanwhile, so much counts."""
        return self.runtime_s / (self.ramp_s + self.runtime_s)

    def fio_options(self, cell: Cell) -> tuple[str, ...]:
        """Options that go before the cell's job file; what the file itself says is not among."""
        ramp = (f"--ramp_time={self.ramp_s}",) if self.ramp_s else ()
        return (*ramp, *cell.fio_options)


def _value(raw: Any, where: str, name: str) -> Value:
    if not isinstance(raw, str | int | bool):
        raise MatrixError(f"{where}: {raw!r} must be a string, an integer or a boolean")
    known = PARAMETERS.get(name)
    if known and (reason := known.refuses(name, raw)):
        raise MatrixError(f"{where}: {reason}")
    return raw


def _axes(raw: Any, where: str) -> dict[str, tuple[Value, ...]]:
    if not isinstance(raw, dict) or not raw:
        raise MatrixError(f"{where}: needs a table [axes] with at least one axis")
    axes: dict[str, tuple[Value, ...]] = {}
    for name, values in raw.items():
        if not isinstance(values, list) or not values:
            raise MatrixError(f"{where}: axis {name} must be a list with at least one value")
        axes[name] = tuple(_value(v, f"{where}: axis {name}", name) for v in values)
        if len({(type(v), v) for v in axes[name]}) != len(values):
            raise MatrixError(f"{where}: axis {name} lists a value twice")
    return axes


def _defaults(raw: Any, where: str) -> dict[str, Value]:
    if not isinstance(raw, dict):
        raise MatrixError(f"{where}: write [defaults] with one value per parameter")
    return {name: _value(value, f"{where}: defaults: {name}", name) for name, value in raw.items()}


def _pattern(raw: Any, axes: Axes, where: str) -> dict[str, tuple[Value, ...]]:
    if not isinstance(raw, dict) or not raw:
        raise MatrixError(f"{where}: needs at least one key")
    pattern: dict[str, tuple[Value, ...]] = {}
    for key, values in raw.items():
        if key not in axes:
            raise MatrixError(f"{where}: {key} is not an axis; there are {', '.join(axes)}")
        listed = values if isinstance(values, list) else [values]
        pattern[key] = tuple(_value(v, f"{where}: {key}", key) for v in listed)
        for value in pattern[key]:
            if not among(value, axes[key]):
                raise MatrixError(f"{where}: axis {key} has no value {value!r}")
    return pattern


def _rules(doc: Mapping[str, Any], axes: Axes, where: str) -> list[Rule]:
    rules = []
    for key in ("exclude", "when", "report"):
        if not isinstance(doc.get(key, []), list):
            raise MatrixError(f"{where}: write [[{key}]], not [{key}]")
    for n, raw in enumerate(doc.get("exclude", []), start=1):
        place = f"exclude {n}"
        rules.append(Rule(_pattern(raw, axes, f"{where}: {place}"), None, place))
    for n, raw in enumerate(doc.get("when", []), start=1):
        place = f"when {n}"
        if not isinstance(raw, dict) or set(raw) != {"match", "require"}:
            raise MatrixError(f"{where}: {place}: needs exactly the keys match and require")
        match = _pattern(raw["match"], axes, f"{where}: {place} match")
        require = _pattern(raw["require"], axes, f"{where}: {place} require")
        rules.append(Rule(match, require, place))
    return rules


def _combinations(axes: Axes, rules: Sequence[Rule], where: str) -> list[Cell]:
    """The whole product, without what the rules forbid."""
    total = 1
    for values in axes.values():
        total *= len(values)
    if total > MAX_CELLS:
        raise MatrixError(
            f"{where}: {total} combinations are more than {MAX_CELLS}", "strength = 2 takes fewer"
        )
    found = (dict(zip(axes, c, strict=True)) for c in itertools.product(*axes.values()))
    return [Cell(params) for params in found if all(rule.allows(params) for rule in rules)]


def _reduced(axes: Axes, rules: Sequence[Rule], strength: int) -> list[Cell]:
    space = Space(axes, rules)
    return [Cell(space.params(row)) for row in reduce(space, strength)]


def _report(
    raw: Any, axes: Axes, defaults: Mapping[str, Value], rules: Sequence[Rule], where: str
) -> list[Cell]:
    """The cells of one [[report]]: the product of its lists, the rest as in [defaults] or usual."""
    if not isinstance(raw, dict) or not raw:
        raise MatrixError(f"{where}: needs at least one key")
    unknown = [name for name in raw if name not in axes and name not in PARAMETERS]
    if unknown:
        raise MatrixError(f"{where}: {unknown[0]} is not an axis; there are {', '.join(axes)}")
    listed: dict[str, tuple[Value, ...]] = {}
    for name in dict.fromkeys((*axes, *raw)):
        values = raw.get(name, defaults.get(name, _usual(name, axes)))
        if values is None:
            if name in ESSENTIAL or name not in PARAMETERS:
                raise MatrixError(f"{where}: {name} needs a value, here or in [defaults]")
            continue
        several = values if isinstance(values, list) else [values]
        listed[name] = tuple(_value(v, f"{where}: {name}", name) for v in several)
    cells = []
    for combination in itertools.product(*listed.values()):
        params = dict(zip(listed, combination, strict=True))
        broken = next((rule for rule in rules if not rule.allows(params)), None)
        if broken:
            words = Cell(params).label()
            raise MatrixError(f"{where}: {words} is forbidden by {broken.place} of the same file")
        cells.append(Cell(params))
    return cells


def _usual(name: str, axes: Axes) -> Value | None:
    """The value of an axis that has one, or the default of the parameter."""
    values = axes.get(name, ())
    return values[0] if len(values) == 1 else default(name)


def _seconds(doc: Mapping[str, Any], key: str, least: int, where: str) -> int:
    value = doc.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise MatrixError(f"{where}: needs {key}, whole seconds of at least {least}")
    return value


def expand(doc: Mapping[str, Any], where: str = "matrix") -> Matrix:
    """The cells of an already read matrix document, in the order of its axes."""
    unknown = set(doc) - _TOP_KEYS
    if unknown:
        raise MatrixError(f"{where}: unknown key {', '.join(sorted(unknown))}")
    name, strength = doc.get("name"), doc.get("strength", 0)
    if not isinstance(name, str) or not name:
        raise MatrixError(f"{where}: needs a name")
    runtime_s, ramp_s = _seconds(doc, "runtime_s", 1, where), _seconds(doc, "ramp_s", 0, where)
    if type(strength) is not int or ("strength" in doc and not 2 <= strength <= MAX_STRENGTH):
        raise MatrixError(f"{where}: strength must be 2 or {MAX_STRENGTH}, or not be there")
    defaults = _defaults(doc.get("defaults", {}), where)
    axes = _axes(doc.get("axes"), where)
    axes |= {key: (value,) for key, value in defaults.items() if key not in axes}
    rules = _rules(doc, axes, where)
    cells = _reduced(axes, rules, strength) if strength else _combinations(axes, rules, where)
    if not cells:
        raise MatrixError(f"{where}: the constraints leave no cell")
    for n, raw in enumerate(doc.get("report", []), start=1):
        cells += _report(raw, axes, defaults, rules, f"{where}: report {n}")
    once = tuple({cell.id: cell for cell in cells}.values())
    summary = str(doc.get("summary", ""))
    return Matrix(name, summary, runtime_s, once, ramp_s, strength, axes, tuple(rules))


def load(path: Path) -> Matrix:
    """Read and expand a matrix file; raises MatrixError with one line that says what to do."""
    try:
        doc = tomllib.loads(path.read_text())
    except OSError as error:
        raise MatrixError(f"cannot read the matrix {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MatrixError(f"{path}: {error}") from error
    axes = doc.get("axes")
    for name in axes if isinstance(axes, dict) else ():
        if name not in PARAMETERS:
            # a misspelt axis would be measured as if it were not there
            known = ", ".join(PARAMETERS)
            raise MatrixError(f"{path}: there is no parameter {name}; there are {known}")
    return expand(doc, str(path))
