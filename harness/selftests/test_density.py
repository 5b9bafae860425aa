# SPDX-License-Identifier: BSD-3-Clause
"""How shares are judged. Guests are in the scenario itself."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vhostlab.scenario import registry
from vhostlab.scenario.stage import scenario_directory

registry.load(scenario_directory())
jain = sys.modules["vhostlab_scenarios.density"].jain


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1e9), min_size=1, max_size=9), st.floats(0.01, 100.0))
def test_an_index_of_shares(shares: list[float], scale: float) -> None:
    index = jain(shares)
    assert 1 / len(shares) - 1e-9 <= index <= 1 + 1e-9
    assert jain([share * scale for share in shares]) == pytest.approx(index)
    assert jain(sorted(shares)) == pytest.approx(index)


def test_its_ends() -> None:
    assert jain([7.0, 7.0, 7.0]) == pytest.approx(1.0)
    assert jain([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert jain([9.0, 9.0, 0.0]) == pytest.approx(2 / 3)
    assert jain([0.0, 0.0]) == 0.0
