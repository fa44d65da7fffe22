"""The command line: what it writes, what it says of bad input, its exit codes, and the wheel that carries it."""

import csv
import importlib.metadata
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

import h5py
import pytest
import torch
from child_processes import started
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risloc.cli import environment, picture
from risloc.cli.errors import EXIT_CODES
from risloc.cli.group import cli
from risloc.cli.main import run
from risloc.cli.output_files import targets_of
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.scene_arrays import arrays_of
from risloc.io.shard_writer import write_shard
from risloc.learning.checkpoint import shipped_checkpoint
from risloc.locating.bound import bound
from risloc.locating.result_rows import COLUMNS, TRUTH_COLUMNS
from risloc.physics.geometry import position_of
from risloc.scenes.named_scenario import scenario as preset_scenario
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

Capture = pytest.CaptureFixture[str]


def test_locate_writes_the_same_sources_everywhere(room: Path, tmp_path: Path, capsys: Capture) -> None:
    outputs = [tmp_path / name for name in ("a.csv", "a.json", "a.png")]
    options = [text for path in outputs for text in (f"--{path.suffix[1:]}", str(path))]
    assert run(["locate", str(room), *options]) == 0
    said = capsys.readouterr().out
    rows = list(csv.DictReader(outputs[0].read_text(encoding="utf-8").splitlines()))
    record = json.loads(outputs[1].read_text(encoding="utf-8"))
    assert tuple(rows[0]) == (*COLUMNS, *TRUTH_COLUMNS, "skipped")
    assert len(rows) == 6
    assert [len(scene["sources"]) for scene in record["scenes"]] == [2, 2, 2]
    assert record["noise"] == "given"
    flat = [source for scene in record["scenes"] for source in scene["sources"]]
    for row, source in zip(rows, flat, strict=True):
        assert float(row["x_m"]) == source["x_m"]
        assert f"{source['z_m']:.3f}" in said
    assert outputs[2].read_bytes().startswith(b"\x89PNG")
    assert "6 sources in 3 scenes, 0 not resolved" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "a.png"]


