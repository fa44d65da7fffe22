"""Measurements of other programs and formats are understood: they lead to the positions of the same numbers in the layout."""

import json
import re
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
from risloc.io.reading_options import ORDERS, Reading, element_order
from risloc.io.reception import Reception
from risloc.locating.locate import locate
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

SCENES = 3
REVERSED = "axes reversed (as MATLAB, Octave, Julia and Fortran write them)"


@pytest.fixture(scope="module")
def native(small_scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("native") / "native.h5"
    drawn = simulate(small_scenario, seed=3, split="test", start=0, stop=SCENES, snr_db=25.0)
    write_measurements(path, SCENES, [measurements_of(small_scenario, drawn)], small_scenario.code_bits)
    return path


@pytest.fixture(scope="module")
def arrays(native: Path) -> dict[str, Any]:
    """The arrays and values of the native file by their names."""
    with h5py.File(native) as file:
        found = {name: file[name][()] for name in ("y", "H", "codes", "noise_var")}
        found |= {f"truth/{name}": file[f"truth/{name}"][()] for name in foreign_layouts.TRUTH}
        return found | {name: value for name, value in file.attrs.items() if name not in ("format", "version")}


def positions(path: Path, reading: Reading | None = None) -> torch.Tensor:
    with MeasurementReader(path, reading) as reader:
        return locate(reader.read(slice(0, len(reader))), most=2).position


@pytest.fixture(scope="module")
def native_positions(native: Path) -> torch.Tensor:
    found = positions(native)
    assert found.isfinite().any(dim=(1, 2)).all()  # at least one source in each scene; empty slots are NaN
    return found


HOW = {
    "MATLAB 7.3": f"read with variables by their names (MATLAB); {REVERSED}; complex numbers from pairs real, imag; codes from floating-point numbers",
    "Octave": f"read with variables by their names (Octave); {REVERSED}; complex numbers from pairs real, imag",
    "Julia": f"read with {REVERSED}",
    "C++": f"read with variables by their names; {REVERSED}; complex numbers from two arrays",
    "R": f"read with variables by their names; {REVERSED}; complex numbers from an axis of two",
    "netCDF": "read with variables by their names; axes in the order of their names",
    "HDF5 2.0": "",
    "16-bit samples": "read with complex numbers from an axis of two, y times ",
    "npz": "read with variables by their names (numpy)",
    "mat 5": "read with variables by their names (MATLAB or Octave); codes from floating-point numbers",
}


@pytest.mark.parametrize("program", foreign_layouts.WRITERS)
def test_a_foreign_file_has_the_positions_of_the_native_one(
    program: str, native: Path, arrays: dict[str, Any], native_positions: torch.Tensor, tmp_path: Path
) -> None:
    name, write = foreign_layouts.WRITERS[program]
    write(tmp_path / name, arrays)
    with MeasurementReader(native) as reader, MeasurementReader(tmp_path / name) as other:
        assert reader.how == ""
        assert other.how.startswith(HOW[program])
        assert other.unknown == ()
        assert other.setup == reader.setup
        given, expected = other.read([0, 2]), reader.read([0, 2])
    tolerance = 1e-3 if program == "16-bit samples" else 1e-6
    for array in ("y", "H", "codebook", "noise_var"):
        torch.testing.assert_close(
            getattr(given, array), getattr(expected, array), rtol=tolerance, atol=tolerance, check_dtype=False
        )
    assert torch.equal(given.truth.location.float(), expected.truth.location)
    assert torch.equal(given.truth.count, expected.truth.count)
    torch.testing.assert_close(
        positions(tmp_path / name), native_positions, rtol=0, atol=1e-3, equal_nan=True, check_dtype=False
    )


@pytest.mark.parametrize("program", ["MATLAB 7.3", "Octave", "npz", "mat 5"])
def test_truth_values_are_codes_of_one_bit(program: str, arrays: dict[str, Any], tmp_path: Path) -> None:
    name, write = foreign_layouts.WRITERS[program]
    logical = arrays["codes"] > 3
    values = {key: value for key, value in arrays.items() if key != "code_bits"} | {"codes": logical}
    if program == "mat 5":
        foreign_layouts.scipy.io.savemat(
            tmp_path / name, {key: value for key, value in values.items() if "/" not in key}
        )
    else:
        write(tmp_path / name, values)
    with MeasurementReader(tmp_path / name) as reader:
        assert reader.code_bits == 1
        assert "codes from truth values" in reader.how
        codebook = reader.read(slice(0, 1)).codebook[0].numpy()
    np.testing.assert_allclose(codebook, 1 - 2.0 * logical[0], atol=1e-6)


def test_real_codes_without_bits_are_factors_and_a_real_channel_is_one(arrays: dict[str, Any], tmp_path: Path) -> None:
    signs = np.where(arrays["codes"] > 3, -1.0, 1.0)
    values = {name: value for name, value in arrays.items() if name != "code_bits"}
    np.savez(tmp_path / "m.npz", **values | {"codes": signs, "H": arrays["H"].real})
    with MeasurementReader(tmp_path / "m.npz") as reader:
        assert reader.how.endswith("H from real numbers; codes from real numbers")
        np.testing.assert_array_equal(reader.read(slice(0, 1)).codebook[0].numpy(), signs[0])


def test_one_scene_needs_no_axis(arrays: dict[str, Any], native_positions: torch.Tensor, tmp_path: Path) -> None:
    one = {name: arrays[name][1] for name in ("y", "H", "codes", "noise_var")}
    plain = {name: value for name, value in arrays.items() if name not in one and "/" not in name}
    foreign_layouts.octave_hdf5(tmp_path / "m.h5", plain | one)
    with MeasurementReader(tmp_path / "m.h5") as reader:
        assert "y as one scene" in reader.how
    torch.testing.assert_close(
        positions(tmp_path / "m.h5")[0], native_positions[1], rtol=0, atol=1e-3, equal_nan=True, check_dtype=False
    )


def test_square_sizes_are_an_error_that_names_the_option(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    y, H = (rng.normal(size=(4, 4, 4)) + 1j * rng.normal(size=(4, 4, 4)) for _ in range(2))
    values = {"y": y, "H": H, "codes": rng.integers(0, 8, (4, 4, 4)), "code_bits": 3}
    values |= {"n_h": 2, "n_v": 2, "spacing_m": 0.1, "carrier_hz": 1e9}
    foreign_layouts.matlab_73(tmp_path / "m.mat", values)
    with pytest.raises(
        MeasurementError,
        match=r"m\.mat: expected sizes that tell the order of the axes, got y \(4, 4, 4\), .* with 4 elements, which fit more than "
        r"one; say it with `risloc convert --axes c` .*, `--axes reversed` .* or, for one array, `--axes y=scene,snap,ant`",
    ):
        MeasurementReader(tmp_path / "m.mat")
    for order, expected in (("c", y.transpose(2, 1, 0)), ("reversed", y)):
        with MeasurementReader(tmp_path / "m.mat", Reading(axes=order)) as reader:
            np.testing.assert_allclose(reader.read(slice(0, 4)).y.numpy(), expected)
    foreign_layouts.julia(tmp_path / "own.h5", values)
    with MeasurementReader(tmp_path / "own.h5") as reader:  # it declares the layout, and the sizes fit it
        np.testing.assert_allclose(reader.read(slice(0, 4)).y.numpy(), y.transpose(2, 1, 0))


def test_an_order_of_one_s_own_is_said_by_name(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **arrays | {"y": arrays["y"].transpose(2, 0, 1)})
    with pytest.raises(
        MeasurementError, match=r"H: expected the shape .*, say it with `risloc convert --axes y=ant,snap,scene`"
    ):
        MeasurementReader(tmp_path / "m.npz")
    with MeasurementReader(tmp_path / "m.npz", Reading(named_axes={"y": ("ant", "scene", "snap")})) as reader:
        np.testing.assert_array_equal(reader.read(slice(0, SCENES)).y.numpy(), arrays["y"])


@pytest.mark.parametrize("order", ORDERS)
def test_elements_are_put_into_the_order_of_the_layout(order: str, arrays: dict[str, Any], tmp_path: Path) -> None:
    """From the places of the elements alone: an image of n_v x n_h elements, raveled as the order says."""
    n_h, n_v = int(arrays["n_h"]), int(arrays["n_v"])

    def shuffled(x: np.ndarray) -> np.ndarray:
        image = x.reshape(*x.shape[:-1], n_v, n_h)
        image = image[..., ::-1, :] if order.endswith("down") else image
        return (image if order.startswith("rows") else image.swapaxes(-1, -2)).reshape(x.shape)

    np.savez(tmp_path / "m.npz", **arrays | {name: shuffled(arrays[name]) for name in ("H", "codes")})
    with MeasurementReader(tmp_path / "m.npz", Reading(order=order)) as reader:
        part = reader.read(slice(0, SCENES))
    np.testing.assert_array_equal(part.H.numpy(), arrays["H"])
    np.testing.assert_allclose(part.codebook.numpy(), np.exp(2j * np.pi * arrays["codes"] / 8), atol=1e-6)


@pytest.mark.parametrize("phasors", [False, True])
def test_the_other_sign_of_time_is_conjugated(
    phasors: bool, arrays: dict[str, Any], native_positions: torch.Tensor, tmp_path: Path
) -> None:
    turned = {name: arrays[name].conj() for name in ("y", "H")}
    turned["codes"] = np.exp(-2j * np.pi * arrays["codes"] / 8) if phasors else (8 - arrays["codes"].astype(int)) % 8
    np.savez(tmp_path / "m.npz", **arrays | turned)
    with MeasurementReader(tmp_path / "m.npz", Reading(conjugate=True)) as reader:
        assert "y, H and codes conjugated" in reader.how
    found = positions(tmp_path / "m.npz", Reading(conjugate=True))
    torch.testing.assert_close(found, native_positions, rtol=0, atol=1e-3, equal_nan=True, check_dtype=False)


WRONG = {
    "codes in radians": (lambda a: a | {"codes": a["codes"] * 0.785}, r"codes: expected whole numbers, got .*; write phases as complex phasors"),
    "objects": (lambda a: a | {"y": np.array([{}, None], dtype=object)}, r"expected numbers and texts in a \.npz file, got .*pickle"),
    "no codes": (lambda a: {name: value for name, value in a.items() if name != "codes"}, "codes: expected an array of this name, got none"),
    "no arrays": (lambda a: {"n_h": 3, "data": a["y"]}, "expected format 'risloc measurements', or variables named y, H and codes, got neither"),
    "no spacing": (lambda a: {name: value for name, value in a.items() if name != "spacing_m"}, r"expected spacing_m \(distance between"),
    "another version": (lambda a: a | {"format": "risloc measurements", "version": 7}, "version 1 or 2, got .*7"),
    "real y": (lambda a: a | {"y": a["y"].real}, "y: expected complex numbers of at most double precision, got float32"),
    "two shapes": (lambda a: {name: value for name, value in a.items() if name != "y"} | {"y_real": a["y"].real, "y_imag": a["y"].imag[:1]}, r"y: expected real and imaginary part of one shape, got \(3, .*; write them alike"),
    "spans": (lambda a: a | {"distance_span_m": np.arange(5.0)}, "distance_span_m: expected one or two values, got the shape"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_in_an_npz_is_said(what: str, arrays: dict[str, Any], tmp_path: Path) -> None:
    change, said = WRONG[what]
    np.savez(tmp_path / "m.npz", **change(arrays))
    with pytest.raises(MeasurementError, match=said) as caught, MeasurementReader(tmp_path / "m.npz") as reader:
        reader.read(slice(0, SCENES))
    assert str(caught.value).startswith(f"{tmp_path / 'm.npz'}: ")


@pytest.mark.parametrize("name", ["m.npz", "m.mat"])
def test_a_damaged_file_is_called_damaged(name: str, arrays: dict[str, Any], tmp_path: Path) -> None:
    foreign_layouts.WRITERS["npz" if name == "m.npz" else "mat 5"][1](tmp_path / name, arrays)
    content = bytearray((tmp_path / name).read_bytes())
    for cut in (130, len(content) // 2):
        (tmp_path / name).write_bytes(content[:cut])
        with pytest.raises(MeasurementError, match=r"m\..*: expected .*; write it again$"):
            MeasurementReader(tmp_path / name)


def test_formats_that_hold_no_variables_for_us_are_named(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", arrays["y"])
    (tmp_path / "text.mat").write_bytes(b"# Created by Octave 7.3.0, Mon Nov 30\n# name: y\n")
    (tmp_path / "binary.mat").write_bytes(b"Octave-1-L\0\1\0\0\0y" + bytes(20))
    for name, said in (
        ("y.npy", r"y\.npy: expected HDF5, .*, got one array of numpy; write all variables with numpy\.savez"),
        ("text.mat", "got Octave's text format; save with the option -v7 or -hdf5"),
        ("binary.mat", "got Octave's binary format; save with the option -v7 or -hdf5"),
    ):
        with pytest.raises(MeasurementError, match=said):
            MeasurementReader(tmp_path / name)


def test_options_that_are_none_are_named() -> None:
    for options, said in (
        ({"axes": "fortran"}, "axes: expected one of auto, c, reversed, got 'fortran'"),
        ({"order": "spiral"}, "order: expected one of rows, rows-down, columns, columns-down, got 'spiral'"),
        (
            {"named_axes": {"y": ("ant", "snap", "elem")}},
            "axes: expected the axes of an array in any order, such as y=scene,snap,ant",
        ),
        ({"named_axes": {"z": ("ant",)}}, "axes: expected the axes of an array"),
    ):
        with pytest.raises(MeasurementError, match=said):
            Reading(**options)


def test_the_python_of_the_page_is_run_and_read(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (repository / "docs" / "formats.md").read_text(encoding="utf-8")
    known, reorder, write, grow = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(write.splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(write, names)
    with MeasurementReader("numpy.npz") as reader:
        part = reader.read(slice(0, 2))
    np.testing.assert_array_equal(part.y.numpy(), names["y"])
    np.testing.assert_allclose(part.codebook[1].numpy(), np.exp(2j * np.pi * names["codes"] / 8), atol=1e-6)
    exec(grow, names)
    with MeasurementReader("growing.h5") as reader:
        assert len(reader.read(slice(0, 3))) == 3
    exec(known, names)
    with MeasurementReader("one.npz") as reader:
        assert reader.read(slice(0, 2)).reception == Reception(pilots=True, static_path=True)
    exec(reorder, names)
    np.testing.assert_array_equal(element_order("columns-down", 12, 8), names["sionna"])


def test_every_writer_and_every_order_of_the_page_exists(repository: Path) -> None:
    page = (repository / "docs" / "formats.md").read_text(encoding="utf-8")
    assert re.findall(r"^```(\w+)$", page, re.MULTILINE) == [
        "python",
        "python",
        "python",
        "matlab",
        "julia",
        "cpp",
        "python",
    ]
    assert tuple(re.findall(r"^\| `([a-z-]+)` \| [ix(]", page, re.MULTILINE)) == ORDERS


@pytest.mark.parametrize(
    "options", [[], ["--axes", "c"], ["--axes", "y=ant,scene,snap", "--order", "columns", "--conjugate"]]
)
def test_convert_writes_the_layout(
    options: list[str],
    arrays: dict[str, Any],
    native_positions: torch.Tensor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = dict(arrays)
    if "--conjugate" in options:
        n_h, n_v = int(arrays["n_h"]), int(arrays["n_v"])
        columns = [ix + n_h * iy for ix in range(n_h) for iy in range(n_v)]
        values |= {"y": arrays["y"].conj().transpose(2, 0, 1), "H": arrays["H"].conj()[..., columns]}
        values["codes"] = (8 - arrays["codes"].astype(int)[..., columns]) % 8
    np.savez(tmp_path / "m.npz", **values)
    assert run(["convert", str(tmp_path / "m.npz"), str(tmp_path / "own.h5"), *options]) == 0
    assert (
        f"wrote {tmp_path / 'own.h5'}: 3 scenes of {tmp_path / 'm.npz'}, read with variables by"
        in capsys.readouterr().out
    )
    with MeasurementReader(tmp_path / "own.h5") as reader:
        assert reader.how == ""
    torch.testing.assert_close(
        positions(tmp_path / "own.h5"), native_positions, rtol=0, atol=1e-3, equal_nan=True, check_dtype=False
    )


def test_locate_and_inspect_say_how_a_file_was_read(
    arrays: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign_layouts.matlab_73(tmp_path / "m.mat", arrays)
    assert run(["inspect", str(tmp_path / "m.mat")]) == 0
    assert run(["locate", str(tmp_path / "m.mat"), "--most", "2", "--json", str(tmp_path / "m.json")]) == 0
    said = capsys.readouterr().out
    assert said.count(f"read with {HOW['MATLAB 7.3'].removeprefix('read with ')}") == 2
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))["notes"][0] == HOW["MATLAB 7.3"]


def test_a_wrong_option_of_convert_is_named(
    arrays: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "m.npz", **arrays)
    for options, said in (
        (["--axes", "rows"], "axes: expected one of auto, c, reversed, got 'rows'"),
        (["--axes", "y=a,b,c"], "axes: expected the axes of an array in any order, such as y=scene,snap,ant"),
    ):
        assert run(["convert", str(tmp_path / "m.npz"), str(tmp_path / "own.h5"), *options]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "own.h5").exists()
