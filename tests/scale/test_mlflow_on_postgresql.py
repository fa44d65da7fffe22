"""MLflow on PostgreSQL by configuration alone: behind a server, which keeps the files, and as a bare database."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from servers import mlflow_server

from pipeline.tracking.answering import ServerAwayError
from pipeline.tracking.runs import EXPERIMENT, stage_run

pytestmark = [
    pytest.mark.scale,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # within mlflow and what it stands on
]


@pytest.fixture
def store(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The tracking URI of an empty database, with the driver that we install."""
    monkeypatch.setattr("pipeline.env.STATE", tmp_path / ".state")
    yield "postgresql+psycopg://" + database.partition("://")[2]
    mlflow.set_tracking_uri(None)


def _report(folder: Path) -> str:
    """What a stage reports, with a nested run; the run's id."""
    folder.mkdir(exist_ok=True)
    (folder / "table.csv").write_text("x\n")
    with stage_run("train", {"seed": 1}, print) as report:
        for epoch in (1, 2, 3):
            report.metrics({"loss": 1.0 / epoch}, step=epoch)
        report.artifact(folder)
        with report.child("trial-0") as trial:
            trial.metrics({"score": 0.5})
    return str(report.run_id)


def _check(run_id: str) -> None:
    client = MlflowClient()
    run = client.get_run(run_id)
    assert (run.info.status, run.data.params["seed"], run.data.metrics["loss"]) == ("FINISHED", "1", 1 / 3)
    assert len(client.get_metric_history(run_id, "loss")) == 3
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    (trial,) = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    assert trial.info.status == "FINISHED"
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/report/table.csv") == "x\n"


def test_a_server_on_postgresql_keeps_runs_and_files(store: str, tmp_path: Path) -> None:
    with mlflow_server(tmp_path, store) as server:
        mlflow.set_tracking_uri(server.uri)
        run_id = _report(tmp_path / "report")
        _check(run_id)
    assert (tmp_path / "artifacts").is_dir(), "the server has the files, whichever host they came from"


def test_a_bare_database_needs_a_place_for_files(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.set_tracking_uri(store)
    with pytest.raises(RuntimeError, match=r"MLFLOW_ARTIFACTS: .* is a database, which stores no files"):
        _report(tmp_path / "report")
    monkeypatch.setenv("MLFLOW_ARTIFACTS", (tmp_path / "files").as_uri())
    run_id = _report(tmp_path / "report")
    _check(run_id)
    assert MlflowClient().get_run(run_id).info.artifact_uri.startswith((tmp_path / "files").as_uri())


def test_a_run_does_not_start_without_its_database(tmp_path: Path) -> None:
    mlflow.set_tracking_uri("postgresql+psycopg://me:secret@127.0.0.1:9/mlflow")
    try:
        with pytest.raises(ServerAwayError, match=r"nothing answers at postgresql\+psycopg://127.0.0.1:9/mlflow"):
            _report(tmp_path / "report")
    finally:
        mlflow.set_tracking_uri(None)
