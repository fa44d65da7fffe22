"""Octave itself writes what we read, and loads what we write."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from risloc.cli.main import run
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader
from risloc.locating.locate import locate

pytestmark = pytest.mark.octave

DOUBLES = "y = double(y); H = double(H); codes = double(codes);"  # Octave 7 writes no complex single to HDF5


@pytest.fixture(scope="module")
def octave() -> str:
    found = shutil.which("octave-cli")
    if found is None:
        pytest.skip("no Octave here: `make octave` installs Debian's package octave as root")
    return found


def said_by(octave: str, folder: Path, code: str) -> str:
    """What a program of Octave prints; Octave 7 says a word about its own end on standard error, whatever it runs."""
    done = subprocess.run(
        [octave, "--quiet", "--norc", "--eval", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same scenes as a file of ours and as one for MATLAB and Octave."""
    made = tmp_path_factory.mktemp("octave")
    for name, layout in (("own.h5", "risloc"), ("room.mat", "matlab")):
        assert (
            run(["simulate", str(made / name), "--scenes", "2", "--sources", "2", "--snr", "20", "--layout", layout])
            == 0
        )
    return made


def test_octave_loads_the_numbers_that_simulate_writes(octave: str, folder: Path) -> None:
    code = "load room.mat; printf('%.9g ', real(y(2, 3, 4)), imag(y(2, 3, 4)), real(H(1, 2, 5)), codes(2, 7, 9), n_h, noise_var(2),"
    code += " truth.location(1, 2, 3), truth.count(2)); disp(char(reference)); disp(size(H))"
    *numbers, reference, scenes, antennas, elements = said_by(octave, folder, code).split()
    with MeasurementReader(folder / "own.h5") as reader:
        part, bits = reader.read(slice(0, 2)), reader.code_bits
    code_of = round(float(part.codebook[1, 6, 8].angle()) / (2 * np.pi) * 2**bits) % 2**bits
    y, location = part.y[1, 2, 3], part.truth.location[0, 1, 2]
    expected = [
        float(y.real),
        float(y.imag),
        float(part.H[0, 1, 4].real),
        code_of,
        12,
        float(part.noise_var[1]),
        float(location),
        2,
    ]
    np.testing.assert_allclose([float(number) for number in numbers], expected, rtol=1e-6)
    assert (reference, scenes, antennas, elements) == ("centre", "2", "16", "144")


@pytest.mark.parametrize(
    ("save", "change", "how"),
    [
        (
            "-hdf5",
            DOUBLES,
            r"axes reversed .*; complex numbers from pairs real, imag; codes from floating-point numbers",
        ),
        ("-v7", DOUBLES, r"codes from floating-point numbers"),
        ("-v6", "", ""),
        ("-v7", "clear format version", r"variables by their names \(MATLAB or Octave\)"),
    ],
)
def test_what_octave_saves_has_the_positions_of_our_file(
    octave: str, folder: Path, save: str, change: str, how: str
) -> None:
    said_by(octave, folder, f"load room.mat; {change}; clear ans; save {save} saved.mat")
    with MeasurementReader(folder / "own.h5") as reader, MeasurementReader(folder / "saved.mat") as saved:
        assert re.search(how, saved.how), saved.how
        assert saved.setup == reader.setup
        assert saved.unknown == ()
        given, expected = saved.read(slice(0, 2)), reader.read(slice(0, 2))
    assert torch.equal(given.truth.location.float(), expected.truth.location)
    torch.testing.assert_close(given.codebook, expected.codebook)
    found, native = locate(given, sources=2).position, locate(expected, sources=2).position
    torch.testing.assert_close(found, native, rtol=0, atol=1e-3, check_dtype=False)


def test_the_writer_of_the_page_is_read(octave: str, repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "formats.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```matlab\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 10
    said_by(octave, tmp_path, code + "printf('%.9g ', real(y(2, 3, 4)), imag(H(2, 5)), codes(3, 4))")
    shown = said_by(octave, tmp_path, "load octave.mat; printf('%.12g ', real(y(2, 3, 4)), imag(H(2, 5)), codes(3, 4))")
    with MeasurementReader(tmp_path / "octave.mat") as reader:
        assert (len(reader), reader.snapshots, reader.antennas, reader.setup.size) == (2, 16, 8, 144)
        part = reader.read(slice(0, 2))
    y, H, code_ = (float(number) for number in shown.split())
    assert float(part.y[1, 2, 3].real) == pytest.approx(y)
    assert float(part.H[0, 1, 4].imag) == pytest.approx(H)
    np.testing.assert_allclose(part.codebook[0, 2, 3].numpy(), np.exp(2j * np.pi * code_ / 8), atol=1e-6)


@pytest.mark.parametrize(("option", "kind"), [("-text", "text"), ("-binary", "binary")])
def test_octave_s_own_formats_are_told_what_to_do(octave: str, tmp_path: Path, option: str, kind: str) -> None:
    said_by(octave, tmp_path, f"y = [1+2i 3]; save {option} saved.mat y")
    with pytest.raises(MeasurementError, match=f"got Octave's {kind} format; save with the option -v7 or -hdf5"):
        MeasurementReader(tmp_path / "saved.mat")
