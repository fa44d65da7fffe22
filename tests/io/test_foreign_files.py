"""Measurement files that other programs write, hold open or leave behind, and files of which some scenes are bad."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from risloc.config import ParamError, as_mapping
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import Measurements, measurements_of
from risloc.io.shard_header import ShardError
from risloc.io.shard_reader import ShardReader
from risloc.learning.checkpoint import CheckpointError, load_checkpoint
from risloc.physics.steering import steering_matrix
from risloc.scenes.room import read_room
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

SCENES = 5


@pytest.fixture(scope="module")
def written(small_scenario: Scenario) -> Measurements:
    return measurements_of(small_scenario, simulate(small_scenario, seed=3, split="test", start=0, stop=SCENES))


@pytest.fixture
def path(written: Measurements, tmp_path: Path) -> Path:
    write_measurements(tmp_path / "m.h5", SCENES, [written])
    return tmp_path / "m.h5"


def test_what_netcdf_writes_beside_the_data_is_no_unknown_name(path: Path) -> None:
    """As netCDF4 1.7 writes: dimensions are scales at the root and in groups, complex is a named type, attributes of its own."""
    with h5py.File(path, "a") as file:
        file.attrs["_NCProperties"] = np.bytes_(b"version=2,netcdf=4.10.1,hdf5=2.2.0")
        file["_PFNC_DOUBLE_COMPLEX_TYPE"] = np.dtype(np.complex128)
        for number, (owner, name, data, axis) in enumerate(
            (("/", "scene", "y", 0), ("/", "snap", "y", 1), ("/", "ant", "y", 2), ("truth", "src", "truth/power", 1))
        ):
            scale = file[owner].create_dataset(name, (file[data].shape[axis],), ">f4")
            scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{len(scale):10d}")
            scale.attrs["_Netcdf4Dimid"] = np.int32(number)
            file[data].dims[axis].attach_scale(scale)
    with MeasurementReader(path) as reader:
        assert reader.unknown == ()
        reader.read(slice(0, SCENES))


def test_what_pytables_writes_beside_the_data_is_no_unknown_name(path: Path) -> None:
    with h5py.File(path, "a") as file:
        values = {"CLASS": b"GROUP", "PYTABLES_FORMAT_VERSION": b"2.1", "VERSION": b"1.0"}
        file.attrs.update({name: np.bytes_(value) for name, value in values.items()})
        file.attrs["TITLE"] = h5py.Empty("S1")
        file["y"].attrs.update({"CLASS": np.bytes_(b"ARRAY"), "FLAVOR": np.bytes_(b"numpy")})
    with MeasurementReader(path) as reader:
        assert reader.unknown == ()
        reader.read(slice(0, SCENES))


def test_a_name_of_one_s_own_is_still_said_beside_them(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.move("noise_var", "noise_variance")
        file["scene"] = np.arange(SCENES)
        file["scene"].make_scale("scene")
        file["tables"] = np.arange(3)
        file["tables"].attrs["CLASS"] = np.bytes_(b"ARRAY")
    with MeasurementReader(path) as reader:
        assert reader.unknown == ("'noise_variance' (noise_var?)", "'tables'")


def _put(file: h5py.File, name: str, array: np.ndarray) -> None:
    del file[name]
    file[name] = array


def _compound(x: np.ndarray, real: str, imag: str, kind: str) -> np.ndarray:
    parts = np.empty(x.shape, [(real, kind), (imag, kind)])
    parts[real], parts[imag] = x.real, x.imag
    return parts


FOREIGN: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "another compound": (
        lambda f: _put(f, "y", _compound(f["y"][()], "left", "right", "f8")),
        r"y: expected complex numbers .* \(complex numbers as h5py writes them, a compound of two floats named r and i\), got a "
        r"compound of left \(float64\), right \(float64\); convert the numbers$",
    ),
    "axes in an order of their own": (
        lambda f: [_put(f, name, f[name][()].transpose(1, 0, 2)) for name in ("y", "H", "codes")] and None,
        r"H: expected the shape .*; if the axes have another order, say it with `risloc convert --axes y=ant,snap,scene` \(in Python "
        r"Reading\); docs/command_line\.md and the help of risloc\.io\.measurements describe the layout$",
    ),
    "lossy": (
        lambda f: _put(f, "codes", f["codes"][()] * np.linspace(0.6, 1, 16)),
        r"codes: scene 0: expected phasors of modulus 1, got moduli of 0\.6 to 1; codes with different losses are not "
        r"supported, and dividing them by their moduli gives wrong positions$",
    ),
    "lossy alike": (
        lambda f: _put(f, "codes", f["codes"][()] * 0.8),
        r"codes: scene 0: .* got moduli of 0\.8 to 0\.8; divide all codes by this modulus, which changes only the powers$",
    ),
    "codes that are no numbers": (
        lambda f: f["codes"].__setitem__((2, 0, 0), np.nan),
        "codes: scene 2: expected finite numbers, got NaN or infinity .*; leave the scene out$",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_others_write_otherwise_is_told_what_to_do(path: Path, what: str) -> None:
    change, said = FOREIGN[what]
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(MeasurementError, match=said), MeasurementReader(path) as reader:
        reader.read(slice(0, SCENES))


_HOLDER = """
import os, sys, h5py
how, path = sys.argv[1:]
file = h5py.File(path, "r+", libver="latest")
if how == "swmr":
    file.swmr_mode = True
