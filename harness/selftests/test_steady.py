# SPDX-License-Identifier: BSD-3-Clause
"""When a rate counts as settled."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vhostlab import steady
from vhostlab.results import Steady

RATES = st.floats(min_value=1.0, max_value=1e7)
SERIES = st.lists(RATES, min_size=steady.ROUNDS, max_size=100)


@given(RATES, st.integers(steady.ROUNDS, 300))
def test_a_constant_is_steady(rate: float, seconds: int) -> None:
    assert steady.verdict([rate] * seconds) is Steady.STEADY


@given(st.lists(RATES, max_size=steady.ROUNDS - 1))
def test_too_short_to_tell(series: list[float]) -> None:
    assert steady.verdict(series) is Steady.UNKNOWN


def test_nothing_done_is_not_steady() -> None:
    assert steady.verdict([0.0] * 60) is Steady.NOT_STEADY


@given(SERIES, st.sampled_from([0.5, 2.0, 1024.0]))
def test_the_unit_does_not_matter(series: list[float], factor: float) -> None:
    assert steady.verdict([factor * value for value in series]) is steady.verdict(series)


@given(SERIES)
def test_time_may_run_backwards_where_all_is_used(series: list[float]) -> None:
    series = series[: len(series) // steady.ROUNDS * steady.ROUNDS]
    one, other = (steady.shape(steady.rounds(s)) for s in (series, series[::-1]))
    assert math.isclose(one.excursion, other.excursion, rel_tol=1e-9, abs_tol=1e-12)
    assert math.isclose(one.slope, other.slope, rel_tol=1e-6, abs_tol=1e-9)


@given(RATES, st.lists(st.floats(-0.024, 0.024), min_size=steady.ROUNDS, max_size=100))
def test_a_little_noise_is_steady(rate: float, noise: list[float]) -> None:
    # five values within e of the mean fit no line that rises by more than 2.4 e
    assert steady.verdict([rate * (1 + part) for part in noise]) is Steady.STEADY


@given(RATES, st.floats(0.13, 3.0), st.integers(steady.ROUNDS, 100), st.booleans())
def test_a_rising_or_falling_rate_is_not(
    rate: float, rise: float, seconds: int, falls: bool
) -> None:
    # from the middle of the first round to that of the last it is 4/5 of the whole rise at least
    line = [rate * (1 + rise * i / (seconds - 1)) for i in range(seconds)]
    change = steady.shape(steady.rounds(line)).slope
    expected = Steady.STEADY if change <= steady.SLOPE_MAX else Steady.NOT_STEADY
    assert steady.verdict(line[::-1] if falls else line) is expected
    if rise > 0.3:
        assert expected is Steady.NOT_STEADY


@given(RATES, st.integers(0, steady.ROUNDS - 1), st.integers(1, 20))
def test_one_round_that_stalls_is_seen(rate: float, which: int, length: int) -> None:
    series = [rate] * (steady.ROUNDS * length)
    series[which * length : (which + 1) * length] = [rate * 0.7] * length
    assert steady.verdict(series) is Steady.NOT_STEADY


@pytest.mark.parametrize(
    ("values", "excursion", "slope"),
    [
        # the best line through 100, 102 ... 108 is these values themselves
        ([100, 102, 104, 106, 108], 8 / 104, 8 / 104),
        ([100, 120, 100, 120, 100], 20 / 108, 0.0),
        ([90, 100, 100, 100, 110], 0.2, 0.16),
    ],
)
def test_by_hand(values: list[float], excursion: float, slope: float) -> None:
    found = steady.shape(values)
    assert found.excursion == pytest.approx(excursion)
    assert found.slope == pytest.approx(slope, abs=1e-12)


def test_what_does_not_divide_is_left_out_at_the_beginning() -> None:
    assert steady.rounds([5, 5, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]) == [1, 2, 3, 4, 5]
