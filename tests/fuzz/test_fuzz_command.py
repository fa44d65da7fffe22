"""The command line on files and words that nobody would give it: a documented exit code, one line, whole outputs or none."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from extreme_params import EXTREMES, PARAMS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risloc.cli.main import run
from risloc.config import as_mapping
from risloc.scenes import raytraced_simulation
from risloc.scenes.room import Room, read_room
from risloc.scenes.scenario import Scenario
from tests.fuzz.hdf5_changes import Choices, changed

FEW = settings().max_examples // 8
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("room") / "room.h5"
    assert run(["simulate", str(path), "--scenes", "2", "--snr", "20", "--sources", "1"]) == 0
    return path


def _ended(code: int, capsys: Capture) -> None:
    said = capsys.readouterr().err
    assert code in (0, 1, 2, 3)
    assert "Traceback" not in said
    if code in (1, 3):
        assert said.startswith("risloc: ")
        assert len(said.splitlines()) == 1
        assert len(said) < 5000


_OPTIONS = st.lists(
    st.sampled_from(
        [["--sources", "1"], ["--sources", "0"], ["--method", "nomp"], ["--k-rule", "learnt"], ["--k-rule", "bic-noise"],
         ["--most", "1"], ["--distance", "1e-3", "1e6"], ["--azimuth", "0", "0"], ["--elevation", "-89.9", "89.9"],
         ["--distance", "2", "2"], ["--checkpoint", "robust"], ["--show", "0"]]
    ),
    max_size=3,
).map(lambda lists: [word for words in lists for word in words])  # fmt: skip


@settings(max_examples=FEW, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.binary(max_size=24), options=_OPTIONS)
def test_a_changed_file_is_located_or_refused(
    choices: bytes, options: list[str], room: Path, tmp_path: Path, capsys: Capture
) -> None:
    file, out = tmp_path / "m.h5", tmp_path / "out.json"
    file.write_bytes(changed(room.read_bytes(), Choices(choices)))
    out.unlink(missing_ok=True)
    code = run(["locate", str(file), "--json", str(out), *options])
    _ended(code, capsys)
    assert out.exists() == (code == 0)
    if code == 0:
        assert json.loads(out.read_text(encoding="utf-8"))["scenes"]
    assert {path.name for path in tmp_path.iterdir()} <= {"m.h5", "out.json"}


@pytest.mark.parametrize("options", [[], ["--method", "nomp"]])
@pytest.mark.parametrize("noise", [1e-300, 1e-45, 1e-9, 1e3, 1e10, 1e300])
def test_any_noise_level_is_taken_or_refused(
    noise: float, options: list[str], room: Path, tmp_path: Path, capsys: Capture
) -> None:
    file, page = tmp_path / "m.h5", tmp_path / "m.html"
    file.write_bytes(room.read_bytes())
    with h5py.File(file, "a") as opened:
        del opened["noise_var"]
        opened["noise_var"] = noise
    for words in (["locate", str(file)], ["view", str(file), "--scene", "0", "--html", str(page)]):
        code = run([*words, *options])
        assert code == (0 if 1e-9 <= noise <= 1e3 else 1)
        _ended(code, capsys)


@settings(max_examples=FEW, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(
        st.sampled_from([field.name for field in dataclasses.fields(Room)]),
        st.sampled_from(
            [None, 0, 1, 16, 10**9, -1.0, 1e300, "nan", "a<b", [], [-1, 1], [0, 0, 1], {"left": "a/b"}, {}]
        ),
        max_size=2,
    )
)
def test_any_room_is_traced_or_refused(
    changes: dict[str, object], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tracer that sees the line of sight everywhere."""

    def flat(faces: object, tx: np.ndarray, rx: np.ndarray, *, max_depth: int, **_: float) -> np.ndarray:
        return np.ones((max_depth + 1, len(rx), len(tx)), np.complex64)

    monkeypatch.setattr(raytraced_simulation, "trace", flat)
    (tmp_path / "room.yaml").write_text(yaml.safe_dump(as_mapping(read_room("hall")) | changes))
    (tmp_path / "m.h5").unlink(missing_ok=True)
    code = run(["trace", str(tmp_path / "m.h5"), "--scenes", "1", "--room", str(tmp_path / "room.yaml")])
    _ended(code, capsys)
    assert (tmp_path / "m.h5").exists() == (code == 0)
    assert {path.name for path in tmp_path.iterdir()} <= {"m.h5", "room.yaml"}


@settings(max_examples=FEW, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    cut=st.floats(0.5, 1),
)
def test_damaged_bytes_are_inspected_or_refused(
    places: list[tuple[float, int]], cut: float, room: Path, tmp_path: Path, capsys: Capture
) -> None:
    content = bytearray(room.read_bytes())[: int(cut * room.stat().st_size)]
    for place, value in places:
        content[int(place * min(len(content), 8192))] = value  # HDF5's own structure is at the beginning
    (tmp_path / "m.h5").write_bytes(content)
    for words in ([], ["--json"]):
        _ended(run(["inspect", str(tmp_path / "m.h5"), *words]), capsys)


@settings(max_examples=FEW, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.fixed_dictionaries({}, optional={name: st.sampled_from(few) for name, few in EXTREMES.items()}),
    snr=st.sampled_from(["", "0", "1e999", "-1e308", "nan", "300"]),
)
def test_any_world_is_simulated_or_refused(
    changes: dict[str, object], snr: str, small_scenario: Scenario, tmp_path: Path, capsys: Capture
) -> None:
    few = {"n_h": 4, "n_v": 4, "antennas": 4, "snapshots": 6}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"scenario": PARAMS["scenario"] | few | changes}))
    (tmp_path / "m.h5").unlink(missing_ok=True)
    words = ["simulate", str(tmp_path / "m.h5"), "--params", str(tmp_path / "params.yaml"), "--scenes", "1"]
    code = run([*words, *(["--snr", snr] if snr else [])])
    _ended(code, capsys)
    assert (tmp_path / "m.h5").exists() == (code == 0)
    assert {path.name for path in tmp_path.iterdir()} <= {"m.h5", "params.yaml"}
