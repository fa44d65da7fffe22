"""A file that is still being written: what is there is located, and the rest as it arrives."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from risloc.cli import followed_scenes
from risloc.cli.main import run
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_reader import MeasurementReader

Capture = pytest.CaptureFixture[str]
SCENES = 4

WRITER = """
import os, sys
import h5py
source, target = sys.argv[1:]
names = ("H", "codes", "noise_var", "y")
with h5py.File(source) as old, h5py.File(target, "w", libver="latest") as new:
    new.attrs.update(old.attrs)
    for name in names:
        row = old[name].shape[1:]
        new.create_dataset(name, (0, *row), old[name].dtype, maxshape=(None, *row), chunks=(1, *row))
    new.swmr_mode = True
    print("ready", flush=True)
    for scene, order in enumerate(sys.stdin):
        if order == "die\\n":
            os._exit(9)
        for name in names[: 3 if order == "half\\n" else 4]:
            new[name].resize(scene + 1, axis=0)
            new[name][scene] = old[name][scene]
            new[name].flush()
        print("written", flush=True)
"""


class Writer:
    """A process that writes the scenes of one file into another, one at each word."""

    def __init__(self, source: Path, target: Path) -> None:
        command = [sys.executable, "-c", WRITER, str(source), str(target)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n"

    def say(self, word: str) -> None:
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == ("" if word == "die" else "written\n")

    def close(self) -> None:
        self._process.communicate("")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    assert run(["simulate", str(path), "--scenes", str(SCENES), "--sources", "1", "--snr", "20", "--no-truth"]) == 0
    return path


@pytest.fixture
def writer(whole: Path, tmp_path: Path) -> Iterator[Writer]:
    made = Writer(whole, tmp_path / "growing.h5")
    yield made
    made.close()


def test_complete_scenes_alone_are_read(writer: Writer, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "growing.h5"
    with pytest.raises(MeasurementError, match="y: expected at least one complete scene, got none yet; wait until"):
        MeasurementReader(path)
    for word, count in (("whole", 1), ("whole", 2), ("half", 2)):
        writer.say(word)
        with MeasurementReader(path) as reader:
            assert (len(reader), reader.growing) == (count, True)
            assert reader.bad() == {}
    with MeasurementReader(path) as reader, h5py.File(whole) as file:
        assert (reader.read(slice(0, 2)).y.numpy() == file["y"][:2]).all()


def test_what_a_killed_writer_left_is_read(writer: Writer, tmp_path: Path, capsys: Capture) -> None:
    writer.say("whole")
    writer.say("whole")
    writer.say("die")
    assert run(["locate", str(tmp_path / "growing.h5"), "--sources", "1"]) == 0
    said = capsys.readouterr().out
    assert (
        "read with the scenes that are complete: another process is writing the file, or ended without closing it"
        in said
    )
    assert "2 sources in 2 scenes" in said


def test_locate_goes_on_as_scenes_arrive(
    writer: Writer, whole: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.say("whole")
    looks = iter(["whole", "", "whole", "whole", "close"])

    def pause(seconds: float) -> None:
        word = next(looks)
        if word == "close":
            writer.close()
        elif word:
            writer.say(word)

    monkeypatch.setattr(followed_scenes.time, "sleep", pause)
    options = ["--sources", "1", "--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]
    assert run(["locate", str(tmp_path / "growing.h5"), "--follow", *options]) == 0
    assert next(looks, None) is None
    said = capsys.readouterr().out
    assert said.index("1 scene, 12 x 12") < said.index("4 sources in 4 scenes, 0 not resolved")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    assert [int(row["scene"]) for row in rows] == [0, 1, 2, 3]
    assert len(json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["scenes"]) == 4
    assert run(["locate", str(whole), "--sources", "1", "--csv", str(tmp_path / "b.csv")]) == 0
    expected = list(csv.DictReader((tmp_path / "b.csv").read_text(encoding="utf-8").splitlines()))
    for row, other in zip(rows, expected, strict=True):
        assert [float(row[name]) for name in ("x_m", "y_m", "z_m")] == pytest.approx(
            [float(other[name]) for name in ("x_m", "y_m", "z_m")], abs=1e-3
        )


def test_a_file_that_nobody_writes_is_located_once(whole: Path, capsys: Capture) -> None:
    assert run(["locate", str(whole), "--follow", "--sources", "1"]) == 0
    assert "4 sources in 4 scenes" in capsys.readouterr().out
