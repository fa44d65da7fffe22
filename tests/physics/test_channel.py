import dataclasses
import math

import numpy as np
import pytest
import torch
from oracle import elements

from risloc.physics.channel import direct_channel, effective_rank, rician_channel
from risloc.scenes.simulation import simulate


def channels(scenario, k, count=64):
    fixed = dataclasses.replace(scenario, rician_span=(k, k))
    return simulate(fixed, seed=5, split="val", start=0, stop=count).observation.H


@pytest.mark.parametrize("values", [[1.0] * 16, [1.0, 0.0], [3.0, 2.0, 1.0]])
def test_effective_rank_is_the_exponential_of_the_entropy(values):
    H = torch.diag(torch.tensor(values, dtype=torch.float64)).to(torch.complex128)
    share = np.square(values) / np.sum(np.square(values))
    entropy = -sum(p * math.log(p) for p in share if p > 0)
    assert float(effective_rank(H)) == pytest.approx(math.exp(entropy), abs=1e-6)
    assert float(effective_rank(H.T)) == pytest.approx(math.exp(entropy), abs=1e-6)


@pytest.mark.parametrize(
    ("k", "low", "high"), [(0.0, 13.0, 16.0), (0.4, 9.0, 16.0), (10.0, 1.4, 2.0), (1e6, 1.0, 1.01)]
)
def test_the_rician_factor_decides_the_rank(scenario, k, low, high):
    assert low < float(effective_rank(channels(scenario, k)).mean()) < high


def test_the_default_span_keeps_a_rank_of_ten_or_more(scenario):
    H = simulate(scenario, seed=6, split="val", start=0, stop=256).observation.H
    assert float(effective_rank(H).mean()) > 10
    assert float(effective_rank(H).quantile(0.05)) > 9


@pytest.mark.parametrize("k", [0.0, 0.4, 10.0])
def test_entries_have_unit_variance(scenario, k):
    energy = channels(scenario, k).abs().square().mean((1, 2))
    assert float(energy.mean()) == pytest.approx(1, abs=0.01)  # 64 x 2304 entries: 3 standard errors are 0.008


def test_line_of_sight_is_a_far_field_wave():
    from risloc.physics.geometry import planar_array

    array, M = planar_array(4, 3, 0.3), 5
    direction = torch.tensor([[0.8, 0.1, 0.6]], dtype=torch.float64)
    H = rician_channel(
        array, torch.zeros(1, M, 12, dtype=torch.complex128), direction, torch.tensor([1e12], dtype=torch.float64)
    )
    psi, azimuth, elevation = math.radians(36), math.radians(-48), math.radians(6)
    toward = np.array([math.sin(azimuth) * math.cos(elevation), math.sin(elevation), 0])
    for m in range(M):
        for n, x in enumerate(elements(4, 3, 0.3)):
            phase = -np.pi * m * math.sin(psi) - 2 * np.pi / 0.3 * (x @ toward)
            assert complex(H[0, m, n]) == pytest.approx(np.exp(1j * phase), abs=1e-5)


def test_direct_observation_is_the_identity():
    torch.testing.assert_close(direct_channel(3, 4), torch.eye(4, dtype=torch.complex64).expand(3, 4, 4))
