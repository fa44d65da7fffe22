import dataclasses
import math

import numpy as np
import pytest
import torch
from oracle import elements, position, steering
from worlds import observed_directly, surface_of, world

from risloc.performance.crb import deterministic_bound, prior_deviation, stochastic_bound
from risloc.physics.geometry import Domain, planar_array


def stochastic(w):
    return stochastic_bound(w.scenario.surface, w.observation, w.location, w.power * w.present)


def slow_bound(w, b):
    """Slepian-Bangs by central differences of dense covariances, one scene: covariance of (az, el, 1/r, p, sigma^2)."""
    s, o = w.scenario, w.observation
    places = elements(s.n_h, s.n_v, s.wavelength)
    present = [k for k in range(s.K_MAX) if w.present[b, k]]

    def covariance(theta):
        *sources, noise = theta
        sources = np.reshape(sources, (-1, 4))
        C = []
        for code in o.codebook[b].numpy():
            G = o.H[b].numpy() * code
            R = noise * np.eye(len(G), dtype=complex)
            for azimuth, elevation, w_, power in sources:
                g = G @ steering(places, s.wavelength, azimuth, elevation, 1 / w_)
                R += power * np.outer(g, g.conj())
            C.append(R)
        return np.array(C)

    theta = []
    for k in present:
        azimuth, elevation, r = w.location[b, k].tolist()
        theta += [azimuth, elevation, 1 / r, float(w.power[b, k])]
    theta = np.array([*theta, float(o.noise_var[b])])
    C = covariance(theta)
    derivatives = []
    for i in range(len(theta)):
        h = 1e-5 * max(abs(theta[i]), 0.1)
        up, down = theta.copy(), theta.copy()
        up[i] += h
        down[i] -= h
        derivatives.append((covariance(up) - covariance(down)) / (2 * h))
    W = [np.linalg.solve(C, d) for d in derivatives]
    F = np.array([[np.einsum("lij,lji->", a, b).real for b in W] for a in W])
    return np.linalg.inv(F)


def test_stochastic_bound_equals_dense_slepian_bangs(small_scenario):
    w = world(small_scenario, [1, 2], snr_db=10, seed=1)
    bound = stochastic(w)
    for b in range(2):
        V = slow_bound(w, b)
        for k in range(int(w.count[b])):
            block = V[4 * k : 4 * k + 3, 4 * k : 4 * k + 3]
            np.testing.assert_allclose(bound.covariance[b, k].numpy(), block, rtol=1e-4)
            # The position bound by differences of the oracle's position.
            azimuth, elevation, r = w.location[b, k].tolist()
            theta, J = np.array([azimuth, elevation, 1 / r]), []
            for i in range(3):
                step = np.eye(3)[i] * 1e-6
                up, down = theta + step, theta - step
                J.append((position(up[0], up[1], 1 / up[2]) - position(down[0], down[1], 1 / down[2])) / 2e-6)
            expected = math.sqrt(np.trace(np.array(J).T @ block @ np.array(J)))
            assert float(bound.position[b, k]) == pytest.approx(expected, rel=1e-4)
            assert float(bound.distance[b, k]) == pytest.approx(math.sqrt(block[2, 2]) * r**2, rel=1e-4)
            assert float(bound.angle[b, k]) == pytest.approx(math.sqrt(block[0, 0] + block[1, 1]), rel=1e-4)


def test_deterministic_bound_equals_the_dense_formula(small_scenario):
    """The information of y ~ CN(B(theta) s, sigma^2 I) about theta and every symbol, inverted whole."""
    w = world(small_scenario, [2], snr_db=10, seed=1)
    s, o = small_scenario, w.observation
    places = elements(s.n_h, s.n_v, s.wavelength)

    def mean(theta, symbols):
        A = np.stack([steering(places, s.wavelength, a, e, 1 / w_) for a, e, w_ in theta.reshape(-1, 3)], axis=-1)
        lines = [(o.H[0].numpy() * code) @ A @ x for code, x in zip(o.codebook[0].numpy(), symbols.T, strict=True)]
        return np.concatenate(lines)

    x = w.symbols[0, :2].numpy()
    theta = np.array([[a, e, 1 / r] for a, e, r in w.location[0, :2].tolist()]).ravel()
    columns = []
    for i in range(6):
        step = np.eye(6)[i] * 1e-6
        columns.append((mean(theta + step, x) - mean(theta - step, x)) / 2e-6)
    for k in range(2):
        for line in range(s.snapshots):
            for unit in (1.0, 1j):
                d = np.zeros_like(x)
                d[k, line] = unit
                columns.append(mean(theta, d))
    J = np.array(columns).T
    V = np.linalg.inv(2 / float(o.noise_var[0]) * (J.conj().T @ J).real)
    bound = deterministic_bound(s.surface, o, w.location, w.symbols)
    for k in range(2):
        np.testing.assert_allclose(bound.covariance[0, k].numpy(), V[3 * k : 3 * k + 3, 3 * k : 3 * k + 3], rtol=1e-5)


