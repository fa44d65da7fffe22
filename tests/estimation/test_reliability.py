import math

import pytest
import torch
from scipy.stats import binom

from risloc.estimation.reliability import REASONS, at_border, in_one_snapshot, known_coordinates, reasons, with_reason
from risloc.physics.geometry import Domain, planar_array, polar_of

DOMAIN = Domain(azimuth=(-1.0, 1.0), elevation=(-0.5, 0.5), distance=(1.0, 6.0))
ARRAY = planar_array(12, 12, 0.3)
INSIDE = (0.2, 0.1, 2.0)


def said(locations, powers, *, std=0.01, fits=True, converged=True, domain=DOMAIN):
    """The words of the reasons of one scene's sources at (azimuth, elevation, distance)."""
    polar = domain.clamp(polar_of(torch.tensor([locations], dtype=torch.float64)))
    present = torch.ones(polar.shape[:2], dtype=torch.bool)
    deviation = torch.as_tensor(std, dtype=torch.float64).expand(polar.shape)
    power = torch.tensor([powers], dtype=torch.float64)
    truths = (torch.tensor([value]) for value in (fits, converged))
    return [REASONS[number] for number in reasons(ARRAY, domain, polar, power, present, deviation, *truths)[0].tolist()]


def test_a_good_source_has_none():
    assert said([INSIDE], [1.0]) == [""]


@pytest.mark.parametrize(
    ("location", "coordinate"),
    [((1.2, 0.1, 2.0), "azimuth"), ((-1.2, 0.4, 2.0), "azimuth"), ((0.2, -0.7, 2.0), "elevation"),
     ((0.2, 0.1, 9.0), "distance"), ((0.2, 0.1, 0.5), "distance")],
)  # fmt: skip
def test_what_lies_beyond_ends_at_a_border_and_is_not_resolved(location, coordinate):
    assert said([location], [1.0]) == [f"{coordinate} at a border"]


def test_what_is_weaker_than_one_at_a_border_or_in_its_beam_may_be_its_phantom():
    weaker, stronger, close = (-0.6, 0.0, 2.0), (-0.6, 0.3, 2.0), (0.21, 0.11, 5.9)
    found = said([(0.2, 0.1, 9.0), weaker, stronger, close], [1.0, 0.3, 2.0, 3.0])
    assert found == ["distance at a border", "beside a border", "", "beside a border"]


def test_each_free_coordinate_must_be_known_better_than_its_span():
    for i, (name, span) in enumerate((("azimuth", 2.0), ("elevation", 1.0), ("distance", 5.0))):
        std = [0.01, 0.01, 0.01]
        std[i] = 0.99 * span / math.sqrt(12)
        assert said([INSIDE], [1.0], std=std) == [""]
        std[i] = 1.01 * span / math.sqrt(12)
        assert said([INSIDE], [1.0], std=std) == [f"{name} unknown"]
        std[i] = math.inf
        assert said([INSIDE], [1.0], std=std) == [f"{name} unknown"]


def test_a_coordinate_that_is_fixed_is_known_and_has_no_border():
    flat = Domain(azimuth=(-1.0, 1.0), elevation=(0.0, 0.0), distance=(1.0, 6.0))
    polar = polar_of(torch.tensor([[[0.2, 0.0, 2.0]]], dtype=torch.float64))
    assert not at_border(flat, polar).any()
    assert known_coordinates(flat, torch.full((1, 1, 3), 0.01)).all()
    assert said([(0.2, 0.0, 2.0)], [1.0], std=[0.01, math.inf, 0.01], domain=flat) == [""]


def test_a_scene_that_does_not_fit_or_converge_has_no_source_to_rely_on():
    assert said([INSIDE, (-0.5, 0.0, 3.0)], [1.0, 1.0], fits=False) == ["misfit"] * 2
    assert said([INSIDE], [1.0], converged=False) == ["not converged"]
    assert said([INSIDE, (0.2, 0.1, 9.0)], [2.0, 1.0], fits=False) == ["misfit", "distance at a border"]


def test_a_later_reason_does_not_hide_an_earlier_one():
    present = torch.tensor([[True, True, False]])
    number = torch.tensor([[0, REASONS.index("azimuth at a border"), 0]])
    both = with_reason(number, present, "misfit", torch.ones_like(present))
    assert [REASONS[i] for i in both[0].tolist()] == ["misfit", "azimuth at a border", ""]


def test_a_source_in_one_snapshot_alone_is_a_wrong_sample(small_scenario):
    """Of Gaussian symbols one source in ten thousand seems to be that; one sample of a source that is not there is."""
    s = torch.randn(20_000, 16, 2, generator=torch.Generator().manual_seed(3), dtype=torch.complex64)
    assert int(in_one_snapshot(s).sum()) <= binom.ppf(0.999, 40_000, 1e-4)
    s[:, :, 1] *= 0.05
    s[:, 3, 1] = 1.0
    assert in_one_snapshot(s)[:, 1].all()
    assert not in_one_snapshot(s[:, :3]).any()
