"""What an answer says of itself where the data are not what the model takes them for.

The scenes are of the tests' own forward model; each fault is put into otherwise good ones: 20 dB, one source or two.
"""

import dataclasses

import numpy as np
import pytest
import torch
from oracle import elements, steering
from worlds import World, world

from risloc.io.measurements import Measurements, setup_of
from risloc.locating.found import Found
from risloc.locating.locate import locate
from risloc.locating.locate_arguments import LocateError
from risloc.locating.locator import Locator
from risloc.scenes.scenario import Scenario

SCENES = 8


def measured(w: World, **changes: torch.Tensor) -> Measurements:
    o = dataclasses.replace(w.observation, **changes)
    return Measurements(
        setup=setup_of(w.scenario), y=o.y, codebook=o.codebook, H=o.H, noise_var=o.noise_var, truth=None
    )


def received(w: World, A: torch.Tensor, codebook: torch.Tensor | None = None, seed: int = 1) -> torch.Tensor:
    """y of other steering vectors or codes than the model's, with noise."""
    o = w.observation
    clean = torch.einsum("bmn,bln,bnk,bkl->blm", o.H, o.codebook if codebook is None else codebook, A, w.symbols)
    noise = torch.randn(clean.shape, dtype=clean.dtype, generator=torch.Generator().manual_seed(seed))
    return clean + noise * o.noise_var.sqrt()[:, None, None]


@pytest.fixture(scope="module")
def good(scenario: Scenario) -> World:
    return world(scenario, [1] * SCENES, seed=21)


def both(m: Measurements, **how: object) -> tuple[Found, Found]:
    """With the noise variance and without."""
    return locate(m, **how), locate(dataclasses.replace(m, noise_var=None), **how)


def test_what_is_good_is_called_so(good: World) -> None:
    given, blind = both(measured(good))
    assert given.verdict == ("fits",) * SCENES
    assert blind.verdict == ("white",) * SCENES
    for found in (given, blind):
        assert found.resolved[found.present].all()
        assert torch.equal(found.present.sum(1), good.count)
        assert ((found.explained > 0.98) & (found.explained < 1)).all()
    assert not given.estimated.any()
    assert blind.estimated.all()
    assert blind.misfit.isnan().all()
    assert given.whiteness is None
    assert ((given.misfit_limits[:, 0] < given.misfit) & (given.misfit < given.misfit_limits[:, 1])).all()


def test_the_other_sign_of_phase_is_resolved_nowhere(good: World) -> None:
    """Many strong echoes may explain it, more than any room has; then no direct path is sure."""
    for found in both(measured(good, y=received(good, good.A.conj()))):
        assert not found.resolved.any()
        assert found.echoes is not None
        echoes = (found.echoes.gain.abs().square() * found.echoes.present).sum(-1).amax(1)
        alarmed = torch.tensor([verdict in ("too high", "not white") for verdict in found.verdict])
        assert (alarmed | (echoes > 1)).all()


def test_the_other_sign_of_phase_is_an_alarm_without_echoes(good: World) -> None:
    given, blind = both(measured(good, y=received(good, good.A.conj())), echoes="never")
    assert given.verdict == ("too high",) * SCENES
    assert (given.misfit > 20).all()
    assert blind.verdict == ("not white",) * SCENES
    assert not given.resolved.any()
    assert not blind.resolved.any()


def test_axes_that_are_swapped_are_an_alarm_or_nothing_is_found(good: World) -> None:
    """M = L hides it; what is left then is nearly white, and no source is claimed."""
    given, blind = both(measured(good, y=good.observation.y.mT.contiguous()))
    assert given.verdict == ("too high",) * SCENES
    assert (given.misfit > 20).all()
    assert not given.resolved.any()
    assert not blind.resolved.any()
    assert (blind.explained < 0.5).all()


def test_a_noise_variance_per_real_part_is_an_alarm_and_gives_way(good: World) -> None:
    """K is still right, the deviations are those of the true level, and nothing is called resolved."""
    m = measured(good, noise_var=good.observation.noise_var / 2)
    found, true = locate(m), locate(measured(good))
    assert found.verdict.count("too high") >= SCENES - 1
    assert 1.7 < found.misfit.median() < 2.3
    assert torch.equal(found.present.sum(1), good.count)
    alarmed = torch.tensor([verdict == "too high" for verdict in found.verdict])
    assert torch.equal(found.estimated, alarmed)
    assert not found.resolved[alarmed].any()
    ratio = found.position_std[found.present][alarmed] / true.position_std[true.present][alarmed]
    assert ((ratio > 0.8) & (ratio < 1.2)).all()


def test_a_noise_variance_that_is_too_large_is_an_alarm_and_shrinks_no_deviation(good: World) -> None:
    found, true = locate(measured(good, noise_var=good.observation.noise_var * 4)), locate(measured(good))
    assert found.verdict == ("too low",) * SCENES
    assert not found.resolved.any()
    assert (found.position_std[found.present] > 1.5 * true.position_std[true.present]).all()
    assert not found.estimated.any()


def test_codes_whose_losses_were_divided_away_are_an_alarm(good: World) -> None:
    phase = good.observation.codebook.angle()
    lossy = (0.6 + 0.4 * ((phase - 0.5).sin() / 2 + 0.5)) * good.observation.codebook
    given, blind = both(measured(good, y=received(good, good.A, lossy)))
    assert given.verdict == ("too high",) * SCENES
    assert not given.resolved.any()
    assert blind.verdict.count("not white") >= SCENES // 2


