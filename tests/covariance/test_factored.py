import numpy as np
import pytest
import torch
from factors import dense, gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

from risloc.covariance.factored import FactoredCovariance, covariance_of, hybrid_covariance, true_covariance
from risloc.physics.geometry import polar_of
from risloc.physics.steering import steering_matrix
from risloc.scenes.simulation import simulate

N = 9


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
