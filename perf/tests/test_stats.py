# SPDX-License-Identifier: BSD-3-Clause
"""The statistics against scipy, and against what they promise on simulated runs."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from vhostlab_perf.stats import intervals, margin, multiple, paired, power, sequential
from vhostlab_perf.stats.intervals import Interval

#: Differences that are worth comparing: not all equal, and not so small that nothing is left.
numbers = st.floats(-1.0, 1.0, allow_nan=False).map(lambda v: round(v, 6))
samples = st.lists(numbers, min_size=4, max_size=9).filter(lambda d: np.std(d) > 1e-3)


def test_log_ratios() -> None:
    assert paired.log_ratios([1, 2], [2, 1]) == pytest.approx([math.log(2), -math.log(2)])
    with pytest.raises(ValueError, match="no pairs"):
        paired.log_ratios([1, 2], [1])
    with pytest.raises(ValueError, match="not positive"):
        paired.log_ratios([1, 0], [1, 1])


#: Sums of whole numbers are exact, so that ties are ties in scipy too.
whole = st.lists(st.integers(-50, 50).map(float), min_size=4, max_size=8)


@settings(deadline=None, max_examples=20)
@given(whole, st.sampled_from(["two-sided", "greater", "less"]))
def test_sign_flips_are_those_of_scipy(
    d: list[float], alternative: Literal["two-sided", "greater", "less"]
) -> None:
    x = np.asarray(d)
    theirs = stats.permutation_test(
        (x,), np.mean, permutation_type="samples", n_resamples=1 << 12, alternative=alternative
    )
    assert paired.sign_flip_p(x, alternative) == pytest.approx(theirs.pvalue, abs=1e-9)


def test_sign_flips_of_many_are_drawn_and_never_sure() -> None:
    p = paired.sign_flip_p(np.full(30, 0.5) + np.arange(30) / 100)
    assert 0 < p < 0.001


@settings(deadline=None, max_examples=50)
@given(samples, numbers)
def test_hodges_lehmann(d: list[float], shift: float) -> None:
    walsh = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(d, 2)]
    assert paired.hodges_lehmann(d) == pytest.approx(float(np.median(walsh)))
    moved = paired.hodges_lehmann([v + shift for v in d])
    assert moved == pytest.approx(paired.hodges_lehmann(d) + shift)
    assert paired.hodges_lehmann([-v for v in d]) == pytest.approx(-paired.hodges_lehmann(d))


def test_hodges_lehmann_ignores_one_wild_block() -> None:
    assert abs(paired.hodges_lehmann([0.0, 0.001, -0.001, 0.0, 0.001, 5.0])) < 0.002


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_benjamini_hochberg_is_that_of_scipy(p: list[float]) -> None:
    theirs = stats.false_discovery_control(p, method="bh")
    assert multiple.benjamini_hochberg(p) == pytest.approx(list(theirs))


def test_benjamini_hochberg_of_nothing() -> None:
    assert multiple.benjamini_hochberg([]) == []


@settings(deadline=None, max_examples=50)
@given(samples, st.sampled_from([0.001, 0.01, 0.05]))
def test_student_is_that_of_scipy(d: list[float], tail: float) -> None:
    ours = intervals.student(np.asarray(d), tail)
    theirs = stats.ttest_1samp(d, 0.0).confidence_interval(1 - 2 * tail)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_bca_is_that_of_scipy(seed: int) -> None:
    """Up to the noise of the resamples, on skewed differences as well."""
    rng = np.random.default_rng(seed)
    d = rng.exponential(0.02, 14) if seed % 2 else rng.normal(0.0, 0.02, 14)
    ours = intervals.bca(d, 0.025, resamples=40_000)
    theirs = stats.bootstrap((d,), np.mean, n_resamples=40_000, method="BCa", rng=rng)
    near = d.std() / 25
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=near)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=near)


def test_bca_says_the_same_each_time_and_bears_constants() -> None:
    d = np.random.default_rng(1).normal(0, 1, 10)
    assert intervals.bca(d, 0.01) == intervals.bca(d.copy(), 0.01)
    assert intervals.bca(np.full(8, 0.25), 0.01) == Interval(0.25, 0.25)


@settings(deadline=None, max_examples=30)
@given(samples, st.sampled_from([0.001, 0.01, 0.05]))
def test_the_interval_that_is_judged_holds_both(d: list[float], tail: float) -> None:
    x = np.asarray(d)
    both = intervals.judged(x, tail, 1000)
    for one in (intervals.student(x, tail), intervals.bca(x, tail, 1000)):
        assert both.low <= one.low and one.high <= both.high
    assert both.holds(float(x.mean()))


@pytest.mark.parametrize("shares", [(0.375, 0.625, 1.0), (0.4, 0.6, 1.0), (0.25, 0.5, 0.75, 1.0)])
def test_looks_spend_no_more_than_there_is(shares: tuple[float, ...]) -> None:
    """The bounds, against scipy's multivariate normal distribution."""
    levels = sequential.tails(shares, 0.01)
    bounds = stats.norm.isf(levels)
    times = np.asarray(shares)
    correlations = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    inside = stats.multivariate_normal(cov=correlations, seed=1)
    assert 1 - float(inside.cdf(bounds)) == pytest.approx(0.01, abs=2e-4)
    assert list(levels) == sorted(levels)
    assert levels[0] < 0.001 and levels[-1] < 0.01


