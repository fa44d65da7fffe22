"""The plumbing, part by part: sections, overrides, paths, presets, the reporters, the driver's command, signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from child_processes import started

from pipeline.console_reporter import ConsoleReporter
from pipeline.dvc_process import TRANSIENT
from pipeline.layout import STAGES, clear_outs, paths_of
from pipeline.presets import write_preset
from pipeline.sections import override, sections_of, stage_function, typed_sections, with_preset
from risloc.config import ParamError
from risloc.scenes.preset_files import preset, preset_names
from risloc.utils.progress import shown_progress
from risloc.utils.yaml_reader import read_yaml
from stages.support.writers import write_csv, write_json


@pytest.fixture
def params(repository: Path) -> dict[str, Any]:
    return read_yaml(repository / "params.yaml")


def test_params_build_for_every_stage(params: dict[str, Any]) -> None:
    for stage in STAGES:
        built = typed_sections(stage, params)
        assert {name: type(section) for name, section in built.items()} == sections_of(stage_function(stage))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("loss.lam_cov", -1.0, "loss.lam_cov: expected a value >= 0.0"),
        ("loss.lam_cov", None, "loss.lam_cov: expected float"),
        ("data.block", 0, "data.block: expected a value >= 1"),
        ("scenario.K_span", [0, 9], "scenario: K_span: expected at most K_MAX"),
        ("seed", -3, "seed: expected a whole number >= 0"),
    ],
)
def test_a_wrong_value_is_named(params: dict[str, Any], path: str, value: object, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        typed_sections("simulate", override(params, {path: value}))


def test_unknown_and_missing_names_are_told(params: dict[str, Any]) -> None:
    with pytest.raises(ParamError, match=r"losses: unknown section; allowed: seed, .*loss"):
        typed_sections("simulate", params | {"losses": {}})
    with pytest.raises(ParamError, match=r"loss: missing section"):
        typed_sections("simulate", {key: value for key, value in params.items() if key != "loss"})
    with pytest.raises(ParamError, match=r"loss\.lam_cov: missing"):
        typed_sections("simulate", params | {"loss": {k: v for k, v in params["loss"].items() if k != "lam_cov"}})
    with pytest.raises(ParamError, match=r"loss\.lam_covv: unknown parameter"):
        typed_sections("simulate", params | {"loss": params["loss"] | {"lam_covv": 1.0}})


def test_override_changes_a_copy_and_only_what_is_there(params: dict[str, Any]) -> None:
    changed = override(params, {"loss.lam_cov": 0.25, "seed": 1})
    assert (changed["loss"]["lam_cov"], changed["seed"]) == (0.25, 1)
    assert params["loss"]["lam_cov"] != 0.25
    for path in ("loss.lam_covv", "los.lam_cov", "loss.lam_cov.x", "foo"):
        with pytest.raises(ParamError, match=r"not a parameter"):
            override(params, {path: 1})
    with pytest.raises(ParamError, match=r"loss: this is a section; .*lam_cov"):
        override(params, {"loss": 1})


def test_the_search_space_can_be_set_and_its_old_spelling_is_told_the_new(params: dict[str, Any]) -> None:
    changed = override(params, {"hpo.space.loss.lam_cross.high": 5})
    assert typed_sections("hpo", changed)["hpo"].knobs()["loss.lam_cross"].high == 5.0
    old = {"loss.lam_cross": {"low": 0.3, "high": 3.0, "log": True, "step": 0}}
    with pytest.raises(ParamError, match=r"hpo\.space\.loss\.lam_cross: .*without dots.*loss: \{lam_cross: \.\.\.\}"):
        typed_sections("hpo", params | {"hpo": params["hpo"] | {"space": old}})


def test_a_preset_takes_the_place_of_the_scenario_before_any_change(params: dict[str, Any]) -> None:
    given = with_preset(params, "ula_coherent")
    changed = override(given, {"scenario.waveform": "independent"})
    scenario = typed_sections("simulate", changed)["scenario"]
    assert (scenario.preset, scenario.waveform, scenario.size) == ("ula_coherent", "independent", 15)
    assert given["scenario"] == preset("ula_coherent")
    assert params["scenario"]["preset"] == "default"
    assert {k: v for k, v in given.items() if k != "scenario"} == {k: v for k, v in params.items() if k != "scenario"}


def test_paths_lie_in_the_tree_and_state_at_the_root(tmp_path: Path) -> None:
    here, root = tmp_path / "copy", tmp_path / "root"
    paths = paths_of("train", here, root)
    assert paths["shard_dir"] == here / "data/shards"
    assert paths["metrics"] == here / "metrics/train.json"
    assert paths["state"] == root / ".state/train"


def test_into_overlays_the_tree(tmp_path: Path) -> None:
    here, into = tmp_path / "here", tmp_path / "into"
    (into / "data/shards").mkdir(parents=True)
    paths = paths_of("evaluate", here, here, into)
    assert paths["shard_dir"] == into / "data/shards"
    assert paths["checkpoint"] == here / "models/checkpoint"
    assert paths["evaluate_report"] == into / "reports/evaluate"
    assert paths["metrics"].is_relative_to(into)


def test_every_preset_is_written_with_comments_kept(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "params.yaml"
    original = (repository / "params.yaml").read_text(encoding="utf-8")
    for name in preset_names():
        copy.write_text(original, encoding="utf-8")
        assert name in write_preset(name, copy)
        written = read_yaml(copy)
        assert written["scenario"] == preset(name)
        assert {k: v for k, v in written.items() if k != "scenario"} == {
            k: v for k, v in read_yaml(repository / "params.yaml").items() if k != "scenario"
        }
        assert copy.read_text(encoding="utf-8").count("#") == original.count("#")


def test_an_unknown_preset_is_named_with_those_there_are(repository: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(repository / "params.yaml", tmp_path))
    with pytest.raises(ParamError, match=r"preset: expected one of default, .*got 'nope'"):
        write_preset("nope", copy)
    assert copy.read_bytes() == (repository / "params.yaml").read_bytes()


def test_the_command_line_names_a_wrong_parameter_without_a_traceback(repository: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "simulate", "--set", "loss.lam_cov=-1"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "params.yaml with --set: loss.lam_cov: expected a value >= 0.0, got -1.0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "nope"],
            "--preset: preset: expected one of default, hall, legacy, robust, room_3g5, ula_coherent, wide, got 'nope'",
        ),
        # 3 sources are within the K_MAX of params.yaml, and beyond the preset's
        (
            ["--preset", "ula_coherent", "--set", "scenario.K_span=[3, 3]"],
            "--preset and --set: scenario: K_span: expected at most K_MAX",
        ),
    ],
)
def test_the_command_line_takes_a_preset(repository: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "pipeline", "simulate", "--into", str(tmp_path), *arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"params.yaml with {message}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_stage_says_that_prefect_does_not_answer(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "simulate", "--into", str(tmp_path)]
    mark = tmp_path / "mark"
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api", "RISLOC_TRANSIENT_MARK": str(mark)}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == TRANSIENT
    assert mark.exists()
    last = done.stderr.splitlines()[-1]
    assert last.startswith("simulate: Prefect's server does not answer: Failed to reach API at http://127.0.0.1:9/api")
    assert last.endswith("; start the server, or unset PREFECT_API_URL to use a temporary one")


@pytest.mark.usefixtures("shared_prefect")
def test_a_stage_that_no_tracking_server_answers_is_to_be_retried(repository: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    settings = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "RISLOC_TRANSIENT_MARK": str(mark)}
    command = [sys.executable, "-m", "pipeline", "simulate", "--into", str(tmp_path / "into")]
    done = subprocess.run(command, cwd=repository, env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == TRANSIENT, done.stderr
    assert mark.exists()


def test_driver_checks_before_it_runs_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.calls import dvc_command

    assert dvc_command(None, {}, None, False) == ["repro"]
    assert dvc_command("train", {"loss.lam_cov": 0.5, "scenario.K_span": [1, 2]}, "half", True) == [
        *("exp", "run", "--temp", "--name", "half"),
        *("--set-param", "loss.lam_cov=0.5", "--set-param", "scenario.K_span=[1,2]", "train"),
    ]
    for arguments, message in (
        (("nope", {}, None, False), "target: expected one of simulate"),
        ((None, {"loss.lam_covv": 1.0}, None, True), "loss.lam_covv: not a parameter"),
        ((None, {"loss.lam_cov": -1.0}, None, True), "loss.lam_cov: expected a value >= 0"),
        ((None, {"loss.lam_cov": 1.0}, None, False), "needs experiment=true"),
        ((None, {}, "a b", True), "name: expected letters"),
    ):
        with pytest.raises(ParamError, match=message):
            dvc_command(*arguments)
    monkeypatch.setenv("DVC_STAGE", "train")
    with pytest.raises(ParamError, match="no DVC stage may run the driver"):
        dvc_command(None, {}, None, False)


def test_what_the_pipeline_writes_is_no_change_and_all_else_is(tmp_path: Path) -> None:
    """DVC removes a stage's tracked metrics before it runs, so that every run would be of a changed tree."""
    from pipeline.git import changed

    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *words], cwd=tmp_path, check=True
        )

    for name in ("metrics/train.json", "dvc.lock", "params.yaml", "stages/train.py", "docs/metrics/dvc.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    assert changed(tmp_path) is None  # no repository
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "start")
    assert changed(tmp_path) is False
    (tmp_path / "metrics/train.json").unlink()
    (tmp_path / "dvc.lock").write_text("new")
    (tmp_path / "reports").mkdir()
    assert changed(tmp_path) is False
    git("add", "dvc.lock")
    assert changed(tmp_path) is False
    for name in ("params.yaml", "stages/train.py", "docs/metrics/dvc.lock"):
        (tmp_path / name).write_text("new")
        assert changed(tmp_path) is True
        git("add", name)
        assert changed(tmp_path) is True
        git("commit", "--quiet", "-m", "more", name)
        assert changed(tmp_path) is False
    (tmp_path / "stages/train.py").unlink()
    assert changed(tmp_path) is True


