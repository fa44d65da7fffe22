"""From measurements to positions: the same whatever the units, the truth within its deviations, sigma^2 estimated."""

import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from unhooked import unhooked

import risloc
from risloc.config import as_mapping
from risloc.estimation.search_config import default_search
from risloc.estimation.whiteness import Whiteness
from risloc.io.measurement_checks import NOISE_SPAN, root_mean_square
from risloc.io.measurements import Measurements, measurements_of
from risloc.locating.found import Found, FoundEchoes
from risloc.locating.locate import locate
from risloc.locating.locate_arguments import LocateError
from risloc.locating.locator import Locator
from risloc.locating.networks import load_model
from risloc.physics.geometry import position_of
from risloc.physics.steering import steering_matrix
from risloc.scenes.batch import Observation, Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.yaml_reader import read_yaml

CLEAN = {"snr_db": 20.0, "count": 2}


@pytest.fixture(scope="module")
def scenes(scenario: Scenario) -> Scenes:
    return simulate(scenario, seed=9, split="test", start=0, stop=24, **CLEAN)


@pytest.fixture(scope="module")
def measured(scenario: Scenario, scenes: Scenes) -> Measurements:
    return measurements_of(scenario, scenes)


@pytest.fixture(scope="module")
def found(measured: Measurements) -> Found:
    return locate(measured)


def _errors(found: Found, measured: Measurements) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each true source the error [source, 3] of the nearest one found, and that one's standard deviations."""
    truth = position_of(measured.truth.location.double())
    errors, stds = [], []
    for i in range(len(found)):
        for k in range(int(measured.truth.count[i])):
            difference = found.position[i, found.present[i]] - truth[i, k]
            nearest = difference.norm(dim=1).argmin()
            errors.append(difference[nearest])
            stds.append(found.position_std[i, found.present[i]][nearest])
    return torch.stack(errors), torch.stack(stds)


def test_the_truth_lies_within_the_deviations(found: Found, measured: Measurements) -> None:
    assert torch.equal(found.present.sum(1), measured.truth.count)
    error, std = _errors(found, measured)
    score = (error / std).abs()
    assert (score < 4).all(1).float().mean() > 0.95
    assert 0.6 < score.square().mean().sqrt() < 1.5


def test_deviations_of_place_and_of_direction_are_one_covariance(found: Found) -> None:
    """Along the line of sight a source's deviation is its distance's, across it r times its angles', whatever the axes."""
    there = found.present
    total = found.position_std[there].square().sum(-1)
    r, el = found.location[there][:, 2], found.location[there][:, 1]
    az_std, el_std, r_std = found.location_std[there].unbind(-1)
    expected = r_std.square() + (r * el_std).square() + (r * el.cos() * az_std).square()
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("unit_y", "unit_H"), [(1e-9, 1.0), (1.0, 1e-4), (3e6, 1e-12)])
def test_units_change_powers_alone(measured: Measurements, found: Found, unit_y: float, unit_H: float) -> None:
    other = locate(
        dataclasses.replace(
            measured,
            y=measured.y.to(torch.complex128) * unit_y,
            H=measured.H.to(torch.complex128) * unit_H,
            noise_var=measured.noise_var.double() * unit_y**2,
        )
    )
    assert torch.equal(other.present, found.present)
    torch.testing.assert_close(other.position[found.present], found.position[found.present], rtol=0, atol=2e-3)
    scale = (unit_y / unit_H) ** 2
    torch.testing.assert_close(other.power[found.present] / scale, found.power[found.present], rtol=2e-3, atol=0)