def test_an_early_end_spends_what_is_left() -> None:
    planned, ended = (
        sequential.tails((0.375, 0.5), 0.01),
        sequential.tails((0.375, 0.5), 0.01, True),
    )
    assert ended[0] == planned[0]
    assert planned[1] < 0.001 < ended[1] <= 0.01
    with pytest.raises(ValueError, match="rise"):
        sequential.tails((0.5, 0.5), 0.01)


def test_numbers_of_blocks_at_which_to_look() -> None:
    shares = (0.375, 0.625, 1.0)
    assert sequential.looks(shares, 16, 4) == (6, 10, 16)
    assert sequential.looks(shares, 10, 4) == (4, 6, 10)
    assert sequential.looks(shares, 4, 4) == (4,)


def test_false_alarms_of_many_looks_stay_below_the_level() -> None:
    """A hundred thousand cells that are just as bad as the margin allows, with Student's levels."""
    rng = np.random.default_rng(7)
    d = rng.normal(0.0, 0.02, size=(100_000, 16))
    failed = np.zeros(len(d), dtype=bool)
    for n, tail in zip((6, 10, 16), sequential.tails((6 / 16, 10 / 16, 1.0), 0.01), strict=True):
        part = d[:, :n]
        half = -float(stats.t.ppf(tail, n - 1)) * part.std(axis=1, ddof=1) / math.sqrt(n)
        failed |= part.mean(axis=1) - half > 0
    # three standard deviations of such a count
    assert failed.mean() < 0.01 + 3 * math.sqrt(0.01 * 0.99 / len(d))
    assert failed.mean() > 0.007  # and little is given away


#: Coefficient of variation of a run: what can be detected, in percent, for 5, 8, 12, 20, 40 blocks.
MDE_TABLE = {
    0.5: (1.7, 1.1, 0.8, 0.6, 0.4),
    1.0: (3.3, 2.2, 1.7, 1.2, 0.8),
    2.0: (6.6, 4.4, 3.3, 2.5, 1.7),
    5.0: (17, 11, 8, 6, 4),
    10.0: (33, 22, 17, 12, 8),
}


@pytest.mark.parametrize(("cv", "row"), MDE_TABLE.items())
def test_minimal_detectable_effects(cv: float, row: tuple[float, ...]) -> None:
    for blocks, expected in zip((5, 8, 12, 20, 40), row, strict=True):
        found = power.mde(math.sqrt(2) * cv, blocks)
        assert found == pytest.approx(expected, abs=0.5 if expected > 3.5 and cv >= 5 else 0.1)


def test_no_effect_can_be_seen_in_one_block() -> None:
    assert power.mde(0.01, 1) == math.inf


@pytest.mark.parametrize("blocks", [6, 10, 16])
def test_what_is_printed_as_detectable_is_detected(blocks: int) -> None:
    """Worse than the margin by the MDE: nine times in ten the interval says so."""
    rng, sd = np.random.default_rng(blocks), 0.01
    excess = power.mde(sd, blocks)
    d = rng.normal(excess, sd, size=(20_000, blocks))
    half = -float(stats.t.ppf(0.01, blocks - 1)) * d.std(axis=1, ddof=1) / math.sqrt(blocks)
    # with few blocks the quantiles of Student add up to a little less than promised
    assert 0.86 < float((d.mean(axis=1) - half > 0).mean()) < 0.95


@settings(deadline=None, max_examples=50)
@given(samples, st.sampled_from(["higher", "lower"]), st.floats(0.001, 0.5))
def test_margins(d: list[float], direction: str, allowed: float) -> None:
    harms = margin.harm(np.asarray(d), direction)
    limit = margin.limit(allowed, direction)
    ratio = math.exp(-limit if direction == "higher" else limit)
    assert ratio == pytest.approx(1 - allowed if direction == "higher" else 1 + allowed)
    interval = intervals.student(harms, 0.01)
    verdict = margin.decide(interval, limit)
    fails = margin.worse_p(harms, limit) < 0.01
    assert (verdict == "fail") == fails
    # a wider margin forgives more, never less
    order = ["fail", "inconclusive", "pass"]
    wider = margin.decide(interval, limit * 2)
    assert order.index(wider) >= order.index(verdict)


def test_p_of_constant_differences() -> None:
    assert margin.worse_p(np.full(6, 0.0625), 0.02) < 1e-9
    assert margin.worse_p(np.full(6, 0.0), 0.02) == 1.0