def test_far_line_array_has_the_closed_form():
    """M = N, H = I, codes 1, 1/r and elevation known: Stoica and Nehorai's stochastic bound for one source.

    var(az) = sigma^2 / (2 L) (1 + sigma^2 / (N p)) / (p (pi cos az)^2 N (N^2 - 1) / 12).
    """
    N, L, azimuth, p, noise = 15, 100, 0.4, 1.3, 0.7
    surface = surface_of(planar_array(N, 1, 1.0), (True, False, False))
    location = torch.tensor([[[azimuth, 0.0, 1e9]]], dtype=torch.float64)
    power = torch.tensor([[p]], dtype=torch.float64)
    bound = stochastic_bound(
        surface, observed_directly(N, L, torch.tensor([noise], dtype=torch.float64)), location, power
    )
    energy = (math.pi * math.cos(azimuth)) ** 2 * N * (N**2 - 1) / 12
    closed = noise / (2 * L) * (1 + noise / (N * p)) / (p * energy)
    assert float(bound.covariance[0, 0, 0, 0]) == pytest.approx(closed, rel=1e-6)
    assert float(bound.angle[0, 0]) == pytest.approx(math.sqrt(closed), rel=1e-6)


def test_absent_sources_are_no_parameters(small_scenario):
    w = world(small_scenario, [0, 1, 2])
    bound = stochastic(w)
    assert bound.position[~w.present].isnan().all()
    assert bound.position[w.present].isfinite().all()
    narrow = dataclasses.replace(small_scenario, K_MAX=1, K_span=(1, 1))
    alone = dataclasses.replace(
        w, scenario=narrow, location=w.location[:, :1], power=w.power[:, :1], present=w.present[:, :1]
    )
    torch.testing.assert_close(stochastic(alone).position[1, 0], bound.position[1, 0])


def test_what_stands_in_an_absent_slot_does_not_matter(small_scenario):
    w = world(small_scenario, [1, 2])
    empty = w.location.masked_fill(~w.present[..., None], 0.0)  # as `Truth` has it
    for bound, rest in ((stochastic_bound, w.power * w.present), (deterministic_bound, w.symbols)):
        one, two = (bound(small_scenario.surface, w.observation, location, rest) for location in (w.location, empty))
        torch.testing.assert_close(one.position, two.position, equal_nan=True)


def test_a_fixed_coordinate_never_raises_the_bound(small_scenario):
    w = world(small_scenario, [2, 3])
    sphere = dataclasses.replace(small_scenario, distance_span_m=(1.0, 1.0))
    every, fixed = stochastic(w), stochastic(dataclasses.replace(w, scenario=sphere))
    assert (fixed.angle[w.present] <= every.angle[w.present] * (1 + 1e-9)).all()
    assert (fixed.distance[w.present] == 0).all()


def test_sources_in_one_place_have_an_infinite_bound(small_scenario):
    w = world(small_scenario, [2])
    same = dataclasses.replace(w, location=w.location[:, :1].expand(-1, 3, -1).clone())
    assert (stochastic(same).position[0, :2] > 1e3).all()


def test_noise_scales_the_deterministic_bound(small_scenario):
    w = world(small_scenario, [1, 2])
    o = w.observation
    noisier = dataclasses.replace(o, noise_var=4 * o.noise_var)
    one, four = (
        deterministic_bound(small_scenario.surface, each, w.location, w.symbols).position[w.present]
        for each in (o, noisier)
    )
    torch.testing.assert_close(four, 2 * one)


def test_the_prior_of_a_ray_is_its_uniform_deviation():
    domain = Domain(azimuth=(0.0, 0.0), elevation=(0.0, 0.0), distance=(1.0, 6.0))
    assert prior_deviation(domain, 60) == pytest.approx(5 / math.sqrt(12), rel=1e-3)
