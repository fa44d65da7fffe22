"""What a file says twice, or in a way that would give wrong numbers, is rejected with what to do, or said aloud."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_layouts
import h5py
import numpy as np
import pytest
import torch

from risloc.cli.main import run
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import measurements_of
from risloc.io.reading_options import Reading, axes_from
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

Arrays = dict[str, Any]
Capture = pytest.CaptureFixture[str]
SCENES = 3


@pytest.fixture(scope="module")
def arrays(small_scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    """The arrays and values of a native file by their names, without the truth."""
    path = tmp_path_factory.mktemp("native") / "native.h5"
    drawn = simulate(small_scenario, seed=3, split="test", start=0, stop=SCENES, snr_db=25.0)
    write_measurements(path, SCENES, [measurements_of(small_scenario, drawn)], small_scenario.code_bits)
    with h5py.File(path) as file:
        found = {name: file[name][()] for name in ("y", "H", "codes", "noise_var")}
        return found | {name: value for name, value in file.attrs.items() if name not in ("format", "version")}


def without(arrays: Arrays, *names: str) -> Arrays:
    return {name: value for name, value in arrays.items() if name not in names}


def write_hdf5(path: Path, arrays: Arrays, attributes: "dict[str, dict[str, Any]] | None" = None) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value
        for name, values in (attributes or {}).items():
            file[name].attrs.update(values)
    return path


def parts_of(x: np.ndarray, name: str, scale: float = 1.0) -> Arrays:
    return {f"{name}_real": x.real / scale, f"{name}_imag": x.imag / scale}


LENT: dict[str, Callable[[Path, Arrays], None]] = {
    "HDF5 with two arrays": lambda path, a: foreign_layouts.cpp_two_arrays(path, a),
    "HDF5 of Octave": lambda path, a: foreign_layouts.octave_hdf5(path, a),
    "npz": lambda path, a: np.savez(path, **a),
}


@pytest.mark.parametrize("program", LENT)
@pytest.mark.parametrize("lent", [("H", "codes"), ("y", "noise_var")])
def test_a_second_file_lends_the_same_numbers(
    program: str, lent: tuple[str, ...], arrays: Arrays, tmp_path: Path
) -> None:
    own = without(arrays, *lent)
    if program != "npz":
        own = {name: np.asarray(value).T if np.ndim(value) > 1 else value for name, value in own.items()}
    np.savez(tmp_path / "own.npz", **own)
    other = tmp_path / ("other.npz" if program == "npz" else "other.h5")
    LENT[program](other, {name: arrays[name] for name in lent})
    with MeasurementReader(tmp_path / "own.npz", Reading(beside=other)) as reader:
        assert f"{', '.join(lent)} from {other.name}" in reader.how
        given = reader.read(slice(0, SCENES))
    for name in ("y", "H", "noise_var"):
        np.testing.assert_allclose(getattr(given, name).numpy(), arrays[name], rtol=1e-6, atol=1e-6)


def test_an_array_comes_from_one_file_with_its_own_scale(arrays: Arrays, tmp_path: Path, capsys: Capture) -> None:
    own = without(arrays, "y", "H") | parts_of(arrays["y"], "y")
    np.savez(tmp_path / "own.npz", **own)
    np.savez(tmp_path / "other.npz", y=2 * arrays["y"], y_scale=3.0, H=arrays["H"], n_h=7)
    options = [str(tmp_path / "own.npz"), str(tmp_path / "o.h5"), "--with", str(tmp_path / "other.npz")]
    assert run(["convert", *options]) == 0
    assert "H from other.npz; y, n_h from own.npz, not from other.npz, which has them too" in capsys.readouterr().out
    with MeasurementReader(tmp_path / "o.h5") as reader:
        np.testing.assert_array_equal(reader.read(slice(0, SCENES)).y.numpy(), arrays["y"])


def test_the_file_that_is_broken_is_named(arrays: Arrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    (tmp_path / "other.csv").write_text("1,2", encoding="utf-8")
    with pytest.raises(MeasurementError, match=r"other\.csv: not an HDF5 file") as caught:
        MeasurementReader(tmp_path / "own.npz", Reading(beside=tmp_path / "other.csv"))
    assert "own.npz" not in str(caught.value)


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_a_scale_belongs_to_both_parts(kind: str, arrays: Arrays, tmp_path: Path) -> None:
    path, values = tmp_path / f"m.{kind}", without(arrays, "y") | parts_of(arrays["y"], "y", 0.5) | {"y_scale": 0.5}
    np.savez(path, **values) if kind == "npz" else write_hdf5(path, values)
    with MeasurementReader(path) as reader:
        assert reader.unknown == ()
        assert "y times 0.5" in reader.how
        np.testing.assert_allclose(reader.read(slice(0, SCENES)).y.numpy(), arrays["y"], rtol=1e-6)


def test_samples_of_integers_have_the_scale_of_their_noise(arrays: Arrays, tmp_path: Path) -> None:
    noise = np.rint(arrays["noise_var"] / 1e-9).astype("i8")
    path = write_hdf5(tmp_path / "m.h5", arrays | {"noise_var": noise}, {"noise_var": {"scale_factor": 1e-9}})
    with MeasurementReader(path) as reader:
        np.testing.assert_allclose(reader.read(slice(0, SCENES)).noise_var.numpy(), arrays["noise_var"], rtol=1e-3)


PACKED: dict[str, tuple[Callable[[Arrays], Arrays], dict[str, dict[str, Any]], str]] = {
    "two scales": (lambda a: without(a, "y") | parts_of(a["y"], "y"), {"y_real": {"scale_factor": 2.0}}, "y: expected real and imaginary part with the same scale, got 2.0 and 1.0; write them alike"),
    "an offset": (lambda a: a, {"y": {"add_offset": 5.0}}, r"y: expected no attribute add_offset, or 0, got 5\.0; add it to the numbers"),
    "no scale": (lambda a: a, {"y": {"scale": "linear"}}, "y: expected the attribute scale to be a nonzero number, got 'linear'"),
    "scaled codes": (lambda a: a, {"codes": {"scale_factor": 0.5}}, r"codes: expected integers without a scale, got the scale 0\.5"),
    "an empty array of MATLAB": (lambda a: a | {"noise_var": np.zeros(2, "u8")}, {"noise_var": {"MATLAB_empty": 1}}, "noise_var: expected numbers, got an empty array; fill it, or leave the variable out"),
}  # fmt: skip


@pytest.mark.parametrize("what", PACKED)
def test_packed_numbers_that_we_cannot_unpack_are_rejected(what: str, arrays: Arrays, tmp_path: Path) -> None:
    change, attributes, said = PACKED[what]
    with pytest.raises(MeasurementError, match=said):
        MeasurementReader(write_hdf5(tmp_path / "m.h5", change(arrays), attributes))


@pytest.mark.parametrize("parts", ["axis", "two arrays"])
def test_the_number_for_a_missing_sample_spoils_its_scene_alone(parts: str, arrays: Arrays, tmp_path: Path) -> None:
    y = np.stack([arrays["y"].real, arrays["y"].imag], axis=-1).astype("f4")
    y[1, 2, 3, 1] = 9.96921e36
    fill = {"_FillValue": np.float32(9.96921e36)}
    values, names = {"y": y}, ["y"]
    if parts == "two arrays":
        values, names = {"y_real": y[..., 0], "y_imag": y[..., 1]}, ["y_real", "y_imag"]
    path = write_hdf5(tmp_path / "m.h5", without(arrays, "y") | values, dict.fromkeys(names, fill))
    with MeasurementReader(path) as reader:
        assert list(reader.bad()) == [1]
        np.testing.assert_array_equal(reader.read([0]).y[0].numpy().imag, y[0, ..., 1])


def test_named_axes_count_beside_an_axis_of_two(arrays: Arrays, tmp_path: Path) -> None:
    """The sizes alone would be read in another order: there are as many scenes as snapshots."""
    scenes = arrays["y"].shape[1]
    values = without(arrays, "noise_var")
    rng = np.random.default_rng(1)
    y = rng.normal(size=(scenes, *arrays["y"].shape[1:])) + 1j
    values |= {"H": arrays["H"][0], "codes": arrays["codes"][0]}
    with h5py.File(tmp_path / "m.nc", "w") as file:
        for name, value in values.items():
            file[name] = np.stack([y.real, y.imag], -1).swapaxes(0, 1) if name == "y" else value
        for number, (axis, size) in enumerate((("snap", scenes), ("scene", scenes), ("ant", y.shape[2]), ("iq", 2))):
            file[axis] = np.arange(size)
            file[axis].make_scale(axis)
            file["y"].dims[number].attach_scale(file[axis])
    with MeasurementReader(tmp_path / "m.nc") as reader:
        np.testing.assert_array_equal(reader.read(slice(0, scenes)).y.numpy(), y)


def test_truth_values_with_more_bits_are_a_contradiction(arrays: Arrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **arrays | {"codes": arrays["codes"] > 3, "code_bits": 2})
    with pytest.raises(MeasurementError, match="code_bits: expected 1, as the codes are truth values, got 2"):
        MeasurementReader(tmp_path / "m.npz")


def test_the_first_element_of_another_order_is_not_that_of_the_layout(arrays: Arrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **arrays | {"reference": "first"})
    MeasurementReader(tmp_path / "m.npz", Reading(order="columns")).close()
    with pytest.raises(
        MeasurementError, match=r"reference: expected 'centre' with the order rows-down, .* got 'first'"
    ):
        MeasurementReader(tmp_path / "m.npz", Reading(order="rows-down"))


def test_the_gains_of_true_echoes_are_conjugated_too(arrays: Arrays, tmp_path: Path) -> None:
    gain = np.full((SCENES, 1, 2), 0.3 + 0.4j)
    location = np.broadcast_to([0.1, 0.1, 2.0], (SCENES, 1, 3))
    truth = {"location": location, "power": np.ones((SCENES, 1)), "count": np.ones(SCENES, int), "echoes/gain": gain}
    truth["echoes/location"] = np.broadcast_to([0.1, 0.1, 4.0], (SCENES, 1, 2, 3))
    np.savez(tmp_path / "m.npz", **arrays | {f"truth/{name}": value for name, value in truth.items()})
    with MeasurementReader(tmp_path / "m.npz", Reading(conjugate=True)) as reader:
        np.testing.assert_allclose(reader.read([0]).truth.echoes.gain.numpy(), gain[:1].conj(), rtol=1e-6)


def test_two_orders_for_the_same_axes_are_rejected() -> None:
    assert axes_from((" y = ant, snap ", "c")) == ("c", {"y": ("ant", "snap")})
    for words, name in ((("c", "reversed"), "all arrays"), (("y=snap,ant", "y=ant,snap"), "y")):
        with pytest.raises(MeasurementError, match=f"axes: expected one order for {name}, got two; leave one out"):
            axes_from(words)


def test_phasors_stay_phasors_beside_a_number_of_bits(arrays: Arrays, tmp_path: Path) -> None:
    phasors = np.exp(2j * np.pi * arrays["codes"] / 8 + 0.05j)
    np.savez(tmp_path / "m.npz", **arrays | {"codes": phasors})
    assert run(["convert", str(tmp_path / "m.npz"), str(tmp_path / "o.h5")]) == 0
    with MeasurementReader(tmp_path / "o.h5") as reader:
        np.testing.assert_allclose(reader.read(slice(0, SCENES)).codebook.numpy(), phasors, atol=1e-6)


def test_convert_warns_of_names_that_it_leaves_out(arrays: Arrays, tmp_path: Path, capsys: Capture) -> None:
    np.savez(tmp_path / "m.npz", **without(arrays, "noise_var"), noise_variance=arrays["noise_var"])
    assert run(["convert", str(tmp_path / "m.npz"), str(tmp_path / "o.h5")]) == 0
    assert "risloc: warning: " in (said := capsys.readouterr().err)
    assert re.search(r"unknown names were left out: .*noise_variance.*; check their spelling", said)


@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_of_i_and_q_may_stand_in_any_order(swapped: bool, arrays: Arrays, tmp_path: Path) -> None:
    names = ("Q", "I") if swapped else ("I", "Q")
    y = np.empty(arrays["y"].shape, [(name, "f4") for name in names])
    y["I"], y["Q"] = arrays["y"].real, arrays["y"].imag
    with MeasurementReader(write_hdf5(tmp_path / "m.h5", arrays | {"y": y})) as reader:
        np.testing.assert_array_equal(reader.read(slice(0, SCENES)).y.numpy(), arrays["y"])


def test_an_archive_without_arrays_and_an_archive_of_sigmf_are_told_apart(tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz")
    (tmp_path / "room.sigmf").write_bytes(bytes(1024))
    for name, said in (
        ("empty.npz", "expected format 'risloc measurements', or variables named y, H and codes, got neither"),
        ("room.sigmf", "expected the two files of a recording, got a SigMF archive; unpack it with tar"),
    ):
        with pytest.raises(MeasurementError, match=said):
            MeasurementReader(tmp_path / name)


def recording(folder: Path, arrays: Arrays, samples: int, captures: list[dict[str, Any]]) -> Path:
    y = np.stack([arrays["y"].real, arrays["y"].imag], -1).reshape(-1, arrays["y"].shape[2], 2)
    (folder / "room.sigmf-data").write_bytes(y[:samples].astype("<f4").tobytes())
    described = {"core:datatype": "cf32_le", "core:num_channels": y.shape[1]}
    (folder / "room.sigmf-meta").write_text(json.dumps({"global": described, "captures": captures}), encoding="utf-8")
    lent = without(arrays, "y", "noise_var")
    np.savez(folder / "surface.npz", **lent | {"H": arrays["H"][0], "codes": arrays["codes"][0]})
    return folder / "room.sigmf-meta"


def test_samples_of_a_recording_are_not_lost_or_joined_without_a_word(arrays: Arrays, tmp_path: Path) -> None:
    L = arrays["y"].shape[1]
    beside = Reading(beside=tmp_path / "surface.npz")
    with MeasurementReader(recording(tmp_path, arrays, 2 * L + 3, []), beside) as reader:
        assert len(reader) == 2
        assert f"the last 3 samples left out, fewer than the {L} of a scene" in reader.how
        assert torch.equal(reader.read([1]).y[0], torch.from_numpy(arrays["y"][1]))
    captures = [{"core:sample_start": start} for start in (0, 5)]
    with pytest.raises(MeasurementError, match="expected one capture, got 2: the samples have gaps or several"):
        MeasurementReader(recording(tmp_path, arrays, 2 * L, captures), beside)


def test_the_scenes_in_memory_are_bounded_by_the_codes_too(tmp_path: Path) -> None:
    L, n = 4096, 32
    values = {"y": np.ones((40, L, 2), complex), "H": np.ones((2, n * n), complex), "codes": np.zeros((L, n * n), "u1")}
    values |= {"code_bits": 1, "n_h": n, "n_v": n, "spacing_m": 0.1, "carrier_hz": 1e9}
    with MeasurementReader(write_hdf5(tmp_path / "m.h5", values)) as reader:
        assert max(part.stop - part.start for part in reader.parts()) * L * n * n * 8 <= 2**25


WRITER = """
import os, sys
import h5py
import numpy as np

arrays = dict(np.load(sys.argv[1]))
y = arrays.pop("y")
file = h5py.File(sys.argv[2], "w", libver="latest")
for name, value in arrays.items():
    file[name] = value[0] if name in ("H", "codes") else value
for name, part, scenes in (("y_real", y.real, 3), ("y_imag", y.imag, 2)):
    size = (scenes, *y.shape[1:])
    file.create_dataset(name, size, part.dtype, maxshape=(None, *size[1:]), chunks=(1, *size[1:]))
file.swmr_mode = True
for name, part in (("y_real", y.real), ("y_imag", y.imag)):
    file[name][...] = part[: len(file[name])]
    file[name].flush()
os._exit(0)  # the file is not closed
"""


def test_two_arrays_that_grow_are_read_up_to_the_last_scene_of_both(arrays: Arrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", **without(arrays, "noise_var", "reference"))
    subprocess.run([sys.executable, "-c", WRITER, tmp_path / "arrays.npz", tmp_path / "m.h5"], check=True, timeout=60)
    with MeasurementReader(tmp_path / "m.h5") as reader:
        assert reader.growing
        np.testing.assert_array_equal(reader.read(slice(0, len(reader))).y.numpy(), arrays["y"][:2])
