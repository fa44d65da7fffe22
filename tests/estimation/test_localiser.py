import dataclasses
import math
from functools import partial

import pytest
import torch

from risloc.config import ParamError
from risloc.covariance.factored import FactoredCovariance, true_covariance
from risloc.covariance.snapshots import least_squares_snapshots, sample_covariance
from risloc.estimation.localiser import Localiser
from risloc.estimation.search_config import default_search
from risloc.physics.geometry import location_of, polar_of, position_of
from risloc.physics.grid import GridConfig
from risloc.physics.steering import steering_matrix
from risloc.scenes.simulation import simulate as draw

SEARCH = dataclasses.replace(
    default_search(),
    grid=GridConfig(step_beams=0.36, planes=3),
    rank=6,
    peaks=8,
    separation=0.05,
    score_peaks=2,
    exchange_rounds=2,
    exchange_tries=2,
    steps_between=4,
    iterations=20,
    coarse=GridConfig(step_beams=0.5, planes=3),
    sparse_iterations=10,
)

WIDE = dataclasses.replace(SEARCH, score_peaks=4, peaks=16)


@pytest.fixture(scope="module")
def scenes(small_scenario):
    return draw(small_scenario, seed=1, split="test", start=0, stop=24, snr_db=30.0, count=[0, 1, 1, 2, 2, 2] * 4)


def truth_of(scenes):
    truth = scenes.truth
    return torch.where(truth.present[..., None], truth.location, torch.tensor([0.0, 0.0, 1.0]))


def nearest(location, polar, valid):
    """The distance in metres of each true location to the nearest valid one."""
    distance = torch.cdist(position_of(location), position_of(location_of(polar)))
    return distance.masked_fill(~valid[:, None], math.inf).amin(-1)


def test_slots_are_candidates_where_the_spectrum_has_no_peak(small_scenario, scenes):
    """R_blend = 0 and R_pred = 0: MUSIC has nothing to offer, the slots are all there is."""
    o, truth, localiser = scenes.observation, scenes.truth, Localiser(small_scenario, SEARCH)
    location, sensing = truth_of(scenes), localiser.sensing(scenes.observation)
    flat = FactoredCovariance(torch.zeros(len(scenes), 16, 6).to(torch.complex64))
    offer = partial(localiser.hybrid_candidates, o, flat, flat, polar_of(location), score=False)
    [nothing] = localiser.select(sensing, offer(slots=False), [truth.count])
    assert not nothing.present.any()
    [found] = localiser.select(sensing, offer(), [truth.count])
    assert (found.present == truth.present).all()
    assert nearest(location, found.polar, found.present)[truth.present].median() < 0.05


def test_the_score_offers_the_source_that_r_pred_has_missed(scenario):
    """Two sources at 10 dB, R_pred holds the first alone: the second is among four peaks of the score, within half a beam.

    64 scenes; powers within +-6 dB and least squares find the weaker of two less often than this allows.
    """
    scenes = draw(scenario, seed=1, split="test", start=0, stop=64, snr_db=10.0, count=2)
    o, localiser = scenes.observation, Localiser(scenario, WIDE)
    polar = polar_of(torch.where(scenes.truth.present[..., None], scenes.truth.location, torch.ones(3)))
    R_pred = true_covariance(steering_matrix(localiser.array, polar), scenes.truth.power * (torch.arange(5) == 0))
    offered = localiser.hybrid_candidates(o, R_pred, R_pred, polar, spectrum=False, slots=False)
    assert offered.valid.shape == (64, 4)
    gap = (offered.polar[..., :2] - polar[:, 1:2, :2]).norm(dim=-1).masked_fill(~offered.valid, math.inf).amin(1)
    assert (gap < 0.5 / 6).float().mean() > 0.95


def test_the_candidates_of_the_hybrid_are_as_many_as_anyones(small_scenario, scenes):
    localiser, o = Localiser(small_scenario, SEARCH), scenes.observation
    x = least_squares_snapshots(o)
    R = sample_covariance(x)
    offered = localiser.hybrid_candidates(o, R, R, polar_of(truth_of(scenes)))
    assert offered.valid.shape[1] == SEARCH.peaks


