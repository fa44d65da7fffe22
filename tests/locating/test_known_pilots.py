"""Known pilots: one antenna, unknown gains, a static path. Sources are found as well as the bound allows, or an error says why not."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from pilot_scenes import pilot_scenes

from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurements import Measurements
from risloc.io.reception import Reception
from risloc.locating.bound import bound
from risloc.locating.covariances import covariances
from risloc.locating.found import Found
from risloc.locating.locate import locate
from risloc.locating.locate_arguments import LocateError
from risloc.locating.locator import Locator
from risloc.locating.truth_errors import truth_errors
from risloc.performance.crb import deterministic_bound
from risloc.scenes.batch import Observation
from risloc.scenes.rearrangement import rearranged

SCENES = 48
ONE_ANTENNA = {"snapshots": 256, "antennas": 1, "snr_db": 5.0}
SEVERAL = {"snapshots": 16, "antennas": 16, "snr_db": 5.0}


def within(found: Found, m: Measurements) -> float:
    """Return the share of sources within three root-CRB."""
    errors, least = truth_errors(found, m), bound(m).position
    assert errors is not None
    torch.testing.assert_close(
        errors.bound[~errors.bound.isnan()].sort().values, least[least > 0].sort().values, rtol=1e-6, atol=0
    )
    return float((errors.error < 3 * errors.bound).sum() / m.truth.count.sum())


@pytest.mark.parametrize("sources", ["bic", 1])
@pytest.mark.parametrize("static_db", [None, 20.0])
@pytest.mark.parametrize(
    "kind",
    [
        ONE_ANTENNA,
        SEVERAL,
        SEVERAL | {"gains": True},
        SEVERAL | {"gains": True, "varying": True},
        SEVERAL | {"sources": 2, "snr_db": 10.0},
    ],
)
def test_errors_are_those_of_the_bound(kind: dict, static_db: float | None, sources: "int | str") -> None:
    m = pilot_scenes(SCENES, static_db=static_db, **kind)
    found = locate(m, sources=sources if sources == "bic" else kind.get("sources", 1))
    assert within(found, m) >= 0.95
    assert found.verdict.count("fits") >= SCENES - 1
    assert found.resolved.sum() >= 0.9 * m.truth.count.sum()


def test_a_static_path_costs_next_to_nothing() -> None:
    with_path, without = (pilot_scenes(8, static_db=static, **ONE_ANTENNA) for static in (20.0, None))
    ratio = bound(with_path).position[:, 0] / bound(without).position[:, 0]
    assert (ratio > 1 - 1e-6).all()
    assert ratio.max() < 1.05


def test_the_bound_of_one_source_is_deterministic_with_one_snapshot() -> None:
    m = pilot_scenes(4, **SEVERAL)
    observation = Observation(y=m.y, codebook=m.codebook, H=m.H, noise_var=m.noise_var)
    block = rearranged(observation, m.pilots, unknown_gains=False, static_path=False)
    symbols = m.truth.power.sqrt()[..., None].to(torch.complex128)
    expected = deterministic_bound(m.setup.surface, block, m.truth.location, symbols).position
    torch.testing.assert_close(bound(m).position, expected, rtol=1e-6, atol=0, equal_nan=True)


def test_sigma_is_estimated_for_one_antenna() -> None:
    m = dataclasses.replace(pilot_scenes(SCENES, **ONE_ANTENNA))
    found = locate(dataclasses.replace(m, noise_var=None))
    assert (found.noise_var / m.noise_var).log().abs().median() < 0.15
    assert within(found, m) >= 0.95


def test_units_and_the_phase_of_the_pilots_change_powers_alone() -> None:
    m = pilot_scenes(4, static_db=10.0, gains=True, **SEVERAL)
    turn = torch.tensor(0.3 * np.exp(1j))
    other = dataclasses.replace(m, y=m.y * 1e-6, H=m.H * 1e3, noise_var=m.noise_var * 1e-12, pilots=m.pilots * turn)
    found, again = locate(m, sources=1), locate(other, sources=1)
    torch.testing.assert_close(again.position, found.position, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(again.power * (1e9 * 0.3) ** 2, found.power, rtol=1e-2, atol=0)


def test_with_unknown_gains_their_values_do_not_matter() -> None:
    m = pilot_scenes(4, gains=True, **SEVERAL | {"snr_db": 20.0})
    turns = torch.exp(1j * torch.rand(4, 1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 6)
    found, again = (locate(each, sources=1) for each in (m, dataclasses.replace(m, y=m.y * turns)))
    torch.testing.assert_close(again.position, found.position, rtol=1e-3, atol=1e-3)


def test_one_antenna_may_be_far_stronger_than_the_others() -> None:
    m = pilot_scenes(4, gains=True, snapshots=64, antennas=8, snr_db=80.0)
    level = m.y.abs().square().mean((1, 2), keepdim=True).sqrt()
    gains = torch.full((8,), 0.05)
    gains[3] = 5.0
    noise = 0.05 * torch.randn(m.y.shape, dtype=m.y.dtype, generator=torch.Generator().manual_seed(1))
    found = locate(dataclasses.replace(m, y=m.y / level * gains + noise, noise_var=0.05**2), sources=1)
    assert found.resolved[:, 0].all(), found.why


def test_constant_pilots_may_be_one_number() -> None:
    m = pilot_scenes(2, **ONE_ANTENNA)
    for pilots in (1, 1.0, np.ones(256), torch.ones(256), torch.ones(2, 256, dtype=torch.complex64)):
        same = dataclasses.replace(m, pilots=pilots)
        assert same.pilots.shape == (2, 256)
        assert same.reception == Reception(pilots=True)
    with pytest.raises(MeasurementError, match=r"pilots: expected the shape \(2, 256\)"):
        dataclasses.replace(m, pilots=np.ones(255))


def test_one_antenna_without_pilots_is_an_error_that_says_so() -> None:
    m = dataclasses.replace(pilot_scenes(1, **ONE_ANTENNA), pilots=None)
    with pytest.raises(LocateError, match=r"1 antenna and 256 snapshots cannot locate .* known pilots"):
        locate(m)


@pytest.mark.parametrize("changes", [{"unknown_gains": "antenna"}, {"static_path": True}])
def test_gains_and_a_static_path_need_pilots(changes: dict) -> None:
    m = dataclasses.replace(pilot_scenes(1, **SEVERAL), pilots=None)
    with pytest.raises(MeasurementError, match=r"expected known pilots, got none: .* unknown symbols"):
        dataclasses.replace(m, **changes)


def test_unknown_gains_of_what_does_not_exist_are_rejected() -> None:
    with pytest.raises(MeasurementError, match="unknown_gains: expected one of none, antenna, got 'code'"):
        dataclasses.replace(pilot_scenes(1, **SEVERAL), unknown_gains="code")


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ({"antennas": 1}, 2),
        ({"antennas": 1, "static_db": 0.0}, 3),
        ({"antennas": 16, "gains": True}, 2),
        ({"antennas": 16, "gains": True, "static_db": 0.0}, 3),
        ({"antennas": 16, "static_db": 0.0}, 2),
    ],
)
def test_too_few_codes_are_an_error_that_names_the_ambiguity(kind: dict, least: int) -> None:
    m = pilot_scenes(1, snapshots=least, snr_db=5.0, **kind)
    short = {"y": m.y[:, 1:], "codebook": m.codebook[:, 1:], "pilots": m.pilots[:, 1:]}
    with pytest.raises(MeasurementError, match=rf"expected at least {least} snapshots, .* explain|codes that vary"):
        dataclasses.replace(m, **short)


@pytest.mark.parametrize("kind", [ONE_ANTENNA, SEVERAL | {"gains": True}, SEVERAL | {"static_db": 0.0}])
def test_codes_that_do_not_vary_are_an_error(kind: dict) -> None:
    m = pilot_scenes(2, varying=True, **kind)
    codes = m.codebook.clone()
    codes[1] = codes[1, :1]
    with pytest.raises(LocateError, match="codebook: scene 1: expected codes that vary"):
        locate(dataclasses.replace(m, codebook=codes))
    with pytest.raises(MeasurementError, match="codebook: scene 1: expected codes that vary"):
        bound(dataclasses.replace(m, codebook=codes))


def test_unknown_gains_of_antennas_that_see_one_element_each_absorb_its_phase() -> None:
    m = pilot_scenes(1, gains=True, **SEVERAL)
    H = torch.zeros_like(m.H)
    H[0, torch.arange(16), 3 * torch.arange(16)] = 1
    with pytest.raises(LocateError, match=r"H: scene 0: .* absorbs the phase of the steering vector"):
        locate(dataclasses.replace(m, H=H))


def test_a_static_path_alone_is_no_signal() -> None:
    m = pilot_scenes(1, static_db=0.0, **SEVERAL)
    with pytest.raises(LocateError, match=r"y: scene 0: .* a static path alone"):
        locate(dataclasses.replace(m, y=torch.ones_like(m.y) * (2 + 1j)))


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_pilots_are_checked(value: float) -> None:
    with pytest.raises(LocateError, match="pilots: scene 0"):
        locate(dataclasses.replace(pilot_scenes(1, **SEVERAL), pilots=value))


@pytest.mark.parametrize("options", [{"model": "default"}, {"model": "music"}, {"fit": "stochastic"}])
def test_methods_of_free_symbols_reject_pilots(options: dict) -> None:
    with pytest.raises(LocateError, match="pilots: only NOMP with the conditional fit"):
        locate(pilot_scenes(1, **SEVERAL), **options)


def test_a_locator_is_made_for_one_reception() -> None:
    m = pilot_scenes(1, **SEVERAL)
    with pytest.raises(LocateError, match="made for unknown symbols, got known pilots"):
        Locator(m.setup, 16, 16).locate(m)
    found = Locator(m.setup, 16, 16, reception=m.reception).locate(m)
    torch.testing.assert_close(found.position, locate(m).position, equal_nan=True)


def test_the_covariance_is_that_of_the_rearranged_block() -> None:
    m = pilot_scenes(2, static_db=20.0, **SEVERAL)
    assert covariances(m).R_samp.factor.shape == (2, 144, 1)
