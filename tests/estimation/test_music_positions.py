"""Classical MUSIC as a way to locate: the positions are its peaks, the deviations say how far those are off."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from unhooked import unhooked

from risloc.cli.main import run
from risloc.estimation.estimates import fit_and_assess
from risloc.estimation.localiser import Localiser
from risloc.estimation.music_positions import displaced, music_places
from risloc.io.measurements import Measurements, measurements_of
from risloc.locating.covariances import covariances
from risloc.locating.locate import locate
from risloc.locating.locate_arguments import LocateError
from risloc.locating.locator import Locator
from risloc.locating.networks import load_model
from risloc.locating.truth_errors import truth_errors
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate


@pytest.fixture(scope="module")
def measured(scenario: Scenario) -> Measurements:
    return measurements_of(scenario, simulate(scenario, seed=9, split="test", start=0, stop=24, snr_db=10.0, count=2))


def test_the_positions_are_the_peaks_of_music(measured: Measurements) -> None:
    found = locate(measured, "music", 2)
    peaks = Localiser(measured.setup.surface, most=2).music(covariances(measured).R_samp, torch.full((24,), 2))
    assert torch.equal(found.present.sum(1), peaks.present.sum(1))
    there = peaks.present & found.present
    expected = position_of(location_of(peaks.polar.double()))[there]
    torch.testing.assert_close(found.position[there], expected, rtol=0, atol=1e-4)
    assert found.method == "music"


def test_its_deviations_cover_its_errors(measured: Measurements) -> None:
    """Far larger than the bound, which says nothing of MUSIC. Of 45 Gaussian errors fewer than 38 are within two deviations
    with a probability of 0.003 (0.05 are beyond along a line); a place off by the bound alone would have most beyond."""
    found = locate(measured, "music", 2)
    errors = truth_errors(found, measured)
    hit = errors.error.isfinite() & found.present
    std = found.position_std.square().sum(-1).sqrt()
    within = (errors.error < 2 * std)[hit & found.resolved]
    assert len(within) > 15
    assert within.double().mean() > 0.85
    assert (errors.error / errors.bound)[hit].median() > 2
    assert (errors.error < 2 * errors.bound)[hit & found.resolved].double().mean() < 0.6


def test_k_is_that_of_the_fit_from_its_peaks(measured: Measurements) -> None:
    for rule in ("bic", "bic_noise"):
        count = locate(measured, "music", rule).present.sum(1)
        assert (count == 2).double().mean() > 0.8
    assert locate(dataclasses.replace(measured, noise_var=None), "music").estimated.all()


def test_places_where_the_fit_ends_have_the_fit_s_deviations(measured: Measurements) -> None:
    locator = Locator(measured.setup, 16, 16, None, 2, method="music")
    observation = locator.observed(measured)
    sensing = locator.localiser.sensing(observation)
    polar, present = music_places(locator.localiser, sensing, observation, torch.full((24,), 2))
    fitted = fit_and_assess(sensing, polar, present, iterations=20)
    same = displaced(fitted, fitted.polar, sensing.domain)
    torch.testing.assert_close(same.covariance, fitted.covariance, equal_nan=True)
    torch.testing.assert_close(same.position_std, fitted.position_std, rtol=1e-4, atol=0, equal_nan=True)
    assert torch.equal(same.reason, fitted.reason)
    away = displaced(fitted, polar, sensing.domain)
    moved = (position_of(location_of(polar.double())) - position_of(location_of(fitted.polar.double()))).norm(dim=-1)
    small = present & (moved < 0.2)  # where the position is close to linear in its coordinates
    expected = (fitted.position_std.double().square() + moved.square()).sqrt()
    torch.testing.assert_close(away.position_std.double()[small], expected[small], rtol=0.15, atol=0)


def test_methods_and_networks_that_do_not_go_together_are_refused(measured: Measurements) -> None:
    network = load_model("default")
    for given, method, said in (
        (network, "music", "method: 'music' accepts no network"),
        (None, "hybrid", "method: 'hybrid' needs a network"),
        (None, "esprit", "method: expected one of hybrid, nomp, music, or None, got 'esprit'"),
        (None, 3, "method: expected one of hybrid, nomp, music, or None, got 3"),
    ):
        with pytest.raises(LocateError, match=said):
            unhooked(Locator, measured.setup, 16, 16, given, method=method)


def test_the_command_locates_by_music(room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [str(tmp_path / name) for name in ("a.csv", "a.json")]
    assert run(["locate", str(room), "--method", "music", "--sources", "2", "--csv", out[0], "--json", out[1]]) == 0
    assert "; MUSIC, K = 2, noise given" in capsys.readouterr().out
    record = json.loads(Path(out[1]).read_text(encoding="utf-8"))
    rows = list(csv.DictReader(Path(out[0]).read_text(encoding="utf-8").splitlines()))
    assert record["method"] == "music"
    assert 4 <= len(rows) <= 6
    assert run(["locate", str(room), "--method", "music", "--checkpoint", "robust"]) == 2
    assert "--checkpoint: MUSIC uses no network; use --method hybrid" in capsys.readouterr().err
    assert run(["locate", str(room), "--method", "music", "--k-rule", "learnt"]) == 2
