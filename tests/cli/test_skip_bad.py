"""Scenes that cannot be located: said before the work, or skipped and named in whatever is written."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from risloc.cli.located_scenes import _runs
from risloc.cli.main import run
from risloc.locating.locate_arguments import LocateError
from risloc.locating.locator import Locator

Capture = pytest.CaptureFixture[str]
WHY = "y: expected finite numbers, got NaN or infinity"


@pytest.fixture
def room(tmp_path: Path, capsys: Capture) -> Path:
    path = tmp_path / "room.h5"
    assert run(["simulate", str(path), "--scenes", "6", "--snr", "20", "--sources", "1"]) == 0
    capsys.readouterr()
    return path


def _spoil(path: Path, *scenes: int) -> None:
    with h5py.File(path, "a") as file:
        for scene in scenes:
            file["y"][scene, 3, 4] = np.nan


def _no_locating(*_: object) -> None:
    raise AssertionError("located")


def test_a_bad_scene_is_said_before_any_work(room: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil(room, 5)
    monkeypatch.setattr(Locator, "locate", _no_locating)
    out = room.with_name("out.csv")
    assert run(["locate", str(room), "--csv", str(out)]) == 1
    said = capsys.readouterr()
    assert said.err == (
        f"risloc: {room}: 1 of 6 scenes cannot be located: scene 5: {WHY}; remove it from the file, or use --skip-bad\n"
    )
    assert said.out == ""
    assert not out.exists()


def test_bad_scenes_are_skipped_and_named(room: Path, capsys: Capture) -> None:
    whole, some = room.with_name("whole"), room.with_name("some")
    search = ["--sources", "1"]
    assert run(["locate", str(room), *search, "--csv", f"{whole}.csv", "--json", f"{whole}.json", "--skip-bad"]) == 0
    assert "warning" not in capsys.readouterr().err
    _spoil(room, 1, 5)
    assert run(["locate", str(room), *search, "--csv", f"{some}.csv", "--json", f"{some}.json", "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert f"risloc: warning: {room}: 2 of 6 scenes cannot be located: scene 1: {WHY}; scene 5: {WHY}\n" in said.err
    assert f"     1  skipped: {WHY}" in said.out
    before, after = (json.loads(Path(f"{each}.json").read_text(encoding="utf-8"))["scenes"] for each in (whole, some))
    assert [scene["scene"] for scene in after] == list(range(6))
    for old, new in zip(before, after, strict=True):
        if new["scene"] in (1, 5):
            assert new == {"scene": new["scene"], "noise_var": None, "sources": [], "skipped": WHY}
        else:
            assert "skipped" not in new
            assert new["sources"][0]["x_m"] == pytest.approx(old["sources"][0]["x_m"], abs=1e-4)
    with Path(f"{some}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["scene"] for row in rows] == list("012345")
    assert [row["skipped"] for row in rows] == ["", WHY, "", "", "", WHY]
    assert all(row["x_m"] == "" for row in rows if row["skipped"])


def test_a_file_of_bad_scenes_alone_is_refused(room: Path, capsys: Capture) -> None:
    _spoil(room, *range(6))
    assert run(["locate", str(room), "--skip-bad"]) == 1
    assert "6 of 6 scenes cannot be located: scene 0: " in (said := capsys.readouterr().err)
    assert said.endswith("and 3 more; no scene is left to locate\n")


@pytest.mark.parametrize(("options", "code"), [([], 1), (["--skip-bad"], 0)])
def test_what_fails_in_the_middle_loses_nothing_else(
    options: list[str], code: int, room: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scene whose matrices cannot be factorised, which nobody knows before; the marked one stands for it."""
    with h5py.File(room, "a") as file:
        marked = file["y"][2, 0, 0]
    locate = Locator.locate

    def failing(self: Locator, measurements: object) -> object:
        if (measurements.y[:, 0, 0] == torch.tensor(marked)).any():
            raise LocateError("y, H, codes: expected scenes whose matrices can be factorised in single precision")
        return locate(self, measurements)

    monkeypatch.setattr(Locator, "locate", failing)
    out = room.with_name("out.json")
    assert run(["locate", str(room), "--sources", "1", "--json", str(out), *options]) == code
    said = capsys.readouterr().err
    assert "1 of 6 scenes cannot be located: scene 2: y, H, codes: expected scenes whose matrices" in said
    assert ("the other scenes were located; --skip-bad makes this a warning" in said) == (code == 1)
    scenes = json.loads(out.read_text(encoding="utf-8"))["scenes"]
    assert [scene["scene"] for scene in scenes if "skipped" in scene] == [2]
    assert all(scene["sources"] for scene in scenes if "skipped" not in scene)


def test_what_fails_for_every_scene_is_no_scene_s_fault(room: Path, capsys: Capture) -> None:
    with h5py.File(room, "a") as file:
        del file["noise_var"]
        for name in ("y", "H"):
            array = file[name][()][..., :6] if name == "y" else file[name][()][:, :6]
            del file[name]
            file[name] = array
    out = room.with_name("out.json")
    assert run(["locate", str(room), "--json", str(out), "--skip-bad"]) == 1
    assert "noise_var: not given, and 6 antennas" in capsys.readouterr().err
    assert not out.exists()


def test_inspect_lists_them(room: Path, capsys: Capture) -> None:
    _spoil(room, 1, 4)
    assert run(["inspect", str(room), "--json"]) == 1
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert facts["bad scenes"] == {"1": WHY, "4": WHY}
    assert facts["checked"] == "4 of 6 scenes can be located"
    assert "median of 4 scenes" in facts["noise_var"]
    assert (
        f"{room}: 2 of 6 scenes cannot be located: scene 1: {WHY}; scene 4: {WHY}; risloc locate --skip-bad" in said.err
    )
    assert run(["inspect", str(room)]) == 1
    assert f"bad scenes          1 {WHY}, 4 {WHY}" in capsys.readouterr().out


def test_the_page_leaves_them_out_unless_they_are_named(room: Path, capsys: Capture) -> None:
    _spoil(room, 0, 2, 3, 4, 5)
    page = room.with_name("room.html")
    assert run(["view", str(room), "--scene", "0", "--html", str(page)]) == 1
    assert (
        f"view: 1 of 1 scene cannot be located: scene 0: {WHY}; select others with --scene" in capsys.readouterr().err
    )
    assert run(["view", str(room), "--html", str(page), "--sources", "1"]) == 0
    assert "risloc: warning: 5 of 6 scenes cannot be located: scene 0: " in capsys.readouterr().err
    assert page.exists()


def test_runs_are_whole_and_bad_scenes_stand_alone() -> None:
    assert list(_runs(0, 7, 3, {0: "", 4: ""})) == [(0, 1), (1, 4), (4, 5), (5, 7)]
    assert list(_runs(0, 2, 64, {})) == [(0, 2)]
