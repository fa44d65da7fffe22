"""Reflection coefficients against an independent formula, energy, and limits; images against mirrors in the walls."""

import itertools

import mpmath
import numpy as np
import pytest
import torch

from risloc.physics.geometry import position_of
from risloc.physics.image_sources import IMAGES, hits, mirror_images
from risloc.physics.portable_arithmetic import exact_location_of
from risloc.physics.reflection import MATERIALS, permittivity, reflection

COSINES = np.array([0.0, 1e-6, 0.03, 0.3, 0.7, 0.999, 1.0])


def impedance_form(epsilon, cosine, upright):
    """The coefficient from the wave impedances on both sides of the wall, with complex angles, in 40 digits."""
    with mpmath.workdps(40):
        eps, cos = mpmath.mpc(epsilon), mpmath.mpf(float(cosine))
        inside = mpmath.sqrt(1 - (1 - cos**2) / eps)  # the cosine in the wall by Snell's law
        wave = 1 / mpmath.sqrt(eps)  # the impedance of the wall over that of air
        if upright:
            return complex((wave * cos - inside) / (wave * cos + inside))
        return complex((cos - wave * inside) / (cos + wave * inside))


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("carrier_hz", [1e9, 3.5e9, 4e10])
@pytest.mark.parametrize("material", MATERIALS)
def test_coefficients_are_those_of_the_wave_impedances(material, carrier_hz, upright):
    epsilon = permittivity(material, carrier_hz)
    found = reflection(torch.tensor(epsilon, dtype=torch.complex128), torch.from_numpy(COSINES), upright).numpy()
    expected = [impedance_form(epsilon, cosine, upright) for cosine in COSINES]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-12)
    assert (np.abs(found) <= 1 + 1e-12).all()


@pytest.mark.parametrize("material", MATERIALS)
def test_the_permittivity_is_that_of_the_recommendation(material):
    """epsilon = a - j 17.98 c f^d / f, with f in GHz, to the digits of its constant."""
    a, c, d = MATERIALS[material]
    for ghz in (1.0, 2.4, 28.0):
        found = permittivity(material, 1e9 * ghz)
        assert found.real == a
        assert found.imag == pytest.approx(-17.98 * c * ghz**d / ghz, rel=1e-3)


def test_metal_turns_the_field_round_at_a_wall_and_mirrors_it_at_a_floor():
    epsilon = torch.tensor(permittivity("metal", 1e9), dtype=torch.complex128)
    cosine = torch.tensor([0.2, 0.9], dtype=torch.float64)
    assert torch.allclose(reflection(epsilon, cosine, True), -torch.ones(2, dtype=torch.complex128), atol=1e-3)
    assert torch.allclose(reflection(epsilon, cosine, False), torch.ones(2, dtype=torch.complex128), atol=1e-3)


def test_a_floor_without_loss_reflects_nothing_at_brewster_s_angle():
    epsilon = torch.tensor(5.24 + 0j, dtype=torch.complex128)
    cosine = torch.tensor(1 / np.sqrt(1 + 5.24), dtype=torch.float64)
    assert abs(complex(reflection(epsilon, cosine, False))) < 1e-15
    assert abs(complex(reflection(epsilon, cosine, True))) == pytest.approx((5.24 - 1) / (5.24 + 1))


def mirrored(p, axis, place):
    """p less twice its distance from the plane, along the plane's normal."""
    normal = np.eye(3)[axis]
    return p - 2 * ((p - place * normal) @ normal) * normal


def test_images_are_the_mirror_images_of_one_and_two_reflections():
    rng = np.random.default_rng(3)
    walls = np.stack([-rng.uniform(1, 5, (4, 3)), rng.uniform(1, 5, (4, 3))], -1)
    position = rng.uniform(-1, 1, (4, 2, 3))
    images, walls_hit = mirror_images(torch.from_numpy(position), torch.from_numpy(walls)).numpy(), hits().tolist()
    assert images.shape == (4, 2, IMAGES, 3)
    for b, k in np.ndindex(4, 2):
        faces = [(axis, walls[b, axis, end], 2 * axis + end) for axis in range(3) for end in range(2)]
        expected = [(mirrored(position[b, k], *face[:2]), {face[2]}) for face in faces]
        for first, second in itertools.permutations(faces, 2):
            if first[0] == second[0] or first[0] < second[0]:  # at perpendicular walls the order makes no difference
                image = mirrored(mirrored(position[b, k], *first[:2]), *second[:2])
                expected.append((image, {first[2], second[2]}))
        assert len(expected) == IMAGES
        for image, reflected in zip(images[b, k], walls_hit, strict=True):
            which = {wall for wall, is_hit in enumerate(reflected) if is_hit}
            assert any(np.allclose(image, place, atol=1e-12) and which == there for place, there in expected)
        assert len({tuple(np.round(image, 9)) for image in images[b, k]}) == IMAGES
        assert (np.linalg.norm(images[b, k], axis=-1) > np.linalg.norm(position[b, k])).all()


def test_the_path_of_an_image_crosses_the_walls_that_it_is_said_to():
    """From the origin towards the image, unfolded: as often as the coordinate passes a wall or one of its copies."""
    rng = np.random.default_rng(4)
    walls = np.stack([-rng.uniform(1, 5, (5, 3)), rng.uniform(1, 5, (5, 3))], -1)
    position = rng.uniform(-1, 1, (5, 1, 3))
    images, counts = mirror_images(torch.from_numpy(position), torch.from_numpy(walls))[:, 0].numpy(), hits().numpy()
    for b, i in np.ndindex(5, IMAGES):
        for axis in range(3):
            width, low = walls[b, axis, 1] - walls[b, axis, 0], walls[b, axis, 0]
            cell = int(np.floor((images[b, i, axis] - low) / width))  # cells between copies of walls, 0 is the room
            assert abs(cell) == counts[i, 2 * axis : 2 * axis + 2].sum()


def test_locations_are_the_inverse_of_positions_to_the_last_digits():
    rng = np.random.default_rng(5)
    location = np.stack(
        [rng.uniform(-1.57, 1.57, 500), rng.uniform(-1.57, 1.57, 500), 10 ** rng.uniform(-3, 3, 500)], -1
    )
    location[:3, :2] = [[0.0, 0.0], [1.5707, -1.5707], [0.3, 0.0]]
    found = exact_location_of(position_of(torch.from_numpy(location))).numpy()
    np.testing.assert_allclose(found, location, rtol=1e-14, atol=1e-11)  # near the poles the azimuth is ill conditioned
