"""Exchange where the snapshots see little of the surface, and nothing of it where they see much."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from risloc import default_search, load_model
from risloc.estimation.conditional import fit_conditional
from risloc.estimation.estimates import fit_and_assess
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import BIC
from risloc.performance.crb import stochastic_bound
from risloc.performance.metrics import match
from risloc.physics.geometry import location_of, polar_of, position_of
from risloc.physics.steering import steering_matrix
from risloc.scenes.simulation import simulate

SCENES, SNR_DB, CUTOFF = 60, 20.0, 2.0


@pytest.fixture(scope="module")
def localiser(scenario):
    return Localiser(scenario, default_search())


@pytest.fixture(scope="module")
def far(scenario):
    """Two sources seen through 4 x 4 antennas, half a wavelength apart, 7.7 m in front of the surface: H has rank 1.5."""
    scenes = simulate(scenario, seed=7, split="test", start=0, stop=SCENES, snr_db=SNR_DB, count=2)
    array, o, truth = scenario.surface.array, scenes.observation, scenes.truth
    step = array.wavelength / 2
    at = (torch.arange(4, dtype=torch.float64) - 1.5) * step
    antennas = torch.stack([at.repeat(4), at.repeat_interleave(4) + 1.0, torch.full((16,), 7.7)], dim=-1)
    distance = torch.cdist(antennas, torch.nn.functional.pad(array.elements, (0, 1)))
    H = torch.polar(1 / distance, -array.wavenumber * distance)
    H = (H / H.abs().square().mean().sqrt()).to(torch.complex64)
    A = steering_matrix(array, polar_of(located(truth)).double()).to(torch.complex64)
    seen = torch.einsum("mn,bln,bnk->blkm", H, o.codebook, A)
    level = (seen.abs().square().sum(-1) * truth.power[:, None]).sum((1, 2)) / math.prod(o.y.shape[1:])
    noise_var = level / 10 ** (SNR_DB / 10)
    noise = torch.randn(o.y.shape, generator=torch.Generator().manual_seed(5), dtype=torch.complex64)
    y = torch.einsum("blkm,bkl->blm", seen, truth.symbols) + noise * noise_var.sqrt()[:, None, None]
    H = H.expand(SCENES, -1, -1).contiguous()
    return dataclasses.replace(scenes, observation=dataclasses.replace(o, H=H, y=y, noise_var=noise_var))


def located(truth):
    return torch.where(truth.present[..., None], truth.location, 1.0)


def near(localiser, scenes, found):
    """The share of sources within three root-CRB."""
    truth = scenes.truth
    bound = stochastic_bound(localiser.surface, scenes.observation, truth.location, truth.power).position
    error = match(found.polar, found.present, polar_of(located(truth)), truth.present, CUTOFF).position
    return float((error < 3 * bound)[truth.present].double().mean())


def without(localiser):
    return Localiser(localiser.scenario, dataclasses.replace(localiser.search, exchange_rounds=0))


@torch.inference_mode()
def test_matching_pursuit_finds_what_is_seen_poorly(localiser, far):
    """0.93 of 120 sources with exchanges, 0.82 without: the intervals of 95 % do not meet 0.86."""
    shares = [
        near(localiser, far, each.pursuit(each.sensing(far.observation), far.truth.count)[0])
        for each in (localiser, without(localiser))
    ]
    assert shares[0] > 0.87
    assert shares[0] > shares[1] + 0.05


@torch.inference_mode()
def test_the_hybrid_finds_nearly_all_that_is_seen_poorly_and_how_many(localiser, far):
    """0.975 of 120 sources, 0.775 without exchanges; a fit that begins at the truth has 0.98."""
    o, network = far.observation, load_model("default")
    prediction, _, R_blend = network.blend(o)
    shares, right = [], []
    for each in (localiser, without(localiser)):
        candidates = each.hybrid_candidates(o, prediction.R_pred, R_blend, prediction.polar)
        known, by_bic = each.select(each.sensing(o), candidates, [far.truth.count, BIC])
        shares.append(near(localiser, far, known))
        right.append(float((by_bic.present.sum(1) == 2).double().mean()))
    assert shares[0] > 0.93
    assert shares[0] > shares[1] + 0.1
    assert right[0] > 0.93
    assert right[0] > right[1] + 0.1


@torch.inference_mode()
def test_the_cost_never_rises(localiser, far):
    """Sources at the wrong places, with exchanges and with the joint fit alone."""
    sensing = localiser.sensing(far.observation)
    start = localiser.domain.clamp(polar_of(located(far.truth)[:, :2]) + torch.tensor([0.4, 0.2, 0.0]))
    present, rows = torch.ones(SCENES, 2, dtype=torch.bool), torch.arange(SCENES)
    fit = fit_conditional(sensing, start, present, tolerance=1.0, iterations=4)
    better = localiser.exchange(GainMap(sensing, localiser.coarse)).improved(sensing, rows, fit)
    assert (better.value <= fit.value).all()
    assert (better.value < 0.5 * fit.value).double().mean() > 0.5
    moved = (better.polar != fit.polar).flatten(1).any(1)
    assert torch.equal(moved, better.value < fit.value)


@torch.inference_mode()
def test_where_the_snapshots_see_much_nothing_is_exchanged(localiser, scenario):
    """The default world, three sources: bit for bit the answer without exchanges."""
    scenes = simulate(scenario, seed=7, split="test", start=0, stop=16, snr_db=SNR_DB, count=3)
    found = [each.pursuit(each.sensing(scenes.observation), BIC)[0].polar for each in (localiser, without(localiser))]
    assert torch.equal(*found)


def test_the_directions_seen_are_those_of_the_eigenvalues(localiser, scenario, far):
    """(sum of eigenvalues)^2 / (sum of their squares); about 80 of 144 in the default world, 17 through H of rank 1.5."""
    scenes = simulate(scenario, seed=7, split="test", start=0, stop=2, snr_db=SNR_DB, count=1)
    for observation, expected in ((scenes.observation, 80), (far.observation[:2], 17)):
        sensing = localiser.sensing(observation)
        seen = sensing.directions
        for scene, G in enumerate(sensing.G.numpy().astype(np.complex128)):
            value = np.linalg.eigvalsh(G.conj().T @ G)
            assert float(seen[scene]) == pytest.approx(value.sum() ** 2 / (value**2).sum(), rel=1e-4)
        assert float(seen.mean()) == pytest.approx(expected, rel=0.1)


@torch.inference_mode()
def test_positions_of_exchanged_sources_stay_in_the_domain(localiser, far):
    found = localiser.pursuit(localiser.sensing(far.observation), far.truth.count)[0]
    assert localiser.domain.contains(found.polar[found.present], margin=1e-6).all()
    assert position_of(location_of(found.polar))[found.present].isfinite().all()


@torch.inference_mode()
def test_sources_in_one_beam_are_exchanged_wherever_they_are_seen_from(scenario, localiser):
    """Three sources in one direction at 1.2, 2 and 4 m, 10 dB, K = 3 known: how often the fit is worse than one from the truth.

    In the default world, where the snapshots see more than half of the surface. More than a quarter of the scenes without
    exchanges, a tenth at most with them.
    """
    direction = torch.tensor([10.0, 5.0]).deg2rad()
    scenes = simulate(scenario, seed=3, split="test", start=0, stop=40, snr_db=10.0, count=3)
    location = scenes.truth.location.clone()
    location[:, :3, :2], location[:, :3, 2] = direction, torch.tensor([1.2, 2.0, 4.0])
    o, truth = scenes.observation, scenes.truth
    A = steering_matrix(scenario.surface.array, polar_of(torch.where(truth.present[..., None], location, 1.0)).double())
    seen = torch.einsum("bmn,bln,bnk->blkm", o.H, o.codebook, A.to(torch.complex64))
    noise = torch.randn(o.y.shape, generator=torch.Generator().manual_seed(8), dtype=torch.complex64)
    y = torch.einsum("blkm,bkl->blm", seen, truth.symbols) + noise * o.noise_var.sqrt()[:, None, None]
    o = dataclasses.replace(o, y=y)
    network = load_model("default")
    prediction, _, R_blend = network.blend(o)
    sensing = localiser.sensing(o)
    best = fit_and_assess(sensing, localiser.domain.clamp(polar_of(location)), truth.present, iterations=30)
    stuck = []
    for each in (localiser, without(localiser)):
        candidates = each.hybrid_candidates(o, prediction.R_pred, R_blend, prediction.polar)
        [found] = each.select(sensing, candidates, [truth.count])
        stuck.append(float((found.misfit > best.misfit + 0.05).double().mean()))
    assert stuck[0] <= 0.1
    assert stuck[1] > 0.2
