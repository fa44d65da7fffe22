import math

import pytest
import torch

from risloc.config import ParamError, build
from risloc.physics.geometry import Domain, Surface, planar_array
from risloc.physics.grid import GridConfig, polar_grid
from risloc.physics.steering import steering_matrix

CONFIG = GridConfig(step_beams=0.36, planes=8)


def test_it_spans_the_domain_and_ends_on_its_border(scenario):
    grid = polar_grid(scenario.surface, CONFIG)
    for axis, (low, high) in zip((grid.u, grid.v, grid.w), scenario.surface.domain.polar_box, strict=True):
        assert (float(axis[0]), float(axis[-1])) == pytest.approx((low, high))
        assert axis.diff().std() < 1e-6
    beam = scenario.wavelength / (scenario.n_h * scenario.wavelength / 2)
    assert 0.8 * 0.36 * beam < grid.step[0] <= 0.36 * beam * (1 + 1e-6)
    assert grid.shape == (8, len(grid.v), len(grid.u))


def test_the_flat_axis_is_plane_row_column(small_scenario):
    grid = polar_grid(small_scenario.surface, CONFIG)
    planes, rows, columns = grid.shape
    assert grid.polar.shape == (planes * rows * columns, 3)
    flat = (2 * rows + 1) * columns + 3
    torch.testing.assert_close(grid.polar[flat], torch.stack([grid.u[3], grid.v[1], grid.w[2]]))
    expected = steering_matrix(small_scenario.surface.array, grid.polar.double()).to(torch.complex64)
    torch.testing.assert_close(grid.steering, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("azimuth", "elevation"),
    [((-60, 60), (-30, 30)), ((-70, -20), (-10, 50)), ((5, 80), (20, 60)), ((-50, 50), (-60, -25))],
)
def test_a_cell_is_inside_exactly_where_it_touches_the_domain(scenario, generator, azimuth, elevation):
    spans = [tuple(math.radians(a) for a in span) for span in (azimuth, elevation)]
    domain = Domain(azimuth=spans[0], elevation=spans[1], distance=(1.0, 6.0))
    grid = polar_grid(Surface(array=scenario.surface.array, domain=domain), CONFIG)
    part = torch.rand(400_000, 2, generator=generator)
    az, el = (low + (high - low) * x for (low, high), x in zip(spans, part.T, strict=True))
    column = ((az.sin() * el.cos() - grid.u[0]) / grid.step[0]).round().long()
    row = ((el.sin() - grid.v[0]) / grid.step[1]).round().long()
    seen = torch.zeros_like(grid.inside)
    seen[row, column] = True
    assert (seen <= grid.inside).all()
    assert (grid.inside & ~seen).sum() <= 6  # cells that share no more than a corner with it


def test_fixed_coordinates_have_one_point():
    domain = Domain(azimuth=(-1.0, 1.0), elevation=(0.0, 0.0), distance=(8.0, 48.0))
    grid = polar_grid(Surface(array=planar_array(15, 1, 1.0), domain=domain), CONFIG)
    assert grid.shape[1] == 1
    assert grid.v.tolist() == [0.0]
    assert grid.step[1] == 0
    assert grid.inside.all()


@pytest.mark.parametrize(("name", "value"), [("step_beams", 0.0), ("step_beams", 1.5), ("planes", 0)])
def test_parameters_outside_their_domain_are_refused(name, value):
    values = {"step_beams": 0.36, "planes": 8, name: value}
    with pytest.raises(ParamError, match=rf"grid\.{name}: expected a value"):
        build(GridConfig, values, "grid")