@pytest.mark.parametrize("method", ["beamforming", "mvdr", "music"])
def test_every_spectrum_of_the_true_covariance_finds_one_source(small_scenario, scenes, method):
    """One source: R_true = N a a^H / N, and each spectrum's highest peak is the source itself."""
    localiser, location, one = Localiser(small_scenario, SEARCH), truth_of(scenes), scenes.truth.count == 1
    R = true_covariance(steering_matrix(localiser.array, polar_of(location)), scenes.truth.power)
    found = getattr(localiser, method)(R, scenes.truth.count)
    assert (found.present.sum(1) <= scenes.truth.count).all()
    assert nearest(location, found.polar, found.present)[one, 0].max() < 1e-3


def test_omp_stays_on_the_grid_and_nomp_does_not(small_scenario, scenes):
    localiser, count = Localiser(small_scenario, SEARCH), scenes.truth.count
    sensing, location = localiser.sensing(scenes.observation), truth_of(scenes)
    [omp], [nomp] = (localiser.pursuit(sensing, count, fit=fit) for fit in (False, True))
    points = localiser.domain.clamp(localiser.grid.polar)
    off_grid = (omp.polar[omp.present][:, None] - points).abs().amax(-1).amin(1)
    assert off_grid.max() < 1e-5
    present = scenes.truth.present
    errors = [nearest(location, x.polar, x.present)[present].median() for x in (omp, nomp)]
    assert errors[1] < errors[0] / 2


def test_music_on_the_sparse_covariance_beats_music_on_the_least_squares_one(scenario):
    """Two sources at 20 dB, 16 scenes, K known: more of the 32 within half a beam, and most of them."""
    localiser = Localiser(scenario, WIDE)
    scenes = draw(scenario, seed=1, split="test", start=0, stop=16, snr_db=20.0, count=2)
    o, count, polar = scenes.observation, scenes.truth.count, polar_of(scenes.truth.location[:, :2])
    R_samp = sample_covariance(least_squares_snapshots(o))
    shares = []
    for R in (localiser.sparse(localiser.sensing(o)), R_samp):
        found = localiser.music(R, count)
        gap = torch.cdist(polar[..., :2], found.polar[..., :2]).masked_fill(~found.present[:, None], math.inf).amin(-1)
        shares.append(float((gap < 0.5 / 6).float().mean()))
    assert shares[0] > 0.8
    assert shares[0] > shares[1]


def test_the_leading_eigenvectors_of_r_samp_hold_little_of_the_signal_subspace(scenario):
    """Why MUSIC on R_samp does not beat beamforming: less than a third of span(A) at 20 dB, K = 2, in the median."""
    scenes = draw(scenario, seed=1, split="test", start=0, stop=64, snr_db=20.0, count=2)
    o, polar = scenes.observation, polar_of(scenes.truth.location[:, :2])
    R_samp = sample_covariance(least_squares_snapshots(o))
    Q = torch.linalg.qr(steering_matrix(scenario.surface.array, polar)).Q
    held = (Q.mH @ R_samp.subspace(2)).abs().square().sum((1, 2)) / 2
    assert held.median() < 1 / 3
    assert (Q.mH @ R_samp.subspace(16)).abs().square().sum((1, 2)).median() / 2 < 2 / 3


def test_a_scene_without_sources_can_be_located(small_scenario):
    scenes = draw(small_scenario, seed=1, split="test", start=0, stop=4, count=[0, 1, 0, 3])
    localiser = Localiser(small_scenario, SEARCH)
    [found] = localiser.pursuit(localiser.sensing(scenes.observation), scenes.truth.count)
    assert found.present.sum(1).tolist() == [0, 1, 0, 3]


def test_fewer_candidates_than_sources_are_refused(small_scenario):
    with pytest.raises(
        ParamError, match=r"search\.peaks: expected more than K_MAX \+ score_peaks = 5 candidates, got 5"
    ):
        Localiser(small_scenario, dataclasses.replace(SEARCH, peaks=5))


def test_snapshots_that_are_not_finite_are_named(small_scenario):
    observation = draw(small_scenario, seed=1, split="test", start=0, stop=4).observation
    observation.y[2, 0, 1] = math.nan
    with pytest.raises(ValueError, match=r"y: expected finite snapshots, got non-finite ones in the scenes \[2\]"):
        Localiser(small_scenario, SEARCH).sensing(observation)
