import dataclasses

import numpy as np
import pytest
import torch
from oracle import elements, steering
from worlds import world

from risloc.config import build
from risloc.covariance.factored import FactoredCovariance, true_covariance
from risloc.estimation.music import refine_peaks
from risloc.estimation.mvdr import mvdr_factor
from risloc.estimation.refine import _Residual, energy_peaks, refine_energy, root_factor
from risloc.estimation.spectrum import Peaks
from risloc.physics.box_coordinates import from_box, to_box
from risloc.physics.geometry import location_of, polar_of, position_of
from risloc.physics.grid import GridConfig, polar_grid
from risloc.physics.steering import steering_matrix
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

GRID = GridConfig(step_beams=0.36, planes=6)
SPECTRA = {
    "beamforming": lambda F: F,
    "mvdr": lambda F: mvdr_factor(F, 0.1),
    "music": lambda F: FactoredCovariance(F).subspace(3),
}


@pytest.fixture(params=SPECTRA)
def transform(request):
    """A factor F to the T of one spectrum."""
    return SPECTRA[request.param]


@pytest.fixture
def factor(generator):
    """Ten covariances of rank 6 on 16 elements, their eigenvalues 100 to 1."""
    strength = torch.logspace(1, 0, 6, dtype=torch.float64)
    return torch.randn(10, 16, 6, dtype=torch.complex128, generator=generator) * strength


def starts(domain, polar):
    polar = domain.clamp(polar)
    return Peaks(polar, torch.zeros_like(polar[..., 0]), torch.ones_like(polar[..., 0], dtype=torch.bool))


def anywhere(domain, generator, *shape):
    low, high = torch.tensor(domain.polar_box, dtype=torch.float64).T
    return starts(domain, low + (high - low) * torch.rand(*shape, 3, dtype=torch.float64, generator=generator))


def residual(scenario, T, polar):
    """1 - |T^H a|^2 / (N s) of one scene at one location, with the tests' own steering vector."""
    azimuth, elevation, distance = location_of(polar).tolist()
    places = elements(scenario.n_h, scenario.n_v, scenario.wavelength)
    a = steering(places, scenario.wavelength, azimuth, elevation, distance)
    T = T.resolve_conj().numpy()
    s = np.linalg.norm(T, 2) ** 2
    return 1 - (np.abs(T.conj().T @ a) ** 2).sum() / (len(a) * s)


def test_root_factor_squares_to_what_the_energy_lacks(factor, transform):
    """(I - B B^H)^2 = I - T T^H / s, whatever the rank and the scale; zero stays zero."""
    T = transform(factor)
    T = torch.cat([T, 1e-6 * T[:1], 1e6 * T[:1], 0 * T[:1], torch.cat([T[:1, :, :1], 0 * T[:1, :, 1:]], dim=-1)])
    B = root_factor(T).numpy()
    s = np.maximum(np.linalg.norm(T.numpy(), 2, axis=(1, 2)) ** 2, 1e-300)[:, None, None]
    P = np.eye(16) - B @ B.conj().swapaxes(1, 2)
    expected = np.eye(16) - T.numpy() @ T.numpy().conj().swapaxes(1, 2) / s
    np.testing.assert_allclose(P @ P, expected, atol=1e-12)
    assert np.linalg.eigvalsh(P).min() > -1e-7
    assert (B[-2] == 0).all()


def test_residual_is_what_the_energy_lacks_and_never_rises(small_scenario, factor, transform, generator):
    surface = small_scenario.surface
    T, coarse = transform(factor), anywhere(surface.domain, generator, 10, 5)
    found = refine_energy(T, surface, coarse)
    assert surface.domain.contains(found.polar, margin=1e-9).all()
    assert found.converged.double().mean() > 0.9
    for b in range(10):
        before = sorted(residual(small_scenario, T[b], x) for x in coarse.polar[b])
        after = [residual(small_scenario, T[b], x) for x in found.polar[b]]
        np.testing.assert_allclose(found.residual[b].numpy(), after, atol=1e-10)
        assert (np.array(after) <= np.array(before) + 1e-12).all()  # each fell, so do the order statistics