@pytest.mark.parametrize("factor", [1e-300, 1e-45, 1e-17, 1e10, 1e40, float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("model", ["default", None])
def test_a_noise_level_of_another_unit_is_said(measured: Measurements, model: str | None, factor: float) -> None:
    noise = measured.noise_var[:3].double()
    noise[1] *= factor
    span = r"1e-14\.\.10000 times the scene's mean \|y\|\^2, got [\d.e+-]+ times; correct its unit"
    said = (
        span
        if 0 < factor < torch.inf
        else "positive numbers, got zero, a negative number, NaN or infinity .*; remove noise_var, which is then estimated"
    )
    with pytest.raises(LocateError, match=f"noise_var: scene 1: expected {said}"):
        locate(dataclasses.replace(_first(measured, 3), noise_var=noise), model=model)


@pytest.mark.parametrize("end", NOISE_SPAN)
@pytest.mark.parametrize("model", ["default", "robust", None])
def test_every_noise_level_that_is_taken_ends_in_numbers(measured: Measurements, model: str | None, end: float) -> None:
    """At both ends: all sources that may be there at the lower, none at the upper one."""
    noise = root_mean_square(measured.y)[:2].square() * end * (1 + 1e-9 if end < 1 else 1 - 1e-9)
    found = locate(dataclasses.replace(_first(measured, 2), noise_var=noise), model=model, noise="given")
    assert bool(
        (found.present.any(1) if model is None else found.present).all() if end < 1 else not found.present.any()
    )
    assert found.position[found.present].isfinite().all()


def test_what_cannot_be_factorised_is_said_in_one_line(measured: Measurements, monkeypatch: pytest.MonkeyPatch) -> None:
    locator = Locator(measured.setup, 16, 16, echoes="never")

    def singular(*_: object) -> None:
        torch.linalg.cholesky(torch.zeros(2, 2))

    monkeypatch.setattr(locator, "_search", singular)
    with pytest.raises(LocateError, match="expected scenes whose matrices can be factorised in single precision"):
        locator.locate(measured)


@pytest.mark.parametrize("sources", ["bic", 2])
def test_noise_that_is_not_given_is_estimated(scenes: Scenes, measured: Measurements, sources: int | str) -> None:
    found = locate(dataclasses.replace(measured, noise_var=None), sources=sources)
    assert found.estimated.all()
    ratio = found.noise_var / scenes.observation.noise_var
    assert 0.85 < ratio.median() < 1.1
    assert ((ratio > 0.7) & (ratio < 1.4)).all()
    assert torch.equal(found.present.sum(1), measured.truth.count)


@pytest.mark.parametrize("rule", ["bic_noise", "learnt", 2])
def test_every_rule_finds_two_clear_sources(measured: Measurements, rule: int | str) -> None:
    part = _first(measured, 8)
    assert torch.equal(locate(part, sources=rule).present.sum(1), part.truth.count)


def test_nomp_serves_any_spacing(scenario: Scenario, scenes: Scenes) -> None:
    """Elements a third of a wavelength apart, the field written out from the sources' places."""
    setup = dataclasses.replace(
        measurements_of(scenario, scenes).setup, spacing_m=scenario.surface.array.wavelength / 3
    )
    o, truth = scenes.observation, scenes.truth
    polar = torch.stack(
        [truth.location[..., 0].sin() * truth.location[..., 1].cos(), truth.location[..., 1].sin(),
         1 / truth.location[..., 2].clamp_min(0.1)], dim=-1,
    )  # fmt: skip
    A = steering_matrix(setup.surface.array, polar) * truth.present[:, None]
    x = torch.einsum("bnk,bkl->bln", A, truth.symbols) * o.codebook
    clean = torch.einsum("bmn,bln->blm", o.H, x)
    y = clean + 0.05 * clean.abs().square().mean().sqrt() * torch.randn(
        clean.shape, dtype=clean.dtype, generator=torch.Generator().manual_seed(1)
    )
    noise = torch.full((len(y),), float(0.0025 * clean.abs().square().mean()))
    measured = dataclasses.replace(
        measurements_of(scenario, Scenes(Observation(y=y, codebook=o.codebook, H=o.H, noise_var=noise), truth)),
        setup=setup,
    )
    error, std = _errors(locate(measured, None, 2), measured)
    assert ((error / std).abs() < 4).all(1).float().mean() > 0.9
    with pytest.raises(
        LocateError, match=r"network was made for spacing_m = 0.149896, but the measurements have 0.0999308; use NOMP"
    ):
        locate(measured, "default")


def test_what_does_not_go_together_is_refused(measured: Measurements) -> None:
    setup, network = measured.setup, load_model("default")

    def refused(match: str, change: dict[str, object] | None = None, **how: object) -> None:
        arguments = {"snapshots": 16, "antennas": 16, "network": network} | how
        with pytest.raises(LocateError, match=match):
            Locator(dataclasses.replace(setup, **change or {}), **arguments)

    refused("was made for 12 x 12 elements", {"n_h": 10})
    refused(
        "network was trained for distance_span_m = .1, 6., but the search region is .1, 9.",
        {"distance_span_m": (1.0, 9.0)},
    )
    refused("searches for at most 5 sources; requested 6: use NOMP", sources=6)
    refused("expected an integer of at least 0, or one of bic, bic_noise, learnt, got 'guess'", sources="guess")
    refused("the rule 'learnt' is part of a network", network=None, sources="learnt")
    refused(
        "at most 3 sources can be separated with 4 antennas and 16 snapshots; requested up to 5: search for at most 3 \\(--most 3; most=3\\)$",
        network=None,
        antennas=4,
    )
    refused(
        "at most 3 sources can be separated with .*; requested 4: search for at most 3 .--sources 3; sources=3.$",
        network=None,
        antennas=4,
        sources=4,
    )
    refused(
        "at most 3 sources .*; requested up to 5: use NOMP .--method nomp; model=None. and search for at most 3 ",
        antennas=4,
    )
    refused("at most 3 sources .*; requested up to 5: use NOMP .--method nomp; model=None.$", antennas=4, sources=2)
    one = "1 antenna and 16 snapshots cannot locate even one source: expected M >= 2, or known pilots"
    refused(one, network=None, antennas=1, most=1)
    refused(one, antennas=1)
    refused(
        "2 antennas and 1 snapshot cannot locate even one source: expected M >= 3$",
        network=None,
        antennas=2,
        snapshots=1,
    )
    few = Locator(setup, 8, 8, None)
    part = dataclasses.replace(_cut(measured, 1, 8, 8), noise_var=None)
    with pytest.raises(LocateError, match="too few to estimate it with up to 5 sources"):
        few.locate(part)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("scenes", "Scenes: convert simulated scenes with measurements_of(scenario, scenes)"),
        ("scenes.observation", "Observation: convert simulated scenes "),
        (
            "'room.h5'",
            "str: read a file with MeasurementReader: with MeasurementReader(path) as file: locate(file.read(slice(0, ",
        ),
        ("None", "NoneType: convert simulated scenes with measurements_of"),
    ],
)
def test_what_is_no_measurements_is_told_what_makes_them(given: str, said: str) -> None:
    """In a process of its own, as beartype would say less here."""
    code = (
        "from risloc import locate, scenario, simulate\n"
        "scenes = simulate(scenario(), seed=1, split='test', start=0, stop=1)\n"
        f"try:\n    locate({given})\nexcept TypeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"measurements: expected Measurements, got {said}")


@pytest.mark.parametrize(("antennas", "snapshots", "sources"), [(4, 8, 1), (4, 16, 3), (2, 2, 1)])
def test_a_k_that_is_known_is_all_that_nomp_looks_for(
    measured: Measurements, antennas: int, snapshots: int, sources: int
) -> None:
    part = _cut(measured, 2, antennas, snapshots)
    found = locate(part, None, sources)
    assert found.present.shape == (2, sources)
    assert found.present.all()


def test_the_most_that_is_looked_for_can_be_said_to_locate(measured: Measurements) -> None:
    found = locate(_cut(measured, 2, 4, 16), None, most=3)
    assert found.present.shape == (2, 3)


def test_the_package_s_search_is_that_of_the_repository(repository: object) -> None:
    assert as_mapping(default_search()) == read_yaml(repository / "params.yaml")["search"]


def test_the_public_names_are_there_and_cost_nothing_until_named() -> None:
    code = "import sys, risloc; print('torch' in sys.modules, risloc.Scenario.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Scenario"]
    began = time.monotonic()
    assert all(getattr(risloc, name) is not None for name in risloc.__all__)
    assert time.monotonic() - began < 30


