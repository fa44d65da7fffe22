"""Known pilots, unknown gains and a static path in files and on the command line."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from pilot_scenes import pilot_scenes

from risloc.cli.main import run
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import Measurements
from risloc.io.reading_options import Reading
from risloc.io.reception import Reception
from risloc.locating.locate import locate

Capture = pytest.CaptureFixture[str]
ALL = Reception(pilots=True, unknown_gains="antenna", static_path=True)
OPTIONS = ("--pilots", "constant", "--unknown-gains", "antenna", "--static-path")


@pytest.fixture(scope="module")
def measured() -> Measurements:
    return pilot_scenes(3, snapshots=12, antennas=16, snr_db=15.0, gains=True, static_db=10.0)


def plain(m: Measurements) -> Measurements:
    """Return the same scenes without what is known of the receiver."""
    return dataclasses.replace(m, pilots=None, unknown_gains="none", static_path=False)


def read(path: Path, **reading: Any) -> Measurements:
    with MeasurementReader(path, Reading(**reading)) as reader:
        return reader.read(slice(0, len(reader)))


@pytest.mark.parametrize("layout", ["risloc", "matlab"])
def test_a_file_keeps_what_is_known_of_the_receiver(measured: Measurements, tmp_path: Path, layout: str) -> None:
    varying = dataclasses.replace(measured, pilots=torch.randn(3, 12, dtype=torch.complex128))
    for part in (varying, dataclasses.replace(varying, static_path=False, unknown_gains="none")):
        write_measurements(tmp_path / "a.h5", 3, part, layout=layout)
        again = read(tmp_path / "a.h5")
        assert again.reception == part.reception
        assert torch.equal(again.pilots, part.pilots)
        assert torch.equal(again.y, part.y)
    with MeasurementReader(tmp_path / "a.h5") as reader:
        assert reader.unknown == ()
        assert torch.equal(reader.read([0, 2]).pilots, varying.pilots[[0, 2]])


def test_only_files_that_need_it_have_version_2(measured: Measurements, tmp_path: Path) -> None:
    for part, version in ((measured, 2), (plain(measured), 1)):
        write_measurements(tmp_path / "a.h5", 3, part)
        with h5py.File(tmp_path / "a.h5") as file:
            assert file.attrs["version"] == version
            assert (
                ("pilots" in file) == ("static_path" in file.attrs) == ("unknown_gains" in file.attrs) == (version == 2)
            )


def test_parts_of_a_file_share_what_is_known(measured: Measurements, tmp_path: Path) -> None:
    other = dataclasses.replace(measured, static_path=False)
    with pytest.raises(ValueError, match="expected 6 scenes of one setup"):
        write_measurements(tmp_path / "a.h5", 6, [measured, other])


@pytest.mark.parametrize("pilots", ["of all scenes", "of each scene", "real", "a row", "a column"])
def test_arrays_of_numpy_have_pilots_of_any_form(measured: Measurements, tmp_path: Path, pilots: str) -> None:
    forms = {
        "of all scenes": np.ones(12, complex), "of each scene": np.ones((3, 12), complex), "real": np.ones(12),
        "a row": np.ones((1, 12), complex), "a column": np.ones((12, 1), complex),
    }  # fmt: skip
    s = measured.setup
    np.savez(
        tmp_path / "a.npz", y=measured.y, H=measured.H, codes=measured.codebook, n_h=s.n_h, n_v=s.n_v,
        spacing_m=s.spacing_m, carrier_hz=s.carrier_hz, pilots=forms[pilots], unknown_gains="antenna", static_path=True,
    )  # fmt: skip
    again = read(tmp_path / "a.npz")
    assert again.reception == ALL
    assert torch.equal(again.pilots, measured.pilots)


def test_pilots_are_conjugated_with_all_else(measured: Measurements, tmp_path: Path) -> None:
    varying = dataclasses.replace(measured, pilots=torch.randn(3, 12, dtype=torch.complex128))
    write_measurements(tmp_path / "a.h5", 3, varying)
    assert torch.equal(read(tmp_path / "a.h5", conjugate=True).pilots, varying.pilots.conj().resolve_conj())


def test_what_a_file_does_not_say_is_added(measured: Measurements, tmp_path: Path) -> None:
    write_measurements(tmp_path / "a.h5", 3, plain(measured))
    again = read(tmp_path / "a.h5", pilots="constant", unknown_gains="antenna", static_path=True)
    assert again.reception == ALL
    assert torch.equal(again.pilots, measured.pilots)
    with pytest.raises(MeasurementError, match=r"a\.h5: static_path: expected known pilots"):
        read(tmp_path / "a.h5", static_path=True)


@pytest.mark.parametrize(
    ("name", "value"), [("unknown_gains", 1), ("unknown_gains", "rows"), ("static_path", 2), ("static_path", "yes")]
)
def test_values_that_do_not_exist_are_rejected(measured: Measurements, tmp_path: Path, name: str, value: Any) -> None:
    write_measurements(tmp_path / "a.h5", 3, measured)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs[name] = value
    with pytest.raises(MeasurementError, match=r"expected unknown_gains as text|expected one of none, antenna"):
        read(tmp_path / "a.h5")


def test_scenes_that_tell_nothing_are_listed(measured: Measurements, tmp_path: Path) -> None:
    codes = measured.codebook.clone()
    codes[1] = codes[1, :1]
    write_measurements(tmp_path / "a.h5", 3, plain(dataclasses.replace(measured, codebook=codes)))
    with MeasurementReader(tmp_path / "a.h5", Reading(pilots="constant", static_path=True)) as reader:
        bad = reader.bad()
    assert list(bad) == [1]
    assert bad[1].startswith("codes: expected codes that vary")


def test_the_command_line_says_what_a_file_does_not(measured: Measurements, tmp_path: Path, capsys: Capture) -> None:
    full, bare = tmp_path / "full.h5", tmp_path / "bare.h5"
    write_measurements(full, 3, measured)
    write_measurements(bare, 3, plain(measured))
    answers = []
    for path, options in ((full, ()), (bare, OPTIONS)):
        assert run(["locate", str(path), *options, "--json", str(tmp_path / "a.json")]) == 0
        said = capsys.readouterr().out
        assert "known pilots, an unknown gain of each antenna, a static path; NOMP, K by bic" in said
        answers.append(json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["scenes"])
    assert answers[0] == answers[1]
    expected = locate(measured)
    assert [len(scene["sources"]) for scene in answers[0]] == expected.present.sum(1).tolist()
    assert answers[0][0]["sources"][0]["x_m"] == pytest.approx(float(expected.position[0, 0, 0]), rel=1e-4)
    assert run(["convert", str(bare), str(tmp_path / "converted.h5"), *OPTIONS]) == 0
    assert read(tmp_path / "converted.h5").reception == ALL
    capsys.readouterr()
    assert run(["inspect", str(tmp_path / "converted.h5")]) == 0
    said = capsys.readouterr().out
    assert "receiver            known pilots, an unknown gain of each antenna, a static path\n" in said
    assert "no shipped network" in said


def test_one_antenna_is_told_of_pilots(tmp_path: Path, capsys: Capture) -> None:
    one = pilot_scenes(1, snapshots=256, antennas=1, snr_db=10.0)
    write_measurements(tmp_path / "one.h5", 1, plain(one))
    assert run(["locate", str(tmp_path / "one.h5")]) == 1
    assert "known pilots (--pilots constant if symbols do not vary" in capsys.readouterr().err
    assert run(["locate", str(tmp_path / "one.h5"), "--pilots", "constant"]) == 0
    assert "1 source in 1 scene, 0 not resolved" in capsys.readouterr().out


def test_echoes_in_a_file_need_symbols_that_tell_them(measured: Measurements, tmp_path: Path, capsys: Capture) -> None:
    write_measurements(tmp_path / "a.h5", 3, measured)
    assert run(["locate", str(tmp_path / "a.h5"), "--echo-csv", str(tmp_path / "echoes.csv")]) == 2
    assert "--echo-csv: echoes are not searched for" in capsys.readouterr().err