def test_no_neighbour_of_a_converged_peak_is_higher(small_scenario, factor, transform, generator):
    """Of 100 random steps of 0.0003 to 0.003 in the domain none gains more than the tolerance leaves."""
    surface = small_scenario.surface
    T = transform(factor)
    found = refine_energy(T, surface, anywhere(surface.domain, generator, 10, 4), iterations=60)
    size = 10 ** (-3.5 + torch.rand(100, 1, dtype=torch.float64, generator=generator))
    step = size * torch.randn(100, 3, dtype=torch.float64, generator=generator)
    near = surface.domain.clamp((found.polar[:, :, None] + step).flatten(1, 2))
    s = torch.linalg.matrix_norm(T, 2).square()[:, None]
    energy = (T.mH @ steering_matrix(surface.array, near)).abs().square().sum(1) / (16 * s)
    best = (1 - energy).view(10, 4, 100).amin(-1)
    assert (found.residual <= best + 1e-6)[found.converged].all()


def test_the_gradient_is_autograds(small_scenario, factor, transform, generator):
    surface = small_scenario.surface
    T, scene = transform(factor), torch.arange(10)
    point = to_box(anywhere(surface.domain, generator, 10, 1).polar[:, 0]).requires_grad_()
    a = steering_matrix(surface.array, from_box(point)[:, None])
    s = torch.linalg.matrix_norm(T, 2).square()
    energy = (T.mH @ a).abs().square().sum((1, 2)) / (16 * s)
    (gradient,) = torch.autograd.grad(-energy.sum(), point)
    problem = _Residual(surface.array.to(T), surface.domain, root_factor(T), scene)
    torch.testing.assert_close(2 * problem.model(point.detach()).gradient, gradient, rtol=1e-8, atol=1e-10)


def test_the_curvature_is_half_the_hessian_where_the_phase_is_linear(small_scenario, generator):
    """In (t, v), far away at broadside, beside a peak that is no pure source: the residual's own bend counts."""
    far = dataclasses.replace(small_scenario, distance_span_m=(1e5, 1e6))
    surface = far.surface
    sources = torch.tensor([[[0.02, 0.01, 1e-5], [-0.3, 0.35, 1e-5]]], dtype=torch.float64)
    noise = torch.randn(1, 16, 3, dtype=torch.complex128, generator=generator)
    T = torch.cat([steering_matrix(surface.array, sources) * torch.tensor([1.0, 0.7]), 0.3 * noise], dim=-1)
    point = torch.tensor([[0.0, 0.0, 1e-5]], dtype=torch.float64)

    def lack(x):
        a = steering_matrix(surface.array, from_box(x)[None, None])
        return -(T.mH @ a).abs().square().sum() / (16 * torch.linalg.matrix_norm(T, 2).square()).sum()

    hessian = torch.autograd.functional.hessian(lack, point[0])
    model = _Residual(surface.array, surface.domain, root_factor(T), torch.arange(1)).model(point)
    assert model.value > 0.02
    torch.testing.assert_close(2 * model.curvature[0, :2, :2], hessian[:2, :2], rtol=1e-4, atol=1e-4)


def test_the_curvature_is_never_negative(small_scenario, factor, transform, generator):
    """Else a step from a hollow leads up; the true Hessian is indefinite at most of these points."""
    surface = small_scenario.surface
    T, scene = transform(factor), torch.arange(10)
    point = to_box(anywhere(surface.domain, generator, 10, 1).polar[:, 0])
    curvature = _Residual(surface.array, surface.domain, root_factor(T), scene).model(point).curvature
    assert (torch.linalg.eigvalsh(curvature) >= -1e-12).all()


def test_newton_converges_in_a_few_steps(small_scenario, transform):
    """From a tenth of a beam away 12 steps do: the curvature is that of the spectrum, not just any."""
    w = world(small_scenario, [1] * 20, seed=7)
    surface = small_scenario.surface
    T = transform(true_covariance(w.A, w.power).factor)
    coarse = starts(surface.domain, w.polar[:, :1] + 0.05)
    found = refine_energy(T, surface, coarse, iterations=12)
    assert found.converged.all()


