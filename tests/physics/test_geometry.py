import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import elements, position

from risloc.physics.geometry import SPEED_OF_LIGHT, Domain, location_of, planar_array, polar_of, position_of

azimuths = st.floats(-1.4, 1.4)
elevations = st.floats(-1.4, 1.4)
distances = st.floats(0.05, 1e4)
DOMAIN = Domain(azimuth=(-1.0, 0.7), elevation=(-0.4, 0.6), distance=(0.5, 6.0))


@pytest.mark.parametrize("reference", ["centre", "first"])
def test_elements_are_half_a_wavelength_apart_x_fastest(reference):
    array = planar_array(4, 3, 0.3, reference)
    assert array.size == 12
    np.testing.assert_allclose(array.elements.numpy(), elements(4, 3, 0.3, reference)[:, :2], atol=1e-15)


def test_unknown_reference_is_named():
    with pytest.raises(ValueError, match="'centre' or 'first', got 'middle'"):
        planar_array(2, 2, 0.3, "middle")


def test_default_scenario_is_a_panel_of_1_65_m_at_1_ghz(scenario):
    assert scenario.wavelength == pytest.approx(SPEED_OF_LIGHT / 1e9)
    width = scenario.surface.array.elements[:, 0]
    assert float(width.max() - width.min()) == pytest.approx(11 * 0.15, rel=1e-3)


@given(azimuths, elevations, distances)
def test_polar_coordinates_invert(azimuth, elevation, distance):
    location = torch.tensor([azimuth, elevation, distance], dtype=torch.float64)
    torch.testing.assert_close(location_of(polar_of(location)), location, rtol=1e-9, atol=1e-9)


@given(azimuths, elevations, distances)
def test_position_is_the_point_in_space(azimuth, elevation, distance):
    location = torch.tensor([azimuth, elevation, distance], dtype=torch.float64)
    np.testing.assert_allclose(position_of(location).numpy(), position(azimuth, elevation, distance), rtol=1e-12)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-1, 30))
def test_clamp_ends_in_the_domain_and_moves_nothing_that_is_inside(u, v, w):
    polar = torch.tensor([u, v, w], dtype=torch.float64)
    clamped = DOMAIN.clamp(polar)
    assert DOMAIN.contains(clamped, margin=1e-9)
    if DOMAIN.contains(polar, margin=0.0):
        torch.testing.assert_close(clamped, polar, rtol=1e-12, atol=1e-12)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_polar_box_holds_the_domain(a, b, c):
    unit = zip((a, b, c), (DOMAIN.azimuth, DOMAIN.elevation, DOMAIN.distance), strict=True)
    location = torch.tensor([low + x * (high - low) for x, (low, high) in unit], dtype=torch.float64)
    polar = polar_of(location)
    assert DOMAIN.contains(polar)
    for value, (low, high) in zip(polar.tolist(), DOMAIN.polar_box, strict=True):
        assert low - 1e-9 <= value <= high + 1e-9


def test_a_span_of_zero_width_is_no_parameter():
    domain = Domain(azimuth=(-1.0, 1.0), elevation=(0.0, 0.0), distance=(8.0, 48.0))
    assert domain.free == (True, False, True)
    assert domain.inverse_distance == (1 / 48, 1 / 8)
    assert domain.polar_box[1] == (0.0, 0.0)


def test_outside_is_outside():
    inside = polar_of(torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))
    shifts = [[math.sin(0.75), 0, 0], [0, math.sin(0.61), 0], [0, 0, 1.5], [0, 0, -0.9], [2.0, 0, 0]]
    for shift in shifts:
        assert not DOMAIN.contains(inside + torch.tensor([shift], dtype=torch.float64)).any()
