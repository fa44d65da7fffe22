"""The gain map against least squares by numpy, which shares no line with it."""

import numpy as np
import pytest
import torch
from worlds import world

from risloc.estimation.conditional import Sensing
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.projection import project
from risloc.physics.grid import GridConfig, polar_grid
from risloc.physics.steering import steering_matrix

GRID = GridConfig(step_beams=0.5, planes=3)


@pytest.fixture(scope="module")
def case(small_scenario):
    """Two sources in each of three scenes, the sensing, the map, and the responses of both sources."""
    w = world(small_scenario, [2, 2, 2], snr_db=10)
    s = Sensing.of(w.observation, w.scenario.surface)
    gains = GainMap(s, polar_grid(w.scenario.surface, GRID))
    return w, s, gains, s.responses(steering_matrix(s.array, w.polar[:, :2]))


def responses(w, scene, A):
    """H diag(c_l) A of each snapshot of a scene."""
    o = w.observation
    return [(o.H[scene].numpy() * c) @ A for c in o.codebook[scene].numpy()]


def left(B, y):
    """min_s |y - B s|^2, y a column or several."""
    return (np.abs(y - B @ np.linalg.lstsq(B, y, rcond=None)[0]) ** 2).sum(0) if B.shape[1] else (np.abs(y) ** 2).sum(0)


def decrease(w, scene, A, a):
    """By how much one more source at `a` lowers the cost of those at A; None where a snapshot can hardly tell it from them."""
    before, after, snapshots = (
        responses(w, scene, A),
        responses(w, scene, np.column_stack([A, a])),
        w.observation.y[scene],
    )
    if min(left(B, C[:, -1]) / left(B[:, :0], C[:, -1]) for B, C in zip(before, after, strict=True)) < 0.02:
        return None
    return sum(left(B, y) - left(C, y) for B, C, y in zip(before, after, snapshots.numpy(), strict=True))


def compare(found, w, scene, A, steering):
    """The map of one scene with the decrease, at every seventh point; how many were compared."""
    wanted = {g: decrease(w, scene, A, steering[:, g]) for g in range(0, steering.shape[1], 7)}
    compared = {point: value for point, value in wanted.items() if value is not None}
    for point, value in compared.items():
        assert float(found[point]) == pytest.approx(value, rel=1e-4)
    return len(compared)


@pytest.mark.parametrize("sources", [0, 1, 2])
def test_the_gain_of_a_further_source_is_the_decrease_of_the_cost(case, sources):
    w, s, gains, B = case
    rows = torch.tensor([0, 2])
    present = torch.ones(2, sources, dtype=torch.bool)
    found = gains.further(rows, project(B[rows, :, :sources], s.y[rows], present))
    for row, scene in enumerate(rows.tolist()):
        A = w.A[scene, :, :sources].numpy()
        assert compare(found[row], w, scene, A, gains.grid.steering.numpy()) > 12


def test_the_gain_elsewhere_is_that_of_the_other_source_alone(case):
    w, s, gains, B = case
    rows = torch.tensor([1, 2])
    fit = project(B[rows], s.y[rows], torch.ones(2, 2, dtype=torch.bool))
    found = gains.elsewhere(rows, fit, fit.inverse_factor(B[rows]))
    for row, scene in enumerate(rows.tolist()):
        for k in range(2):
            A = w.A[scene, :, [1 - k]].numpy()
            assert compare(found[row, k], w, scene, A, gains.grid.steering.numpy()) > 12


def test_where_there_is_no_fit_there_is_no_gain(case):
    w, s, gains, B = case
    fit = project(B[:1], s.y[:1], torch.ones(1, 2, dtype=torch.bool))
    fit.residual[:] = torch.nan  # as Cholesky finds sources that cannot be separated
    assert (gains.further(torch.tensor([0]), fit) == 0).all()


def test_the_cheap_map_is_a_lower_bound_and_exact_without_sources(case):
    _, s, gains, B = case
    rows, both = torch.arange(3), torch.ones(3, 2, dtype=torch.bool)
    fit = project(B, s.y, both)
    bound, exact = gains.further_at_least(rows, fit), gains.further(rows, fit)
    assert (bound <= exact * (1 + 1e-9)).all()
    assert (bound < 0.9 * exact).any()
    none = project(B[:, :, :0], s.y, both[:, :0])
    assert torch.allclose(gains.further_at_least(rows, none), gains.further(rows, none))