def test_one_source_is_the_peak_of_every_spectrum(small_scenario, transform):
    """On the ensemble covariance of one source all spectra peak at the truth."""
    w = world(small_scenario, [1] * 6, seed=8)
    surface = small_scenario.surface
    grid = polar_grid(surface, GRID)
    T = transform(true_covariance(w.A, w.power).factor)
    found = energy_peaks(T, surface, grid, 3, 0.05)
    error = (position_of(location_of(found.polar[:, 0])) - position_of(w.location[:, 0])).norm(dim=-1)
    assert error.max() < 1e-3
    assert found.residual[:, 0].max() < 1e-7
    assert (found.residual[:, :-1] <= found.residual[:, 1:]).all()


def test_scale_and_rotation_of_the_factor_change_nothing(small_scenario, factor, transform, generator):
    surface = small_scenario.surface
    T, coarse = transform(factor), anywhere(surface.domain, generator, 10, 3)
    rank = T.shape[-1]
    turn = torch.linalg.qr(torch.randn(rank, rank, dtype=T.dtype, generator=generator))[0]
    one, two = (refine_energy(x, surface, coarse) for x in (T, 1e3 * T @ turn))
    torch.testing.assert_close(one.residual, two.residual, rtol=1e-6, atol=1e-7)


def test_music_is_one_of_them(small_scenario, factor, generator):
    surface = small_scenario.surface
    U, coarse = FactoredCovariance(factor).subspace(3), anywhere(surface.domain, generator, 10, 3)
    one, two = refine_peaks(U, surface, coarse), refine_energy(U, surface, coarse)
    torch.testing.assert_close(one.polar, two.polar, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.residual, two.residual)


def test_single_precision_does_as_well(small_scenario, factor, transform, generator):
    surface = small_scenario.surface
    T, coarse = transform(factor), anywhere(surface.domain, generator, 10, 3)
    single = starts(surface.domain, coarse.polar.float())
    one, two = refine_energy(T, surface, coarse), refine_energy(T.to(torch.complex64), surface, single)
    assert two.polar.dtype == torch.float32
    assert (one.residual - two.residual).abs().median() < 1e-6
    assert two.converged.double().mean() > 0.9


def test_coarse_peaks_that_climb_to_one_summit_are_one_answer():
    """A line's ridges in (u, 1/r): from R_true, both sources of every scene are the two strongest peaks of MUSIC."""
    line = build(Scenario, preset("ula_coherent"), "ula_coherent")
    truth = simulate(line, seed=5, split="test", start=0, stop=64, snr_db=10.0).truth
    surface = line.surface
    true = polar_of(truth.location)
    U = true_covariance(steering_matrix(surface.array, true), truth.power).subspace(2)
    found = energy_peaks(U, surface, polar_grid(surface, GridConfig(step_beams=0.25, planes=8)), 16, 0.05)
    assert found.valid[:, :2].all()
    torch.testing.assert_close(found.polar[:, :2, 0].sort(1).values, true[..., 0].sort(1).values, rtol=0, atol=1e-4)


def test_valid_peaks_come_first_strongest_first_and_apart(factor, transform, small_scenario):
    surface = small_scenario.surface
    T = transform(factor)
    found = energy_peaks(T, surface, polar_grid(surface, GRID), 6, 0.2)
    assert (found.valid[:, :-1] >= found.valid[:, 1:]).all()
    assert (found.residual[:, :-1] <= found.residual[:, 1:]).all()
    assert found.residual[~found.valid].isinf().all()
    assert not (found.converged & ~found.valid).any()
    apart = torch.cdist(found.polar[..., :2], found.polar[..., :2]) + torch.eye(found.valid.shape[1])
    both = found.valid[:, :, None] & found.valid[:, None, :]
    assert (apart[both] >= 0.2).all()
