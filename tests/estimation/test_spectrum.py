import numpy as np
import pytest
import torch

from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.mvdr import mvdr_factor, shrinkage_loading
from risloc.estimation.spectrum import grid_energy, music_residual, music_spectrum, peaks
from risloc.physics.grid import GridConfig, polar_grid
from risloc.physics.steering import steering_matrix


@pytest.fixture
def small_grid(small_scenario):
    config = GridConfig(step_beams=0.36, planes=4)
    return polar_grid(small_scenario.surface, config)


@pytest.fixture
def factor(generator):
    return torch.randn(3, 16, 4, dtype=torch.complex128, generator=generator)


@pytest.fixture
def probe(small_scenario, generator):
    polar = torch.rand(3, 7, 3, dtype=torch.float64, generator=generator) * 0.5 + 0.1
    return steering_matrix(small_scenario.surface.array, polar)


def energy(a, F):
    """|F^H a|^2, one value a column of a."""
    return (F.mH @ a).abs().square().sum(-2)


def dense(F):
    return (F @ F.mH).numpy()


def test_music_is_one_over_the_noise_subspace(factor, probe):
    vectors = np.linalg.eigh(dense(factor))[1][:, :, :-4]
    noise = np.einsum("bnr,bnk->brk", vectors.conj(), probe.numpy())
    expected = 16 / (np.abs(noise) ** 2).sum(1)
    U = FactoredCovariance(factor).subspace(4)
    np.testing.assert_allclose(music_spectrum(probe, U).numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(music_residual(probe, U).numpy(), 16 / expected, rtol=1e-9)


@pytest.mark.parametrize("loading", [1e-3, 1.0])
def test_mvdr_through_factors_is_the_inverse(factor, probe, loading):
    R = dense(factor)
    e = loading * np.trace(R, axis1=1, axis2=2).real / 16
    inverse = np.linalg.inv(R + e[:, None, None] * np.eye(16))
    expected = np.einsum("bnk,bnm,bmk->bk", probe.numpy().conj(), inverse, probe.numpy()).real
    found = energy(probe, mvdr_factor(factor, loading)).numpy()
    np.testing.assert_allclose((16 - found) / e[:, None], expected, rtol=1e-8)


def test_loading_is_per_scene(factor):
    """A tensor of loadings is each scene's number, whatever the others have."""
    loadings = torch.tensor([1e-3, 0.4, 30.0], dtype=torch.float64)
    together = mvdr_factor(factor, loadings)
    for b, loading in enumerate(loadings):
        torch.testing.assert_close(together[b], mvdr_factor(factor[b], float(loading)))


def gaussian(covariance, snapshots, trials, seed):
    """Sample covariances [trial, elem, elem] of circular Gaussian snapshots."""
    rng = np.random.default_rng(seed)
    n = len(covariance)
    z = (rng.standard_normal((trials, n, snapshots)) + 1j * rng.standard_normal((trials, n, snapshots))) / np.sqrt(2)
    x = np.linalg.cholesky(covariance) @ z
    return x, x @ x.conj().swapaxes(1, 2) / snapshots


def decaying(n, base):
    return base ** np.abs(np.subtract.outer(np.arange(n), np.arange(n))) + 0j


@pytest.mark.parametrize(("base", "snapshots"), [(0.9, 4), (0.9, 40), (0.5, 8), (0.1, 8)])
def test_shrinkage_is_the_fixed_point_of_chen_et_al(base, snapshots):
    """Their iteration in plain numbers: the oracle's alpha, its expectations replaced by those of the estimate."""
    n = 12
    x, S = gaussian(decaying(n, base), snapshots, 5, seed=3)
    loading = shrinkage_loading(FactoredCovariance(7.0 * torch.from_numpy(x)), snapshots)
    for trial in range(5):
        alpha, trace = 0.5, np.trace(S[trial]).real
        for _ in range(20_000):
            estimate = (1 - alpha) * S[trial] + alpha * trace / n * np.eye(n)
            inner = np.trace(estimate @ S[trial]).real
            # E tr(S - Sigma)(S - F) / E|S - F|^2, complex moments: E tr S^2 = tr Sigma^2 + (tr Sigma)^2 / L.
            bias = inner + trace**2 / snapshots - (trace**2 + inner / snapshots) / n
            alpha = (trace**2 / snapshots - inner / (n * snapshots)) / bias
        expected = min(alpha, 0.999)
        np.testing.assert_allclose(float(loading[trial]), expected / (1 - expected), rtol=2e-2)


def test_shrinkage_comes_close_to_the_best_there_is():
    """200 draws of 6 snapshots of 12 elements: the mean squared error is within 15 % of the least that one alpha gives."""
    n, snapshots, truth = 12, 6, decaying(12, 0.9)
    x, S = gaussian(truth, snapshots, 200, seed=4)
    loading = shrinkage_loading(FactoredCovariance(torch.from_numpy(x)), snapshots).numpy()
    target = np.trace(S, axis1=1, axis2=2).real[:, None, None] / n * np.eye(n)

    def error(alpha):
        return (np.abs((1 - alpha) * S + alpha * target - truth) ** 2).sum((1, 2)).mean()

    best = min(error(alpha) for alpha in np.linspace(0, 1, 101))
    achieved = error((loading / (1 + loading))[:, None, None])
    assert achieved < 1.15 * best
    assert achieved < 0.85 * error(0.0)


def test_a_white_covariance_is_shrunk_to_beamforming(probe):
    """Few orthogonal snapshots look white: the loading is at its limit and MVDR orders points as beamforming does."""
    F = torch.eye(16, 4, dtype=torch.complex128).expand(3, -1, -1)
    loading = shrinkage_loading(FactoredCovariance(F), 4)
    torch.testing.assert_close(loading, torch.full((3,), 999.0, dtype=torch.float64))
    scale = 999.0 * 4 / 16
    mvdr = scale * energy(probe, mvdr_factor(F, loading))
    torch.testing.assert_close(mvdr, energy(probe, F), rtol=5e-3, atol=0)


def test_grid_energy_is_beamforming_at_every_point(small_grid, factor):
    F = factor.to(torch.complex64)
    a = small_grid.steering.expand(3, -1, -1)
    torch.testing.assert_close(grid_energy(small_grid, F), energy(a, F), rtol=1e-4, atol=1e-4)


def bumps(grid, centres, heights):
    """Smooth bumps around grid indices (plane, row, column)."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid.shape), indexing="ij")
    parts = [
        h * torch.exp(-sum((x - c).square() for x, c in zip(axes, centre, strict=True)) / 2)
        for centre, h in zip(centres, heights, strict=True)
    ]
    return torch.stack(parts).sum(0).reshape(1, -1)


def test_peaks_come_strongest_first_and_then_say_there_are_no_more(small_scenario):
    grid = polar_grid(small_scenario.surface, GridConfig(step_beams=0.1, planes=5))
    centres, heights = [(1, 3, 5), (3, 8, 25), (2, 8, 15)], [1.0, 3.0, 2.0]
    found = peaks(bumps(grid, centres, heights), grid, 6, 0.05)
    assert found.valid.tolist() == [[True] * 3 + [False] * 3]
    expected = [[grid.u[u], grid.v[v], grid.w[p]] for p, v, u in (centres[1], centres[2], centres[0])]
    torch.testing.assert_close(found.polar[0, :3], torch.tensor(expected))
    torch.testing.assert_close(found.value[0, :3], torch.tensor([3.0, 2.0, 1.0]), rtol=1e-2, atol=0)


def test_of_two_peaks_in_one_direction_the_higher_stays(small_scenario):
    grid = polar_grid(small_scenario.surface, GridConfig(step_beams=0.1, planes=9))
    values = bumps(grid, [(1, 6, 10), (7, 6, 10)], [1.0, 2.0])
    assert peaks(values, grid, 4, 0.0).valid.sum() == 2
    only = peaks(values, grid, 4, 0.05)
    assert only.valid.sum() == 1
    assert only.polar[0, 0, 2] == grid.w[7]


def test_no_energy_has_no_peaks_and_cells_outside_are_none(small_grid):
    assert not peaks(torch.zeros(2, small_grid.steering.shape[1]), small_grid, 5, 0.05).valid.any()
    outside = ~small_grid.inside
    values = torch.where(outside, 2.0, 1.0).expand(small_grid.shape).reshape(1, -1)
    values = values + 1e-3 * torch.arange(values.shape[1])  # no plateau
    found = peaks(values, small_grid, 5, 0.0)
    index = torch.cdist(found.polar[0][found.valid[0]], small_grid.polar).argmin(1)
    assert small_grid.inside.expand(small_grid.shape).reshape(-1)[index].all()


def test_peaks_do_not_depend_on_the_rest_of_the_batch(small_grid, generator):
    values = torch.rand(4, small_grid.steering.shape[1], generator=generator)
    together = peaks(values, small_grid, 5, 0.1)
    for b in range(4):
        alone = peaks(values[b : b + 1], small_grid, 5, 0.1)
        torch.testing.assert_close(alone.polar[0], together.polar[b])
