"""The residual's tests by Monte Carlo: false alarms at the stated rate, and what they are for is seen."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import binom
from worlds import world

from risloc.estimation.conditional import Sensing
from risloc.estimation.estimates import fit_and_assess
from risloc.estimation.misfit import ALARM
from risloc.estimation.whiteness import eigenvalue_limit, extended_grid, peak_limit, variation_limit, whiteness
from risloc.physics.geometry import planar_array
from risloc.physics.steering import steering_matrix

SHARE = ALARM / 3


def most(draws, share):
    """What a binomial count stays below in 99.9 % of all cases."""
    return binom.ppf(0.999, draws, share)


@pytest.mark.parametrize(("antennas", "snapshots"), [(4, 6), (8, 32), (16, 16), (6, 3)])
def test_the_largest_eigenvalue_of_white_noise_stays_below_its_limit(antennas, snapshots):
    draws = 20_000
    rng = np.random.default_rng(5)
    n = rng.standard_normal((draws, snapshots, antennas)) + 1j * rng.standard_normal((draws, snapshots, antennas))
    S = np.einsum("bla,blc->bac", n, n.conj())
    share = np.linalg.eigvalsh(S)[:, -1] / np.einsum("baa->b", S).real
    above = int((share > eigenvalue_limit(antennas, snapshots, 0)).sum())
    assert above <= most(draws, 2 * SHARE)  # the tail is an approximation: twice the rate at most
    assert above >= binom.ppf(0.001, draws, SHARE / 5)


@pytest.mark.parametrize(("antennas", "snapshots", "sources"), [(4, 6, 1), (16, 16, 3), (8, 64, 0)])
def test_the_variation_over_snapshots_of_white_noise_stays_below_its_limit(antennas, snapshots, sources):
    energy = np.random.default_rng(6).gamma(antennas - sources, size=(40_000, snapshots))
    variation = energy.var(1) / energy.mean(1) ** 2
    above = int((variation > variation_limit(antennas, snapshots, sources)).sum())
    assert above <= most(40_000, 2 * SHARE)  # the limit itself is of 20 000 draws
    assert above >= binom.ppf(0.001, 40_000, SHARE / 4)


def test_another_codebook_is_seen_by_what_its_residual_does_over_the_snapshots(scenario):
    """One source at 20 dB through codes of another seed, K = 1 fitted: the two other tests see a part of these scenes alone."""
    w = world(scenario, [1] * 24, seed=9, snr_db=20)
    other = torch.from_numpy(
        np.exp(2j * np.pi * np.random.default_rng(3).integers(8, size=tuple(w.observation.codebook.shape)) / 8)
    )
    o = dataclasses.replace(w.observation, codebook=other)
    s = Sensing.of(o, scenario.surface)
    tested = whiteness(s, s.responses(steering_matrix(s.array, w.polar[:, :1])), w.present[:, :1])
    assert (tested.variation > tested.variation_limit).double().mean() > 0.8
    assert not tested.white.double().mean() > 0.2


def test_the_share_of_the_best_place_stays_below_its_limit(small_scenario):
    """1500 scenes of noise alone on 4 x 4 elements: the union bound keeps more than it promises."""
    w = world(small_scenario, [0] * 1500, seed=4)
    s = Sensing.of(w.observation, small_scenario.surface)
    tested = whiteness(s, s.responses(steering_matrix(s.array, w.polar)), w.present)
    assert int((tested.peak > tested.peak_limit).sum()) <= most(1500, SHARE)
    assert int((tested.eigenvalue > tested.eigenvalue_limit).sum()) <= most(1500, 2 * SHARE)
    assert (tested.peak_limit < 2.0 * tested.peak.median()).all()  # not so high that nothing would reach it


@pytest.mark.parametrize("codes", ["random", "constant"])
def test_sources_that_are_fitted_leave_a_white_residual(small_scenario, codes):
    """Also where all snapshots have one code, so that the residual lies in one subspace of the antennas."""
    scenario = dataclasses.replace(small_scenario, antennas=8, snapshots=10)
    w = world(scenario, [1, 2] * 200, seed=6, snr_db=25)
    o = w.observation
    if codes == "constant":
        codebook = o.codebook[:, :1].expand_as(o.codebook).contiguous()
        clean = torch.einsum("bmn,bln,bnk,bkl->blm", o.H, codebook, w.A, w.symbols)
        noise = torch.randn(o.y.shape, dtype=o.y.dtype, generator=torch.Generator().manual_seed(1))
        o = dataclasses.replace(o, codebook=codebook, y=clean + noise * o.noise_var.sqrt()[:, None, None])
    s = Sensing.of(o, scenario.surface)
    found = fit_and_assess(s, w.polar, w.present, iterations=30)
    tested = whiteness(s, s.responses(steering_matrix(s.array, found.polar)), found.present)
    assert int((~tested.white).sum()) <= most(400, ALARM)


def test_a_wave_of_the_other_sign_of_phase_is_seen(small_scenario):
    """Nothing of it lies in the domain: it is found at -(u, v) with a negative curvature."""
    scenario = dataclasses.replace(small_scenario, antennas=8, n_h=8, n_v=8, distance_span_m=(0.6, 3.0))
    w = world(scenario, [1] * 20, seed=7, noise=False)
    o = w.observation
    y = torch.einsum("bmn,bln,bnk,bkl->blm", o.H, o.codebook, w.A.conj(), w.symbols)
    noise = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(2))
    y = y + noise * o.noise_var.sqrt()[:, None, None]
    s = Sensing.of(dataclasses.replace(o, y=y), scenario.surface)
    nothing = torch.zeros_like(w.present)
    assert not whiteness(s, s.responses(steering_matrix(s.array, w.polar)), nothing).white.any()


def test_what_reaches_the_antennas_without_the_surface_is_seen(small_scenario):
    scenario = dataclasses.replace(small_scenario, antennas=8, snapshots=16)
    w = world(scenario, [0] * 20, seed=8)
    generator = torch.Generator().manual_seed(3)
    way = torch.randn(20, 1, 8, dtype=torch.complex128, generator=generator)
    symbols = torch.randn(20, 16, 1, dtype=torch.complex128, generator=generator)
    o = dataclasses.replace(
        w.observation, y=w.observation.y + 2 * symbols * way * w.observation.noise_var.sqrt()[:, None, None]
    )
    s = Sensing.of(o, scenario.surface)
    tested = whiteness(s, s.responses(steering_matrix(s.array, w.polar)), w.present)
    assert (tested.eigenvalue > tested.eigenvalue_limit).float().mean() > 0.9


def test_too_few_samples_cannot_be_told():
    assert np.isnan(peak_limit(4, 2, 1, 100))
    assert np.isnan(eigenvalue_limit(1, 8, 0))
    assert np.isnan(eigenvalue_limit(4, 1, 0))
    assert np.isnan(eigenvalue_limit(4, 8, 4))


def test_the_grid_holds_the_hemisphere_and_both_signs_of_curvature():
    directions, planes = extended_grid(planar_array(8, 4, 0.3), 2.0)
    assert directions.square().sum(1).max() < 1
    assert directions.abs().amax(0).min() > 0.7
    assert (planes + planes.flip(0)).abs().max() < 1e-6
    assert float(planes.max()) == 2.0
    line, _ = extended_grid(planar_array(8, 1, 0.3), 2.0)
    assert (line[:, 1] == 0).all()
    assert len(line) >= 15
