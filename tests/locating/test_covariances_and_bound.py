"""What one writes at a prompt works from what a measurement file holds: covariances, the bound, a localiser."""

import dataclasses
import os
from pathlib import Path, PurePosixPath

import pytest
import torch
from unhooked import unhooked

import risloc
from risloc.estimation.localiser import Localiser
from risloc.estimation.search_config import default_search
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import Measurements, measurements_of
from risloc.io.scene_arrays import arrays_of
from risloc.io.shard_header import check_shard, shard_header
from risloc.io.shard_reader import ShardReader
from risloc.io.shard_writer import write_shard
from risloc.learning.checkpoint import load_checkpoint, save_checkpoint
from risloc.locating.bound import bound
from risloc.locating.covariances import covariances
from risloc.locating.locate import locate
from risloc.locating.locate_arguments import LocateError
from risloc.locating.networks import load_model
from risloc.performance.crb import stochastic_bound
from risloc.physics.geometry import location_of, position_of
from risloc.plotting import static
from risloc.plotting.figure_files import save_figure
from risloc.scenes.batch import Scenes
from risloc.scenes.named_scenario import scenario as named_scenario
from risloc.scenes.room import read_room
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.yaml_reader import read_yaml


@pytest.fixture(scope="module")
def scenes(scenario: Scenario) -> Scenes:
    return simulate(scenario, seed=5, split="test", start=0, stop=6, snr_db=15.0, count=[1, 2, 3, 0, 2, 5])


@pytest.fixture(scope="module")
def measured(scenario: Scenario, scenes: Scenes) -> Measurements:
    return measurements_of(scenario, scenes)


def test_the_bound_of_measurements_is_that_of_their_scenes(
    scenario: Scenario, scenes: Scenes, measured: Measurements
) -> None:
    o, truth = scenes.observation, scenes.truth
    expected = stochastic_bound(scenario.surface, o, truth.location, truth.power)
    got = bound(measured)
    for name in ("covariance", "position", "distance", "angle"):
        torch.testing.assert_close(getattr(got, name), getattr(expected, name), rtol=1e-6, atol=0, equal_nan=True)
    assert torch.equal(got.position.isfinite(), truth.present)


def test_the_bound_of_measurements_takes_the_echoes_of_the_truth(tmp_path: Path) -> None:
    """Also from a file; without them it is lower in this scene, and it says what is wrong with them."""
    hall = named_scenario("hall")
    scenes = simulate(hall, seed=5, split="test", start=0, stop=3, snr_db=20.0, count=[1, 0, 3])
    o, truth = scenes.observation, scenes.truth
    measured = measurements_of(hall, scenes)
    write_measurements(tmp_path / "hall.h5", 3, measured)
    with MeasurementReader(tmp_path / "hall.h5") as reader:
        stored = reader.read(slice(0, 3))
    expected = stochastic_bound(hall.surface, o, truth.location, truth.power, truth.echoes)
    for got in (bound(measured), bound(stored)):
        torch.testing.assert_close(got.position, expected.position, rtol=1e-5, atol=0, equal_nan=True)
        torch.testing.assert_close(got.echoes.gain, expected.echoes.gain, rtol=1e-5, atol=1e-9, equal_nan=True)
    blind = dataclasses.replace(measured, truth=dataclasses.replace(measured.truth, echoes=None))
    assert bound(blind).echoes is None
    assert (bound(blind).position < bound(measured).position)[truth.present].any()
    broken = dataclasses.replace(truth.echoes, gain=truth.echoes.gain * float("nan"))
    with pytest.raises(MeasurementError, match=r"^truth\.echoes\.gain: scene 0: expected finite numbers"):
        bound(dataclasses.replace(measured, truth=dataclasses.replace(measured.truth, echoes=broken)))


