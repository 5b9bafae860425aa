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
        self._parts = _independent([c for rule in rules for c in self._clauses_of(rule)])

    def params(self, row: Row) -> dict[str, Value]:
        """A whole row as the parameters it stands for."""
        return {n: self._values[axis][row[axis]] for axis, n in enumerate(self.names)}

    def row(self, params: Mapping[str, Value | None]) -> Row | None:
        """The row of these parameters; None when some value is none of its axis."""
        found = []
        for name, values in zip(self.names, self._values, strict=True):
            value = params.get(name)
            position = next(
                (n for n, v in enumerate(values) if value is not None and same(v, value)), None
            )
            if position is None:
                return None
            found.append(position)
        return tuple(found)

    def extendable(self, row: Row) -> bool:
        """Whether the open values can be chosen so that nothing forbidden comes of it."""
        return all(part.extendable(tuple(row[a] for a in part.axes), self) for part in self._parts)

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


class _Part:
    """Clauses that share axes, directly or by way of others, and no axis with any other clause.

    What is open in one part does not matter to another, so each is looked at alone, and once.
    """

    def __init__(self, clauses: Sequence[Clause]) -> None:
        self.axes = tuple(sorted({axis for clause in clauses for axis in clause}))
        at = {axis: n for n, axis in enumerate(self.axes)}
        self._clauses = tuple({at[axis]: v for axis, v in c.items()} for c in clauses)
        self._known: dict[Row, bool] = {}

    def extendable(self, row: Row, space: Space) -> bool:
        """The same for the values of these axes."""
        if row not in self._known:
            self._known[row] = self._search(row, space)
        return self._known[row]

    def _search(self, row: Row, space: Space) -> bool:
        axis = None
        for clause in self._clauses:
            if any(row[a] not in values for a, values in clause.items() if row[a] != OPEN):
                continue
            undecided = next((a for a in clause if row[a] == OPEN), None)
            if undecided is None:
                return False
            axis = undecided if axis is None else axis
        if axis is None:
            return True
        size = space.sizes[self.axes[axis]]
        return any(self.extendable(put(row, axis, value), space) for value in range(size))


def _independent(clauses: Sequence[Clause]) -> tuple[_Part, ...]:
    groups: list[tuple[set[int], list[Clause]]] = []
    for clause in clauses:
        axes, members = set(clause), [clause]
        for group in [g for g in groups if g[0] & axes]:
            groups.remove(group)
            axes |= group[0]
            members = group[1] + members
        groups.append((axes, members))
    return tuple(_Part(members) for _, members in groups)


def put(row: Row, axis: int, value: int) -> Row:
    """The row with one value decided."""
    return (*row[:axis], value, *row[axis + 1 :])