if how == "killed":
    file["y"][0] = file["y"][0]
    file.flush()
    os._exit(9)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def latest(path: Path) -> Path:
    """The file in the newest format of HDF5, which notes in it that somebody writes."""
    newest = path.with_name("latest.h5")
    with h5py.File(path) as old, h5py.File(newest, "w", libver="latest") as new:
        new.attrs.update(old.attrs)
        for name in ("y", "H", "codes", "noise_var"):
            new.create_dataset(name, data=old[name][()], chunks=True)
    return newest


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Iterator[Callable[[str, Path], "subprocess.Popen[str]"]]:
    holders = []

    def hold(how: str, path: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", _HOLDER, how, str(path)]
        holders.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert holders[-1].stdout is not None
        assert holders[-1].stdout.readline() == ("" if how == "killed" else "held\n")
        return holders[-1]

    yield hold
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_a_file_that_another_process_writes_is_not_called_damaged(
    path: Path, held: Callable[[str, Path], "subprocess.Popen[str]"]
) -> None:
    holder = held("w", path)
    with pytest.raises(
        MeasurementError, match=r"m\.h5: another process has it open for writing \(.*\); close it there$"
    ):
        MeasurementReader(path)
    holder.communicate("")  # it is closed there
    with MeasurementReader(path) as reader:
        assert len(reader) == SCENES


def test_a_file_that_is_written_for_readers_is_read(
    latest: Path, written: Measurements, held: Callable[[str, Path], "subprocess.Popen[str]"]
) -> None:
    holder = held("swmr", latest)
    with MeasurementReader(latest) as reader:
        assert reader.growing
        assert reader.how == (
            "read with the scenes that are complete: another process is writing the file, or ended without closing it"
        )
        assert torch.equal(reader.read(slice(0, SCENES)).y, written.y)
    holder.communicate("")
    with MeasurementReader(latest) as reader:
        assert (reader.growing, reader.how, len(reader)) == (False, "", SCENES)


def test_a_file_that_a_killed_process_wrote_is_told_h5clear(
    latest: Path, held: Callable[[str, Path], "subprocess.Popen[str]"]
) -> None:
    held("killed", latest).wait()
    with pytest.raises(MeasurementError, match="a process has it open for writing, or ended without closing it"):
        MeasurementReader(latest)
    if shutil.which("h5clear"):
        subprocess.run(["h5clear", "-s", str(latest)], check=True)
        with MeasurementReader(latest) as reader:
            assert len(reader) == SCENES


def test_bad_scenes_are_named_and_the_others_read(path: Path, written: Measurements) -> None:
    with h5py.File(path, "a") as file:
        file["y"][1, 2, 3] = np.nan
        file["H"][1, 0, 0] = np.inf
        file["noise_var"][2] = 1e-30
        file["noise_var"][3] = 1e30
    with MeasurementReader(path) as reader:
        bad = reader.bad()
        assert list(bad) == [1, 2, 3]
        assert bad[1] == "y: expected finite numbers, got NaN or infinity"
        assert bad[2].startswith("noise_var: expected 1e-14..10000 times the scene's mean |y|^2, got")
        assert bad[2] != bad[3]
        assert reader.bad(slice(2, 3)) == {2: bad[2]}
        assert reader.bad(slice(0, 1)) == {}
        with pytest.raises(
            MeasurementError,
            match=r"y: scene 1: expected finite numbers, got NaN or infinity \(1 of the 5 scenes from 0 to 4\)",
        ):
            reader.read(slice(0, SCENES))
        good = reader.read([0, 4])
        with pytest.raises(MeasurementError, match="noise_var: scene 3: "):
            reader.read([0, 3, 4])
        for wrong in ([], [4, 0], [0, 0], [5], [-1], slice(9, 12), slice(4, 0, -1)):
            with pytest.raises(IndexError, match=r"expected increasing numbers in 0\.\.4, got"):
                reader.read(wrong)
    assert torch.equal(good.y, written.y[[0, 4]])
    assert torch.equal(good.H, written.H[[0, 4]])
    assert torch.allclose(good.codebook, written.codebook[[0, 4]])
    assert torch.equal(good.truth.count, written.truth.count[[0, 4]])


def test_a_damaged_chunk_spoils_its_scene_alone(written: Measurements, tmp_path: Path) -> None:
    write_measurements(tmp_path / "whole.h5", SCENES, [written])
    path = tmp_path / "m.h5"
    shutil.copy(tmp_path / "whole.h5", path)
    with h5py.File(path, "a") as file:
        y = file["y"][()]
        del file["y"]
        data = file.create_dataset("y", data=y, chunks=(1, *y.shape[1:]), fletcher32=True)
        at = data.id.get_chunk_info(3).byte_offset
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with MeasurementReader(path) as reader:
        bad = reader.bad()
        assert list(bad) == [3]
        assert "cannot read it: it is damaged, or was written by a newer HDF5" in bad[3]
        assert len(reader.read([0, 1, 2, 4])) == 4


def test_a_wave_s_phase_falls_with_distance_and_x_is_fastest(path: Path, small_scenario: Scenario) -> None:
    """As the documented layout has it: e^(+j w t), element n = ix + n_h iy, from the formula alone."""
    with MeasurementReader(path) as reader:
        setup = reader.setup
    n = np.arange(setup.size)
    x = (n % setup.n_h - (setup.n_h - 1) / 2) * setup.spacing_m
    y = (n // setup.n_h - (setup.n_v - 1) / 2) * setup.spacing_m
    place = np.stack([x, y, np.zeros_like(x)], axis=-1)
    np.testing.assert_allclose(
        setup.surface.array.elements.numpy(), place[:, : setup.surface.array.elements.shape[1]], atol=1e-6
    )
    azimuth, elevation, r = 0.4, -0.2, 1.5
    p = r * np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    k = 2 * np.pi * setup.carrier_hz / 299_792_458.0
    a = np.exp(-1j * k * (np.linalg.norm(p - place, axis=-1) - r))
    polar = torch.tensor([[[p[0] / r, p[1] / r, 1 / r]]], dtype=torch.float64)
    np.testing.assert_allclose(steering_matrix(setup.surface.array, polar)[0, :, 0].numpy(), a, atol=1e-5)


def test_remedies_are_true_for_users_of_the_wheel(tmp_path: Path) -> None:
    room = as_mapping(read_room("hall"))
    del room["x_span_m"]
    (tmp_path / "room.yaml").write_text(yaml.safe_dump(room), encoding="utf-8")
    with pytest.raises(ParamError, match=r"room\.yaml\.x_span_m: missing \(.*\); it has no default, add it$"):
        read_room(str(tmp_path / "room.yaml"))
    with pytest.raises(
        CheckpointError, match=r"Copy it again, or train it again \(in the repository: `dvc repro train`\)$"
    ):
        load_checkpoint(tmp_path)
    with pytest.raises(ShardError, match=r"correct the path or, in the repository, run `dvc repro shard`$"):
        ShardReader(tmp_path)