def test_errors_stand_beside_the_bound_where_the_file_has_the_truth(tmp_path: Path, capsys: Capture) -> None:
    path, blind = tmp_path / "m.h5", tmp_path / "blind.h5"
    assert run(["simulate", str(path), "--scenes", "6", "--snr", "20", "--sources", "2"]) == 0
    assert run(["simulate", str(blind), "--scenes", "6", "--snr", "20", "--sources", "2", "--no-truth"]) == 0
    capsys.readouterr()
    assert run(["locate", str(path), "--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    flat = [source for scene in record["scenes"] for source in scene["sources"]]
    with MeasurementReader(path) as reader:
        part = reader.read(slice(0, 6))
    truth, least = position_of(part.truth.location.double()), bound(part).position
    for row, source in zip(rows, flat, strict=True):
        place = torch.tensor([float(row[name]) for name in ("x_m", "y_m", "z_m")])
        away = (truth[int(row["scene"]), :2] - place).norm(dim=-1)
        if source["error_m"] is None:  # false
            assert (row["error_m"], row["bound_m"], source["bound_m"]) == ("nan", "nan", None)
            continue
        assert float(row["error_m"]) == source["error_m"] == pytest.approx(float(away.min()), rel=1e-3)
        assert (
            float(row["bound_m"]) == source["bound_m"] == pytest.approx(float(least[int(row["scene"]), away.argmin()]))
        )
        assert f"{source['error_m']:.3f}" in said
    assert "error [m] bound [m]" in said
    errors = [float(row["error_m"]) for row in rows if row["error_m"] != "nan"]
    missed, false, middle = 12 - len(errors), len(rows) - len(errors), statistics.median(errors)
    assert missed <= 1
    words = f"12 true sources: {missed} missed (no estimate within 2 m), {false} false alarm{'s' * (false != 1)}; median error {middle:.3f} m, "
    assert words in said
    assert run(["locate", str(blind), "--csv", str(tmp_path / "b.csv")]) == 0
    said = capsys.readouterr().out
    assert "error [m]" not in said
    assert "true source" not in said
    assert tuple(next(csv.reader((tmp_path / "b.csv").read_text(encoding="utf-8").splitlines()))) == (
        *COLUMNS,
        "skipped",
    )


def test_a_dash_is_the_standard_output(
    room: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["locate", str(room), "--csv", "-", "--json", "a.json"]) == 0
    said = capsys.readouterr()
    assert len(list(csv.DictReader(said.out.splitlines()))) == 6
    assert "6 sources in 3 scenes, 0 not resolved\n6 true sources: 0 missed" in said.err
    assert said.err.endswith("wrote a.json\n")
    assert run(["locate", str(room), "--json", "-", "--csv", "a.csv"]) == 0
    said = capsys.readouterr()
    assert said.out == Path("a.json").read_text(encoding="utf-8")
    assert " scene source " in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json"]


def test_outputs_go_where_links_lead_and_not_over_what_is_no_file(
    room: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sources.csv").write_text("old")
    Path("sources.csv").chmod(0o600)
    Path("link").symlink_to("sources.csv")
    os.mkfifo("pipe")
    Path("to_pipe").symlink_to("pipe")
    assert run(["locate", str(room), "--csv", "link"]) == 0
    assert Path("link").is_symlink()
    assert Path("sources.csv").read_text(encoding="utf-8").startswith("scene,source")
    assert Path("sources.csv").stat().st_mode & 0o777 == 0o600
    for words in (["locate", str(room), "--json", "pipe"], ["view", str(room), "--html", "to_pipe"],
                  ["locate", str(room), "--png", "to_pipe"], ["simulate", "pipe"], ["trace", "to_pipe"]):  # fmt: skip
        capsys.readouterr()
        assert run(words) == 1
        assert "pipe: expected a regular file or a new name, got a FIFO; give" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe", "sources.csv", "to_pipe"]
    Path("loop").symlink_to("loop")
    capsys.readouterr()
    assert run(["simulate", "loop"]) == 3
    assert "loop: cannot read or write it: Too many levels of symbolic links" in capsys.readouterr().err


def test_more_scenes_begin_with_the_same_ones(room: Path, tmp_path: Path) -> None:
    assert run(["simulate", str(tmp_path / "m.h5"), "--scenes", "300", "--snr", "20", "--sources", "2"]) == 0
    with h5py.File(tmp_path / "m.h5") as many, h5py.File(room) as few:
        assert (many["y"][:3] == few["y"][:]).all()
        assert len(many["y"]) == 300


def test_nomp_with_nothing_known(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "m.h5")
    assert (
        run(["simulate", path, "--scenes", "2", "--snr", "20", "--sources", "1", "--no-noise-var", "--no-truth"]) == 0
    )
    assert run(["locate", path, "--method", "nomp", "--most", "3", "--distance", "0.5", "8", "--show", "1"]) == 0
    said = capsys.readouterr().out
    assert "NOMP with echoes, K by bic, noise estimated" in said
    assert "2 sources in 2 scenes, 0 not resolved; the table shows the first scene" in said


def test_one_is_singular_and_no_table_has_no_head(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "m.h5")
    assert run(["simulate", path, "--scenes", "1", "--snr", "20", "--sources", "1", "--no-truth"]) == 0
    assert run(["locate", path, "--show", "0", "--k-rule", "bic_noise"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("m.h5: 1 scene of default, seed 1, test")
    assert ": 1 scene, 12 x 12 elements" in said[1]
    assert "K by bic_noise" in said[1]
    assert said[2:] == ["1 source in 1 scene, 0 not resolved"]


def test_a_setup_without_a_network_is_located_unless_a_network_is_asked_for(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "m.h5")
    words = ["simulate", path, "--scenes", "1", "--snr", "20", "--sources", "1", "--preset", "room_3g5"]
    assert run(words) == 0
    assert run(["locate", path, "--json", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    assert "NOMP with echoes, K by bic, noise given" in said
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["method"] == "nomp"
    for options in (["--checkpoint", "default"], ["--method", "hybrid"], ["--k-rule", "learnt"]):
        assert run(["locate", path, *options]) == 1
        assert "the network was made for 12 x 12 elements" in capsys.readouterr().err


def test_a_source_beyond_the_span_is_said_with_the_option_that_widens_it(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "m.h5")
    assert run(["simulate", path, "--scenes", "1", "--snr", "20", "--sources", "1"]) == 0
    with h5py.File(path) as file:
        far = float(file["truth/location"][0, 0, 2])
    assert run(["locate", path, "--distance", "1", str(0.6 * far)]) == 0
    captured = capsys.readouterr()
    assert "not resolved: distance at a border" in captured.out
    assert "at the border of the search region (distance), not resolved" in captured.err
    assert "widen the region with --distance LOW HIGH (distance_span_m in the file and in Python)" in captured.err


def test_noise_is_given_where_the_file_has_it(tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "m.h5")
    assert run(["simulate", path, "--scenes", "1", "--snr", "20", "--sources", "1", "--no-noise-var"]) == 0
    assert run(["locate", path, "--noise", "given"]) == 1
    assert "--noise given: the file has no noise_var; use --noise auto" in capsys.readouterr().err


def test_inspect_opens_no_pipe(tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert run(["inspect", str(tmp_path / "pipe")]) == 1
    assert "pipe: no such file; expected a file, a folder or one of default, robust" in capsys.readouterr().err


def test_inspect_names_what_it_sees(room: Path, tmp_path: Path, small_scenario: Scenario, capsys: Capture) -> None:
    scenes = simulate(small_scenario, seed=1, split="test", start=0, stop=4)
    arrays = arrays_of(scenes, small_scenario.code_bits)
    write_shard(tmp_path / "0.h5", small_scenario, arrays, seed=1, split="test", start=0, chunk=2)
    kinds = {
        str(room): "risloc measurements", str(tmp_path): "risloc shards", str(tmp_path / "0.h5"): "risloc shard",
        "default": "risloc checkpoint", str(shipped_checkpoint("robust")): "risloc checkpoint",
    }  # fmt: skip
    for what, kind in kinds.items():
        assert run(["inspect", what, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["kind"] == kind
        assert run(["inspect", what]) == 0
        assert kind in capsys.readouterr().out
    with h5py.File(tmp_path / "0.h5", "a") as file:
        file["power"][0] = 7.0
    assert run(["inspect", str(tmp_path / "0.h5")]) == 1
    assert "does not match the checksum" in capsys.readouterr().err


def test_a_hall_is_simulated_with_the_echoes_of_its_truth(tmp_path: Path, capsys: Capture) -> None:
    hall = str(tmp_path / "hall.h5")
    assert run(["simulate", hall, "--preset", "hall", "--scenes", "3"]) == 0
    with MeasurementReader(Path(hall)) as reader:
        truth = reader.read(slice(0, 3)).truth
    drawn = simulate(preset_scenario("hall"), seed=1, split="test", start=0, stop=3).truth
    assert torch.equal(truth.echoes.gain, drawn.echoes.gain)
    assert torch.equal(truth.echoes.location, drawn.echoes.location)
    assert run(["inspect", hall]) == 0
    assert "up to 5 sources, 8 echoes or fewer each" in capsys.readouterr().out


def test_a_noise_level_and_names_that_are_odd_are_said(room: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(room.read_bytes())
    assert run(["inspect", str(path)]) == 0
    implied = re.search(r"noise_var +given; SNR (\S+) dB \(median of 3 scenes\)", capsys.readouterr().out)
    assert float(implied[1]) == pytest.approx(20.0, abs=1.5)
    assert run(["locate", str(path)]) == 0
    assert "warning" not in capsys.readouterr().err
    with h5py.File(path, "a") as file:
        file["noise_var"][...] = file["noise_var"][...] * 1e-6
        file.attrs["code_bit"] = 3
    assert run(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "unknown names       'code_bit' (ignored)" in said
    assert 75 < float(re.search(r"SNR (\S+) dB", said)[1]) < 85
    assert run(["locate", str(path), "--method", "nomp", "--most", "3"]) == 0
    names, level = capsys.readouterr().err.splitlines()[-2:]
    assert names == (f"risloc: warning: {path}: unknown names were ignored: 'code_bit'; check their spelling")
    assert level.startswith(
        f"risloc: warning: {path}: 3 of 3 scenes have a residual above noise_var (misfit 9.8e+05, expected about 1), "
        "and the sources are not resolved; likely causes: noise_var per real part (misfit 2) or too small"
    )
    assert run(["locate", str(path), "--method", "nomp", "--most", "3", "--noise", "given"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"risloc: warning: {path}: every scene has 3 sources, the most that were searched for: noise_var may be too "
        "small (check its unit), or there are more sources"
    )


def test_doctor_locates_a_source(capsys: Capture) -> None:
    assert run(["doctor", "--json"]) == 0
    findings = {each["name"]: each["good"] for each in json.loads(capsys.readouterr().out)}
    assert findings["locating"] is True
    assert findings["click"] is True


def test_the_list_of_commands_says_what_their_own_help_says() -> None:
    for name, listed in cli.commands.items():
        arguments = {"doctor": [], "convert": ["x.npz", "x.h5"]}.get(name, ["x.h5"])
        own = listed.make_context(name, arguments).command
        assert own is not listed
        assert own.get_short_help_str(1000) == listed.get_short_help_str(1000)


HEAVY = ("torch", "numpy", "scipy", "h5py", "safetensors", "jaxtyping", "ruamel", "tqdm")


def program(folder: Path, repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`risloc` in a process that finds its packages in `folder` first."""
    own = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{repository}"}
    command = [sys.executable, "-m", "risloc", *words]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)


def test_help_and_version_import_nothing_heavy(tmp_path: Path, repository: Path) -> None:
    for name in HEAVY:
        (tmp_path / f"{name}.py").write_text("raise AssertionError('imported')")
    for words, code in ((["--help"], 0), (["--version"], 0), (["find"], 2)):
        done = program(tmp_path, repository, *words)
        assert (done.returncode, "AssertionError" in done.stderr) == (code, False)


def test_doctor_says_what_is_missing_whatever_it_is(tmp_path: Path, repository: Path) -> None:
    for name in (*HEAVY, "packaging", "click"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is gone')")
        if name not in ("packaging", "click"):
            continue
        done = program(tmp_path, repository, "doctor")  # without click, too, at last
        assert done.returncode == 3
        assert "NOT OK  torch " in done.stdout
        assert "cannot be imported (ruamel is gone); run: pip install 'ruamel.yaml" in done.stdout
        assert done.stderr.startswith(
            "risloc: doctor: failed checks: torch, numpy, scipy, h5py, safetensors, jaxtyping, ruamel.yaml, "
        )
        assert len(done.stderr.splitlines()) == 1
    assert json.loads(program(tmp_path, repository, "doctor", "--json").stdout)
    done = program(tmp_path, repository, "locate", "m.h5")
    assert (done.returncode, done.stdout) == (3, "")
    words = "risloc: cannot import the package click (click is gone); run: pip install 'click>=8.1,<9'\n"
    assert done.stderr == words


@pytest.mark.parametrize("name", ["scipy", "h5py", "tqdm"])
def test_a_command_that_needs_what_is_missing_says_so(name: str, tmp_path: Path, repository: Path) -> None:
    (tmp_path / f"{name}.py").write_text("import nowhere")
    done = program(tmp_path, repository, "locate", "m.h5")
    words = "risloc: cannot import the package nowhere (No module named 'nowhere'); `risloc doctor` shows how"
    assert done.returncode == 3
    assert done.stderr.startswith(words)
    assert len(done.stderr.splitlines()) == 1


def test_doctor_knows_what_is_declared(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {re.match(r"[\w.-]+", text)[0] for text in project["dependencies"]} == set(environment.NEEDED)
    own = importlib.metadata.version
    others = {"scipy": "1.2", "matplotlib": "4.1"}

    def version(name: str) -> str:
        if name in ("click", "plotly"):
            raise importlib.metadata.PackageNotFoundError
        return others.get(name) or own(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda name: project["dependencies"] + ["matplotlib<4; extra=='x'"]
    )
    assert run(["doctor"]) == 3
    said = capsys.readouterr()
    assert "-       scipy                1.2, expected <2,>=1.14; run: pip install 'scipy<2,>=1.14'\n" in said.out
    assert "-       matplotlib           4.1, expected <4; run: pip install 'matplotlib<4'\n" in said.out
    assert "NOT OK  click                not installed; run: pip install 'click<9,>=8.1'\n" in said.out
    assert (
        "-       plotly               not installed; needed by risloc view; run: pip install 'risloc[view]'\n"
        in said.out
    )
    assert said.err == "risloc: doctor: failed checks: click; see above\n"


def test_doctor_says_that_a_card_is_not_used_by_locate(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a card")
    monkeypatch.setattr(environment, "_networks", lambda: [environment.Finding("network", "", False)])
    assert run(["doctor"]) == 3
    assert "a card, used for training in the pipeline, not by risloc locate\n" in capsys.readouterr().out


def test_ctrl_c_while_packages_are_imported_is_130(tmp_path: Path, repository: Path) -> None:
    """Whatever they do with a KeyboardInterrupt."""
    slow = "import time\ntry:\n    print('here', flush=True)\n    time.sleep(60)\nexcept BaseException:\n    raise ImportError"
    (tmp_path / "torch.py").write_text(slow)
    own = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{repository}"}
    command = [sys.executable, "-m", "risloc", "simulate", "m.h5"]
    with started(command, cwd=tmp_path, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "risloc: interrupted\n")


ONLY_NOMP = "--echoes always: only NOMP with --fit conditional finds echoes; use --method nomp, or --echoes auto"
BAD: dict[str, tuple[list[str], int, str]] = {
    "no file": (["locate", "nothing.h5"], 1, "nothing.h5: expected a measurement file, got no such file"),
    "no checkpoint": (
        ["locate", "{room}", "--checkpoint", "nowhere"],
        1,
        "--checkpoint nowhere: no such network; expected default, robust, or a folder with config.json and model.safetensors",
    ),
    "too many": (
        ["locate", "{room}", "--method", "hybrid", "--sources", "9"],
        1,
        "this network searches for at most 5 sources; requested 9",
    ),
    "span": (
        ["locate", "{room}", "--distance", "4", "1"],
        1,
        "risloc: --distance: expected [lowest, highest], got [4.0, 1.0]",
    ),
    "domain": (["locate", "{room}", "--azimuth", "-91", "1"], 1, "risloc: --azimuth: expected"),
    "beyond": (
        ["locate", "{room}", "--method", "hybrid", "--distance", "1", "99"],
        1,
        "the network was trained for distance_span_m",
    ),
    "NaN": (["locate", "{room}", "--distance", "nan", "9"], 1, "expected a finite number"),
    "no room": (
        ["locate", "{room}", "--csv", "/proc/none/a.csv"],
        3,
        "/proc/none/a.csv: cannot write to the directory /proc: No such file or directory",
    ),
    "no folder": (["simulate", "{room}/a.h5"], 1, "room.h5 is not a directory"),
    "ending": (
        ["locate", "{room}", "--png", "a.jpg"],
        2,
        "--png: expected a name that ends in .pdf, .png, .svg, got a.jpg",
    ),
    "no command": (["find"], 2, "No such command 'find'"),
    "no option": (["locate", "{room}", "--speed"], 2, "No such option"),
    "twice": (["locate", "{room}", "--csv", "a", "--json", "a"], 2, "expected different files"),
    "onto itself": (["locate", "{room}", "--csv", "{room}"], 2, "FILE, --csv: expected different files"),
    "dashes": (
        ["locate", "{room}", "--csv", "-", "--json", "-"],
        2,
        "--csv, --json: expected different files, got - twice",
    ),
    "onto params": (["simulate", "{room}", "--params", "{room}"], 2, "--params, FILE: expected different files"),
    "no name": (["simulate", ""], 2, "expected a file name, got ''"),
    "no name in": (["inspect", ""], 2, "expected a file name, got ''"),
    "no name at all": (["locate", "{room}", "--csv", "a\0b"], 2, r"expected a file name, got 'a\x00b'"),
    "learnt": (
        ["locate", "{room}", "--method", "nomp", "--k-rule", "learnt"],
        2,
        "this rule is part of a network; use --method hybrid",
    ),
    "most": (
        ["locate", "{room}", "--checkpoint", "robust", "--most", "3"],
        2,
        "a network has its own limit; use --method nomp",
    ),
    "no network": (
        ["locate", "{room}", "--method", "nomp", "--checkpoint", "robust"],
        2,
        "--checkpoint: NOMP uses no network",
    ),
    "echoes": (["locate", "{room}", "--echoes", "some"], 2, "'some' is not one of 'auto', 'never', 'always'"),
    "no echoes by the network": (["locate", "{room}", "--method", "hybrid", "--echoes", "always"], 2, ONLY_NOMP),
    "no echoes by the rule": (["locate", "{room}", "--k-rule", "learnt", "--echoes", "always"], 2, ONLY_NOMP),
    "no echoes by MUSIC": (["locate", "{room}", "--method", "music", "--echoes", "always"], 2, ONLY_NOMP),
    "no echoes by the fit": (["locate", "{room}", "--fit", "stochastic", "--echoes", "always"], 2, ONLY_NOMP),
    "no rule": (
        ["locate", "{room}", "--sources", "2", "--k-rule", "bic"],
        2,
        "--k-rule, --sources: expected one of them",
    ),
    "rule": (["locate", "{room}", "--k-rule", "aic"], 2, "'aic' is not one of 'bic', 'bic-noise', 'learnt'"),
    "preset": (["simulate", "a.h5", "--preset", "moon"], 2, "'moon' is not one of"),
    "sources": (
        ["simulate", "a.h5", "--sources", "9"],
        1,
        "--sources: expected at most K_MAX = 5 of preset default, got 9; use fewer",
    ),
    "folder": (
        ["inspect", "."],
        1,
        ".: expected a folder with shards (*.h5), or with config.json and model.safetensors of a checkpoint",
    ),
    "no shard": (
        ["inspect", "{room.parent}"],
        1,
        "room.h5: not a shard, although it is in a folder of shards",
    ),
    "inspect": (["inspect", "nothing"], 1, "expected a file, a folder or one of default, robust"),
    "params": (
        ["simulate", "a.h5", "--params", "nothing.yaml"],
        1,
        "--params nothing.yaml: file not found",
    ),
    "decibels": (["simulate", "a.h5", "--snr", "nan"], 1, "--snr: expected a finite number in dB, got nan"),
    "room": (["trace", "a.h5", "--room", "nope"], 1, "--room nope: no such room; expected hall, or a YAML file"),
    "room as file": (["trace", "hall", "--snr", "inf"], 1, "--snr: expected a finite number"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_a_code(
    what: str, room: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, code, words = BAD[what]
    before = room.read_bytes()
    monkeypatch.chdir(tmp_path)
    assert run([text.format(room=room) for text in arguments]) == code
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == (1 if code != 2 else 4)  # usage, where help is, a blank line, the error
    assert list(tmp_path.iterdir()) == []
    assert room.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["locate", "--csv", "a.csv", "--png", "/proc/none/a.png"],
        ["locate", "--csv", "/proc/a.csv"],
        ["view", "--html", "/proc/a.html"],
    ],
)
def test_where_nothing_can_be_written_is_said_before_the_work(
    words: list[str], room: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for module in ("locate", "view"):
        monkeypatch.setattr(f"risloc.cli.{module}.read_in_child", lambda file, steps: pytest.fail("it has begun"))
    assert run([words[0], str(room), *words[1:]]) == 3
    said = capsys.readouterr().err
    assert f"risloc: {words[-1]}: cannot write to the directory " in said
    assert ".part" not in said
    assert list(tmp_path.iterdir()) == []


def test_an_output_s_folder_is_tried_without_a_trace(tmp_path: Path) -> None:
    targets = targets_of({}, {"--csv": tmp_path / "new" / "er" / "a.csv", "--json": Path("-"), "--png": None})
    assert targets == {"--csv": tmp_path / "new" / "er" / "a.csv", "--json": Path("-")}
    assert list(tmp_path.iterdir()) == []


def test_the_picture_has_the_truth_of_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first sources, and the title says so; the truth is of their scenes, whatever the batches are."""
    path, seen = tmp_path / "m.h5", []
    assert run(["simulate", str(path), "--scenes", "4", "--snr", "20", "--sources", "2"]) == 0
    monkeypatch.setattr(picture, "DRAWN", 3)
    monkeypatch.setattr(picture, "save_figure", lambda figure, path: seen.append(figure))
    assert run(["locate", str(path), "--png", str(tmp_path / "a.png")]) == 0
    (figure,) = seen
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert len(lines["truth"].get_xdata()) == 4
    found = next(each for each in figure.axes[0].containers if each.get_label() == "located, +- 1 std")
    assert len(found.lines[0].get_xdata()) == 3
    assert figure.get_suptitle() == "m.h5: the first 3 of 8 sources in 4 scenes, NOMP with echoes"


@pytest.mark.parametrize(("ending", "begins"), [(".pdf", b"%PDF"), (".svg", b"<?xml"), (".PNG", b"\x89PNG")])
def test_a_picture_is_of_the_kind_that_its_name_says(ending: str, begins: bytes, room: Path, tmp_path: Path) -> None:
    assert run(["locate", str(room), "--png", str(tmp_path / f"a{ending}")]) == 0
    assert (tmp_path / f"a{ending}").read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(13, "Permission denied", "ro/.a.csv.1234.part"),
            "ro/a.csv: cannot read or write it: Permission denied",
        ),
        (OSError(5, "no file (name = 'ro/.m.h5.12.part', errno = 5)"), "no file (name = 'ro/m.h5', errno = 5)"),
    ],
)
def test_what_the_system_says_names_the_file_that_was_given(
    error: OSError, words: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def failing(*args: object) -> None:
        raise error

    monkeypatch.setattr("risloc.cli.inspect.read_in_child", failing)
    assert run(["inspect", __file__]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"risloc: {words}")
    assert "Errno" not in said


def test_a_scene_that_is_spoilt_leaves_no_output(room: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "spoilt.h5"
    path.write_bytes(room.read_bytes())
    with h5py.File(path, "a") as file:
        file["y"][2, 0, 0] = float("nan")
    assert run(["locate", str(path), "--csv", str(tmp_path / "a.csv")]) == 1
    assert "scene 2: y: expected finite numbers" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["spoilt.h5"]


@pytest.mark.parametrize("command", ["locate", "view", "simulate", "trace", "inspect", "doctor"])
def test_every_command_s_help_teaches_by_examples_that_parse(command: str, capsys: Capture) -> None:
    assert run([command, "--help"]) == 0
    said = capsys.readouterr().out
    examples = [
        line.split("   ")[0].split() for line in map(str.strip, said.splitlines()) if line.startswith("risloc ")
    ]
    assert examples
    for words in examples:
        context = cli.commands[words[1]].make_context(words[1], words[2:])
        assert context.command.name == command


def test_help_and_the_page_list_the_exit_codes(repository: Path, capsys: Capture) -> None:
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    page = (repository / "docs" / "command_line.md").read_text(encoding="utf-8")
    for code, words in EXIT_CODES.items():
        assert words.split(";")[0][:40] in said
        assert f"| {code} | {words.split(';')[0].split(':')[0]}" in page


def test_the_page_s_file_by_h5py_alone_can_be_located(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (repository / "docs" / "command_line.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", page.split("```python\n")[1].split("```")[0]], check=True)
    assert run(["locate", "own.h5", "--csv", "own.csv"]) == 0


_WORDS = st.sampled_from(
    ["locate", "simulate", "inspect", "doctor", "--sources", "--most", "--csv", "--json", "--png", "--method", "nomp",
     "--checkpoint", "--show", "--distance", "--azimuth", "0", "1", "-1", "1e999", "nan", "", "\x00", "..", "PIPE", "-",
     "--scenes", "--seed", "ROOM", "EMPTY"]
)  # fmt: skip


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.one_of(_WORDS, st.text(max_size=5)), max_size=6))
def test_any_words_end_in_a_code(words: list[str], room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").write_bytes(b"")
    (tmp_path / "ROOM").write_bytes(room.read_bytes())
    (tmp_path / "PIPE").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "PIPE")
    assert run(words) in (0, 1, 2, 3)


@pytest.mark.parametrize("shell", [[], ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]], ids=["terminal", "background"])
def test_interruption_is_130_and_leaves_nothing(tmp_path: Path, shell: list[str]) -> None:
    """A job that the shell starts with SIGINT ignored, as it does with `&`, can be interrupted, too."""
    out = tmp_path / "big.h5"
    command = [*shell, sys.executable, "-m", "risloc", "simulate", str(out), "--scenes", "200000"]
    with started(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "risloc: interrupted" in said
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_that_is_closed_is_141_without_a_word(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "risloc", "simulate", str(tmp_path / "m.h5"), "--scenes", "1"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_wheel_asks_for_no_pipeline(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {text.split(">")[0].split("=")[0].split("<")[0].lower() for text in project["dependencies"]}
    assert not names & {"dvc", "prefect", "mlflow", "optuna", "sqlalchemy", "matplotlib", "plotly"}
    extras = project["optional-dependencies"]
    assert any(text.startswith("risloc[scale") for text in extras["dev"])
    assert "risloc[pipeline]" in extras["scale"]
    assert "risloc[figures]" in extras["pipeline"]


@pytest.mark.e2e
def test_the_wheel_works_outside_the_repository(repository: Path, tmp_path: Path) -> None:
    """Built, installed alone into an environment of its own that sees the packages here, and run elsewhere."""
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(repository), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path / "dist"), str(source)]
    subprocess.run(built, check=True)
    (wheel,) = (tmp_path / "dist").glob("risloc-*.whl")
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    subprocess.run([*pip, "install", "--no-deps", "--prefix", str(home), "--ignore-installed", str(wheel)], check=True)
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def program(*words: str) -> str:
        command = [str(home / "bin" / "python"), "-m", "risloc", *words]
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    where = [str(home / "bin" / "python"), "-c", "import risloc; print(risloc.__file__)"]
    at = subprocess.run(where, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True).stdout
    assert at.startswith(str(site))
    assert (home / "bin" / "risloc").exists()
    program("simulate", "room.h5", "--scenes", "2", "--snr", "20", "--sources", "2")
    assert "4 sources in 2 scenes" in program("locate", "room.h5", "--csv", "sources.csv")
    assert len((elsewhere / "sources.csv").read_text(encoding="utf-8").splitlines()) == 5
    program("view", "room.h5", "--html", "room.html")
    assert (elsewhere / "room.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
