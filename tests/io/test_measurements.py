"""Measurement files: what is written is read, and whatever else a file holds ends in one line, not in a crash."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from unhooked import unhooked

from risloc.config import ParamError
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import Measurements, Setup, measurements_of, setup_of
from risloc.io.true_sources import Sources
from risloc.scenes.batch import Echoes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

SCENES = 5
Change = Callable[[h5py.File], object]


@pytest.fixture(scope="module")
def written(small_scenario: Scenario) -> Measurements:
    return measurements_of(small_scenario, simulate(small_scenario, seed=3, split="test", start=0, stop=SCENES))


@pytest.fixture(scope="module")
def whole(written: Measurements, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured") / "whole.h5"
    write_measurements(path, SCENES, [written], code_bits=3)
    return path


@pytest.mark.parametrize("bits", [3, None])
def test_what_is_written_in_parts_is_read_in_slices(written: Measurements, tmp_path: Path, bits: int | None) -> None:
    def parts() -> Iterator[Measurements]:
        for low in (0, 2):
            rows = slice(low, low + 2 if low == 0 else SCENES)
            truth = dataclasses.replace(
                written.truth, location=written.truth.location[rows], power=written.truth.power[rows],
                count=written.truth.count[rows],
            )  # fmt: skip
            yield dataclasses.replace(
                written, y=written.y[rows], codebook=written.codebook[rows], H=written.H[rows],
                noise_var=written.noise_var[rows], truth=truth,
            )  # fmt: skip

    write_measurements(tmp_path / "m.h5", SCENES, parts(), code_bits=bits)
    with MeasurementReader(tmp_path / "m.h5") as reader:
        assert (len(reader), reader.snapshots, reader.antennas, reader.sources) == (SCENES, 6, 4, 3)
        assert reader.setup == written.setup
        part = reader.read(slice(1, 4))
    assert torch.equal(part.y, written.y[1:4])
    assert torch.equal(part.H, written.H[1:4])
    assert torch.allclose(part.codebook, written.codebook[1:4])
    assert torch.allclose(part.noise_var, written.noise_var[1:4].double())
    assert torch.equal(part.truth.location, written.truth.location[1:4])
    assert torch.equal(part.truth.count, written.truth.count[1:4])


@pytest.fixture(scope="module")
def echoing(small_scenario: Scenario) -> Measurements:
    law = dataclasses.replace(small_scenario.echoes, law="farther", paths=2)
    scenario = dataclasses.replace(small_scenario, echoes=law)
    return measurements_of(scenario, simulate(scenario, seed=3, split="test", start=0, stop=SCENES))


@pytest.fixture
def echoing_file(echoing: Measurements, tmp_path: Path) -> Path:
    write_measurements(tmp_path / "echoes.h5", SCENES, [echoing], code_bits=3)
    return tmp_path / "echoes.h5"


def test_the_echoes_of_the_truth_are_written_and_read(echoing: Measurements, echoing_file: Path, whole: Path) -> None:
    with MeasurementReader(echoing_file) as reader:
        assert (reader.sources, reader.paths, reader.unknown) == (3, 2, ())
        part, picked = reader.read(slice(1, 4)), reader.read([0, 3])
    assert torch.equal(part.truth.echoes.location, echoing.truth.echoes.location[1:4])
    assert torch.equal(part.truth.echoes.gain, echoing.truth.echoes.gain[1:4])
    assert torch.equal(picked.truth.echoes.gain, echoing.truth.echoes.gain[[0, 3]])
    with MeasurementReader(whole) as reader:
        assert reader.paths == 0
        assert reader.read(slice(0, 1)).truth.echoes is None


def test_echoes_may_be_numpy_and_have_the_shapes_of_their_sources(echoing: Measurements) -> None:
    truth, place = echoing.truth, echoing.truth.echoes.location.numpy()
    own = unhooked(Echoes, location=place.astype("f8"), gain=truth.echoes.gain.numpy())
    sources = {"location": truth.location, "power": truth.power, "count": truth.count}
    made = unhooked(Sources, **sources, echoes=own).echoes
    assert torch.equal(made.location, truth.echoes.location.double())
    assert torch.equal(made.gain, truth.echoes.gain)
    for change, said in (
        ({"location": place[:2]}, r"truth\.echoes\.location: expected the shape \(5, 3, any, 3\), got \(2, 3, 2, 3\)"),
        ({"gain": truth.echoes.gain[..., :1]}, r"truth\.echoes\.gain: expected the shape \(5, 3, 2\), got \(5, 3, 1\)"),
        ({"gain": truth.echoes.gain.real}, r"truth\.echoes\.gain: expected complex numbers, \[scene, src, path\]"),
    ):
        wrong = unhooked(Echoes, **{"location": place, "gain": truth.echoes.gain} | change)
        with pytest.raises(MeasurementError, match=said):
            unhooked(Sources, **sources, echoes=wrong)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("location", np.nan, "truth/echoes/location: scene 0: expected finite numbers"),
        (
            "location",
            99.0,
            "truth/echoes/location: scene 0: expected azimuth and elevation within .*; convert the units",
        ),
        ("gain", np.inf, "truth/echoes/gain: scene 0: expected finite numbers, got NaN or infinity"),
    ],
)
def test_impossible_echoes_are_named_and_never_written(
    echoing: Measurements, echoing_file: Path, tmp_path: Path, name: str, value: float, said: str
) -> None:
    array = getattr(echoing.truth.echoes, name).clone()
    array[0, 0] = value
    truth = dataclasses.replace(echoing.truth, echoes=dataclasses.replace(echoing.truth.echoes, **{name: array}))
    with pytest.raises(MeasurementError, match=said.replace("/", ".")):
        write_measurements(tmp_path / "never.h5", SCENES, dataclasses.replace(echoing, truth=truth))
    assert not (tmp_path / "never.h5").exists()
    with h5py.File(echoing_file, "a") as file:
        file[f"truth/echoes/{name}"][0, 0] = value
    with MeasurementReader(echoing_file) as reader:
        assert list(reader.bad()) == [0]
        with pytest.raises(MeasurementError, match=said):
            reader.read(slice(0, 2))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("truth/echoes/gain", np.ones((SCENES, 3, 2)), "truth/echoes/gain: expected complex numbers"),
        ("truth/echoes/gain", np.ones((SCENES, 3, 1), "c8"), r"truth/echoes/gain: expected the shape \(5, 3, 2\)"),
        (
            "truth/echoes/location",
            np.ones((SCENES, 3, 65, 3)),
            "truth/echoes: expected at most 64 echoes of a source, got 65",
        ),
        ("truth/echoes", 1.0, "truth/echoes: expected a group, got an object of another kind; remove it"),
        ("truth/echoes", h5py.SoftLink("/truth"), "echoes: expected the data itself, got a SoftLink"),
    ],
)
def test_echoes_of_another_form_are_refused(echoing_file: Path, name: str, value: Any, said: str) -> None:
    with h5py.File(echoing_file, "a") as file:
        del file[name]
        file[name] = value
    with pytest.raises(MeasurementError, match=said):
        MeasurementReader(echoing_file)


def test_unknown_names_beside_the_echoes_are_listed(echoing_file: Path) -> None:
    with h5py.File(echoing_file, "a") as file:
        file["truth/echoes/gains"] = 1.0
    with MeasurementReader(echoing_file) as reader:
        assert reader.unknown == ("'truth/echoes/gains'",)


def test_the_layout_is_what_the_docstring_says_by_hand(tmp_path: Path) -> None:
    """A file as somebody else would write it: double precision, H and codes once for all scenes, nothing optional."""
    rng = np.random.default_rng(1)
    y, H = (rng.normal(size=shape) + 1j * rng.normal(size=shape) for shape in ((7, 4, 3), (3, 6)))
    codes = rng.integers(0, 4, (4, 6))
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.attrs.update({"format": "risloc measurements", "version": 1.0, "n_h": 3.0, "n_v": 2, "spacing_m": 0.1})
        file.attrs.update({"carrier_hz": 1e9, "code_bits": 2})
        file.create_dataset("y", data=y, chunks=(2, 4, 3), compression="gzip")
        file["H"], file["codes"] = H, codes
    with MeasurementReader(tmp_path / "own.h5") as reader:
        assert reader.setup == Setup(
            n_h=3, n_v=2, spacing_m=0.1, carrier_hz=1e9, reference="centre",
            azimuth_span_deg=None, elevation_span_deg=None, distance_span_m=None,
        )  # fmt: skip
        part = reader.read(slice(5, 7))
    assert part.noise_var is None
    assert part.truth is None
    np.testing.assert_array_equal(part.y.numpy(), y[5:])
    np.testing.assert_array_equal(part.H.numpy(), np.stack([H, H]))
    np.testing.assert_allclose(part.codebook.numpy()[1], np.exp(2j * np.pi * codes / 4), atol=1e-6)


def test_a_setup_is_checked() -> None:
    good = {"n_h": 4, "n_v": 4, "spacing_m": 0.1, "carrier_hz": 1e9, "reference": "centre"}
    good |= {"azimuth_span_deg": None, "elevation_span_deg": None, "distance_span_m": None}
    wavelength = 299_792_458.0 / 1e9
    x = Setup(**good).surface.array.elements[:2, 0]
    assert float(x[1] - x[0]) == pytest.approx(0.1)
    with pytest.raises(ParamError, match=r"spacing_m: expected at most 0\.6 wavelengths"):
        Setup(**good | {"spacing_m": 0.61 * wavelength})
    with pytest.raises(ParamError, match="expected at most 1024 elements, got 64 x 64"):
        Setup(**good | {"n_h": 64, "n_v": 64})
    with pytest.raises(ParamError, match=r"azimuth_span_deg: expected .lowest, highest."):
        Setup(**good | {"azimuth_span_deg": (10.0, -10.0)})


def test_a_setup_made_directly_is_checked_as_a_file_s() -> None:
    good = {
        "n_h": np.int64(4),
        "n_v": torch.tensor(4),
        "spacing_m": np.float32(0.125),
        "carrier_hz": 10**9,
        "reference": "centre",
    }
    good |= {"azimuth_span_deg": [-60, 60], "elevation_span_deg": np.array([-30.0, 30.0]), "distance_span_m": None}
    setup = unhooked(Setup, **good)
    assert (setup.n_h, setup.n_v, setup.spacing_m, setup.carrier_hz) == (4, 4, 0.125, 1e9)
    assert (setup.azimuth_span_deg, setup.elevation_span_deg) == ((-60.0, 60.0), (-30.0, 30.0))
    assert type(setup.n_h) is type(setup.n_v) is int
    assert type(setup.carrier_hz) is float
    for change, said in (
        ({"n_h": 4.0}, "setup.n_h: expected int, got 4.0"),
        ({"n_v": True}, "setup.n_v: expected int, got True"),
        ({"n_h": 0}, "setup.n_h: expected a value >= 1 and <= 1024, got 0"),
        ({"carrier_hz": float("nan")}, "setup.carrier_hz: expected a finite number, got nan"),
        ({"reference": "corner"}, "setup.reference: expected a value one of"),
        ({"distance_span_m": 3.0}, "setup.distance_span_m: expected a list, got 3.0"),
        ({"distance_span_m": (0.0, 3.0)}, "setup.distance_span_m: expected a value >= 0.001"),
    ):
        with pytest.raises(ParamError, match=said):
            unhooked(Setup, **good | change)


def test_numpy_is_welcome_and_what_is_for_all_scenes_is_said_once(written: Measurements) -> None:
    y, codebook, H, noise = (x.numpy() for x in (written.y, written.codebook, written.H, written.noise_var))
    own = Measurements(
        setup=written.setup, y=y.astype(">c16"), codebook=codebook[0], H=H[0].copy(order="F"), noise_var=0.5,
        truth=Sources(location=written.truth.location.numpy(), power=np.ones((SCENES, 3)), count=np.full(SCENES, 2, "u1")),
    )  # fmt: skip
    assert torch.equal(own.y, written.y.to(torch.complex128))
    assert torch.equal(own.H, written.H[:1].expand(SCENES, 4, 16))
    assert torch.equal(own.codebook, written.codebook[:1].expand(SCENES, 6, 16))
    assert own.noise_var.tolist() == [0.5] * SCENES
    assert own.truth.count.tolist() == [2] * SCENES
    for one in (1, np.float32(1), np.array(1), np.array([[1.0]]), torch.tensor(1), torch.ones(SCENES), noise / noise):
        assert dataclasses.replace(written, noise_var=one).noise_var.tolist() == [1.0] * SCENES
    y[0] = 0
    assert own.y[0].abs().min() > 0  # a copy
    y[0] = own.y[0].numpy()


WRONG_ARRAYS: dict[str, tuple[dict[str, object], str]] = {
    "codes": ({"codebook": torch.zeros(SCENES, 6, 16, dtype=torch.uint8)}, r"codebook: expected complex numbers, .scene, snap, elem., got uint8; use risloc.physics.codebook.codebook\(codes, bits\) for integer"),
    "phases": ({"codebook": np.zeros((SCENES, 6, 16))}, "codebook: expected complex numbers, .*, got float64; .* for phases"),
    "y real": ({"y": torch.zeros(SCENES, 6, 4)}, "y: expected complex numbers, .scene, snap, ant., got float32; pass the complex"),
    "H bool": ({"H": torch.ones(4, 16, dtype=torch.bool)}, "H: expected complex numbers, .*, got bool; pass the complex channel"),
    "y a list": ({"y": [[[1j]]]}, "y: expected a torch tensor or numpy array of complex numbers, .*, got list; convert it with numpy.asarray$"),
    "y of objects": ({"y": np.full((SCENES, 6, 4), None)}, "y: expected a torch tensor .*, got an array of object; convert its numbers with astype$"),
    "y sparse": ({"y": torch.zeros(SCENES, 6, 4, dtype=torch.complex64).to_sparse()}, "y: expected a torch tensor or numpy array of complex numbers, .*, got a sparse tensor; convert it with to_dense$"),
    "y masked": ({"y": np.ma.masked_equal(np.zeros((SCENES, 6, 4), complex), 0)}, "y: expected numbers, got 120 masked numbers"),
    "y short": ({"y": np.ones((SCENES, 3, 4), complex)}, r"codebook: expected the shape \(5, 3, 16\) or \(3, 16\), got \(5, 6, 16\)"),
    "y flat": ({"y": np.ones((6, 4), complex)}, r"y: expected the shape \(any, any, any\), got \(6, 4\); correct the array"),
    "no scenes": ({"y": np.ones((0, 6, 4), complex)}, "y: expected .* at least one scene and one snapshot, .*, got 0 x 6 x 4"),
    "antennas": ({"y": np.ones((SCENES, 6, 17), complex)}, r"y: expected .* with 1\.\.16 antennas"),
    "H of another": ({"H": np.ones((SCENES, 4, 15), complex)}, r"H: expected the shape \(5, 4, 16\) or \(4, 16\), got"),
    "noise of two": ({"noise_var": [1.0, 2.0]}, "noise_var: expected a torch tensor or numpy array of real numbers"),
    "noise of four": ({"noise_var": np.ones(4)}, r"noise_var: expected the shape \(5,\) or \(\) or .*, got \(4,\)"),
    "noise complex": ({"noise_var": 1j}, "noise_var: expected a torch tensor or numpy array of real numbers, .*, got complex"),
    "noise True": ({"noise_var": True}, "noise_var: expected a torch tensor or numpy array of real numbers, .*, got bool"),
    "setup": ({"setup": {"n_h": 4}}, r"setup: expected a Setup, got dict; setup_of\(scenario\) makes one from a scenario"),
    "truth": ({"truth": (1, 2)}, r"truth: expected Sources or None, got tuple; Sources\(location, power, count\) makes one$"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_ARRAYS)
def test_arrays_of_another_form_are_refused_in_one_line(written: Measurements, what: str) -> None:
    change, said = WRONG_ARRAYS[what]
    with pytest.raises(MeasurementError, match=f"^{said}") as caught:
        unhooked(Measurements, **_fields(written) | change)
    assert "\n" not in str(caught.value)


def test_a_truth_of_another_form_is_refused(written: Measurements) -> None:
    for change, said in (
        ({"count": torch.ones(SCENES)}, "truth.count: expected integer numbers, .scene., got float32"),
        ({"power": np.ones((SCENES, 2))}, r"truth.power: expected the shape \(5, 3\), got \(5, 2\)"),
        ({"location": np.ones((SCENES, 3))}, r"truth.location: expected the shape \(any, any, 3\), got"),
    ):
        with pytest.raises(MeasurementError, match=said):
            dataclasses.replace(written.truth, **change)
    fewer = Sources(**{name: getattr(written.truth, name)[:2] for name in ("location", "power", "count")})
    with pytest.raises(MeasurementError, match=r"truth.location: expected the shape \(5, any, 3\), got \(2, 3, 3\)"):
        dataclasses.replace(written, truth=fewer)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_noise_level_may_have_any_shape_of_one_number(whole: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "m.h5"
    shutil.copy(whole, path)
    with h5py.File(path, "a") as file:
        del file["noise_var"]
        file["noise_var"] = np.full(shape, 0.25)
    with MeasurementReader(path) as reader:
        assert reader.read(slice(1, 3)).noise_var.tolist() == [0.25, 0.25]


def test_parts_that_do_not_add_up_leave_no_file(written: Measurements, tmp_path: Path) -> None:
    for scenes in (SCENES - 1, SCENES + 1):
        with pytest.raises(ValueError, match=f"expected {scenes} scenes"):
            write_measurements(tmp_path / "m.h5", scenes, [written])
    assert list(tmp_path.iterdir()) == []


def _put(name: str, change: Callable[[np.ndarray], np.ndarray], **how: object) -> Change:
    def change_file(file: h5py.File) -> None:
        array = change(file[name][()])
        del file[name]
        file.create_dataset(name, data=array, **how)

    return change_file


def _set(name: str, value: object) -> Change:
    return lambda file: file.attrs.__setitem__(name, value)


def _spoilt(name: str, scene: int, value: complex) -> Change:
    def change_file(file: h5py.File) -> None:
        file[name][scene] = value

    return change_file


def _declared(name: str, shape: tuple[int, ...], **how: object) -> Change:
    def change_file(file: h5py.File) -> None:
        dtype = file[name].dtype
        del file[name]
        file.create_dataset(name, shape, dtype, **how)

    return change_file


def _linked(name: str, link: object) -> Change:
    def change_file(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return change_file


def _vlen(file: h5py.File) -> None:
    del file["codes"]
    file.create_dataset("codes", (SCENES,), h5py.vlen_dtype(np.uint8))


def _virtual(file: h5py.File) -> None:
    shape = file["y"].shape
    del file["y"]
    layout = h5py.VirtualLayout(shape, np.complex64)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "y", shape)
    file.create_virtual_dataset("y", layout)


def _external(file: h5py.File) -> None:
    shape = file["y"].shape
    del file["y"]
    file.create_dataset("y", shape, np.complex64, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


WRONG: dict[str, tuple[Change, str]] = {
    "no y": (lambda f: f.__delitem__("y"), "y: expected a dataset of this name, got none"),
    "no format": (lambda f: f.attrs.__delitem__("format"), "expected format 'risloc measurements', version 1 or 2"),
    "version": (_set("version", 3), "version 1 or 2, got"),
    "no n_h": (lambda f: f.attrs.__delitem__("n_h"), r"expected n_h \(number of elements along x\), got none"),
    "n_h": (_set("n_h", 5), r"H: expected the shape \(5, 4, 20\) or \(4, 20\), got \(5, 4, 16\)"),
    "n_h is text": (_set("n_h", "four"), "attribute.n_h: expected int, got 'four'; correct the attribute in the file$"),
    "format is a book": (_set("format", "x" * 60000), "format: expected text of at most 4096 characters, got 60000"),
    "n_h is an array": (_set("n_h", np.arange(9)), "n_h: expected one or two values, got the shape .9,.; docs/command_line.md"),
    "carrier": (_set("carrier_hz", np.nan), "carrier_hz: expected a finite number"),
    "carrier 0": (_set("carrier_hz", 0.0), "carrier_hz: expected a value >= 1000000"),
    "reference": (_set("reference", "corner"), "reference: expected a value one of"),
    "span": (_set("distance_span_m", [3.0, 1.0]), "distance_span_m: expected .lowest, highest."),
    "span of one": (_set("distance_span_m", 3.0), "distance_span_m: expected a list"),
    "code_bits": (_set("code_bits", 40), "code_bits: expected an integer attribute in 1..8, got 40; set it to the number of bits of the codes, or write the codes as complex phasors$"),
    "code too large": (_set("code_bits", 1), r"codes: scene 0: expected integers in 0..1 \(code_bits = 1\), got other integers \(\d of the \d scenes from 0 to \d\); correct code_bits or the codes$"),
    "phasors": (_put("codes", lambda x: 0.5 * np.exp(1j * x)), r"expected phasors of modulus 1, got moduli of 0\.5 to 0\.5; divide all codes by this modulus, which changes only the powers"),
    "real codes": (_put("codes", lambda x: x * 0.75), "codes: expected whole numbers, got .*; write phases as complex phasors"),
    "y real": (_put("y", lambda x: x.real), "y: expected complex numbers of at most double precision, got float32"),
    "y quadruple": (_put("y", lambda x: x.astype(np.clongdouble)), "y: expected complex numbers"),
    "y flat": (_put("y", lambda x: x[0, 0]), r"y: expected the shape \(any, any, any\), got \(4,\)"),
    "y empty": (_put("y", lambda x: x[:0]), "y: expected .scene, snap, ant."),
    "too many antennas": (_put("y", lambda x: np.tile(x, (1, 1, 5))), "y: expected .scene, snap, ant. with 1..16"),
    "y NaN": (_spoilt("y", 3, np.nan), "y: scene 3: expected finite numbers"),
    "H infinite": (_spoilt("H", 4, np.inf), "H: scene 4: expected finite numbers"),
    "dead receiver": (_spoilt("y", 2, 0), "y: scene 2: expected a nonzero signal"),
    "H shorter": (_put("H", lambda x: x[:3]), r"H: expected the shape \(5, 4, 16\) or"),
    "noise negative": (_spoilt("noise_var", 1, -1.0), "noise_var: scene 1: expected positive numbers, got zero, a negative number, NaN or infinity .1 of the 2 scenes from 0 to 1.; remove noise_var"),
    "noise of another unit": (_spoilt("noise_var", 1, 1e-30), r"noise_var: scene 1: expected 1e-14..10000 times the scene's mean .y.\^2, got [\d.]+e-3\d times; correct its unit, or remove noise_var, which is then estimated"),
    "noise beyond all": (_spoilt("noise_var", 4, 1e12), r"noise_var: scene 4: expected 1e-14..10000 times .* got [\d.]+e\+\d+ times"),
    "noise text": (_linked("noise_var", "much"), "noise_var: expected real numbers"),
    "truth": (_spoilt("truth/count", 0, 9), r"truth/count: scene 0: expected 0..3 sources, got another number"),
    "degrees": (_spoilt("truth/location", 1, 60.0), "truth/location: scene 1: expected azimuth and elevation within .-pi/2 radians and a distance above 0 metres, got a place outside .*; convert the units"),
    "behind": (_spoilt("truth/location", 2, 0.0), "truth/location: scene 2: .*a distance above 0 metres"),
    "truth a dataset": (_linked("truth", 1.0), "truth: expected a group"),
    "y a group": (lambda f: (f.__delitem__("y"), f.create_group("y")), "y: expected a dataset, got a Group"),
    "soft": (_linked("y", h5py.SoftLink("/H")), "y: expected the data itself, got a SoftLink"),
    "external link": (_linked("y", h5py.ExternalLink("/etc/passwd", "y")), "got a ExternalLink"),
    "external": (_external, "y: expected data in this file, got a reference to another"),
    "virtual": (_virtual, "y: expected data in this file"),
    "vlen": (_vlen, "codes: expected integer or complex numbers"),
    "huge": (_declared("y", (10**12, 6, 4), chunks=(1, 6, 4)), r"H: expected the shape|expected \d+ bytes as declared, got 0"),
    "never written": (_declared("y", (SCENES, 6, 4), chunks=(1, 6, 4)), "expected 960 bytes as declared, got 0"),
    "not allocated": (_declared("y", (SCENES, 6, 4)), "expected 960 bytes as declared, got 0"),
    "huge chunk": (_declared("y", (SCENES, 6, 4), chunks=(10**6, 6, 4), maxshape=(None, 6, 4)), "chunks of at most 64"),
    "filter": (_put("y", lambda x: x.real.astype("c8"), scaleoffset=None, chunks=True, fletcher32=True), ""),
    "nbit": (_put("noise_var", lambda x: x, chunks=True, scaleoffset=2), "noise_var: expected only the filters gzip"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_one_line(whole: Path, tmp_path: Path, what: str) -> None:
    change, said = WRONG[what]
    path = tmp_path / "m.h5"
    shutil.copy(whole, path)
    with h5py.File(path, "a") as file:
        change(file)
    if not said:
        _read_all(path)  # HDF5's checksums are no harm
        return
    with pytest.raises(MeasurementError, match=said) as caught:
        _read_all(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_name_that_nobody_knows_is_said_with_the_nearest_that_is_missing(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    shutil.copy(whole, path)
    with MeasurementReader(path) as reader:
        assert reader.unknown == ()
    with h5py.File(path, "a") as file:
        file.move("noise_var", "noise_variance")
        file.attrs["referense"], file.attrs["operator"] = "centre", "me"
        del file.attrs["reference"]
        file["truth/locations"], file["a\nb"] = 1.0, h5py.SoftLink("/nowhere")
    with MeasurementReader(path) as reader:
        assert not reader.has_noise
        assert set(reader.unknown) == {
            "'noise_variance' (noise_var?)", "'referense' (reference?)", "'operator'", "'truth/locations'", r"'a\nb'"
        }  # fmt: skip


def test_a_file_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="got no such file; correct the path"):
        MeasurementReader(tmp_path / "nothing.h5")
    with pytest.raises(MeasurementError, match="got a directory"):
        MeasurementReader(tmp_path)
    (tmp_path / "text.h5").write_text("y = 3")
    with pytest.raises(
        MeasurementError, match=r"not an HDF5 file .*; copy the file, or write it again as HDF5, \.npz or \.mat"
    ):
        MeasurementReader(tmp_path / "text.h5")


@settings(max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(whole: Path, share: float) -> None:
    content = whole.read_bytes()
    cut = whole.with_name("cut.h5")
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(MeasurementError, match=r"the file is truncated|not an HDF5 file|it is damaged"):
        _read_all(cut)


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(whole: Path, data: st.DataObject) -> None:
    """Up to four bytes of the file's own structure, or of its numbers, are others."""
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = whole.with_name("damaged.h5")
    damaged.write_bytes(content)
    _said(damaged)


