"""Laws of the network: what it outputs is physics, whatever its weights."""

import dataclasses

import pytest
import torch
from learning_problem import COVARIANCE, network, scenes

from risloc.covariance.factored import hybrid_covariance
from risloc.covariance.snapshots import pseudo_snapshots, sample_covariance
from risloc.physics.steering import steering_derivatives, steering_matrix
from risloc.scenes.scenario import Scenario


@pytest.fixture(params=["manifold", "free"])
def head(request: pytest.FixtureRequest) -> str:
    return request.param


def test_R_pred_has_trace_n_and_rank_at_most_two_k_max(small_scenario: Scenario, head: str) -> None:
    prediction = network(small_scenario, head=head)(scenes(small_scenario).observation)
    assert prediction.cov_fact_angle.shape == (16, 16, 3)
    assert prediction.cov_fact_angle.is_complex()
    R_pred = prediction.R_pred
    assert R_pred.factor.shape[-1] == 2 * small_scenario.K_MAX
    torch.testing.assert_close(R_pred.trace, torch.full((16,), 16.0))


def test_slots_lie_in_the_domain_and_probabilities_in_0_1(small_scenario: Scenario, head: str) -> None:
    net = network(small_scenario, head=head)
    prediction = net(scenes(small_scenario).observation)
    assert net.domain.contains(prediction.polar).all()
    assert (prediction.presence > 0).all()
    assert (prediction.presence <= 1).all()


def test_manifold_factors_are_steering_vectors_and_their_projected_range_slopes(small_scenario: Scenario) -> None:
    net = network(small_scenario)
    prediction = net(scenes(small_scenario).observation)
    A, D = steering_derivatives(net.array, prediction.polar)
    angle, range_ = prediction.cov_fact_angle, prediction.cov_fact_range
    amplitude = angle.norm(dim=1) / 4
    torch.testing.assert_close(angle, A * amplitude[:, None])
    slope = D[..., 2] - A * (A.conj() * D[..., 2]).sum(1, keepdim=True) / 16
    correlation = (slope.conj() * range_).sum(1).abs() / slope.norm(dim=1) / range_.norm(dim=1)
    torch.testing.assert_close(correlation, torch.ones_like(correlation))
    torch.testing.assert_close((A.conj() * range_).sum(1).abs(), torch.zeros(16, 3), atol=1e-4, rtol=0)
    assert (range_.norm(dim=1).square() <= angle.norm(dim=1).square() / 4 * (1 + 1e-5)).all()


def test_locations_do_not_depend_on_the_scale_of_y_or_h(small_scenario: Scenario) -> None:
    """y -> c y with sigma^2 -> |c|^2 sigma^2, and H -> c H, leave every slot where it was."""
    net = network(small_scenario).eval()
    observation = scenes(small_scenario).observation
    fields = {name: getattr(observation, name) for name in ("y", "codebook", "H", "noise_var")}
    c = 30.0 - 40.0j
    louder = type(observation)(**{**fields, "y": c * observation.y, "noise_var": abs(c) ** 2 * observation.noise_var})
    stronger = type(observation)(**{**fields, "H": c * observation.H})
    with torch.no_grad():
        reference, *others = (net(o) for o in (observation, louder, stronger))
    for other in others:
        torch.testing.assert_close(other.polar, reference.polar, atol=2e-3, rtol=0)
        torch.testing.assert_close(other.presence, reference.presence, atol=2e-3, rtol=0)


def test_training_and_inference_blend_with_the_same_function(small_scenario: Scenario) -> None:
    net = network(small_scenario)
    observation = scenes(small_scenario).observation
    _, _, training = net.train().blend(observation)
    prediction, R_samp, inference = net.eval().blend(observation)
    again = hybrid_covariance(prediction.R_pred, R_samp, COVARIANCE.beta, training=False)
    torch.testing.assert_close(training.factor, inference.factor)
    torch.testing.assert_close(again.factor, inference.factor)
    assert training.factor.requires_grad


def test_no_gradient_reaches_r_samp_or_the_solver(small_scenario: Scenario) -> None:
    net = network(small_scenario).train()
    observation = scenes(small_scenario).observation
    observation.y.requires_grad_(True)
    _, R_samp, R_blend = net.blend(observation)
    assert not R_samp.factor.requires_grad
    torch.view_as_real(R_blend.factor).square()[:, :2].sum().backward()  # type: ignore[no-untyped-call]
    assert observation.y.grad is None


def test_a_batch_is_as_good_as_its_scenes_one_by_one(small_scenario: Scenario, head: str) -> None:
    net = network(small_scenario, head=head).eval()
    observation = scenes(small_scenario, 6).observation
    with torch.no_grad():
        together = net(observation).R_pred
        single = torch.cat([net(observation[i : i + 1]).R_pred.factor for i in range(6)])
    torch.testing.assert_close(together.factor, single, atol=1e-4, rtol=1e-3)


def test_no_sources_and_pure_noise_still_give_a_valid_r_blend(small_scenario: Scenario) -> None:
    net = network(small_scenario).train()
    _, _, R_blend = net.blend(scenes(small_scenario, 8, count=0).observation)
    assert torch.isfinite(R_blend.trace).all()


def test_pseudo_snapshots_with_the_true_prior_and_no_noise_are_the_field_itself(small_scenario: Scenario) -> None:
    """With R = A diag(p) A^H and y = G A s, the posterior mean is A s and nothing is left to explain."""
    batch = scenes(small_scenario, 8)
    truth = batch.truth
    net = network(small_scenario)
    polar = torch.stack(
        [
            truth.location[..., 0].sin() * truth.location[..., 1].cos(),
            truth.location[..., 1].sin(),
            1 / truth.location[..., 2].clamp_min(1e-3),
        ],
        dim=-1,
    )
    A = steering_matrix(net.array, polar) * truth.present[:, None]
    field = A @ truth.symbols
    o = batch.observation
    y = torch.einsum("bmn,bln,bnl->blm", o.H, o.codebook, field)
    R = type(net(o).R_pred)(A * truth.power.sqrt()[:, None]).normalised()
    x = pseudo_snapshots(dataclasses.replace(o, y=y, noise_var=1e-6 * o.noise_var), R)
    assert ((x - field).norm() / field.norm()) < 1e-2
    first = sample_covariance(net.snapshots(o)).factor
    own = x / x.norm() * first.norm()
    assert (own - field / field.norm() * first.norm()).norm() < 0.05 * first.norm()
