"""The derivatives of steering vectors, and the two informations where they agree."""

import pytest
import torch
from worlds import roomy, world

from risloc.performance.crb import bound_of, stochastic_bound
from risloc.performance.fisher_information import (
    deterministic_information,
    location_derivatives,
    stochastic_information,
)
from risloc.physics.geometry import polar_of
from risloc.physics.steering import steering_matrix

FREE = (True, True, True)


def test_derivatives_are_autograds(small_scenario):
    location = torch.tensor([[0.3, -0.4, 0.7], [-0.9, 0.1, 1.2]], dtype=torch.float64)
    array = small_scenario.surface.array
    A, dA = location_derivatives(array, location)

    def columns(x):
        polar = polar_of(torch.stack([x[:, 0], x[:, 1], 1 / x[:, 2]], dim=-1))
        return torch.view_as_real(steering_matrix(array, polar))

    inverse = torch.stack([location[:, 0], location[:, 1], 1 / location[:, 2]], dim=-1)
    jacobian = torch.autograd.functional.jacobian(columns, inverse)  # [elem, src, 2, src, 3]
    for k in range(2):
        expected = torch.view_as_complex(jacobian[:, k, :, k].mT.contiguous())
        torch.testing.assert_close(dA[:, k], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(A, steering_matrix(array, polar_of(location)))


@pytest.mark.parametrize("which", ["small", "default"])
def test_the_two_bounds_meet_at_high_snr(scenario, small_scenario, which):
    """Within 1 % at 40 dB with s_l s_l^H replaced by P; the default scenario with up to K_MAX sources 0.1 apart."""
    if which == "small":
        w = world(roomy(small_scenario), [1, 2, 3], snr_db=40, seed=2)
    else:
        w = world(scenario, [1, 2, 3, 4, 5] * 8, snr_db=40, seed=2, spread=0.1, depth=(0.0, 1.0))
    o, K, batch = w.observation, w.scenario.K_MAX, len(w.location)
    A, dA = location_derivatives(w.scenario.surface.array, w.location)
    G = o.H[:, None] * o.codebook[:, :, None]
    Z = (G @ torch.cat([A, dA.flatten(-2)], dim=-1)[:, None]).mT
    P = torch.diag_embed(w.power).to(torch.complex128)[:, None].expand(-1, w.scenario.snapshots, -1, -1)
    high = bound_of(deterministic_information(Z, P, o.noise_var), w.location, w.present, FREE)
    full = stochastic_bound(w.scenario.surface, o, w.location, w.power * w.present)
    for name in ("position", "distance", "angle"):
        one, other = (getattr(bound, name)[w.present] for bound in (high, full))
        torch.testing.assert_close(one, other, rtol=0.01, atol=0)
    assert stochastic_information(Z, w.power, o.noise_var).shape == (batch, 4 * K + 1, 4 * K + 1)
