"""What MLflow holds after a run: parameters, components, tags, files, the model; and how a run ends."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path

import mlflow
import pytest
from child_processes import started
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.tracking.answering import ServerAwayError
from pipeline.tracking.runs import EXPERIMENT, _process_tags, stage_run
from pipeline.tracking.server import _artifact_location, page_of, reach
from risloc.learning.checkpoint import shipped_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within mlflow and what it stands on
PARAMS = {"seed": 1, "loss": {"lam_cov": 0.7, "lam_cov_pred": 0.05}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests here: its tables take seconds to create."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    monkeypatch.setattr("pipeline.tracking.server.ROOT", root)
    monkeypatch.setattr("pipeline.env.STATE", root / ".state")
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    yield MlflowClient()
    mlflow.set_tracking_uri(None)


def _runs(store: MlflowClient) -> dict[str, Run]:
    """The last run of each name."""
    found = store.search_runs([store.get_experiment_by_name(EXPERIMENT).experiment_id])
    return {run.info.run_name: run for run in reversed(found)}


def test_a_run_holds_all_that_was_reported(store: MlflowClient, root: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "table.csv").write_text("x\n")
    lines: list[str] = []
    with stage_run("overfit", PARAMS, lines.append) as report:
        report.line("Epoch 001/030")
        for epoch in (1, 2):
            report.metrics({"train/loss_nmse": 1 / epoch, "val/loss_nmse": float("nan")}, step=epoch)
        report.params({"effective.lam_cov": 0.7})
        report.tag("data", "abc")
        report.artifact(tmp_path / "report")
        report.model(shipped_checkpoint("default"))
        with report.child("trial-0") as trial:
            trial.metrics({"score": 0.5})
            trial.line("pruned")
    runs = _runs(store)
    run, trial_run = runs["overfit"], runs["trial-0"]
    assert (run.info.status, trial_run.info.status) == ("FINISHED", "FINISHED")
    assert run.data.params == {
        **{"seed": "1", "loss.lam_cov": "0.7", "loss.lam_cov_pred": "0.05", "effective.lam_cov": "0.7"},
    }
    history = store.get_metric_history(run.info.run_id, "train/loss_nmse")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]
    assert {"git_commit", "git_dirty", "host", "pid", "stage", "data"} <= set(run.data.tags)
    assert trial_run.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert [file.path for file in store.list_artifacts(run.info.run_id, "report")] == ["report/table.csv"]
    assert run.info.artifact_uri.startswith((root / "mlartifacts").as_uri())
    assert lines == ["Epoch 001/030", "trial-0: pruned"]
    (model,) = store.search_logged_models([run.info.experiment_id])
    loaded = mlflow.pyfunc.load_model(model.model_uri)
    assert [record["scene"] for record in loaded.predict(loaded.input_example)] == [0]
    assert store.search_model_versions("name = 'risloc-hybrid'") == [], "only what dvc repro makes is registered"


def test_a_file_must_exist(store: MlflowClient, tmp_path: Path) -> None:
    with stage_run("train", PARAMS, print) as report, pytest.raises(FileNotFoundError, match="write it before"):
        report.artifact(tmp_path / "missing")


def test_a_failure_is_recorded_and_a_dead_run_is_buried(store: MlflowClient) -> None:
    with (
        pytest.raises(ValueError, match="on purpose"),
        stage_run("train", PARAMS, print) as report,
        report.child("trial-0"),
    ):
        raise ValueError("raised on purpose")
    runs = _runs(store)
    assert (runs["train"].info.status, runs["trial-0"].info.status) == ("FAILED", "FAILED")
    experiment = store.get_experiment_by_name(EXPERIMENT).experiment_id
    with started([sys.executable, "-c", ""]) as gone:
        gone.wait()
    tags = _process_tags() | {"pid": str(gone.pid)}
    store.create_run(experiment, run_name="dead", tags=tags)
    store.create_run(experiment, run_name="elsewhere", tags=tags | {"host": "another"})
    store.create_run(experiment, run_name="alive", tags=_process_tags())
    with stage_run("evaluate", PARAMS, print):
        statuses = {name: run.info.status for name, run in _runs(store).items()}
    assert (statuses["dead"], statuses["elsewhere"], statuses["alive"]) == ("KILLED", "RUNNING", "RUNNING")


def test_a_reporter_goes_on_in_another_process(store: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage_run("train", PARAMS, print) as report:
        there, here = Pipe()
        there.send(report)
        again = here.recv()
        again.metrics({"score": 0.25})
        again.line("from elsewhere")
        with again.child("trial-7") as trial:
            trial.metrics({"score": 0.125})
    runs = _runs(store)
    assert runs["train"].data.metrics["score"] == 0.25
    assert runs["trial-7"].data.tags["mlflow.parentRunId"] == runs["train"].info.run_id
    there.send(report)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    with pytest.raises(RuntimeError, match=r"sqlite:.* is a file on .*, but this host is another; .* tracking server"):
        here.recv()


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "postgresql+psycopg://user:secret@127.0.0.1:9/mlflow"])
def test_a_run_does_not_start_without_its_server(uri: str) -> None:
    mlflow.set_tracking_uri(uri)
    began = time.monotonic()
    with pytest.raises(ServerAwayError, match=r"nothing answers at \S+127.0.0.1:9.*refused.*start the") as raised:
        reach()
    assert "secret" not in str(raised.value)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("what", ["folder", "text", "below a file"])
def test_a_file_that_is_no_store_is_told_at_once_in_one_line(what: str, tmp_path: Path) -> None:
    """MLflow would try for two minutes, and then show its SQL."""
    path = tmp_path / "store"
    if what == "folder":
        path.mkdir()
    else:
        path.write_text("notes, and no database of anybody's")
    mlflow.set_tracking_uri(f"sqlite:///{path / 'mlflow.db' if what == 'below a file' else path}")
    with pytest.raises(
        ServerAwayError, match=r"MLFLOW_TRACKING_URI: cannot record in .*store.*; expected an MLflow"
    ) as said:
        reach()
    assert "\n" not in str(said.value)
    assert "SELECT" not in str(said.value)
    assert "space" not in str(said.value)


def test_artifacts_of_a_bare_database_need_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "postgresql+psycopg://user:secret@127.0.0.1:9/mlflow"
    assert _artifact_location("http://127.0.0.1:5000") is None
    with pytest.raises(RuntimeError, match=r"MLFLOW_ARTIFACTS: postgresql\+psycopg://127.0.0.1:9/mlflow is a database"):
        _artifact_location(uri)
    monkeypatch.setenv("MLFLOW_ARTIFACTS", "s3://bucket/risloc")
    assert _artifact_location(uri) == "s3://bucket/risloc"


def test_a_run_s_page_is_on_the_server_or_where_the_file_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert page_of("1", "ab") == "http://127.0.0.1:5000/#/experiments/1/runs/ab"
    monkeypatch.setenv("MLFLOW_UI_URL", "http://shown/")
    assert page_of("1", "ab") == "http://shown/#/experiments/1/runs/ab"
    mlflow.set_tracking_uri("http://tracking:5000/")
    assert page_of("1", "ab") == "http://tracking:5000/#/experiments/1/runs/ab"


def test_processes_that_use_a_new_store_at_once_all_find_it(repository: Path, tmp_path: Path) -> None:
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'new.db'}"}
    command = [sys.executable, "-c", "from pipeline.tracking.server import reach; reach()"]
    with contextlib.ExitStack() as stack:
        using = [stack.enter_context(started(command, cwd=repository, env=environment)) for _ in range(3)]
        assert [each.wait() for each in using] == [0, 0, 0]
