"""Least-squares and score snapshots, and the sample covariance, against dense matrices."""

import dataclasses

import numpy as np
import pytest
import torch
from factors import dense, gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

from risloc.covariance.factored import FactoredCovariance, true_covariance
from risloc.covariance.snapshots import element_power, least_squares_snapshots, sample_covariance, score_snapshots
from risloc.physics.geometry import polar_of
from risloc.physics.steering import steering_matrix
from risloc.scenes.batch import Observation
from risloc.scenes.simulation import simulate

N = 9


@pytest.fixture(scope="module")
def observation(small_scenario):
    return _double(simulate(small_scenario, seed=1, split="train", start=0, stop=12, snr_db=10.0).observation)


def _double(o):
    arrays = {name: getattr(o, name).to(torch.complex128) for name in ("y", "codebook", "H")}
    return Observation(**arrays, noise_var=o.noise_var.double())


@pytest.mark.parametrize(("name", "value"), [("y", np.nan), ("y", np.inf), ("H", np.nan), ("noise_var", np.nan)])
def test_what_is_not_finite_is_named_by_its_scene(observation, name, value):
    array = getattr(observation, name).clone()
    array[4] = value
    with pytest.raises(ValueError, match=r"expected finite values.* 1 of 12 scenes, the first at 4"):
        least_squares_snapshots(dataclasses.replace(observation, **{name: array}))


def test_least_squares_equals_a_dense_inverse_a_snapshot(observation):
    o = observation
    y, C, H, noise_var = o.y, o.codebook, o.H, o.noise_var
    X = least_squares_snapshots(o)
    for b in range(len(y)):
        h, m = H[b].numpy(), H.shape[1]
        row_energy = (np.abs(h) ** 2).sum() / m
        mean = (np.abs(y[b].numpy()) ** 2).mean()
        p_tot = max(mean - float(noise_var[b]), 0.01 * mean) / row_energy
        for code, row, x in zip(C[b].numpy(), y[b].numpy(), X[b].numpy().T, strict=True):
            G = h @ np.diag(code)
            inverse = np.linalg.inv(G @ G.conj().T + float(noise_var[b]) / p_tot * np.eye(m))
            # the codes are unit-modulus to single precision, which is what the comparison can see
            np.testing.assert_allclose(x, G.conj().T @ inverse @ row, rtol=1e-5, atol=1e-5 * np.abs(x).max())


@given(st.floats(1e-3, 1e3), st.floats(0, 6.28))
@settings(max_examples=10)
def test_scaling_the_data_scales_the_field_and_nothing_else(observation, scale, phase):
    c = scale * complex(np.exp(1j * phase))
    X = least_squares_snapshots(observation)
    louder = dataclasses.replace(observation, y=c * observation.y, noise_var=scale**2 * observation.noise_var)
    torch.testing.assert_close(least_squares_snapshots(louder), c * X, rtol=1e-7, atol=0)
    stronger = dataclasses.replace(observation, H=c * observation.H)
    torch.testing.assert_close(least_squares_snapshots(stronger), X / c, rtol=1e-7, atol=0)


def test_without_noise_the_field_explains_the_snapshots_and_a_full_channel_recovers_it():
    generator = torch.Generator().manual_seed(2)
    H, x = gaussian(1, N, N, seed=3), gaussian(1, N, 4, seed=4)
    C = torch.polar(
        torch.ones(1, 4, N, dtype=torch.float64), 6.28 * torch.rand(1, 4, N, dtype=torch.float64, generator=generator)
    )
    y = (H @ (C.mT * x)).mT
    quiet = Observation(y=y, codebook=C, H=H, noise_var=torch.zeros(1, dtype=torch.float64))
    X = least_squares_snapshots(quiet)
    torch.testing.assert_close(X, x, rtol=1e-8, atol=1e-8)


def test_sample_covariance_has_trace_n_and_carries_no_gradient(observation):
    X = least_squares_snapshots(dataclasses.replace(observation, y=observation.y.clone().requires_grad_()))
    R = sample_covariance(X)
    assert X.requires_grad
    assert not R.factor.requires_grad
    n = X.shape[1]
    torch.testing.assert_close(R.trace, torch.full((len(X),), float(n), dtype=torch.float64))
    raw = X[0].detach().numpy() @ X[0].detach().numpy().conj().T
    np.testing.assert_allclose(dense(R)[0], raw * n / np.trace(raw).real, rtol=1e-9, atol=1e-12)


def test_the_energy_of_the_score_is_the_slope_of_the_likelihood(small_scenario):
    """d ln p(y) / dp of a further source at a, at p = 0: |X^H a|^2 - sum_l g_l^H C_l^-1 g_l, by differences of dense C_l."""
    o = _double(simulate(small_scenario, seed=2, split="test", start=0, stop=1, snr_db=10.0, count=3).observation)
    y, codes, H, noise_var = o.y[0], o.codebook[0], o.H[0], o.noise_var
    R, a = FactoredCovariance(gaussian(1, 16, 2)).normalised(), gaussian(16, seed=5)
    X, p_tot = score_snapshots(o, R), element_power(o)
    G = H * codes[:, None]
    C = p_tot * G @ R.factor[0] @ R.factor[0].mH @ G.mH + noise_var * torch.eye(4)
    g = (G @ a)[..., None]

    def log_likelihood(p):
        total = C + p * g @ g.mH
        fit = (y[:, None].conj() @ torch.linalg.solve(total, y[..., None])).real.sum()
        return -(torch.linalg.slogdet(total).logabsdet.sum() + fit)

    step = 1e-6 * float(p_tot)
    slope = (log_likelihood(step) - log_likelihood(-step)) / (2 * step)
    expected = (X[0].mH @ a).abs().square().sum() - (g.mH @ torch.linalg.solve(C, g)).real.sum()
    assert float(slope) == pytest.approx(float(expected), rel=1e-5)


def test_a_covariance_that_explains_the_snapshots_leaves_little_score(small_scenario):
    """Given R_true the energy of the score at the sources is that of noise; given white R it is several times as much."""
    scenes = simulate(small_scenario, seed=2, split="test", start=0, stop=64, snr_db=20.0, count=2)
    o, t = scenes.observation, scenes.truth
    A = steering_matrix(
        small_scenario.surface.array, polar_of(torch.where(t.present[..., None], t.location, torch.ones(3)))
    )
    white = FactoredCovariance(torch.eye(16, dtype=torch.complex64).expand(64, -1, -1))
    true = true_covariance(A, t.power)
    energy = [(score_snapshots(o, R).mH @ A[:, :, :2]).abs().square().sum(1).mean() for R in (true, white)]
    assert energy[0] < energy[1] / 3
