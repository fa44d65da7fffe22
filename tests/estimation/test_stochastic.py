import dataclasses
import math

import numpy as np
import torch
from likelihoods import log_likelihood
from worlds import roomy, world

from risloc.estimation.conditional import Sensing
from risloc.estimation.stochastic import _Stochastic, fit_powers, fit_stochastic, information
from risloc.physics.box_coordinates import from_box, to_box
from risloc.physics.geometry import polar_of


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def covariances(w, power):
    """C_l of every scene and snapshot, dense."""
    G = w.observation.H[:, None] * w.observation.codebook[:, :, None]
    B = G @ w.A[:, None]
    eye = torch.eye(G.shape[2], dtype=torch.complex128)
    return (B * power[:, None, None]) @ B.mH + w.observation.noise_var[:, None, None, None] * eye


def test_the_objective_is_the_gaussian_density(small_scenario):
    w = world(small_scenario, [0, 1, 2, 3], snr_db=10)
    C, y = covariances(w, w.power).numpy(), w.observation.y.numpy()
    expected = [
        sum(
            -np.log(np.linalg.det(np.pi * C[b, l])).real - (y[b, l].conj() @ np.linalg.solve(C[b, l], y[b, l])).real
            for l in range(y.shape[1])  # noqa: E741
        )
        for b in range(4)
    ]
    point = torch.cat([to_box(w.polar).flatten(1), w.power.clamp_min(1e-30).log()], dim=1)
    value = _Stochastic(sensing(w), w.present).model(point).value
    constant = y[0].size * math.log(math.pi)
    np.testing.assert_allclose(-value.numpy() - constant, expected, rtol=1e-9)
    np.testing.assert_allclose(log_likelihood(sensing(w), w.polar, w.power).numpy(), expected, rtol=1e-9)


def test_powers_are_stationary_and_better_than_the_true_ones(small_scenario):
    w = world(small_scenario, [1, 2, 3] * 5, snr_db=15)
    s = sensing(w)
    power, value = fit_powers(s, w.polar, w.present, iterations=40)
    point = power.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-log_likelihood(s, w.polar, point).sum(), point)
    interior = w.present & (power > 1e-3 * power.amax(1, keepdim=True))
    assert (gradient * power)[interior].abs().max() < 1e-4
    samples = s.y[0].numel()
    torch.testing.assert_close(value, -log_likelihood(s, w.polar, power) - samples * math.log(math.pi))
    assert (log_likelihood(s, w.polar, power) >= log_likelihood(s, w.polar, w.power)).all()
    assert (power[~w.present] == 0).all()


def test_powers_of_many_snapshots_tend_to_the_truth(small_scenario):
    w = world(dataclasses.replace(small_scenario, snapshots=2000), [2, 2], snr_db=20)
    power, _ = fit_powers(sensing(w), w.polar, w.present)
    # The relative deviation of a power estimate is about 1/sqrt(2000); five of them.
    torch.testing.assert_close(power, w.power, rtol=5 / math.sqrt(2000), atol=0)


def test_two_equal_sources_share_their_power(small_scenario):
    w = world(small_scenario, [2] * 8, snr_db=20)
    polar = w.polar.clone()
    polar[:, 1] = polar[:, 0]
    power, value = fit_powers(sensing(w), polar, w.present)
    alone, single = fit_powers(sensing(w), polar, w.present & torch.tensor([True, False, False]))
    torch.testing.assert_close(power.sum(1), alone.sum(1), rtol=1e-2, atol=0)
    torch.testing.assert_close(value, single, rtol=1e-3, atol=0)


def test_gradient_is_autograds(small_scenario):
    w = world(small_scenario, [1, 3], snr_db=10)
    s, problem = sensing(w), _Stochastic(sensing(w), w.present)
    moved = w.scenario.surface.domain.clamp(w.polar + 0.02)
    point = torch.cat([to_box(moved).flatten(1), w.power.clamp_min(1e-30).log() + 0.3], dim=1).requires_grad_()
    power = torch.where(w.present, point[:, 9:].exp(), 0.0)
    f = -log_likelihood(s, from_box(point[:, :9].reshape(2, 3, 3)), power)
    (gradient,) = torch.autograd.grad(f.sum(), point)
    torch.testing.assert_close(2 * problem.model(point.detach()).gradient, gradient, rtol=1e-7, atol=1e-7)


def test_information_is_the_variance_of_the_score(small_scenario):
    """Over 4000 draws of y at one scene the score has covariance F; each ratio within five standard errors."""
    draws = 4000
    one = world(small_scenario, [2], snr_db=10)
    s = sensing(one)
    F = information(s, one.location, one.power)[0][:6, :6]
    C = covariances(one, one.power)[0]
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(draws, *s.y.shape[1:], dtype=torch.complex128, generator=generator)
    y = (torch.linalg.cholesky(C) @ z[..., None])[..., 0]
    many = Sensing(
        s.array, s.domain, s.G.expand(draws, -1, -1), y, s.noise_var.expand(draws), s.directions.expand(draws)
    )
    location = one.location.expand(draws, -1, -1).clone().requires_grad_()
    ll = log_likelihood(many, polar_of(location), one.power.expand(draws, -1))
    (score,) = torch.autograd.grad(ll.sum(), location)
    score = score[:, :2].flatten(1) * torch.tensor([1.0, 1.0, -1.0] * 2)  # d/dr = -w^2 d/dw
    r = one.location[0, :2, 2]
    scale = torch.stack([torch.ones_like(r), torch.ones_like(r), r.square()], dim=-1).flatten()
    score = score * scale
    spread = F.diagonal().sqrt()
    correlation = (score.T @ score / draws) / (spread[:, None] * spread)
    expected = F / (spread[:, None] * spread)
    assert (correlation - expected).abs().max() < 5 * math.sqrt(2 / draws)


def test_joint_fit_is_monotone_inside_and_stationary(small_scenario):
    w = world(roomy(small_scenario), [1, 2, 3], snr_db=15)
    s = sensing(w)
    start = w.scenario.surface.domain.clamp(w.polar + 0.02)
    power, before = fit_powers(s, start, w.present)
    fit, power = fit_stochastic(s, start, power, tolerance=1e-6, iterations=200)
    assert (fit.value <= before + 1e-9).all()
    assert fit.converged.all()
    assert w.scenario.surface.domain.contains(fit.polar, margin=1e-9).all()
    torch.testing.assert_close(fit.value, -log_likelihood(s, fit.polar, power) - s.y[0].numel() * math.log(math.pi))