@pytest.mark.parametrize(("unit_y", "unit_H"), [(1e-9, 1.0), (1e-3, 1e-12), (1e30, 1e-30)])
def test_the_bound_asks_for_no_units(measured: Measurements, unit_y: float, unit_H: float) -> None:
    power = measured.truth.power.double() * (unit_y / unit_H) ** 2
    other = dataclasses.replace(
        measured, y=measured.y.to(torch.complex128) * unit_y, H=measured.H.to(torch.complex128) * unit_H,
        noise_var=measured.noise_var.double() * unit_y**2, truth=dataclasses.replace(measured.truth, power=power),
    )  # fmt: skip
    torch.testing.assert_close(bound(other).position, bound(measured).position, rtol=1e-6, atol=0, equal_nan=True)


def test_a_span_of_no_width_is_no_parameter_of_the_bound(measured: Measurements) -> None:
    flat = dataclasses.replace(measured, setup=dataclasses.replace(measured.setup, elevation_span_deg=(0.0, 0.0)))
    assert (bound(flat).covariance[measured.truth.power > 0][:, 1] == 0).all()
    assert (bound(flat).position < bound(measured).position)[measured.truth.power > 0].all()


def test_what_the_bound_misses_is_named(measured: Measurements) -> None:
    truth = measured.truth
    for change, said in (
        ({"truth": None}, "truth: the bound needs the true locations and powers, got none"),
        ({"noise_var": None}, "noise_var: the bound needs sigma.2, got none"),
        ({"noise_var": -1.0}, "noise_var: scene 0: expected positive numbers"),
        ({"truth": dataclasses.replace(truth, power=0 * truth.power)}, "truth.power: scene 0: expected powers above 0, got 0"),
        ({"truth": dataclasses.replace(truth, count=truth.count + 9)}, r"truth.count: scene 0: expected 0\.\.5"),
    ):  # fmt: skip
        with pytest.raises(MeasurementError, match=f"^{said}"):
            bound(dataclasses.replace(measured, **change))
    with pytest.raises(TypeError, match="measurements: expected Measurements, got str: read a file with"):
        unhooked(bound, "room.h5")


@pytest.mark.parametrize("network", [None, "default"])
@pytest.mark.parametrize(("unit_y", "unit_H"), [(1.0, 1.0), (1e-9, 1e-4)])
def test_covariances_of_measurements_are_those_of_their_scenes(
    scenes: Scenes, measured: Measurements, network: str | None, unit_y: float, unit_H: float
) -> None:
    other = dataclasses.replace(
        measured, y=measured.y.to(torch.complex128) * unit_y, H=measured.H.to(torch.complex128) * unit_H,
        noise_var=measured.noise_var.double() * unit_y**2,
    )  # fmt: skip
    got, expected = covariances(other, network), covariances(scenes.observation, network)
    for field in dataclasses.fields(got):
        R, S = getattr(got, field.name), getattr(expected, field.name)
        assert (R is None) == (S is None) == (network is None and field.name != "R_samp")
        if R is not None:
            distance = (R.squared_distance(S) / R.inner(R)).sqrt()
            assert distance.max() < 1e-2  # the network's own precision is half


def test_covariances_estimate_a_noise_level_that_is_not_given(measured: Measurements) -> None:
    blind = covariances(dataclasses.replace(measured, noise_var=None)).R_samp
    R = covariances(measured).R_samp
    assert (R.squared_distance(blind) / R.inner(R)).sqrt().median() < 0.05


def test_covariances_refuse_what_is_neither(measured: Measurements) -> None:
    with pytest.raises(
        TypeError, match="expected an Observation or Measurements, got Scenes: convert simulated scenes"
    ):
        unhooked(covariances, simulate(risloc.scenario(), seed=1, split="test", start=0, stop=1))
    with pytest.raises(LocateError, match="network was made for 12 x 12 elements"):
        covariances(
            Measurements(
                setup=dataclasses.replace(measured.setup, n_h=6), y=measured.y, codebook=measured.codebook[..., :72],
                H=measured.H[..., :72], noise_var=None, truth=None,
            ),
            "default",
        )  # fmt: skip


