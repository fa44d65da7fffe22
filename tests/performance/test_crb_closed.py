"""The bound against closed forms of the literature, written out here in numpy: a line array observed directly."""

import itertools
import math

import numpy as np
import pytest
import torch
from worlds import observed_directly, surface_of

from risloc.performance.crb import deterministic_bound, stochastic_bound
from risloc.physics.geometry import planar_array

N, L = 15, 100


def direct(azimuth, distance, free, noise):
    """The arguments of a bound: half-wavelength line of N, wavelength 1, reference at its end, H = I, codes 1."""
    location = torch.tensor([[[a, 0.0, distance] for a in azimuth]], dtype=torch.float64)
    return surface_of(planar_array(N, 1, 1.0, "first"), free), observed_directly(N, L, tensor(noise)), location


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def plane_waves(azimuth):
    """A and its derivatives by azimuth, [elem, src]."""
    n = np.arange(N)[:, None]
    A = np.exp(1j * np.pi * n * np.sin(azimuth))
    return A, 1j * np.pi * n * np.cos(azimuth) * A


def conditional(azimuth, S, noise):
    """Stoica & Nehorai 1989: sigma^2 / 2L [Re(D^H P_perp D o S^T)]^-1 for the sample covariance S of the symbols."""
    A, D = plane_waves(azimuth)
    outside = D - A @ (np.linalg.pinv(A) @ D)
    return noise / (2 * L) * np.linalg.inv((D.conj().T @ outside * S.T).real)


def unconditional(azimuth, P, noise):
    """Stoica & Nehorai 1990: the same with P A^H R^-1 A P in place of S; P is wholly unknown."""
    A, _ = plane_waves(azimuth)
    R = A @ P @ A.conj().T + noise * np.eye(N)
    return conditional(azimuth, P @ A.conj().T @ np.linalg.solve(R, A) @ P, noise)


def uncorrelated(azimuth, power, noise):
    """Jansson, Goransson & Ottersten 1999: P is known to be diagonal. 1/L [M^H P_perp(M_s) M]^-1.

    M : d R / d azimuth, M_s : d R / d (powers, sigma^2), as vectors whitened by R on both sides.
    """
    A, D = plane_waves(azimuth)
    C = np.linalg.cholesky((A * power) @ A.conj().T + noise * np.eye(N))

    def white(X):
        return np.linalg.solve(C, np.linalg.solve(C, X).conj().T).ravel()

    M = np.stack(
        [white(p * (np.outer(d, a.conj()) + np.outer(a, d.conj()))) for a, d, p in zip(A.T, D.T, power, strict=True)],
        axis=1,
    )
    M_s = np.stack([*(white(np.outer(a, a.conj())) for a in A.T), white(np.eye(N))], axis=1)
    outside = M - M_s @ (np.linalg.pinv(M_s) @ M)
    return np.linalg.inv((M.conj().T @ outside).real) / L


FAR = [((-0.2, 0.35), (1.3, 0.6), 0.7), ((0.1, 0.25), (1.0, 1.0), 1.0), ((-1.0, 0.9), (0.2, 3.0), 2.0)]


@pytest.mark.parametrize(("azimuth", "power", "noise"), FAR)
def test_two_far_gaussian_sources(azimuth, power, noise):
    """1/r and elevation known. The bound is that of uncorrelated sources: it knows that P is diagonal.

    So it is never above the bound of Stoica and Nehorai 1990, which does not; the two meet as the noise vanishes.
    """
    known = direct(azimuth, 1e9, (True, False, False), noise)
    bound = stochastic_bound(*known, tensor(power)).covariance[0, :, 0, 0].numpy()
    np.testing.assert_allclose(bound, uncorrelated(azimuth, power, noise).diagonal(), rtol=1e-6)
    general = unconditional(azimuth, np.diag(power), noise).diagonal()
    assert (bound <= general * (1 + 1e-9)).all()
    known = direct(azimuth, 1e9, (True, False, False), noise * 1e-5)
    quiet = stochastic_bound(*known, tensor(power)).covariance[0, :, 0, 0].numpy()
    np.testing.assert_allclose(quiet, unconditional(azimuth, np.diag(power), noise * 1e-5).diagonal(), rtol=1e-4)


