"""Echoes on the command line: the same in the table, JSON, CSV and pictures, and said where they cannot be told."""

import csv
import dataclasses
import json
import math
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from risloc.cli import picture
from risloc.cli.alarms import Alarms
from risloc.cli.main import run
from risloc.estimation.reliability import DIRECT_LOST, REASONS
from risloc.io.measurement_reader import MeasurementReader
from risloc.locating.echo_rows import ECHO_COLUMNS
from risloc.locating.found import Found
from risloc.locating.locate import locate

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hall") / "hall.h5"
    options = ["--preset", "hall", "--scenes", "2", "--snr", "20", "--sources", "1", "--seed", "4"]
    assert run(["simulate", str(path), *options]) == 0
    return path


def found_in(path: Path, echoes: str = "auto") -> Found:
    with MeasurementReader(path) as reader:
        return locate(reader.read(slice(0, len(reader))), echoes=echoes)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_echoes_are_the_same_in_every_output(hall: Path, tmp_path: Path, capsys: Capture) -> None:
    names = {"--csv": tmp_path / "a.csv", "--echo-csv": tmp_path / "echoes.csv", "--json": tmp_path / "a.json"}
    assert run(["locate", str(hall), *(text for option, path in names.items() for text in (option, str(path)))]) == 0
    said, record = capsys.readouterr().out, json.loads(names["--json"].read_text(encoding="utf-8"))
    found = found_in(hall)
    gain = found.echoes.gain[found.echoes.present].numpy()
    assert len(gain) >= 4
    assert record["echoes"] == "auto"
    assert [scene["grouping"] for scene in record["scenes"]] == ["clear", "clear"]
    echoes = rows(names["--echo-csv"])
    assert tuple(echoes[0]) == ECHO_COLUMNS
    np.testing.assert_allclose([float(row["gain_db"]) for row in echoes], 20 * np.log10(np.abs(gain)), rtol=1e-5)
    phases = np.deg2rad([float(row["gain_phase_deg"]) for row in echoes])
    np.testing.assert_allclose(np.exp(1j * phases), gain / np.abs(gain), atol=1e-5)
    image = np.array([[float(row[name]) for name in ("x_m", "y_m", "z_m")] for row in echoes])
    np.testing.assert_allclose(image, found.echoes.position[found.echoes.present].numpy(), rtol=1e-6)
    flat = [
        {"scene": scene["scene"], "source": source["source"]} | echo
        for scene in record["scenes"]
        for source in scene["sources"]
        for echo in source["echoes"]
    ]
    assert [{name: str(value) for name, value in echo.items()} for echo in flat] == echoes
    counts = [len(source["echoes"]) for scene in record["scenes"] for source in scene["sources"]]
    assert [int(row["echoes"]) for row in rows(names["--csv"])] == counts
    for count in filter(None, counts):
        assert f"  {count} echo" in said
    assert f" with {sum(counts)} echoes in 2 scenes" in said


