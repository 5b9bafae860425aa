# SPDX-License-Identifier: BSD-3-Clause
"""t-way reduction: what must meet meets, what must not does not, and it is few."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from vhostlab import matrix
from vhostlab.matrix import Value

Params = dict[str, Value]
Document = dict[str, Any]


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Up to six axes of up to four values, with rules that may leave little or nothing."""
    axes: dict[str, list[Value]] = {
        name: [*range(draw(st.integers(1, 4)))] for name in "abcdef"[: draw(st.integers(2, 6))]
    }

    def pattern() -> Params | Any:
        names = draw(st.lists(st.sampled_from(sorted(axes)), min_size=1, max_size=3, unique=True))
        return {
            n: draw(st.lists(st.sampled_from(axes[n]), min_size=1, max_size=2, unique=True))
            for n in names
        }

    exclude = [pattern() for _ in range(draw(st.integers(0, 3)))]
    when = [{"match": pattern(), "require": pattern()} for _ in range(draw(st.integers(0, 2)))]
    return {"name": "m", "runtime_s": 1, "axes": axes, "exclude": exclude, "when": when}


def agrees(params: Params, pattern: Any) -> bool:
    return all(params[key] in values for key, values in pattern.items())


def allowed(doc: Document) -> Iterator[Params]:
    """The definition, written down once more and by brute force."""
    for values in itertools.product(*doc["axes"].values()):
        params = dict(zip(doc["axes"], values, strict=True))
        if any(agrees(params, pattern) for pattern in doc["exclude"]):
            continue
        if all(agrees(params, w["require"]) for w in doc["when"] if agrees(params, w["match"])):
            yield params


def tuples(cells: list[Params], strength: int) -> set[tuple[tuple[str, Value], ...]]:
    return {t for c in cells for t in itertools.combinations(sorted(c.items()), strength)}


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), st.sampled_from([2, 3]))
def test_every_allowed_tuple_is_covered_and_nothing_forbidden_is_there(
    doc: Document, strength: int
) -> None:
    product = list(allowed(doc))
    assume(product)
    cells = [dict(c.params) for c in matrix.expand({**doc, "strength": strength}).cells]
    assert all(cell in product for cell in cells)
    strength = min(strength, len(doc["axes"]))
    assert tuples(cells, strength) == tuples(product, strength)
    assert len(cells) <= len(product)
    assert len({str(c) for c in cells}) == len(cells)


@given(documents())
@settings(deadline=None, max_examples=30)
def test_constraints_that_leave_nothing_are_said_to(doc: Document) -> None:
    some = next(allowed(doc), None)
    for strength in ({}, {"strength": 2}):
        if some is None:
            with pytest.raises(matrix.MatrixError, match="leave no cell"):
                matrix.expand({**doc, **strength})
        else:
            assert matrix.expand({**doc, **strength}).cells


@settings(deadline=None, max_examples=30)
@given(documents())
def test_the_same_file_gives_the_same_cells(doc: Document) -> None:
    assume(next(allowed(doc), None))
    doc["strength"] = 2
    assert matrix.expand(doc).cells == matrix.expand(doc).cells


@pytest.mark.parametrize(
    ("sizes", "at_most"),
    [([2] * 10, 10), ([3] * 4, 11), ([3] * 13, 21), ([4] * 10, 32), ([10, 10, 2, 2], 101)],
    ids=str,
)
def test_it_is_few(sizes: list[int], at_most: int) -> None:
    axes = {f"a{n}": [*range(size)] for n, size in enumerate(sizes)}
    found = matrix.expand({"name": "m", "runtime_s": 1, "strength": 2, "axes": axes}).cells
    least = math.prod(sorted(sizes)[-2:])
    assert least <= len(found) <= at_most