@pytest.mark.parametrize("distance", [7.0, 8.0, 20.0])
@pytest.mark.parametrize("model", ["default", None])
def test_a_source_beyond_the_span_is_not_resolved_nor_what_it_leaves(
    scenario: Scenario, distance: float, model: str | None
) -> None:
    far = dataclasses.replace(scenario, distance_span_m=(distance, distance + 1e-3))
    w = world(far, [1] * SCENES, seed=22)
    for found in both(dataclasses.replace(measured(w), setup=setup_of(scenario)), model=model):
        at_the_end = (found.location[..., 2] > 5.99) & found.present
        assert found.resolved.sum() <= (~at_the_end.any(1)).sum()  # 7 m may lie within a deviation of 6 m
        assert not found.resolved[at_the_end.any(1)].any()
        assert at_the_end.any(1).sum() >= SCENES - 1
        assert "distance at a border" in {why for row in found.why for why in row}


def test_a_direction_beyond_the_span_is_not_resolved(scenario: Scenario, good: World) -> None:
    azimuth = torch.as_tensor(np.linspace(62.0, 70.0, SCENES))
    xy = elements(scenario.n_h, scenario.n_v, scenario.wavelength)
    A = np.stack([[steering(xy, scenario.wavelength, np.radians(float(a)), 0.1, 2.5)] for a in azimuth]).swapaxes(1, 2)
    A = torch.from_numpy(A).expand(-1, -1, good.A.shape[-1])
    found = locate(measured(good, y=received(good, A)))
    assert not found.resolved.any()
    assert "azimuth at a border" in {why for row in found.why for why in row}


def test_deviations_are_of_one_covariance(good: World) -> None:
    found = locate(measured(good))
    there = found.present
    V = found.position_covariance[there]
    torch.testing.assert_close(V.diagonal(dim1=-2, dim2=-1).sqrt(), found.position_std[there])
    torch.testing.assert_close(V, V.mT)
    assert (torch.linalg.eigvalsh(V) > 0).all()
    assert found.position_covariance[~there].isnan().all()
    sight = found.position[there] / found.position[there].norm(dim=1, keepdim=True)
    along = (sight[:, None] @ V @ sight[:, :, None])[:, 0, 0].sqrt()
    torch.testing.assert_close(along, found.location_std[there][:, 2])  # across the line of sight r does not change


@pytest.mark.parametrize(("n_h", "n_v", "fixed", "span"), [
    (12, 1, "elevation", (-30.0, 30.0)), (1, 12, "azimuth", (-60.0, 60.0)), (12, 1, "elevation", (10.0, 30.0)),
])  # fmt: skip
def test_a_line_sees_one_angle_and_the_other_is_fixed(
    scenario: Scenario, n_h: int, n_v: int, fixed: str, span: tuple[float, float]
) -> None:
    value = 0.0 if span[0] < 0 else sum(span) / 2
    line = dataclasses.replace(scenario, n_h=n_h, n_v=n_v, antennas=8, **{f"{fixed}_span_deg": (value, value)})
    w = world(line, [1] * 4, seed=24, spread=0.1)
    m = dataclasses.replace(measured(w), setup=setup_of(dataclasses.replace(line, **{f"{fixed}_span_deg": span})))
    locator = Locator(m.setup, 16, 8)
    assert locator.notes == (
        f"elements in a line along {'x' if n_v == 1 else 'y'} cannot see {fixed}: it is fixed at {value:g} deg",
    )
    found = locator.locate(m)
    column = 1 if fixed == "elevation" else 0
    assert torch.equal(found.present.sum(1), w.count)
    assert (found.location[found.present][:, column] - np.radians(value)).abs().max() < 1e-6
    assert (found.location_std[found.present][:, column] == 0).all()
    assert found.resolved[found.present].all()


def test_one_element_sees_nothing(scenario: Scenario) -> None:
    with pytest.raises(LocateError, match="n_h, n_v: expected at least 2 elements, got 1 x 1"):
        Locator(dataclasses.replace(setup_of(scenario), n_h=1, n_v=1), 16, 16)


def test_the_noise_variance_that_is_looked_at_can_be_chosen(good: World) -> None:
    wrong = measured(good, noise_var=good.observation.noise_var / 1000)
    assert locate(wrong, noise="given").present.sum() > good.count.sum()
    estimated = locate(wrong, noise="estimated")
    assert torch.equal(estimated.present.sum(1), good.count)
    assert estimated.verdict == ("white",) * SCENES
    assert torch.equal(locate(wrong).present.sum(1), good.count)
    with pytest.raises(LocateError, match="noise: 'given' needs measurements with noise_var"):
        locate(dataclasses.replace(wrong, noise_var=None), noise="given")
    with pytest.raises(LocateError, match="noise: expected one of auto, given, estimated, got 'file'"):
        locate(wrong, noise="file")


def test_the_stochastic_fit_is_on_offer(scenario: Scenario) -> None:
    m = measured(world(scenario, [2] * 6, seed=24, snr_db=5))
    one, other = locate(m, sources=2), locate(m, sources=2, fit="stochastic")
    assert torch.equal(one.present, other.present)
    shift = (one.position - other.position)[one.present].norm(dim=1)
    assert shift.max() > 1e-4
    assert (shift < 3 * one.position_std[one.present].norm(dim=1)).all()
    with pytest.raises(LocateError, match="fit: expected one of conditional, stochastic, got 'ml'"):
        locate(m, fit="ml")


def test_a_setup_that_no_network_is_made_for_is_located_by_nomp(scenario: Scenario) -> None:
    w = world(dataclasses.replace(scenario, n_h=8), [1] * 4, seed=25)
    found = locate(measured(w))
    assert found.method == "nomp"
    assert torch.equal(found.present.sum(1), w.count)
    with pytest.raises(LocateError, match="network was made for 12 x 12 elements"):
        locate(measured(w), "default")
    assert locate(measured(world(scenario, [1], seed=26)), "default").method == "hybrid"
