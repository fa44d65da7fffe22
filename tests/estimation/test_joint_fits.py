"""The laws of a joint fit of all sources, conditional and stochastic alike: where it may end and what it may claim."""

import dataclasses

import pytest
import torch
from likelihoods import conditional_cost, log_likelihood
from worlds import world

from risloc.estimation.conditional import Sensing, fit_conditional
from risloc.estimation.estimates import fit_and_assess, refit_stochastic
from risloc.estimation.stochastic import fit_powers, fit_stochastic

FITS = ("conditional", "stochastic")


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def nearby(w, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    step = torch.randn(w.polar.shape, dtype=torch.float64, generator=generator) * size
    return w.scenario.surface.domain.clamp(w.polar + step * torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64))


def refine(fit, s, start, power, present, **limits):
    """The end of the fit, the powers there, and the objective at both ends, computed apart from the fit."""
    if fit == "conditional":
        end = fit_conditional(s, start, present, **limits)
        return end, power, conditional_cost(s, start, present), conditional_cost(s, end.polar, present)
    end, fitted = fit_stochastic(s, start, power, **limits)
    return end, fitted, -log_likelihood(s, start, power), -log_likelihood(s, end.polar, fitted)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("snr_db", [-10, 10, 40])
def test_never_outside_the_domain_and_never_worse_than_its_start(small_scenario, fit, snr_db):
    """From far away, over short runs one after the other; at -10 dB many optima lie beyond the border."""
    w = world(small_scenario, [1, 2, 3] * 12, snr_db=snr_db, seed=5)
    s, domain = sensing(w), small_scenario.surface.domain
    polar = nearby(w, 0.6, 3)
    power, _ = fit_powers(s, polar, w.present)
    farthest, _ = domain.inverse_distance
    at_border = torch.zeros_like(w.present)
    for _ in range(5):
        end, power, before, after = refine(fit, s, polar, power, w.present, tolerance=0.0, iterations=4)
        assert (after <= before + 1e-9 * before.abs()).all()
        assert domain.contains(end.polar, margin=1e-9).all()
        polar = end.polar
        at_border |= polar[..., 2] < farthest * (1 + 1e-9)
    assert (at_border & w.present).any()


@pytest.mark.parametrize("fit", FITS)
def test_a_start_outside_is_brought_inside(small_scenario, fit):
    w = world(small_scenario, [2, 3], snr_db=10)
    s, domain = sensing(w), small_scenario.surface.domain
    far = w.polar + torch.tensor([0.0, 0.3, 20.0], dtype=torch.float64)
    power, _ = fit_powers(s, domain.clamp(far), w.present)
    end, *_ = refine(fit, s, far, power, w.present, tolerance=1e-6, iterations=3)
    assert not domain.contains(far).any()
    assert domain.contains(end.polar, margin=1e-9).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("iterations", [0, 1])
def test_cut_short_it_does_not_claim_to_have_converged(small_scenario, fit, iterations):
    w = world(small_scenario, [1, 2, 3] * 4, snr_db=30)
    s, start = sensing(w), nearby(w, 0.1)
    power, _ = fit_powers(s, start, w.present)
    end, *_ = refine(fit, s, start, power, w.present, tolerance=1e-3, iterations=iterations)
    assert not end.converged.any()


@pytest.mark.parametrize("fit", FITS)
def test_what_has_converged_is_stationary(small_scenario, fit):
    """A second run from its end claims so at once and lowers the objective by less than a few tolerances."""
    w = world(small_scenario, [1, 2, 3] * 6, snr_db=20)
    s, start, tolerance = sensing(w), nearby(w, 0.02), 1e-6
    power, _ = fit_powers(s, start, w.present)
    end, power, *_ = refine(fit, s, start, power, w.present, tolerance=tolerance, iterations=300)
    assert end.converged.float().mean() > 0.9
    unit = w.observation.noise_var if fit == "conditional" else torch.ones_like(w.observation.noise_var)
    _, _, before, after = refine(fit, s, end.polar, power, w.present, tolerance=tolerance, iterations=300)
    assert ((before - after) / unit)[end.converged].max() < 10 * tolerance


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("tolerance", [1e-9, 1.0])
def test_a_batch_is_its_scenes_one_by_one(small_scenario, fit, tolerance):
    """Of several noise levels: each stops by its own, whether tightly or loosely."""
    w = world(small_scenario, [1, 2, 3, 2, 0, 1], snr_db=10)
    level = torch.tensor([1.0, 30.0, 1.0, 0.1, 1.0, 0.01], dtype=torch.float64)
    noise_var = level * w.observation.noise_var
    w = dataclasses.replace(w, observation=dataclasses.replace(w.observation, noise_var=noise_var))
    s, start = sensing(w), nearby(w, 0.05)
    power, _ = fit_powers(s, start, w.present)
    limits = {"tolerance": tolerance, "iterations": 60}
    together, powers, *_ = refine(fit, s, start, power, w.present, **limits)
    for b in range(len(start)):
        rows = slice(b, b + 1)
        alone, own, *_ = refine(fit, s[rows], start[rows], power[rows], w.present[rows], **limits)
        torch.testing.assert_close(alone.polar, together.polar[rows], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(own, powers[rows], rtol=1e-5, atol=0)
        assert alone.converged == together.converged[rows]


def test_the_stochastic_refit_keeps_who_is_there_and_raises_the_likelihood(small_scenario):
    w = world(small_scenario, [0, 1, 2, 1], snr_db=5, seed=2)
    s = sensing(w)
    found = fit_and_assess(s, nearby(w, 0.02), w.present, iterations=40)
    again = refit_stochastic(s, found, iterations=40)
    assert (again.present == found.present).all()
    assert again.polar.shape == found.polar.shape
    assert (again.log_likelihood >= found.log_likelihood - 1e-6).all()
    assert (again.log_likelihood > found.log_likelihood + 1e-3).any()
    assert again.position_std[w.present].isfinite().all()
    assert again.position_std[~w.present].isnan().all()
    assert again.converged.all()
