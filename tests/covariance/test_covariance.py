import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from risloc.covariance.factored import FactoredCovariance, covariance_of, hybrid_covariance, true_covariance
from risloc.covariance.snapshots import element_power, least_squares_snapshots, sample_covariance, score_snapshots
from risloc.physics.geometry import polar_of
from risloc.physics.steering import steering_matrix
from risloc.scenes.batch import Observation
from risloc.scenes.simulation import simulate

N = 9


def gaussian(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def dense(R: FactoredCovariance) -> np.ndarray:
    F = R.factor.detach().numpy()
    return F @ F.conj().swapaxes(-1, -2)


def trace(R: np.ndarray) -> np.ndarray:
    return np.trace(R, axis1=-2, axis2=-1).real


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=25)
def test_factor_algebra_equals_the_dense_one(rank, other_rank, seed):
    R, S = (FactoredCovariance(gaussian(2, N, r, seed=seed + i)) for i, r in enumerate((rank, other_rank)))
    a, b = dense(R), dense(S)
    np.testing.assert_allclose(R.trace.numpy(), trace(a), rtol=1e-10)
    np.testing.assert_allclose(R.inner(S).numpy(), trace(a @ b), rtol=1e-10)
    np.testing.assert_allclose(R.squared_distance(S).numpy(), (np.abs(a - b) ** 2).sum((1, 2)), rtol=1e-8)
    np.testing.assert_allclose(dense(R.normalised()), a * N / trace(a)[:, None, None], rtol=1e-10)


def test_distance_to_itself_is_zero_and_never_negative():
    R = FactoredCovariance(gaussian(4, N, 3).to(torch.complex64))
    assert (R.squared_distance(R) >= 0).all()
    assert (R.squared_distance(R) <= 1e-5 * R.inner(R)).all()


@pytest.mark.parametrize("width", [2, 5, 8, 9, 14])
@pytest.mark.parametrize("rank", [1, 2])
def test_subspace_is_that_of_the_dense_matrix(width, rank):
    R = FactoredCovariance(gaussian(3, N, width))
    U = R.subspace(rank)
    torch.testing.assert_close(U.mH @ U, torch.eye(rank, dtype=U.dtype).expand(3, rank, rank))
    vectors = np.linalg.eigh(dense(R))[1][..., ::-1][..., :rank]
    projector = vectors @ vectors.conj().swapaxes(-1, -2)
    np.testing.assert_allclose((U @ U.mH).numpy(), projector, atol=1e-9)


@pytest.mark.parametrize("copies", [2, N])
def test_subspace_beyond_the_rank_is_zero_and_keeps_the_rest_orthonormal(copies):
    a = gaussian(1, N, 2)
    R = FactoredCovariance(torch.cat([a] * copies, dim=-1))  # rank 2 in a factor narrower, or wider, than N
    U = R.subspace(6)
    assert U.shape == (1, N, 6)
    expected = torch.diag(torch.tensor([1.0, 1, 0, 0, 0, 0], dtype=torch.float64)).to(U.dtype)
    torch.testing.assert_close((U.mH @ U)[0], expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(U @ (U.mH @ a), a)


@pytest.mark.parametrize("rank", [0, N + 1])
def test_subspace_wider_than_space_is_an_error(rank):
    with pytest.raises(ValueError, match=rf"rank: expected 1\.\.{N}"):
        FactoredCovariance(gaussian(1, N, 2)).subspace(rank)


def test_true_covariance_is_a_p_a_with_trace_n_and_zero_without_sources():
    A = gaussian(2, N, 3)
    power = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    R = true_covariance(A, power)
    expected = A[0].numpy() @ np.diag([1, 2, 0]) @ A[0].numpy().conj().T
    np.testing.assert_allclose(dense(R)[0], expected * N / np.trace(expected).real, rtol=1e-10)
    assert (dense(R)[1] == 0).all()


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


def pair():
    return (FactoredCovariance(gaussian(2, N, r, seed=r)).normalised() for r in (4, 6))


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_blend_is_one_minus_beta_of_the_prediction(beta):
    pred, samp = pair()
    blend = hybrid_covariance(pred, samp, beta, training=False)
    np.testing.assert_allclose(dense(blend), (1 - beta) * dense(pred) + beta * dense(samp), atol=1e-10)
    np.testing.assert_allclose(blend.trace.numpy(), N)


def test_gradient_flows_to_the_prediction_and_never_to_the_samples():
    pred, samp = (FactoredCovariance(R.factor.requires_grad_()) for R in pair())
    hybrid_covariance(pred, samp, 0.3, training=True).factor.abs().sum().backward()
    assert pred.factor.grad is not None
    assert samp.factor.grad is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": -0.1}, r"beta: expected a value in \[0, 1\], got -0.1"),
        ({"beta": 1.1}, r"beta: expected a value in \[0, 1\], got 1.1"),
        ({"beta": float("nan")}, "beta: expected a value"),
        (
            {"samp": FactoredCovariance(gaussian(2, N + 1, 3))},
            "expected factors of equal batch size and number of elements",
        ),
        (
            {"samp": FactoredCovariance(gaussian(3, N, 3))},
            "expected factors of equal batch size and number of elements",
        ),
        ({"pred": FactoredCovariance(2 * gaussian(2, N, 3))}, f"expected trace {N}, got"),
        (
            {"pred": FactoredCovariance(gaussian(2, N, 3) * float("nan"))},
            "expected finite values, got 2 scenes with other values",
        ),
        ({"training": True}, "R_blend: expected a tensor with a gradient"),
    ],
)
def test_every_invariant_of_the_blend_has_its_error(change, message):
    pred, samp = pair()
    options = {"pred": pred, "samp": samp, "beta": 0.3, "training": False, **change}
    with pytest.raises(ValueError, match=message):
        hybrid_covariance(options["pred"], options["samp"], options["beta"], training=options["training"])


def test_a_blend_of_samples_alone_cannot_be_trained():
    pred, samp = pair()
    pred = FactoredCovariance(pred.factor.requires_grad_())
    with pytest.raises(ValueError, match="detached or beta is 1"):
        hybrid_covariance(pred, samp, 1.0, training=True)


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


def test_truth_places_absent_sources_where_they_do_no_harm_and_gives_r_true(small_scenario):
    """Against each scene's sources alone, by the formula: no slot without a source enters, and every value is finite."""
    truth = simulate(small_scenario, seed=3, split="test", start=0, stop=32).truth
    array, R_true = small_scenario.surface.array, covariance_of(truth, small_scenario.surface.array)
    assert len(truth.count.unique()) > 1, "slots without a source are what this is about"
    assert torch.equal(truth.placed[truth.present], truth.location[truth.present])
    assert truth.placed.isfinite().all()
    assert truth.polar.isfinite().all()
    for scene, count in enumerate(truth.count.tolist()):
        A = steering_matrix(array, polar_of(truth.location[scene, :count]))
        dense = A @ torch.diag(truth.power[scene, :count]).to(A.dtype) @ A.mH
        dense = dense * array.size / dense.diagonal().real.sum()
        F = R_true.factor[scene]
        torch.testing.assert_close(F @ F.mH, dense, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(truth.steering(array)[scene, :, :count], A)
        assert not truth.steering(array)[scene, :, count:].any()
