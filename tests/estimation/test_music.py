import dataclasses
import math

import pytest
import torch
from plain_music import music
from worlds import world

from risloc.covariance.factored import FactoredCovariance, true_covariance
from risloc.estimation.music import music_peaks, refine_peaks, signal_subspace
from risloc.estimation.spectrum import Peaks, music_residual
from risloc.physics.geometry import location_of, position_of
from risloc.physics.grid import GridConfig, polar_grid
from risloc.physics.steering import steering_matrix

GRID = GridConfig(step_beams=0.36, planes=6)


def setting(scenario):
    return scenario.surface, polar_grid(scenario.surface, GRID)


def nearest_error(found, w):
    """The position error of each true source to its nearest valid estimate."""
    distance = torch.cdist(position_of(w.location), position_of(location_of(found.polar)))
    return distance.masked_fill(~found.valid[:, None], torch.inf).amin(-1)[w.present]


def ensemble(w):
    return true_covariance(w.A, w.power)


@pytest.mark.parametrize("seed", range(3))
def test_the_ensemble_covariance_gives_the_truth(small_scenario, seed):
    w = world(small_scenario, [1, 2, 3, 2], seed=seed)
    found = music(ensemble(w), w.count, *setting(small_scenario), widest=3, separation=0.05)
    assert nearest_error(found, w).max() < 1e-4
    assert found.converged[found.valid].all()
    assert found.valid.sum(1).tolist() == [1, 2, 3, 2]


def test_truth_on_the_default_scenario(scenario):
    w = world(scenario, [1, 3, 5, 4], spread=0.3)
    found = music(ensemble(w), w.count, *setting(scenario), widest=5, separation=0.05)
    assert nearest_error(found, w).max() < 1e-4


def test_no_source_gives_no_estimate(small_scenario):
    w = world(small_scenario, [0, 1])
    found = music(ensemble(w), w.count, *setting(small_scenario), widest=3, separation=0.05)
    assert found.valid.sum(1).tolist() == [0, 1]


def test_scale_and_rotation_of_the_factor_change_nothing(small_scenario, generator):
    w = world(small_scenario, [2, 3])
    R = ensemble(w)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.complex128, generator=generator))[0]
    other = FactoredCovariance(7.0 * R.factor @ rotation)
    one, two = (music(x, w.count, *setting(small_scenario), widest=3, separation=0.05) for x in (R, other))
    torch.testing.assert_close(one.polar[one.valid], two.polar[two.valid], rtol=1e-5, atol=1e-5)


def test_refinement_is_monotone_and_stays_inside(small_scenario, generator):
    surface, grid = setting(small_scenario)
    F = torch.randn(20, 16, 3, dtype=torch.complex128, generator=generator)
    U = FactoredCovariance(F).subspace(3)
    start = grid.polar[torch.randint(len(grid.polar), (20, 6), generator=generator)].double()
    start = surface.domain.clamp(start)
    coarse = Peaks(start, torch.zeros(20, 6, dtype=torch.float64), torch.ones(20, 6, dtype=torch.bool))
    before = music_residual(steering_matrix(surface.array, start), U).sort(dim=1).values / 16
    found = refine_peaks(U, surface, coarse)
    assert surface.domain.contains(found.polar).all()
    assert (found.residual <= before + 1e-12).all()  # sorted alike: each residual fell, so do the order statistics
    torch.testing.assert_close(found.residual, music_residual(steering_matrix(surface.array, found.polar), U) / 16)
    assert found.converged.float().mean() > 0.9


def test_a_converged_interior_peak_is_stationary(small_scenario, generator):
    surface, _ = setting(small_scenario)
    w = world(small_scenario, [2])
    U = FactoredCovariance(w.A + 0.1 * torch.randn(w.A.shape, dtype=w.A.dtype, generator=generator)).subspace(2)
    start = Peaks(w.polar[:, :2], torch.ones(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool))
    found = refine_peaks(U, surface, start, iterations=60)
    point = found.polar.clone().requires_grad_()
    music_residual(steering_matrix(surface.array, point), U).sum().backward()
    inside = (surface.domain.clamp(found.polar + 1e-3) - found.polar - 1e-3).abs().amax(-1) < 1e-9
    assert inside.any()
    assert point.grad[inside].abs().max() < 2e-2  # of curvatures of order 1e3


def test_a_line_array_with_fixed_elevation(small_scenario):
    """15 elements on the x axis see no elevation: it is fixed, and no parameter."""
    ula = dataclasses.replace(
        small_scenario, n_h=15, n_v=1, elevation_span_deg=(0.0, 0.0), distance_span_m=(2.0, 12.0), carrier_hz=3e8
    )
    w = world(ula, [1, 2], seed=3)
    surface, grid = setting(ula)
    assert grid.shape[1] == 1
    found = music(ensemble(w), w.count, surface, grid, widest=3, separation=0.05)
    assert nearest_error(found, w).max() < 1e-3
    assert (found.polar[..., 1] == 0).all()


def test_more_peaks_than_sources_hold_the_sources(small_scenario):
    w = world(small_scenario, [2, 2], seed=5)
    surface, grid = setting(small_scenario)
    found = music_peaks(signal_subspace(ensemble(w), w.count, 3), surface, grid, 6, 0.05)
    assert (found.valid.sum(1) > 2).all()
    assert nearest_error(found, w).max() < 1e-4
    assert (found.residual[:, :-1] <= found.residual[:, 1:]).all()


def test_rank_is_per_scene(small_scenario):
    w = world(small_scenario, [1, 3])
    U = signal_subspace(ensemble(w), w.count, 3)
    torch.testing.assert_close(U.abs().square().sum(1), torch.tensor([[1.0, 0, 0], [1, 1, 1]]).double())
    with pytest.raises(ValueError, match=r"rank: expected 1\.\.16"):
        signal_subspace(ensemble(w), w.count, math.prod((4, 5)))
