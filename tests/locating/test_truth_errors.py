"""Errors against a file's truth: what is assigned, what is missed, what is false, and the bound beside them."""

import dataclasses

import pytest
import torch

from risloc.io.measurements import Measurements, measurements_of
from risloc.locating.bound import bound
from risloc.locating.found import Found
from risloc.locating.locate import locate
from risloc.locating.truth_errors import MATCHED_WITHIN, truth_errors
from risloc.physics.geometry import position_of
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate


@pytest.fixture(scope="module")
def measured(scenario: Scenario) -> Measurements:
    scenes = simulate(scenario, seed=6, split="test", start=0, stop=5, snr_db=20.0, count=[1, 2, 3, 2, 0])
    return measurements_of(scenario, scenes)


@pytest.fixture(scope="module")
def found(measured: Measurements) -> Found:
    return locate(measured)


def _moved(found: Found, location: torch.Tensor, present: torch.Tensor) -> Found:
    """Sources that were found elsewhere."""
    there = present[..., None]
    return dataclasses.replace(
        found, location=torch.where(there, location.double(), torch.nan),
        position=torch.where(there, position_of(location.double()), torch.nan), present=present,
    )  # fmt: skip


def test_each_error_is_the_distance_to_the_source_assigned_and_its_bound(found: Found, measured: Measurements) -> None:
    errors = truth_errors(found, measured)
    truth, least = position_of(measured.truth.location.double()), bound(measured).position
    for scene, slot in torch.nonzero(found.present).tolist():
        away = (truth[scene, : int(measured.truth.count[scene])] - found.position[scene, slot]).norm(dim=-1)
        assert float(errors.error[scene, slot]) == pytest.approx(float(away.min()), rel=1e-6)
        assert float(errors.bound[scene, slot]) == pytest.approx(float(least[scene, away.argmin()]))
    assert errors.missed.tolist() == [0] * 5
    assert errors.error[~found.present].isnan().all()


def test_the_order_of_what_was_found_is_nothing_to_its_errors(found: Found, measured: Measurements) -> None:
    truth = measured.truth
    present = torch.arange(5) < truth.count[:, None]
    filled = torch.where(present[..., None], truth.location, torch.tensor([0.0, 0.0, 1.0]))
    errors = truth_errors(_moved(found, filled.flip(1), present.flip(1)), measured)
    assert errors.error[present.flip(1)].abs().max() < 1e-6
    torch.testing.assert_close(errors.bound.flip(1), bound(measured).position, equal_nan=True, check_dtype=False)


def test_what_is_far_is_missed_and_false(found: Found, measured: Measurements) -> None:
    truth, present = measured.truth, torch.zeros(5, 5, dtype=torch.bool)
    present[:2, 0] = True
    location = truth.location.clone()
    location[0, 0, 2] += 1.1 * MATCHED_WITHIN
    location[1, 0, 2] += 0.5 * MATCHED_WITHIN
    errors = truth_errors(_moved(found, location, present), measured)
    assert errors.missed.tolist() == [1, 1, 3, 2, 0]
    assert errors.error[0].isnan().all()
    assert float(errors.error[1, 0]) == pytest.approx(0.5 * MATCHED_WITHIN, rel=1e-5)


def test_without_powers_there_is_no_bound_and_without_noise_it_is_of_what_was_found(
    found: Found, measured: Measurements
) -> None:
    dark = dataclasses.replace(measured, truth=dataclasses.replace(measured.truth, power=0 * measured.truth.power))
    errors, full = truth_errors(found, dark), truth_errors(found, measured)
    assert errors.bound.isnan().all()
    assert torch.equal(errors.error.isnan(), full.error.isnan())
    blind = truth_errors(found, dataclasses.replace(measured, noise_var=None))
    torch.testing.assert_close(blind.bound, full.bound, rtol=1e-4, atol=0, equal_nan=True)
    assert truth_errors(found, dataclasses.replace(measured, truth=None)) is None