@pytest.mark.parametrize(("azimuth", "power", "noise"), FAR)
@pytest.mark.parametrize("correlation", [0.0, 0.5 + 0.4j, 1.0])
def test_two_far_sources_of_unknown_symbols(azimuth, power, noise, correlation):
    rng = np.random.default_rng(1)
    z = (rng.standard_normal((2, L)) + 1j * rng.standard_normal((2, L))) / math.sqrt(2)
    z[1] = correlation * z[0] + math.sqrt(1 - abs(correlation) ** 2) * z[1]
    s = np.sqrt(power)[:, None] * z
    known = direct(azimuth, 1e9, (True, False, False), noise)
    bound = deterministic_bound(*known, torch.from_numpy(s)[None]).covariance[0, :, 0, 0]
    np.testing.assert_allclose(bound.numpy(), conditional(azimuth, s @ s.conj().T / L, noise).diagonal(), rtol=1e-6)


def near_bounds(azimuth, r, power, noise):
    """Ours for one near source, azimuth and range unknown: root-CRB of both, stochastic and deterministic."""
    known = direct([azimuth], r, (True, False, True), noise)
    gaussian = stochastic_bound(*known, tensor([power]))
    constant = torch.full((1, 1, L), math.sqrt(power), dtype=torch.complex128)
    fixed = deterministic_bound(*known, constant)
    return [np.array([float(b.angle), float(b.distance)]) for b in (gaussian, fixed)]


def exact_root(azimuth, r, power, noise):
    """Begriche et al. 2013, exact delay, constant gain: the centred Gram matrix of the delays' derivatives."""
    x = np.arange(N) / 2
    rho = np.sqrt(r**2 - 2 * r * x * np.sin(azimuth) + x**2)
    delay = 2 * np.pi * np.stack([-r * x * np.cos(azimuth) / rho, (r - x * np.sin(azimuth)) / rho - 1])
    delay -= delay.mean(1, keepdims=True)
    return np.sqrt(noise / (2 * L * power) * np.linalg.inv(delay @ delay.T).diagonal())


def fresnel_root(azimuth, r, power, noise):
    """El Korso et al. 2010, phases omega n + phi n^2: closed for (omega, phi), and by the chain rule for the rest.

    omega = -pi sin az, phi = pi cos^2 az / (4 r) at wavelength 1 and spacing 1/2.
    """
    scale = noise / (2 * L * power) * 12 / (N * (N**2 - 1) * (N**2 - 4))
    V = scale * np.array([[(8 * N - 11) * (2 * N - 1), -15 * (N - 1)], [-15 * (N - 1), 15]])
    omega_az = -np.pi * np.cos(azimuth)
    az = np.array([1 / omega_az, 0])
    phi = np.pi * np.cos(azimuth) ** 2 / (4 * r)
    distance = np.array([-2 * r * np.tan(azimuth) / omega_az, -r / phi])
    return np.sqrt([az @ V @ az, distance @ V @ distance])


@pytest.mark.parametrize("azimuth", [-1.0, 0.0, 0.6])
@pytest.mark.parametrize("r", [8.0, 20.0, 48.0])
def test_one_near_source_has_the_exact_closed_form(azimuth, r):
    """Deterministic as in the closed form; stochastic in variance 1 + sigma^2 / (N p) times that."""
    power, noise = 1.3, 0.7
    gaussian, fixed = near_bounds(azimuth, r, power, noise)
    expected = exact_root(azimuth, r, power, noise)
    np.testing.assert_allclose(fixed, expected, rtol=1e-6)
    np.testing.assert_allclose(gaussian, expected * math.sqrt(1 + noise / (N * power)), rtol=1e-6)


@pytest.mark.parametrize("azimuth", [-0.9, 0.6])
def test_the_fresnel_bound_is_met_far_away_and_only_there(azimuth):
    """The departure from El Korso's closed form falls as 1/r; at one aperture it is more than a quarter (Begriche et al.)."""
    apart = []
    for r in (2e3, 2e4, 2e5):
        apart.append(near_bounds(azimuth, r, 1.3, 0.7)[1] / fresnel_root(azimuth, r, 1.3, 0.7) - 1)
    np.testing.assert_allclose(apart[2], 0.0, atol=2e-4)
    for closer, farther in itertools.pairwise(apart):
        np.testing.assert_allclose(closer / farther, 10.0, rtol=0.05)
    ratio = near_bounds(azimuth, 8.0, 1.3, 0.7)[1] / fresnel_root(azimuth, 8.0, 1.3, 0.7)
    assert (np.abs(np.log(ratio)) > math.log(1.25)).all()