def test_covariances_at_a_prompt(scenes: Scenes) -> None:
    world = risloc.scenario("default", snapshots=16)
    assert world.snapshots == 16
    R = risloc.covariances(scenes.observation[:2], load_model("default"))
    for each in (R.R_samp, R.R_pred, R.R_blend):
        torch.testing.assert_close(each.trace, torch.full((2,), 144.0), rtol=1e-3, atol=0)
    assert risloc.covariances(scenes.observation[:2]).R_pred is None


def test_a_locator_searches_on_the_surface_of_its_setup(measured: Measurements) -> None:
    surface = Locator(dataclasses.replace(measured.setup, spacing_m=0.1), 16, 16).localiser.surface
    x = surface.array.elements
    assert float(x[1, 0] - x[0, 0]) == pytest.approx(0.1)
    assert surface.domain == measured.setup.surface.domain


@pytest.mark.parametrize(
    ("snapshots", "most", "said"),
    [
        (16, 65, "sources: expected at most 64, got 65"),
        (20_000, 5, "antennas, snapshots, sources: expected at most 8388608 entries .* got 144 x 100000"),
    ],
)
def test_a_scene_larger_than_any_scenario_is_refused(
    measured: Measurements, snapshots: int, most: int, said: str
) -> None:
    with pytest.raises(LocateError, match=said):
        Locator(measured.setup, snapshots, 144, most=most)