def test_a_localiser_of_a_setup_finds_what_that_of_its_scenario_finds(
    scenario: Scenario, scenes: Scenes, measured: Measurements
) -> None:
    ours, theirs = Localiser(measured.setup.surface), Localiser(scenario, default_search())
    assert ours.slots == theirs.slots == 5
    assert ours.domain == theirs.domain
    R, count = covariances(measured).R_samp, scenes.truth.count
    a, b = ours.music(R, count), theirs.music(covariances(scenes.observation).R_samp, count)
    assert torch.equal(a.present, b.present)
    torch.testing.assert_close(
        position_of(location_of(a.polar[a.present])), position_of(location_of(b.polar[b.present])), rtol=0, atol=1e-3
    )
    with pytest.raises(ValueError, match=r"snapshots: mvdr needs the number of snapshots; pass it: Localiser\(surface"):
        ours.mvdr(R, count)
    c, d = Localiser(measured.setup.surface, snapshots=16).mvdr(R, count), theirs.mvdr(R, count)
    assert torch.equal(c.polar, d.polar)
    with pytest.raises(ValueError, match="made for a surface, which has none"):
        _ = ours.scenario


def test_a_localiser_takes_setups_without_spans_and_any_number_of_sources(measured: Measurements) -> None:
    bare = dataclasses.replace(measured.setup, azimuth_span_deg=None, elevation_span_deg=None, distance_span_m=None)
    assert Localiser(bare.surface).domain == risloc.scenario().surface.domain
    many = Localiser(bare.surface, most=12)
    assert (many.slots, many.search.peaks) == (12, 12 + default_search().score_peaks + 1)
    with pytest.raises(ValueError, match="most: expected an integer of at least 1, got 0"):
        Localiser(bare.surface, most=0)
    with pytest.raises(TypeError, match="surface: expected a Scenario or a Surface, got str; measurements have"):
        unhooked(Localiser, "default")


@pytest.mark.parametrize("kind", [str, Path, PurePosixPath, os.DirEntry])
def test_every_path_may_be_text_or_a_path_of_any_kind(
    kind: type, measured: Measurements, small_scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def at(name: str) -> str | os.PathLike[str]:
        """The name as that kind; a folder's entry is of what is there."""
        if kind is not os.DirEntry:
            return kind(name)
        if not Path(name).exists():
            Path(name).touch()
        with os.scandir() as entries:
            return next(each for each in entries if each.name == name)

    write_measurements(at("w.h5"), len(measured), measured)
    with MeasurementReader(at("w.h5")) as reader:
        assert torch.equal(reader.read(slice(0, 6)).y, measured.y)
    shipped = load_model("robust")
    Path("network").mkdir()
    save_checkpoint(at("network"), shipped, {})
    assert load_checkpoint(at("network"))[0].scenario == load_model(at("network")).scenario == shipped.scenario
    few = _rows(measured, 1)
    torch.testing.assert_close(locate(few, at("network")).position, locate(few, shipped).position, equal_nan=True)
    Path("shards").mkdir()
    scenes = simulate(small_scenario, seed=1, split="test", start=0, stop=2)
    if kind is not os.DirEntry:
        arrays = arrays_of(scenes, small_scenario.code_bits)
        write_shard(kind("shards/0.h5"), small_scenario, arrays, seed=1, split="test", start=0, chunk=2)
        assert check_shard(kind("shards/0.h5")) == shard_header(kind("shards/0.h5"))
        reader = ShardReader(at("shards"))
        assert len(reader) == 2
        reader.close()
    Path("own.yaml").write_text("a: 1\n")
    assert read_yaml(at("own.yaml")) == {"a": 1}
    hall = (Path(risloc.__file__).parent / "scenes" / "rooms" / "hall.yaml").read_text(encoding="utf-8")
    Path("hall.yaml").write_text(hall)
    assert read_room(at("hall.yaml")) == read_room("hall")
    save_figure(static.plot_codebook(measured.codebook[0], 12, 12), at("a.png"))
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def _rows(m: Measurements, stop: int) -> Measurements:
    arrays = {name: getattr(m, name)[:stop] for name in ("y", "codebook", "H", "noise_var")}
    return dataclasses.replace(m, truth=None, **arrays)
