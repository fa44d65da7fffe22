"""The doubt about an estimate: its evidence against numpy, its integral against a known one, and what it does to deviations."""

import math

import numpy as np
import pytest
import torch
from worlds import world

from risloc import default_search
from risloc.estimation.ambiguity import _Cells, _own_evidence, doubt
from risloc.estimation.conditional import Sensing
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.localiser import Localiser
from risloc.estimation.projection import project
from risloc.performance.metrics import match
from risloc.physics.geometry import location_of, polar_of
from risloc.physics.grid import GridConfig, polar_grid
from risloc.physics.steering import steering_matrix
from risloc.scenes.simulation import simulate


@pytest.fixture(scope="module")
def case(small_scenario):
    w = world(small_scenario, [2, 2], snr_db=3)
    s = Sensing.of(w.observation, w.scenario.surface)
    gains = GainMap(s, polar_grid(w.scenario.surface, GridConfig(step_beams=0.5, planes=3)))
    B = s.responses(steering_matrix(s.array, w.polar[:, :2]))
    return w, s, gains, B, project(B, s.y, torch.ones(2, 2, dtype=torch.bool))


def evidence(w, scene, other, a, power):
    """ln p(y) with a Gaussian source of that power at a, the symbols of `other` projected out, less that with none."""
    o, total = w.observation, 0.0
    noise = float(o.noise_var[scene])
    for c, y in zip(o.codebook[scene].numpy(), o.y[scene].numpy(), strict=True):
        G = o.H[scene].numpy() * c
        B, z = G @ other, G @ a
        Q = np.linalg.svd(B)[0][:, B.shape[1] :]
        C = power * np.outer(Q.conj().T @ z, (Q.conj().T @ z).conj()) + noise * np.eye(Q.shape[1])
        r = Q.conj().T @ y
        logs = np.linalg.slogdet(C)[1] - Q.shape[1] * math.log(noise)
        total += np.vdot(r, r).real / noise - np.vdot(r, np.linalg.solve(C, r)).real - logs
    return total


def test_the_evidence_is_that_of_the_gaussian_likelihood(case):
    w, s, gains, B, fit = case
    rows, power = torch.arange(2), w.power[:, :2]
    found = gains.evidence_elsewhere(rows, fit, fit.inverse_factor(B), power, s.noise_var)
    own = _own_evidence(s, fit.s, fit.inverse_factor(B), power)
    steering = gains.grid.steering.numpy()
    for scene in range(2):
        for k in range(2):
            other = w.A[scene, :, [1 - k]].numpy()
            here = evidence(w, scene, other, w.A[scene, :, k].numpy(), float(power[scene, k]))
            assert float(own[scene, k]) == pytest.approx(here, rel=1e-6)
            equal = 0
            for point in range(0, steering.shape[1], 13):
                z = [float(np.linalg.norm(B_ @ other)) for B_ in w.observation.H[scene][None].numpy()]
                assert z[0] > 0
                value = evidence(w, scene, other, steering[:, point], float(power[scene, k]))
                equal += abs(float(found[scene, k, point]) - value) < 1e-3 * max(1.0, abs(value))
            assert equal >= 8  # of 10: beside the other source the share outside its span is bounded from below


def test_a_second_summit_as_likely_as_the_first_halves_the_probability(case):
    """One cell whose evidence times its volume is Laplace's integral about the estimate."""
    _, s, gains, _, _ = case
    cells = _Cells.of(gains.grid, s)
    place = int(cells.inside.nonzero()[0])
    at = cells.location[cells.inside][-1].clone()
    V = torch.diag(torch.tensor([1e-3, 1e-3, 1e-3], dtype=torch.float64)) ** 2
    integral = 1.5 * math.log(2 * math.pi) + 0.5 * float(torch.logdet(V))
    relative = torch.full_like(cells.volume, -1e3)
    relative[place] = integral - cells.volume[place]
    share, moment = cells.doubt(relative, at, V)
    assert float(share) == pytest.approx(0.5, abs=1e-6)
    away = cells.location[place] - at
    assert float(moment[0, 0]) == pytest.approx(0.5 * float(away[0]) ** 2)
    assert float(moment[2, 2] * at[2] ** 4) == pytest.approx(0.5 * float(away[2]) ** 2)


def test_with_little_evidence_there_is_doubt_and_with_much_there_is_none(scenario):
    """One source in the default world at -15 and at 20 dB, the estimate at the truth."""
    shares = []
    for snr_db in (-15.0, 20.0):
        w = world(scenario, [1] * 12, snr_db=snr_db, seed=4)
        s = Sensing.of(w.observation, scenario.surface)
        gains = GainMap(s, polar_grid(scenario.surface, GridConfig(step_beams=0.5, planes=8)))
        V = torch.diag(torch.tensor([1e-2, 1e-2, 2e-2], dtype=torch.float64)) ** 2
        B = s.responses(steering_matrix(s.array, w.polar[:, :1]))
        found = doubt(s, gains, B, w.polar[:, :1], w.power[:, :1], w.present[:, :1], V.expand(12, 1, 3, 3))
        shares.append(found.elsewhere)
        assert location_of(w.polar).isfinite().all()
    assert shares[0].mean() > 0.5
    assert (shares[1] == 0).all()


@torch.inference_mode()
def test_below_threshold_the_deviations_are_those_of_the_errors(scenario):
    """Three sources at -5 dB, K known, 100 scenes: errors of the distance of resolved sources within one and two deviations.

    By the Fisher information alone 0.57 and 0.85 of them, with 0.77 resolved. A Gaussian has 0.68 and 0.95; the standard error
    of a share of about 120 sources is 0.04 and 0.02.
    """
    localiser = Localiser(scenario, default_search())
    scenes = simulate(scenario, seed=11, split="test", start=0, stop=100, snr_db=-5.0, count=3)
    truth = scenes.truth
    [found] = localiser.pursuit(localiser.sensing(scenes.observation), truth.count)
    matched = match(found.polar, found.present, polar_of(located(truth)), truth.present, 2.0)
    slot = matched.estimate.clamp_min(0)
    used = (matched.estimate >= 0) & found.resolved.gather(1, slot)
    z = (matched.distance / found.distance_std.gather(1, slot))[used]
    assert len(z) > 100
    assert float((z < 1).double().mean()) > 0.6
    assert float((z < 2).double().mean()) > 0.9


def located(truth):
    return torch.where(truth.present[..., None], truth.location, 1.0)