def test_echoes_that_are_not_searched_for_are_not_written(hall: Path, tmp_path: Path, capsys: Capture) -> None:
    for options, how in ((["--echoes", "never"], "NOMP, K by bic"), (["--method", "music"], "MUSIC, K by bic")):
        outputs = ["--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]
        assert run(["locate", str(hall), *options, *outputs]) == 0
        said, record = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
        assert how in said
        assert re.search(r"\d echo", said) is None
        assert record["echoes"] == "never"
        assert all(scene["grouping"] is None for scene in record["scenes"])
        assert all(source["echoes"] is None for scene in record["scenes"] for source in scene["sources"])
        assert {(row["echoes"], row["grouping"]) for row in rows(tmp_path / "a.csv")} == {("", "")}
        assert run(["locate", str(hall), *options, "--echo-csv", str(tmp_path / "b.csv")]) == 2
        assert "--echo-csv: echoes are not searched for; use --method nomp and" in capsys.readouterr().err


def test_one_snapshot_tells_no_echo_from_a_source_and_a_line_says_so(
    hall: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "one.h5"
    path.write_bytes(hall.read_bytes())
    with h5py.File(path, "a") as file:
        for name in ("y", "codes"):
            values = file[name][:]
            del file[name]
            file[name] = values[:, :1]
        del file["truth"]
    capsys.readouterr()
    assert run(["locate", str(path), "--json", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 scenes: the symbols do not vary and cannot tell an echo from a source; each path counts as" in said
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [scene["grouping"] for scene in record["scenes"]] == ["ambiguous"] * 2
    assert not any(source["echoes"] for scene in record["scenes"] for source in scene["sources"])


def test_the_other_sign_of_the_phase_is_an_alarm(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "m.h5"
    assert run(["simulate", str(path), "--scenes", "4", "--snr", "20", "--sources", "1", "--no-truth"]) == 0
    capsys.readouterr()
    assert run(["locate", str(path)]) == 0
    assert "direct wave" not in capsys.readouterr().err
    with h5py.File(path, "a") as file:
        for name in ("y", "H"):
            file[name][...] = file[name][:].conj()
        file["codes"][...] = -file["codes"][:] % 8  # the phases of 3 bits
    for noise, scenes in (
        ("given", r"[34] of 4 scenes have a residual above noise_var"),
        ("estimated", r"[34] of 4 .* white noise"),
    ):
        assert run(["locate", str(path), "--noise", noise]) == 0
        captured = capsys.readouterr()
        assert re.search(scenes + r".*: .*the opposite sign of the phase \(conjugate y, H and codes\)", captured.err)
        count = re.search(r"(\d+) sources .*, (\d+) not resolved", captured.out)
        assert count[1] == count[2]


def test_echoes_that_are_stronger_than_the_direct_waves_are_an_alarm_that_names_the_sign_of_the_phase(
    hall: Path,
) -> None:
    found = found_in(hall)
    strong, quiet = Alarms(), Alarms()
    quiet.add(found)
    strong.add(dataclasses.replace(found, echoes=dataclasses.replace(found.echoes, gain=10 * found.echoes.gain)))
    assert not any("direct wave" in line for line in quiet.words(5, order_known=False, noise_given=True))
    (said,) = (line for line in strong.words(5, order_known=False, noise_given=True) if "direct wave" in line)
    assert re.match(
        r"2 of 2 scenes have a source whose echoes together are stronger than its direct wave; if there is", said
    )
    assert "check the sign of the phase (conjugate y, H and codes)" in said


def test_a_direct_path_that_is_not_found_is_an_alarm_with_both_causes(hall: Path) -> None:
    found = found_in(hall)
    quiet, alarms = Alarms(), Alarms()
    quiet.add(found)
    assert not any("direct path" in line for line in quiet.words(5, order_known=False, noise_given=True))
    lost = dataclasses.replace(found, reason=torch.where(found.present, REASONS.index(DIRECT_LOST), 0))
    alarms.add(lost)
    (said,) = (line for line in alarms.words(5, order_known=False, noise_given=True) if "direct path" in line)
    assert said.startswith(f"{int(found.present.sum())} sources without a direct path in the search region")
    assert "the line of sight is blocked, or the true position lies outside; widen the region with --azimuth" in said


def test_the_picture_joins_each_echo_to_its_source(hall: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(picture, "save_figure", lambda figure, path: seen.append(figure))
    found = found_in(hall)
    for options in ([], ["--echoes", "never"]):
        assert run(["locate", str(hall), *options, "--png", str(tmp_path / "a.png")]) == 0
    with_echoes, without = ({line.get_label(): line for line in figure.axes[0].get_lines()} for figure in seen)
    marks = with_echoes["echo, joined to its source"]
    assert "echo, joined to its source" not in without
    x, z = marks.get_data()
    images = found.echoes.position[found.echoes.present].numpy()
    assert len(x) == len(images)
    directions = np.arctan2(images[:, 0], images[:, 2])
    np.testing.assert_allclose(np.arctan2(x, z), directions, atol=1e-6)
    near = np.linalg.norm(images, axis=1) <= 2 * float(found.location[..., 2].nan_to_num(0).max())
    np.testing.assert_allclose(np.array([x, z]).T[near], images[near][:, (0, 2)], rtol=1e-6)
    assert near.sum() > 0
    lines = next(line for label, line in with_echoes.items() if label.startswith("_") and len(line.get_xdata()) > 2)
    corners = np.stack(lines.get_data(), axis=1).reshape(-1, 3, 2)
    np.testing.assert_array_equal(corners[:, 1], np.stack([x, z], axis=1))
    sources = {(round(float(p[0]), 5), round(float(p[2]), 5)) for p in found.position[found.present]}
    assert {(round(float(a), 5), round(float(b), 5)) for a, b in corners[:, 0]} <= sources
    assert all(math.isnan(value) for value in corners[:, 2].flatten())
