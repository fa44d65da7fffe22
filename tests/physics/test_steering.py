import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import elements, steering

from risloc.physics.geometry import planar_array, polar_of
from risloc.physics.steering import (
    fresnel_steering_matrix,
    plane_wave_steering_matrix,
    steering_derivatives,
    steering_matrix,
)

ARRAYS = [(4, 3, 0.3, "centre"), (12, 12, 0.3, "centre"), (15, 1, 1.0, "first"), (1, 1, 0.1, "centre")]


def polar(*location, dtype=torch.float64):
    return polar_of(torch.tensor([location], dtype=dtype))


@pytest.mark.parametrize("shape", ARRAYS)
@given(azimuth=st.floats(-1.2, 1.2), elevation=st.floats(-0.9, 0.9), distance=st.floats(0.3, 50))
@settings(max_examples=15)
def test_exact_wave_equals_the_oracle(shape, azimuth, elevation, distance):
    A = steering_matrix(planar_array(*shape), polar(azimuth, elevation, distance))
    a = steering(elements(*shape), shape[2], azimuth, elevation, distance)
    np.testing.assert_allclose(A[:, 0].numpy(), a, atol=1e-9)
    np.testing.assert_allclose(np.abs(A.numpy()), 1, atol=1e-12)


def test_single_precision_keeps_the_phase():
    array = planar_array(16, 16, 0.0857)
    rough = steering_matrix(array, polar(0.9, -0.4, 5.7, dtype=torch.float32))
    assert rough.dtype == torch.complex64
    fine = steering(elements(16, 16, 0.0857), 0.0857, 0.9, -0.4, 5.7)
    np.testing.assert_allclose(rough[:, 0].numpy(), fine, atol=2e-5)


def test_far_away_the_wave_is_plane():
    array = planar_array(12, 12, 0.3)
    flat = plane_wave_steering_matrix(array, polar(0.5, 0.3, 1.0))
    errors = [float((steering_matrix(array, polar(0.5, 0.3, r)) - flat).abs().max()) for r in (1e3, 1e4, 1e5)]
    assert errors[0] < 0.05
    for near, far in itertools.pairwise(errors):
        assert far == pytest.approx(near / 10, rel=0.05)  # the phase differs by k rho^2 / 2r
    at_infinity = torch.tensor([[0.4, 0.2, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(steering_matrix(array, at_infinity), plane_wave_steering_matrix(array, at_infinity))


def test_fresnel_is_poor_near_the_panel_and_good_far_away():
    array = planar_array(12, 12, 0.3)

    def overlap(r):
        a, b = (f(array, polar(0.6, 0.2, r)) for f in (steering_matrix, fresnel_steering_matrix))
        return float((a.mH @ b).abs()) / array.size

    assert 0.2 < overlap(0.8) < 0.8
    assert overlap(100.0) > 0.9999


@pytest.mark.parametrize("shape", [ARRAYS[0], ARRAYS[2]])
def test_derivatives_equal_autograds(shape):
    array = planar_array(*shape)
    points = torch.cat([polar(0.4, -0.2, 1.3), polar(-0.9, 0.5, 12.0)])
    A, dA = steering_derivatives(array, points)
    torch.testing.assert_close(A, steering_matrix(array, points))
    for k in range(2):

        def column(x, k=k):
            moved = torch.cat([points[:k], x[None], points[k + 1 :]])
            return torch.view_as_real(steering_matrix(array, moved)[:, k])

        jacobian = torch.autograd.functional.jacobian(column, points[k])
        torch.testing.assert_close(torch.view_as_complex(jacobian.transpose(1, 2).contiguous()), dA[:, k])


def test_batches_are_single_scenes_side_by_side():
    array = planar_array(4, 4, 0.3)
    points = torch.rand(5, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.1
    batch = steering_matrix(array, points)
    assert batch.shape == (5, 16, 3)
    for i in range(5):
        torch.testing.assert_close(batch[i], steering_matrix(array, points[i]))


def test_a_stray_iterate_stays_finite():
    array = planar_array(12, 12, 0.3)
    A, dA = steering_derivatives(array, torch.tensor([[1.5, -1.2, 5.0]], dtype=torch.float64))
    assert torch.isfinite(torch.view_as_real(A)).all()
    assert torch.isfinite(torch.view_as_real(dA)).all()
