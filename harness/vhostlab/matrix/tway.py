# SPDX-License-Identifier: BSD-3-Clause
"""t-way reduction: few combinations in which every t values that may meet do meet.

Most faults, and most surprises in speed, come of two values that meet, not of twelve. So instead of
the whole product a matrix may take enough of it that each pair (`strength = 2`) is in some cell.

A greedy search in the manner of AETG, with no chance in it: the same axes and rules give the same
rows. A row begins with the first tuple that no row has yet; each other axis takes the value that
brings the most new tuples and can still become an allowed row. Several orders of the axes are
tried, and the row that brings most is kept.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from vhostlab.matrix.constraints import OPEN, Row, Space, put

#: Axes with their values, ascending: what has to be in some row.
Tuple = tuple[tuple[int, int], ...]

#: How many orders of the axes are tried for each row.
ORDERS = 12


def allowed_tuples(space: Space, strength: int) -> list[Tuple]:
    """Every combination of ``strength`` values of different axes that some allowed row has."""
    none = (OPEN,) * len(space.sizes)
    found = []
    for axes in itertools.combinations(range(len(space.sizes)), strength):
        for values in itertools.product(*(range(space.sizes[a]) for a in axes)):
            row = none
            for axis, value in zip(axes, values, strict=True):
                row = put(row, axis, value)
            if space.extendable(row):
                found.append(tuple(zip(axes, values, strict=True)))
    return found


def reduce(space: Space, strength: int, given: Sequence[Row] = ()) -> list[Row]:
    """Allowed rows that have every allowed tuple between them, in the order of the product.

    ``given``: rows that there are already; those that are returned have the rest.
    """
    strength = min(strength, len(space.sizes))
    # a dict keeps the order, and the first that is left is found at once
    missing = dict.fromkeys(allowed_tuples(space, strength))
    used: Counter[tuple[int, int]] = Counter()
    for row in given:
        used.update(enumerate(row))
        for covered in _tuples(row, strength):
            missing.pop(covered, None)
    rows: list[Row] = []
    while missing:
        seed = next(iter(missing))
        tried = (_row(space, seed, order, missing, used, strength) for order in _orders(space))
        row = max(tried, key=lambda candidate: len(_tuples(candidate, strength) & missing.keys()))
        for covered in _tuples(row, strength):
            missing.pop(covered, None)
        used.update(enumerate(row))
        rows.append(row)
    return sorted(rows)


def _orders(space: Space) -> list[Sequence[int]]:
    axes = list(range(len(space.sizes)))
    by_size = sorted(axes, key=lambda axis: -space.sizes[axis])
    step = max(1, len(axes) // (ORDERS // 2))
    turned = [n % max(1, len(axes)) for n in range(0, step * (ORDERS // 2), step)]
    return [order[n:] + order[:n] for order in (by_size, axes) for n in turned]


def _row(
    space: Space,
    seed: Tuple,
    order: Sequence[int],
    missing: dict[Tuple, None],
    used: Counter[tuple[int, int]],
    strength: int,
) -> Row:
    row: Row = (OPEN,) * len(space.sizes)
    for axis, value in seed:
        row = put(row, axis, value)
    decided = [axis for axis, _ in seed]
    for axis in order:
        if row[axis] != OPEN:
            continue
        best = max(
            (v for v in range(space.sizes[axis]) if space.extendable(put(row, axis, v))),
            key=lambda v, axis=axis, row=row: (  # type: ignore[misc]
                _gain(put(row, axis, v), axis, decided, missing, strength),
                -used[axis, v],
                -v,
            ),
        )
        row = put(row, axis, best)
        decided.append(axis)
    return row


def _gain(
    row: Row, axis: int, decided: Sequence[int], missing: dict[Tuple, None], strength: int
) -> int:
    """How many tuples of this axis and decided ones are new."""
    others = itertools.combinations(decided, strength - 1)
    return sum(tuple((a, row[a]) for a in sorted((axis, *o))) in missing for o in others)


def _tuples(row: Row, strength: int) -> set[Tuple]:
    return set(itertools.combinations(enumerate(row), strength))
