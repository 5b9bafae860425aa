# SPDX-License-Identifier: BSD-3-Clause
"""Change points: no more false alarms than promised, on noise of any shape; steps are found."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import ruptures  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, ttest_ind
from vhostlab_perf import calibrate, history
from vhostlab_perf.history import change_points, look, scores
from vhostlab_perf.store.query import Build, Metric, Point, Series
from vhostlab_perf.thresholds import MIN_SEGMENT, WINDOW, alphas, threshold

Values = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Values]


def run_to_run(rng: np.random.Generator, n: int) -> Values:
    """A run has a level of its own (2 %), around which its 30 seconds vary (1 %)."""
    seconds = rng.normal(rng.normal(0, 0.02, (n, 1)), 0.01, (n, 30))
    made: Values = 5000 * np.exp(seconds).mean(axis=1)
    return made


def heavy_tails(rng: np.random.Generator, n: int) -> Values:
    return np.exp(0.01 * rng.standard_t(3, n))


def outliers(rng: np.random.Generator, n: int) -> Values:
    return np.exp(rng.normal(0, 0.01, n)) * np.where(rng.random(n) < 0.05, 0.7, 1)


def two_modes(rng: np.random.Generator, n: int) -> Values:
    return np.exp(rng.normal(0, 0.005, n)) * np.where(rng.random(n) < 0.3, 0.9, 1)


def bins_of_fio(rng: np.random.Generator, n: int) -> Values:
    """A percentile is the middle of a bin: many runs have the same one."""
    return np.round(np.exp(rng.normal(0, 0.01, n)) * 64) / 64


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
@pytest.mark.parametrize("noise", [run_to_run, heavy_tails, outliers, two_modes, bins_of_fio])
def test_false_alarms_are_at_most_the_nominal_rate(noise: Noise, alpha: float) -> None:
    """The count must be one that the nominal rate explains (seeds are fixed: no flake)."""
    for n in (10, 23, 60):
        rng = np.random.default_rng(n)
        alarms = sum(bool(change_points(noise(rng, n), alpha)) for _ in range(500))
        assert binom.sf(alarms - 1, 500, alpha) > 0.001, f"{alarms} of 500 series of {n} runs"


def test_the_table_is_what_a_simulation_finds() -> None:
    for n in (16, 45):
        found = calibrate.simulate(n, seed=99, times=2000)
        for alpha in alphas():
            for changes in (1, 2):
                above = int((found[:, changes - 1] > threshold(n, changes, alpha)).sum())
                where = f"{n} runs, {changes} changes, {alpha}: {above} of 2000"
                assert binom.cdf(above, 2000, alpha / 2) > 0.001, f"{where}, too careful"
                assert binom.sf(above - 1, 2000, alpha / 2) > 0.001, where


def test_the_table_covers_every_length_and_ascends() -> None:
    for changes in (1, 2):
        for alpha in alphas():
            row = [threshold(n, changes, alpha) for n in range(2 * MIN_SEGMENT, WINDOW + 1)]
            assert row == sorted(row)
        for n in (10, 50, WINDOW):
            column = [threshold(n, changes, alpha) for alpha in sorted(alphas())]
            assert column == sorted(column, reverse=True)


@pytest.mark.parametrize(
    ("cv", "before", "after", "power"),
    [(0.01, 20, 6, 0.95), (0.01, 60, 5, 0.95), (0.02, 20, 10, 0.8), (0.02, 60, 10, 0.9)],
)
def test_a_step_of_5_per_cent_is_found(cv: float, before: int, after: int, power: float) -> None:
    rng = np.random.default_rng(before)
    found = 0
    for _ in range(200):
        values = np.exp(rng.normal(0, cv, before + after))
        values[before:] *= 0.95
        found += any(abs(start - before) < MIN_SEGMENT for start in change_points(values))
    assert found / 200 >= power


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_the_interval_of_a_size_holds_the_truth() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(500):
        change = history.size_of(
            np.exp(rng.normal(0, 0.02, 12)).tolist(), np.exp(rng.normal(0.05, 0.01, 7)).tolist()
        )
        held += change.low <= math.exp(0.05) <= change.high
    assert 0.92 <= held / 500 <= 0.98
    assert history.size_of([2.0] * 5, [1.0] * 5) == history.Change(0.5, 0.5, 0.5)
    one, two = [2.0] * 5, [1.0, 1.1, 1.0, 1.2, 1.0, 0.9]
    for before, after in ((one, two), (two, one), (two, [3.0, 4.0, 5.0, 3.5, 4.5])):
        change = history.size_of(before, after)
        welch = ttest_ind(np.log(after), np.log(before), equal_var=False)
        interval = welch.confidence_interval(0.95)
        assert math.log(change.low) == pytest.approx(interval.low)
        assert math.log(change.high) == pytest.approx(interval.high)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.1, 1e9), min_size=10, max_size=60), st.integers(-20, 20))
def test_units_make_no_difference_and_levels_have_their_length(
    values: list[float], power: int
) -> None:
    found = change_points(values, 0.05)
    assert all(b - a >= MIN_SEGMENT for a, b in itertools.pairwise([0, *found, len(values)]))
    assert change_points([v * 2.0**power for v in values], 0.05) == found
    assert change_points([2.0**power] * len(values), 0.05) == []


@pytest.mark.parametrize("changes", [1, 2])
def test_the_fast_search_finds_the_best_of_all(changes: int) -> None:
    rng = np.random.default_rng(8)
    for _ in range(10):
        values = rng.normal(0, 1, 40)
        values[15:25] += 1.0
        signal = scores(values)
        found = history.best(signal, changes)
        slow = ruptures.Dynp(model="l2", min_size=MIN_SEGMENT, jump=1).fit(signal.reshape(-1, 1))
        assert found == slow.predict(n_bkps=changes)
        everything = [
            history.gain(signal, [*where, 40])
            for where in itertools.combinations(range(MIN_SEGMENT, 36), changes)
            if all(b - a >= MIN_SEGMENT for a, b in itertools.pairwise([0, *where, 40]))
        ]
        assert history.gain(signal, found) == pytest.approx(max(everything))


def test_what_came_and_went_is_two_changes() -> None:
    values = [*wobble(100, 15), *wobble(70, 8), *wobble(100, 10)]
    assert change_points(values) == [15, 23]


def build(revision: str) -> Build:
    return Build(revision, "vhostlab", "1.0", "", revision)


def series(
    values: Sequence[float], fingerprint: str = "a", steady: Sequence[str] = (), **metric: str
) -> Series:
    what = {"name": "iops", "unit": "1/s", "direction": "higher"} | metric
    steady = steady or ["steady"] * len(values)
    points = tuple(
        Point(f"run{n}", f"2026-{1 + n // 28:02d}-{1 + n % 28:02d}T02:00:00Z", build(f"r{n}"), v, s)
        for n, (v, s) in enumerate(zip(values, steady, strict=True))
    )
    return Series("c", Metric(**what), "vhostlab", fingerprint, points)


def wobble(level: float, n: int) -> list[float]:
    """Small, and of no pattern that a level could be made of."""
    rng = np.random.default_rng(n)
    return [level * (1 + 0.003 * x) for x in rng.random(n)]


def test_direction() -> None:
    values = [*wobble(100, 15), *wobble(90, 10)]
    kinds = {
        d: [p.kind for p in look([series(values, direction=d)]).points]
        for d in ("higher", "lower", "neither")
    }
    assert kinds == {"higher": ["worse"], "lower": ["better"], "neither": []}


def test_a_new_environment_is_no_change_point() -> None:
    one, two = wobble(100, 15), wobble(50, 15)
    assert len(look([series([*one, *two])]).points) == 1
    looked = look([series(one, "a"), series(two, "b")])
    assert looked.points == () and looked.series == 2


def test_small_changes_are_not_listed_and_short_series_counted() -> None:
    values = [*wobble(100, 15), *wobble(98.5, 15)]
    assert look([series(values)]).points == ()
    assert len(look([series(values)], min_size=0.01).points) == 1
    looked = look([series(values[:9])])
    assert (looked.series, looked.too_short) == (0, 1)
    assert look([series([0.0, *values])]).series == 0
    assert look([]).points == ()


def test_runs_that_were_not_steady_do_not_count() -> None:
    values = [*wobble(100, 15), *wobble(70, 8), *wobble(100, 10)]
    assert len(look([series(values)]).points) == 2
    steady = ["steady"] * 15 + ["not steady"] * 8 + ["unknown"] * 10
    assert look([series(values, steady=steady)]).points == ()


def test_only_the_newest_runs_are_looked_at() -> None:
    values = [*wobble(50, 30), *wobble(100, WINDOW)]
    assert look([series(values)]).points == ()


def test_what_is_new() -> None:
    values = [*wobble(100, 20), *wobble(90, 12)]
    (point,) = look([series(values)]).points
    assert not point.new
    assert (point.run_before, point.run) == ("run19", "run20")
    assert (point.runs_before, point.runs) == (20, 12)
    (point,) = look([series(values)], since="2026-01-20").points
    assert point.new
    # a series that nobody measures any more has nothing new
    old, going_on = series(values[:26]), series(wobble(100, 60), name="other")
    assert any(p.new for p in look([old], since="2026-01-24").points)
    assert not any(p.new for p in look([old, going_on]).points)
