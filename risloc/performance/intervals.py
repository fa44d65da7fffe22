"""Confidence intervals of medians, proportions and other statistics."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "bootstrap_interval", "median_interval", "proportion_interval"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided confidence interval.

    Parameters
    ----------
    value
        The estimate.
    low
        The lower limit.
    high
        The upper limit.
    """

    value: float
    low: float
    high: float


def median_interval(values: "np.ndarray[tuple[int], np.dtype[np.floating]]", level: float) -> Interval:
    """Compute the median with the distribution-free interval between two order statistics.

    The interval [x_(k), x_(n+1-k)] has at least the given coverage for independent values.

    Parameters
    ----------
    values : [n]
        The sample; infinite values count as such, NaN entries are left out.
    level
        The confidence level, in (0, 1).

    Returns
    -------
    Interval
        The median and its interval, NaN without values.
    """
    from scipy.stats import binom  # half a second, which not every import needs

    x = np.sort(values[~np.isnan(values)])
    n = len(x)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    k = int(binom.ppf((1 - level) / 2, n, 0.5))
    k = k if binom.cdf(k, n, 0.5) <= (1 - level) / 2 else k - 1  # the largest with P(count <= k) within the tail
    low, high = (x[k], x[n - 1 - k]) if k >= 0 else (-np.inf, np.inf)
    middle = x[(n - 1) // 2] if not np.isfinite(x[n // 2]) else 0.5 * (x[(n - 1) // 2] + x[n // 2])
    return Interval(float(middle), float(low), float(high))


def proportion_interval(hits: int, trials: int, level: float) -> Interval:
    """Compute a proportion with Wilson's score interval.

    Parameters
    ----------
    hits
        The number of successes.
    trials
        The number of trials.
    level
        The confidence level, in (0, 1).

    Returns
    -------
    Interval
        The proportion and its interval, NaN without trials.
    """
    from scipy.stats import norm

    if trials == 0:
        return Interval(math.nan, math.nan, math.nan)
    z, p = float(norm.ppf((1 + level) / 2)), hits / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return Interval(p, centre - half, centre + half)


def bootstrap_interval(
    values: "np.ndarray[tuple[int], np.dtype[np.floating]]",
    statistic: "Callable[[np.ndarray[tuple[int, int], np.dtype[np.floating]]], np.ndarray[tuple[int], np.dtype[np.floating]]]",
    level: float,
    seed: int,
    draws: int = 500,
) -> Interval:
    """Compute a statistic with its percentile bootstrap interval.

    Parameters
    ----------
    values : [n]
        The sample.
    statistic
        A function that works along the last axis of an array [draws, n].
    level
        The confidence level, in (0, 1).
    seed
        The random seed.
    draws
        The number of bootstrap samples.

    Returns
    -------
    Interval
        The statistic and its interval, NaN without values.
    """
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    resampled = statistic(values[rng.integers(len(values), size=(draws, len(values)))])
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(values[None])[0]), float(low), float(high))