STOPPED = """
import sys, time
from pathlib import Path
from pipeline import signals
signals.install()
with signals.on_stop(lambda: Path(sys.argv[1]).write_text("cleaned")):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_at_once_and_cleans_up(repository: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "mark")]
    with started(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        began = time.monotonic()
        child.send_signal(number)
        assert child.wait(10) == 130
        assert time.monotonic() - began < 5
    assert (tmp_path / "mark").read_text() == "cleaned"


HOLDER = """
import sys, time
from pipeline.env import lock
with lock("test"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER]
    environment = {"DVC_ROOT": str(tmp_path), "PYTHONPATH": str(repository)}
    with started(command, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with started(command, env=environment, stdout=subprocess.PIPE, text=True) as second:
            assert second.stdout is not None
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(1)  # it waits its turn
            first.kill()
            assert second.stdout.readline() == "held\n"
            second.kill()


def test_console_reporter_keeps_what_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = ConsoleReporter()
    report.line("hello")
    report.metrics({"loss": 1}, step=2)
    with report.child("trial-0") as trial:
        trial.params({"a": 1})
        trial.line("again")
    assert report.records[:3] == [("line", "hello"), ("metrics", ({"loss": 1.0}, 2)), ("trial-0: params", {"a": 1})]
    assert capsys.readouterr().out == "hello\ntrial-0: again\n"
    with pytest.raises(FileNotFoundError, match="write it before"):
        report.artifact(tmp_path / "missing")


def test_progress_away_from_a_terminal_is_quiet_when_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with shown_progress(10, "scenes", lines.append) as advance:
        advance(10)
    assert lines == []
    monkeypatch.setattr("risloc.utils.progress._SECONDS_BETWEEN_LINES", 0.0)
    with shown_progress(10, "scenes", lines.append) as advance:
        advance(4)
        advance(6)
    assert [line.split(" (")[0].split(" in ")[0] for line in lines] == [
        "scenes: 4 of 10",
        "scenes: 10 of 10",
        "scenes: 10",
    ]


def test_writers_write_whole_files_or_none(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": 1})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a" / "b.json", {"x": float("nan")})
    write_csv(tmp_path / "c.csv", [{"x": 1, "y": 2}, {"x": 3, "y": 4}])
    assert (tmp_path / "c.csv").read_text() == "x,y\n1,2\n3,4\n"
    with pytest.raises(ValueError, match="dict contains fields not in"):
        write_csv(tmp_path / "c.csv", [{"x": 1}, {"z": 3}])
    with pytest.raises(ValueError, match="at least one row"):
        write_csv(tmp_path / "d.csv", [])
    assert (tmp_path / "c.csv").read_text() == "x,y\n1,2\n3,4\n"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["b.json", "c.csv"]


def test_prefect_yaml_deploys_the_driver(repository: Path) -> None:
    from pipeline import driver
    from pipeline.calls import dvc_command, execution

    described = yaml.safe_load((repository / "prefect.yaml").read_text(encoding="utf-8"))
    deployed = {d["name"]: d for d in described["deployments"]}
    assert set(deployed) == {"end-to-end", "stage", "hpo", "ablation", "sweep"}
    assert driver.ABLATION == "pipeline/ablation"
    for deployment in deployed.values():
        file, flow = deployment["entrypoint"].split(":")
        assert file == "pipeline/driver.py"
        assert set(deployment["parameters"]) <= set(getattr(driver, flow).parameters.properties)
        assert getattr(driver, flow).name == "pipeline"
    assert dvc_command(deployed["stage"]["parameters"]["target"], {}, None, False) == ["repro", "shard"]
    assert execution(deployed["hpo"]["parameters"]["runner"], None, None) == {"RISLOC_RUNNER": "processes:2"}


def test_how_stages_run_is_checked_before_anything_runs() -> None:
    from pipeline.calls import execution

    assert execution(None, None, None) == {}
    study = "postgresql+psycopg://me@db/studies"
    for runner in ("serial", "threads:2", "processes:16", "dask:4", "dask:tcp://127.0.0.1:8786"):
        assert execution(runner, study, 2) == {
            **{"RISLOC_RUNNER": runner, "RISLOC_STUDY": study, "RISLOC_PROCESSES": "2"},
        }
    for arguments, message in (
        (("process:2", None, None), r"RISLOC_RUNNER: expected serial, .*got 'process:2'"),
        (("threads:0", None, None), r"RISLOC_RUNNER: expected"),
        ((None, "study.db", None), r"RISLOC_STUDY: expected postgresql://"),
        ((None, "postgresql://me:secret@db/studies", None), r"RISLOC_STUDY: expected no password .*PGPASSFILE"),
        ((None, None, 0), r"RISLOC_PROCESSES: expected a whole number >= 1, got 0"),
    ):
        with pytest.raises(ParamError, match=message):
            execution(*arguments)


def test_a_sweep_is_checked_set_by_set_and_names_what_has_no_name() -> None:
    from pipeline.driver import experiments

    half = {"set_params": {"loss.lam_cov": 0.5}}
    assert experiments([half, half | {"name": "again"}], "ab") == [
        half | {"name": "sweep-ab-0"},
        half | {"name": "again"},
    ]
    for sets, message in (
        ([], "sets: expected at least one"),
        ([half, {"loss.lam_cov": 0.5}], r"sets\[1\]: expected set_params and optionally a name"),
        ([{"set_params": [1]}], r"sets\[0\].set_params: expected a mapping, got \[1\]"),
        ([half | {"name": "a"}, half | {"name": "a"}], "names must be unique, got more than once: a"),
    ):
        with pytest.raises(ParamError, match=message):
            experiments(sets, "ab")


def test_equal_experiments_are_the_same_work_and_others_are_not() -> None:
    from pipeline.calls import same_work

    params = read_yaml(Path(__file__).parents[2] / "params.yaml")
    as_it_stands = same_work(None, {})
    assert same_work(None, {"loss.lam_cov": params["loss"]["lam_cov"]}) == as_it_stands
    assert len({as_it_stands, same_work(None, {"loss.lam_cov": 0.123}), same_work("train", {})}) == 3


def test_only_a_transient_failure_is_retried() -> None:
    from prefect.states import Failed

    from pipeline.calls import DvcError, TransientDvcError, call_dvc

    again = {
        kind: call_dvc.retry_condition_fn(call_dvc, None, Failed(data=kind("dvc repro ended with code 255")))
        for kind in (DvcError, TransientDvcError)
    }
    assert again == {DvcError: False, TransientDvcError: True}
    assert call_dvc.retries == 3


def test_of_two_at_the_same_resumable_work_one_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the driver the second ends, and dvc takes the results from its run cache; alone, it does the work then."""
    from pipeline.env import PARENT
    from pipeline.flows import TransientStageError, _alone

    monkeypatch.setattr("pipeline.env.STATE", tmp_path)
    held = threading.Event()

    def hold() -> None:
        with _alone("train", {"seed": 1}, {"state": tmp_path / "train"}):
            held.set()
            while "waiting for another run" not in "".join(said):
                said.append(capsys.readouterr().err)
                time.sleep(0.01)

    for parent in (None, "a-flow-run"):
        said: list[str] = []
        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(10)
        with _alone("train", {"seed": 2}, {"state": tmp_path / "train"}):
            pass  # other work does not wait
        if parent is None:
            with _alone("train", {"seed": 1}, {"state": tmp_path / "train"}):
                pass
        else:
            monkeypatch.setenv(PARENT, parent)
            twin = _alone("train", {"seed": 1}, {"state": tmp_path / "train"})
            with pytest.raises(TransientStageError, match="another run has just done the same"), twin:
                pytest.fail("the twin did the work again")
        holder.join(10)
        held.clear()
    with _alone("shard", {}, {}):
        pass  # a stage without resumable work waits for none


def test_what_an_earlier_run_wrote_is_removed_and_what_it_read_stays(tmp_path: Path) -> None:
    """make study with fewer scenes than before left the blocks of the first among those of the second."""
    for stage in STAGES:
        paths = paths_of(stage, tmp_path / "here", tmp_path / "root", tmp_path / "into")
        for name, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == "best":
                path.write_text("old")
            elif path.suffix != ".json":
                path.mkdir(parents=True, exist_ok=True)
                (path / "old").write_text("old")
        clear_outs(stage, paths)
        clear_outs(stage, paths)  # nothing there: nothing to do
        for name in STAGES[stage].outs:
            assert not paths[name].exists()
        for name in (*STAGES[stage].deps, *(["state"] if STAGES[stage].state else [])):
            assert paths[name].exists()