_DTYPES = st.sampled_from(["c8", "c16", "f4", "f8", "f2", "u1", "i8", "S3", "?"])
_SHAPES = st.lists(st.integers(0, 7), max_size=4).map(tuple)


@settings(max_examples=150)
@given(name=st.sampled_from(["y", "H", "codes", "noise_var", "truth/location", "truth/count"]), dtype=_DTYPES,
       shape=_SHAPES, fill=st.sampled_from([0, 1, 3]))  # fmt: skip
def test_any_dtype_and_shape_is_read_or_refused(
    whole: Path, name: str, dtype: str, shape: tuple[int, ...], fill: int
) -> None:
    path = whole.with_name("other.h5")
    shutil.copy(whole, path)
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = np.full(shape, fill).astype(dtype)
    _said(path)


_VALUES = st.one_of(st.floats(), st.integers(-(2**62), 2**62), st.text(max_size=9), st.lists(st.floats(), max_size=3))


@settings(max_examples=150)
@given(name=st.sampled_from(["format", "version", "n_h", "n_v", "spacing_m", "carrier_hz", "reference", "code_bits",
                             "azimuth_span_deg", "distance_span_m"]), value=_VALUES)  # fmt: skip
def test_any_attribute_is_read_or_refused(whole: Path, name: str, value: object) -> None:
    path = whole.with_name("attribute.h5")
    shutil.copy(whole, path)
    with h5py.File(path, "a") as file:
        try:
            file.attrs[name] = value
        except (TypeError, ValueError):
            return  # HDF5 has no such attribute
    _said(path)


def test_simulated_setups_keep_the_scenario_s_array(small_scenario: Scenario) -> None:
    for scenario in (small_scenario, dataclasses.replace(small_scenario, reference="first", n_h=5)):
        assert torch.equal(setup_of(scenario).surface.array.elements, scenario.surface.array.elements)


def _fields(given: object) -> dict[str, object]:
    return {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}


def _read_all(path: Path) -> None:
    with MeasurementReader(path) as reader:
        for start in range(0, len(reader), 2):
            reader.read(slice(start, start + 2))


def _said(path: Path) -> str:
    """What is said against the file, in one line; nothing where it can be read."""
    try:
        _read_all(path)
    except MeasurementError as error:
        said = str(error)
        assert said.startswith(f"{path}: ")
        assert "\n" not in said
        return said
    return ""