def _cut(measured: Measurements, count: int, antennas: int, snapshots: int) -> Measurements:
    part = _first(measured, count)
    y, codebook, H = part.y[:, :snapshots, :antennas], part.codebook[:, :snapshots], part.H[:, :antennas]
    return dataclasses.replace(part, y=y, codebook=codebook, H=H)


def _first(measured: Measurements, count: int) -> Measurements:
    truth = dataclasses.replace(
        measured.truth, location=measured.truth.location[:count], power=measured.truth.power[:count],
        count=measured.truth.count[:count],
    )  # fmt: skip
    return dataclasses.replace(
        measured, y=measured.y[:count], codebook=measured.codebook[:count], H=measured.H[:count],
        noise_var=measured.noise_var[:count], truth=truth,
    )  # fmt: skip


@pytest.mark.parametrize("model", ["default", None])
def test_a_number_of_sources_may_be_an_integer_of_any_kind(measured: Measurements, model: str | None) -> None:
    one = _first(measured, 1)
    for two in (2, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2), torch.tensor(2, dtype=torch.uint8)):
        assert int(unhooked(locate, one, model, two).present.sum()) == 2
        most = unhooked(Locator, one.setup, 16, 16, None, "bic", two).slots
        assert (most, type(most)) == (2, int)
    assert unhooked(Locator, one.setup, np.int64(16), torch.tensor(16)).snapshots == 16


@pytest.mark.parametrize(
    "given",
    ["2.0", "'2'", "'guess'", "[2]", "(2,)", "None", "True", "np.float32(2)", "np.array([2])", "torch.tensor([2])",
     "torch.tensor(2.)", "torch.tensor(True)", "np.True_", "-1", "np.int64(-1)", "1j"],
)  # fmt: skip
def test_what_is_no_number_of_sources_is_refused(measured: Measurements, given: str) -> None:
    value = eval(given, {"np": np, "torch": torch})
    said = r"sources: expected an integer of at least 0, or one of bic, bic_noise, learnt, got "
    with pytest.raises(LocateError, match=said):
        unhooked(Locator, measured.setup, 16, 16, None, value)
    if value is not None:
        with pytest.raises(LocateError, match="most: expected an integer of at least 1, got "):
            unhooked(Locator, measured.setup, 16, 16, None, "bic", value)
    with pytest.raises(LocateError, match="snapshots: expected an integer of at least 1, got "):
        unhooked(Locator, measured.setup, value, 16)


