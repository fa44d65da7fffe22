import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import binom
from worlds import world

from risloc.estimation.conditional import Sensing
from risloc.estimation.estimates import fit_and_assess
from risloc.estimation.misfit import ALARM, TOLERANCE, degrees_of_freedom, fits, misfit, misfit_limits, widening

FREE = (True, True, True)
SIGMAS = 3.2905  # two-sided 99.9 % of a normal deviate


def assessed(scenario, counts, **changes):
    """Fits from the truth of scenes in double precision; `changes` of the observation."""
    w = world(scenario, counts, snr_db=20, seed=3)
    observation = dataclasses.replace(w.observation, **{name: f(w.observation) for name, f in changes.items()})
    s = Sensing.of(observation, scenario.surface)
    return fit_and_assess(s, w.polar, w.present, iterations=30), w


@pytest.mark.parametrize("count", [0, 1, 2])
def test_it_has_mean_one_and_the_variance_of_chi_square(small_scenario, count):
    """M L = 48, so that the K q / 2 of the coordinates shows: without it the mean would be 0.92 at K = 2."""
    scenario = dataclasses.replace(small_scenario, antennas=8, n_h=8, n_v=8, distance_span_m=(0.6, 3.0))
    found, _ = assessed(scenario, [count] * 400)
    n = 6 * (8 - count) - 1.5 * count
    assert abs(found.misfit.mean() - 1) < SIGMAS / math.sqrt(400 * n)
    assert 0.8 / n < found.misfit.var() < 1.25 / n
    assert fits(found.misfit, torch.full((400,), n, dtype=torch.float64)).all()


def test_the_limits_hold_as_often_as_they_say():
    rng = np.random.default_rng(1)
    for n in (3.5, 40.0, 900.0):
        low, high = (float(x) for x in misfit_limits(torch.tensor([n], dtype=torch.float64)))
        ratio = rng.gamma(n, 1 / n, 400_000)
        outside = int(((ratio < low * TOLERANCE) | (ratio > high / TOLERANCE)).sum())
        assert binom.ppf(0.0005, 400_000, ALARM) <= outside <= binom.ppf(0.9995, 400_000, ALARM)


def test_many_samples_do_not_turn_a_small_error_of_the_noise_variance_into_a_fault():
    low, high = misfit_limits(torch.tensor([1e7], dtype=torch.float64))
    assert low < 1 / 1.1
    assert high > 1.1


def test_without_samples_that_are_left_it_cannot_be_told():
    freedom = degrees_of_freedom(torch.tensor([0, 1, 2]), 4, 2, FREE)
    assert freedom.tolist() == [8.0, 2.5, -3.0]
    ratio = misfit(torch.full((3,), 2.5), torch.ones(3), freedom, torch.ones(3))
    assert ratio[:2].tolist() == pytest.approx([2.5 / 8, 1.0])
    assert ratio[2].isnan()
    assert fits(ratio, freedom).tolist() == [True, True, True]
    assert widening(ratio).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("factor", [0.25, 0.01])
def test_deviations_grow_with_its_root_and_never_shrink(small_scenario, factor):
    """A noise variance that is too small by that factor: deviations are those of the true one again; too large, they stay."""
    scenario = dataclasses.replace(small_scenario, antennas=8, snapshots=16)
    found, w = assessed(scenario, [1] * 20)
    small, _ = assessed(scenario, [1] * 20, noise_var=lambda o: o.noise_var * factor)
    large, _ = assessed(scenario, [1] * 20, noise_var=lambda o: o.noise_var / factor)
    first = w.present
    torch.testing.assert_close(small.misfit * factor, found.misfit, rtol=1e-3, atol=0)
    ratio = (small.position_std / found.position_std)[first]
    assert (ratio / (found.misfit.clamp(max=1).sqrt()) - 1).abs().max() < 0.02
    assert (large.position_std > found.position_std)[first].all()
    assert not small.resolved.any()
    assert not large.resolved.any()


def test_the_share_of_the_energy_that_is_explained(small_scenario):
    found, w = assessed(dataclasses.replace(small_scenario, antennas=8), [0, 1, 1])
    assert found.explained[0] == 0
    noise = w.observation.noise_var * 6 * 8 / w.observation.y.abs().square().sum((1, 2))
    assert ((1 - found.explained[1:]) / noise[1:] - 1).abs().max() < 0.5
