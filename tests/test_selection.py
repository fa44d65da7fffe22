import dataclasses

import pytest
import torch
from worlds import roomy, world

from risloc import selection
from risloc.covariance import least_squares_snapshots, true_covariance
from risloc.geometry import location_of, position_of
from risloc.grid import GridConfig, polar_grid
from risloc.likelihood import Sensing, conditional_cost, project
from risloc.selection import MatchingPursuit, PeakCandidates, likelihood_gain, select_and_fit
from risloc.spectrum import Peaks, grid_energy, peaks
from risloc.steering import steering_matrix

GRID = GridConfig(step_beams=0.3, planes=5)
SOURCES = ("oracle", "back_projection", "pursuit")


@pytest.fixture(scope="module")
def scenario_8(small_scenario):
    return roomy(small_scenario)


def sensing(w):
    return Sensing.of(w.observation, w.scenario.array(), w.scenario.domain())


def source(name, w):
    s, o = sensing(w), w.observation
    grid = polar_grid(w.scenario.array(), w.scenario.domain(), GRID)
    if name == "pursuit":
        return s, MatchingPursuit(s, o, grid, 4)
    if name == "oracle":
        factor = true_covariance(w.A, w.power).subspace(3)
    else:
        factor = least_squares_snapshots(o.y, o.codebook, o.H, o.noise_var)
    return s, PeakCandidates(s, peaks(grid_energy(grid, factor), grid, 10, 0.05))


def position_error(found, w):
    distance = torch.cdist(position_of(w.location), position_of(location_of(found.polar)))
    return distance.masked_fill(~found.present[:, None], torch.inf).amin(-1)[w.present]


def test_gain_is_the_decrease_of_the_cost(small_scenario):
    w = world(small_scenario, [2, 2], snr_db=5)
    s = sensing(w)
    polar = w.polar.clone()
    two = torch.tensor([True, True, False]).expand(2, -1)
    B = s.responses(steering_matrix(s.array, polar))
    gain = likelihood_gain(B[:, :, 2:], project(B, s.y, two))[:, 0]
    drop = conditional_cost(s, polar, two) - conditional_cost(s, polar, torch.ones_like(two))
    torch.testing.assert_close(gain, drop)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("known", [True, False])
def test_at_high_snr_every_source_is_found(scenario_8, name, known):
    w = world(scenario_8, [0, 1, 2, 3, 1, 2], snr_db=40, seed=2)
    s, candidates = source(name, w)
    [found] = select_and_fit(s, candidates, [w.count if known else None], 3, steps_between=4, iterations=30)
    assert found.present.sum(1).tolist() == w.count.tolist()
    error = position_error(found, w)
    assert error.max() < 0.1
    std = found.position_std[found.present]
    assert std.isfinite().all()
    assert found.position_std[~found.present].isnan().all()
    assert found.resolved[found.present].float().mean() > 0.8
    assert scenario_8.domain().contains(found.polar, margin=1e-6).all()


def test_a_scene_without_candidates_has_no_estimates(scenario_8):
    w = world(scenario_8, [2, 2])
    s = sensing(w)
    none = Peaks(w.polar, torch.zeros(2, 3, dtype=torch.float64), torch.tensor([[False] * 3, [True, False, False]]))
    [found] = select_and_fit(s, PeakCandidates(s, none), [w.count], 3, steps_between=4, iterations=5)
    assert found.present.sum(1).tolist() == [0, 1]
    assert not found.resolved[0].any()


def test_where_sources_cannot_be_told_apart_nothing_more_is_offered(scenario_8):
    w = world(scenario_8, [2, 2])
    s, pursuit = source("pursuit", w)
    B = s.responses(steering_matrix(s.array, w.polar))
    B[0, :, 1] = B[0, :, 0]
    fit = project(B, s.y, torch.tensor([True, True, False]).expand(2, -1))
    fit.residual[0] = torch.nan  # as Cholesky finds it in single precision
    _, gain = pursuit.offer(torch.arange(2), fit)
    assert (gain[0] == -torch.inf).all()
    assert gain[1].isfinite().any()


def test_a_fixed_coordinate_is_no_parameter_of_bic(scenario_8, monkeypatch):
    counted = []
    real = selection.bic
    monkeypatch.setattr(selection, "bic", lambda value, q, n: counted.append(q) or real(value, q, n))
    for span, each in (((-20.0, 20.0), 4), ((0.0, 0.0), 3)):
        w = world(dataclasses.replace(scenario_8, elevation_span_deg=span), [1], snr_db=30)
        counted.clear()
        s, candidates = source("back_projection", w)
        select_and_fit(s, candidates, [None], 2, steps_between=4, iterations=5)
        assert counted == [0, each, 2 * each]


def test_bic_rarely_hears_a_source_in_noise(scenario_8):
    w = world(scenario_8, [0] * 60, snr_db=0, seed=4)
    s, candidates = source("back_projection", w)
    [found] = select_and_fit(s, candidates, [None], 3, steps_between=4, iterations=15)
    assert found.present.any(1).sum() <= 6


def test_standard_deviations_cover_the_errors(scenario_8):
    """One source at 25 dB, 300 scenes: normalised squared errors average to 1 within five standard errors."""
    w = world(scenario_8, [1] * 300, snr_db=25, seed=6)
    s, candidates = source("oracle", w)
    [found] = select_and_fit(s, candidates, [w.count], 3, steps_between=4, iterations=30)
    z2 = (position_error(found, w) / found.position_std[:, 0]).square()
    assert 0.75 < z2.mean() < 1.3


@pytest.mark.parametrize("name", SOURCES)
def test_one_selection_answers_as_two_would(scenario_8, name):
    w = world(scenario_8, [0, 1, 2, 3, 3, 2], snr_db=15, seed=8)
    both = select_and_fit(*source(name, w), [w.count, None], 3, steps_between=4, iterations=30)
    for found, count in zip(both, (w.count, None), strict=True):
        [alone] = select_and_fit(*source(name, w), [count], 3, steps_between=4, iterations=30)
        assert (alone.present == found.present).all()
        torch.testing.assert_close(alone.polar[alone.present], found.polar[found.present], rtol=1e-6, atol=1e-6)