def test_arrays_of_numpy_and_of_double_precision_are_located_as_tensors_are(measured: Measurements) -> None:
    part = _first(measured, 2)
    shared = dataclasses.replace(part, H=part.H[:1].expand(2, -1, -1), codebook=part.codebook[:1].expand(2, -1, -1))
    own = dataclasses.replace(
        part, y=part.y.numpy().astype("c16"), codebook=part.codebook[0].numpy().astype("c16"),
        H=part.H[0].numpy().astype(">c16"), noise_var=part.noise_var.numpy(),
    )  # fmt: skip
    _same(locate(own), locate(shared))


WRONG_VALUES = {
    "y NaN": (lambda m: {"y": _put(m.y, torch.nan)}, "y: scene 1: expected finite numbers, got NaN or infinity .1 of the 3 scenes from 0 to 2.; leave"),
    "H infinite": (lambda m: {"H": _put(m.H, torch.inf)}, "H: scene 1: expected finite numbers"),
    "y of zeros": (lambda m: {"y": 0 * m.y}, "y: scene 0: expected a nonzero signal, got zeros .3 of the 3 scenes from 0 to 2."),
    "lossy codes": (lambda m: {"codebook": _put(m.codebook, 0.5)}, "codebook: scene 1: expected phasors of modulus 1"),
    "codes NaN": (lambda m: {"codebook": _put(m.codebook, torch.nan)}, "codebook: scene 1: expected finite numbers"),
    "snapshots": (lambda m: {"y": m.y[:, :8], "codebook": m.codebook[:, :8]}, "y: this locator was made for 16 snapshots, got 8"),
    "setup": (lambda m: {"setup": dataclasses.replace(m.setup, carrier_hz=0.9e9)}, "setup: this locator was made for carrier_hz"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_VALUES)
def test_values_that_a_file_may_not_have_are_refused_here_too(measured: Measurements, what: str) -> None:
    part = _first(measured, 3)
    change, said = WRONG_VALUES[what]
    with pytest.raises(LocateError, match=f"^{said}"):
        Locator(part.setup, 16, 16).locate(dataclasses.replace(part, **change(part)))


def test_what_is_no_network_and_no_setup_is_told_what_makes_one(measured: Measurements) -> None:
    for given, said in (
        ({"setup": risloc.scenario()}, "setup: expected a Setup, got Scenario"),
        ({"network": "default"}, r"network: expected a HybridNetwork or None, got str: load_model\(name\) returns one"),
    ):
        with pytest.raises(TypeError, match=said):
            unhooked(Locator, **{"setup": measured.setup, "snapshots": 16, "antennas": 16} | given)
    with pytest.raises(LocateError, match=r"network: expected single precision on the CPU, .* got torch.float64"):
        Locator(measured.setup, 16, 16, load_model("default").double())


@contextlib.contextmanager
def _double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "double by default": _double_by_default,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
    "gradients": torch.enable_grad,
    "none": torch.no_grad,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", ["default", None])
def test_torch_s_modes_around_the_call_change_nothing(measured: Measurements, model: str | None, mode: str) -> None:
    part = _first(measured, 2)
    for given in (part, dataclasses.replace(part, noise_var=None)):
        expected = locate(given, model)
        with MODES[mode]():
            found = locate(given, model)
        _same(found, expected)
        assert not found.position.requires_grad


def _same(found: Found, expected: Found) -> None:
    for field in dataclasses.fields(Found):
        got, want = (getattr(each, field.name) for each in (found, expected))
        parts = [(got, want)]
        if isinstance(want, Whiteness | FoundEchoes):
            parts = [tuple(getattr(each, own.name) for each in (got, want)) for own in dataclasses.fields(want)]
        for one, other in parts:
            if isinstance(other, torch.Tensor):
                assert one.dtype == other.dtype, field.name
                torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
            else:
                assert one == other, field.name


def _put(x: torch.Tensor, value: float) -> torch.Tensor:
    """One number of scene 1 is another."""
    spoilt = x.clone()
    spoilt[1, 0, 0] = value
    return spoilt
