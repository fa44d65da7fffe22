import itertools
import math

import pytest
import torch

from risloc.performance.metrics import gospa, match, resolved_scenes, rmspe
from risloc.physics.geometry import polar_of, position_of


def brute_gospa(found, true, c):
    """Every way to pair some of the found with some of the true: sum d^2 over pairs + c^2 / 2 for the rest."""
    best = math.inf
    for size in range(min(len(found), len(true)) + 1):
        for some in itertools.combinations(range(len(true)), size):
            for order in itertools.permutations(range(len(found)), size):
                pairs = sum(((found[j] - true[i]) ** 2).sum() for i, j in zip(some, order, strict=True))
                best = min(best, pairs + c**2 / 2 * (len(found) + len(true) - 2 * size))
    return math.sqrt(best)


@pytest.mark.parametrize(("estimated", "true"), [(5, 5), (3, 5), (5, 2), (7, 7)])
def test_gospa_equals_brute_force(estimated, true, generator):
    p = 2 * torch.rand(12, estimated, 3, generator=generator, dtype=torch.float64)
    q = 2 * torch.rand(12, true, 3, generator=generator, dtype=torch.float64)
    p_on = torch.rand(12, estimated, generator=generator) < (0.4 if estimated > 5 else 0.7)
    q_on = torch.rand(12, true, generator=generator) < (0.4 if true > 5 else 0.7)
    for c in (0.5, 1.0, 5.0):
        value = gospa(p, p_on, q, q_on, c)
        for b in range(12):
            expected = brute_gospa(p[b][p_on[b]].numpy(), q[b][q_on[b]].numpy(), c)
            assert float(value[b]) == pytest.approx(expected, abs=1e-9)


def test_gospa_of_nothing_counts_only_what_was_invented():
    p, q = torch.zeros(2, 3, 3), torch.zeros(2, 3, 3)
    p_on = torch.tensor([[False] * 3, [True, True, False]])
    value = gospa(p, p_on, q, torch.zeros(2, 3, dtype=torch.bool), 2.0)
    torch.testing.assert_close(value, torch.tensor([0.0, 2.0]))  # sqrt(2 * c^2 / 2)


def test_gospa_is_symmetric_and_ignores_slots(generator):
    p, q = torch.rand(8, 4, 3, generator=generator), torch.rand(8, 4, 3, generator=generator)
    on = torch.rand(8, 4, generator=generator) < 0.6
    every = torch.ones_like(on)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(gospa(p, on, q, every, 1.0), gospa(q, every, p, on, 1.0))
    torch.testing.assert_close(gospa(p, on, q, every, 1.0), gospa(p[:, order], on[:, order], q, every, 1.0))


def test_gospa_refuses_a_cutoff_of_nothing():
    with pytest.raises(ValueError, match="cutoff: expected a distance above 0 metres"):
        gospa(torch.zeros(1, 1, 3), torch.ones(1, 1) > 0, torch.zeros(1, 1, 3), torch.ones(1, 1) > 0, 0.0)


def locations(*rows):
    return polar_of(torch.tensor([rows], dtype=torch.float64))


def test_matched_errors_are_those_of_the_geometry():
    true = locations([0.0, 0.0, 2.0], [0.5, 0.0, 3.0], [0.0, 0.0, 1.0])
    found = locations([0.5, 0.1, 3.0], [0.0, 0.0, 2.25], [-0.8, 0.3, 5.0])
    present = torch.tensor([[True, True, False]])
    m = match(found, torch.ones(1, 3, dtype=torch.bool), true, present, 2.0)
    assert m.estimate.tolist() == [[1, 0, -1]]
    assert float(m.position[0, 0]) == pytest.approx(0.25)
    assert float(m.distance[0, 1]) == pytest.approx(0.0, abs=1e-9)
    assert float(m.angle[0, 1]) == pytest.approx(math.acos(math.cos(0.1)), rel=1e-6)
    assert m.position[0, 2].isnan()
    assert (int(m.missed), int(m.false)) == (0, 1)


def test_a_source_out_of_reach_is_missed_and_its_estimate_false():
    true, found = locations([0.0, 0.0, 2.0]), locations([0.0, 0.0, 4.5])
    one = torch.ones(1, 1, dtype=torch.bool)
    m = match(found, one, true, one, 2.0)
    assert m.position[0, 0] == math.inf
    assert (int(m.missed), int(m.false)) == (1, 1)
    assert math.isnan(rmspe(m.position))
    near = match(found, one, true, one, 3.0)
    assert float(near.position[0, 0]) == pytest.approx(2.5)
    assert rmspe(near.position) == pytest.approx(2.5)


def test_no_sources_anywhere_is_no_error():
    none = torch.zeros(1, 2, dtype=torch.bool)
    m = match(locations([0.0, 0.0, 1.0], [0.1, 0.0, 1.0]), none, locations([0.0, 0.0, 1.0]), none[:, :1], 2.0)
    assert (int(m.missed), int(m.false)) == (0, 0)
    assert m.position.isnan().all()


def test_resolution_asks_for_half_the_separation():
    q = torch.tensor([[[0.0, 0, 1], [1.0, 0, 1]]] * 3)
    error = torch.tensor([[0.4, 0.49], [0.4, 0.51], [math.inf, math.nan]])
    present = torch.tensor([[True, True], [True, True], [True, False]])
    assert resolved_scenes(error, q, present).tolist() == [True, False, False]
    alone = resolved_scenes(torch.tensor([[3.0, math.nan]]), q[:1], torch.tensor([[True, False]]))
    assert alone.tolist() == [True]  # nothing to resolve it from


def test_rmspe_counts_matched_sources():
    assert rmspe(torch.tensor([3.0, 4.0, math.inf, math.nan])) == pytest.approx(math.sqrt(12.5))


def test_positions_of_match_are_those_of_gospa(generator):
    location = torch.rand(6, 3, 3, generator=generator, dtype=torch.float64) + 0.2
    other = location + 0.05 * torch.randn(6, 3, 3, generator=generator, dtype=torch.float64)
    on = torch.ones(6, 3, dtype=torch.bool)
    m = match(polar_of(other), on, polar_of(location), on, 2.0)
    g = gospa(position_of(other), on, position_of(location), on, 2.0)
    torch.testing.assert_close(m.position.square().sum(1).sqrt(), g)
