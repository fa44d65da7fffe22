"""Intervals cover as often as they say, and agree with worked examples."""

import math

import numpy as np
import pytest

from risloc.performance.intervals import bootstrap_interval, median_interval, proportion_interval


@pytest.mark.parametrize("n", [5, 20, 101])
def test_median_interval_covers(n):
    """2000 draws at 90 %: the coverage is at least 90 % less four standard errors, and the interval is no wider than needed."""
    rng = np.random.default_rng(n)
    hits = 0
    for x in rng.exponential(size=(2000, n)):
        interval = median_interval(x, 0.9)
        assert interval.low <= interval.value <= interval.high
        assert interval.value == np.median(x)
        hits += interval.low <= math.log(2) <= interval.high
    assert 0.9 - 4 * math.sqrt(0.09 / 2000) <= hits / 2000 <= 0.97


def test_median_counts_misses_as_infinite():
    assert median_interval(np.array([1.0, 2.0, np.inf, np.inf, np.inf]), 0.9).value == np.inf
    assert median_interval(np.array([1.0, 2.0, np.inf]), 0.9).value == 2.0
    assert math.isnan(median_interval(np.array([np.nan]), 0.9).value)
    tiny = median_interval(np.array([1.0, 2.0]), 0.95)
    assert (tiny.low, tiny.high) == (-np.inf, np.inf)


def test_wilson_interval():
    """The numbers of the worked example 15 of 50 at 95 %: 0.191 to 0.438."""
    interval = proportion_interval(15, 50, 0.95)
    assert (interval.value, round(interval.low, 3), round(interval.high, 3)) == (0.3, 0.191, 0.438)
    assert math.isnan(proportion_interval(0, 0, 0.95).value)
    assert proportion_interval(0, 10, 0.95).low == pytest.approx(0.0, abs=1e-12)


def test_bootstrap_is_seeded_and_near_the_normal_interval():
    x = np.random.default_rng(0).normal(size=400)
    one, two = (bootstrap_interval(x, lambda v: v.mean(axis=-1), 0.95, 7) for _ in range(2))
    assert one == two
    half = 1.96 * x.std() / 20
    assert one.high - one.value == pytest.approx(half, rel=0.25)
    assert one.value == pytest.approx(x.mean())
