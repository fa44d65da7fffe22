import dataclasses
import math

import pytest
import torch
from likelihoods import conditional_cost
from worlds import roomy, world

from risloc.covariance.factored import true_covariance
from risloc.covariance.snapshots import least_squares_snapshots
from risloc.estimation.candidates import MatchingPursuit, PeakCandidates
from risloc.estimation.conditional import Sensing
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.order_rules import BIC, SelectionPath, bic_noise_order, bic_order
from risloc.estimation.projection import likelihood_gain, project
from risloc.estimation.selection import select_and_fit
from risloc.estimation.spectrum import Peaks, grid_energy, peaks
from risloc.physics.geometry import location_of, position_of
from risloc.physics.grid import GridConfig, polar_grid
from risloc.physics.steering import steering_matrix

GRID = GridConfig(step_beams=0.3, planes=5)
SOURCES = ("oracle", "back_projection", "pursuit")


@pytest.fixture(scope="module")
def scenario_8(small_scenario):
    return roomy(small_scenario)


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def source(name, w):
    s = sensing(w)
    grid = polar_grid(w.scenario.surface, GRID)
    if name == "pursuit":
        return s, MatchingPursuit(s, GainMap(s, grid))
    factor = true_covariance(w.A, w.power).subspace(3) if name == "oracle" else least_squares_snapshots(w.observation)
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
    [found] = select_and_fit(s, candidates, [w.count if known else BIC], 3, steps_between=4, iterations=30)
    assert found.present.sum(1).tolist() == w.count.tolist()
    error = position_error(found, w)
    assert error.max() < 0.1
    std = found.position_std[found.present]
    assert std.isfinite().all()
    assert found.position_std[~found.present].isnan().all()
    assert found.resolved[found.present].float().mean() > 0.8
    assert scenario_8.surface.domain.contains(found.polar, margin=1e-6).all()


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


def path_of(s, cost, value):
    cost, value = torch.tensor([cost]), torch.tensor([value], dtype=torch.float64)
    orders = cost.shape[1]
    return SelectionPath(
        torch.zeros(1, orders, orders - 1, 3),
        cost,
        value,
        torch.zeros(1, orders, orders - 1),
        torch.tensor([orders - 1]),
    )


@pytest.mark.parametrize(("span", "free"), [((-20.0, 20.0), 3), ((0.0, 0.0), 2)])
def test_bic_charges_a_source_its_free_coordinates_and_its_power(scenario_8, span, free):
    s = sensing(world(dataclasses.replace(scenario_8, elevation_span_deg=span), [1], snr_db=30))
    n = s.y[0].numel()
    for surplus, order in ((0.1, 1), (-0.1, 0)):
        drop = (free + 1) * math.log(n) / 2 + surplus
        assert bic_order(s, path_of(s, [1.0, 1.0, 1.0], [0.0, -drop, -drop - 0.1])).item() == order
    assert bic_order(s, path_of(s, [1.0, 1.0, 1.0], [0.0, -1.0, -1000.0])).item() == 0  # where it stops falling


@pytest.mark.parametrize(("span", "free"), [((-20.0, 20.0), 3), ((0.0, 0.0), 2)])
def test_with_unknown_noise_bic_charges_a_source_its_symbols_too(scenario_8, span, free):
    s = sensing(world(dataclasses.replace(scenario_8, elevation_span_deg=span), [1], snr_db=30))
    snap, n = s.y.shape[1], s.y[0].numel()
    for factor, order in ((0.999, 1), (1.001, 0)):
        ratio = factor * math.exp(-(free + 2 * snap) * math.log(n) / (2 * n))
        path = path_of(s, [7.0, 7.0 * ratio, 7.0 * ratio * 0.99], [0.0, 0.0, 0.0])
        assert bic_noise_order(s, path).item() == order
        scaled = dataclasses.replace(path, cost=1e3 * path.cost)
        assert bic_noise_order(s, scaled).item() == order


def test_a_rule_sees_the_fits_of_all_orders(scenario_8):
    w = world(scenario_8, [0, 1, 2, 3], snr_db=30, seed=2)
    s, candidates = source("back_projection", w)
    seen = []

    def two(sensing, path):
        seen.append(path)
        return torch.full_like(path.reached, 2)

    by_bic, by_rule, by_noise = select_and_fit(
        s, candidates, [BIC, two, bic_noise_order], 3, steps_between=4, iterations=30
    )
    [path] = seen
    assert (path.reached == 3).all()
    assert path.value.isfinite().all()
    assert (path.cost[:, 1:] <= path.cost[:, :-1]).all()
    k = 2
    present = torch.arange(3) < k
    torch.testing.assert_close(path.cost[:, k], conditional_cost(s, path.polar[:, k], present.expand(4, -1)))
    assert by_bic.present.sum(1).tolist() == by_noise.present.sum(1).tolist() == w.count.tolist()
    assert (by_rule.present.sum(1) == 2).all()


def test_under_mismatch_known_noise_hears_sources_that_unknown_noise_does_not(scenario_8):
    """An error of the model of a twentieth of the power, at an SNR where the noise is a thousandth."""
    w = world(scenario_8, [1] * 30, snr_db=30, seed=5)
    s, candidates = source("back_projection", w)
    error = torch.randn(s.y.shape, dtype=s.y.dtype, generator=torch.Generator().manual_seed(0))
    wrong = dataclasses.replace(s, y=s.y + (s.y.abs().square().mean() / 20) ** 0.5 * error)
    by_bic, by_noise = select_and_fit(wrong, candidates, [BIC, bic_noise_order], 3, steps_between=4, iterations=5)
    assert (by_bic.present.sum(1) == 1).float().mean() < 0.2
    assert (by_noise.present.sum(1) == 1).float().mean() > 0.8


def test_bic_rarely_hears_a_source_in_noise(scenario_8):
    w = world(scenario_8, [0] * 60, snr_db=0, seed=4)
    s, candidates = source("back_projection", w)
    [found] = select_and_fit(s, candidates, [BIC], 3, steps_between=4, iterations=15)
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
    both = select_and_fit(*source(name, w), [w.count, BIC], 3, steps_between=4, iterations=30)
    for found, count in zip(both, (w.count, BIC), strict=True):
        [alone] = select_and_fit(*source(name, w), [count], 3, steps_between=4, iterations=30)
        assert (alone.present == found.present).all()
        torch.testing.assert_close(alone.polar[alone.present], found.polar[found.present], rtol=1e-6, atol=1e-6)
