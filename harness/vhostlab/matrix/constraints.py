# SPDX-License-Identifier: BSD-3-Clause
"""Which combinations of values are allowed.

Concepts: a rule of the file becomes one or more *clauses*; a clause names some axes with a set of
values each, and a combination that agrees with all of them is forbidden. In here an axis and a
value are their positions in the file (`Row`), and `OPEN` is a value that has not been decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vhostlab.matrix.cells import Value, same

OPEN = -1

#: A value's position for each axis, in the order of the axes.
Row = tuple[int, ...]

Clause = Mapping[int, frozenset[int]]


@dataclass(frozen=True)
class Rule:
    """Where ``match`` holds, ``require`` must hold as well; None: nothing may match."""

    match: Mapping[str, tuple[Value, ...]]
    require: Mapping[str, tuple[Value, ...]] | None
    #: How a person finds it: "exclude 2".
    place: str

    def allows(self, params: Mapping[str, Value]) -> bool:
        """Whether a whole combination may be."""
        if not _agrees(params, self.match):
            return True
        return self.require is not None and _agrees(params, self.require)


def _agrees(params: Mapping[str, Value], wanted: Mapping[str, tuple[Value, ...]]) -> bool:
    return all(k in params and among(params[k], values) for k, values in wanted.items())


def among(value: Value, values: Iterable[Value]) -> bool:
    """Whether one of the values is the value."""
    return any(same(value, v) for v in values)


class Space:
    """The axes and what the rules leave of their product."""

    def __init__(self, axes: Mapping[str, Sequence[Value]], rules: Iterable[Rule]) -> None:
        self.names = tuple(axes)
        self._values = tuple(tuple(values) for values in axes.values())
        self.sizes = tuple(len(values) for values in self._values)
        self._clauses = tuple(c for rule in rules for c in self._clauses_of(rule))
        self._known: dict[Row, bool] = {}

    def params(self, row: Row) -> dict[str, Value]:
        """A whole row as the parameters it stands for."""
        return {n: self._values[axis][row[axis]] for axis, n in enumerate(self.names)}

    def extendable(self, row: Row) -> bool:
        """Whether the open values can be chosen so that nothing forbidden comes of it."""
        if row not in self._known:
            self._known[row] = self._search(row)
        return self._known[row]

    def _search(self, row: Row) -> bool:
        axis = None
        for clause in self._clauses:
            undecided = [a for a in clause if row[a] == OPEN]
            if any(row[a] not in clause[a] for a in clause if row[a] != OPEN):
                continue
            if not undecided:
                return False
            if axis is None:
                axis = undecided[0]
        if axis is None:
            return True
        return any(self.extendable(put(row, axis, value)) for value in range(self.sizes[axis]))

    def _clauses_of(self, rule: Rule) -> list[Clause]:
        match = {self._axis(n): self._positions(n, values) for n, values in rule.match.items()}
        if rule.require is None:
            return [match]
        clauses: list[Clause] = []
        for name, values in rule.require.items():
            axis = self._axis(name)
            wrong = frozenset(range(self.sizes[axis])) - self._positions(name, values)
            clauses.append({**match, axis: match.get(axis, wrong) & wrong})
        return clauses

    def _axis(self, name: str) -> int:
        return self.names.index(name)

    def _positions(self, name: str, values: Iterable[Value]) -> frozenset[int]:
        there = self._values[self._axis(name)]
        return frozenset(n for n, value in enumerate(there) if among(value, values))


def put(row: Row, axis: int, value: int) -> Row:
    """The row with one value decided."""
    return (*row[:axis], value, *row[axis + 1 :])
