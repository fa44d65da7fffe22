"""MLflow becomes unreachable in the middle of a run: the work continues, and every report arrives in order afterwards."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from servers import MlflowServer, mlflow_server

import pipeline.env  # noqa: F401  the time-outs that MLflow is to keep
from pipeline.tracking.outbox import Address, Outbox, deliver_all
from pipeline.tracking.runs import EXPERIMENT, stage_run
from risloc.learning.checkpoint import shipped_checkpoint

pytestmark = [  # within mlflow and what it stands on
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def root(server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr("pipeline.env.STATE", tmp_path / ".state")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    mlflow.set_tracking_uri(server.uri)
    yield tmp_path
    mlflow.set_tracking_uri(None)


def _runs() -> dict[str, mlflow.entities.Run]:
    client = MlflowClient()
    found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    return {run.info.run_name: run for run in reversed(found)}


def test_the_work_goes_on_and_its_reports_arrive(server: MlflowServer, root: Path) -> None:
    lines: list[str] = []
    report_folder = root / "report"
    report_folder.mkdir()
    (report_folder / "table.csv").write_text("x\n")
    waits = []
    with stage_run("train", {"seed": 1}, lines.append) as report:
        report.metrics({"loss": 1.0}, step=1)
        server.kill()
        for epoch in range(2, 6):
            began = time.monotonic()
            report.metrics({"loss": 1.0 / epoch, "nan": float("nan")}, step=epoch)
            waits.append(time.monotonic() - began)
        report.params({"effective.lam_cov": 0.5})
        report.tag("data", "abc")
        report.artifact(report_folder)
        (report_folder / "table.csv").write_text("what it holds later\n")
        report.model(shipped_checkpoint("default"))
        with report.child("trial-0") as trial:
            trial.metrics({"score": 0.5})
        assert max(waits) < 5, "seconds that an epoch waits for a server that is away"
        assert sum("does not answer" in line for line in lines) == 2, "one line for the run, one for its child"
        server.start()
        report.outbox._next_try = 0.0  # as if the time between two tries had passed
        report.metrics({"loss": 0.1}, step=6)
        assert any("delayed reports have arrived" in line for line in lines)
    client, runs = MlflowClient(), _runs()
    run, child = runs["train"], runs["trial-0"]
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [
        (1, 1.0),
        (2, 1 / 2),
        (3, 1 / 3),
        (4, 1 / 4),
        (5, 1 / 5),
        (6, 0.1),
    ]
    assert [point.timestamp for point in history] == sorted(point.timestamp for point in history)
    assert (run.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert (run.data.params["effective.lam_cov"], run.data.tags["data"]) == ("0.5", "abc")
    assert (child.data.metrics["score"], child.data.tags["mlflow.parentRunId"]) == (0.5, run.info.run_id)
    table = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report/table.csv")
    assert table == "x\n", "as it was when it was reported"
    assert mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model").metadata.signature is not None
    assert not list((root / ".state" / "outbox").iterdir())
    assert any("system metrics" in line for line in lines), "what an outage does cost is said"


def test_what_a_run_still_holds_at_its_end_is_said_and_sent_later(server: MlflowServer, root: Path) -> None:
    lines: list[str] = []
    with stage_run("evaluate", {"seed": 1}, lines.append) as report:
        server.kill()
        report.metrics({"gospa": 0.5, "rmspe": 0.25})
    outbox = root / ".state" / "outbox" / f"{report.run_id}.jsonl"
    assert f"Unsent reports in {outbox}: 2 reports; 2 metrics (gospa, rmspe)" in lines[-1]
    assert "`python -m pipeline outbox`" in lines[-1]
    server.start()
    with stage_run("order", {"seed": 1}, lines.append):
        run = _runs()["evaluate"]
        assert (run.data.metrics["gospa"], run.info.status) == (0.5, "FINISHED"), "the next stage sends it first"
    assert not outbox.exists()


def test_a_refused_report_does_not_hold_up_the_others(root: Path) -> None:
    client, lines = MlflowClient(), []
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    run_id = client.create_run(experiment).info.run_id
    outbox = Outbox(Address(key=run_id, experiment=experiment, run_id=run_id), lines.append, client)
    outbox.send({"kind": "batch", "params": [("seed", "1")]})
    with pytest.raises(MlflowException, match="seed"):
        outbox.send({"kind": "batch", "params": [("seed", "2")]})
    outbox.keep({"kind": "batch", "params": [("seed", "2")]})
    outbox.keep({"kind": "batch", "tags": [("after", "it")]})
    outbox.send({"kind": "batch", "tags": [("last", "one")]})
    tags = client.get_run(run_id).data.tags
    assert (tags["after"], tags["last"]) == ("it", "one")
    assert "MLflow rejected a delayed report" in lines[0]
    assert json.loads(outbox.path.with_suffix(".refused").read_text())["params"] == [["seed", "2"]]


def test_an_outbox_of_another_server_waits_for_it(root: Path, server: MlflowServer) -> None:
    address = Address(key="ab", experiment="1", run_id="ab")
    Outbox(address, print, MlflowClient("http://127.0.0.1:9")).keep({"kind": "batch", "tags": [("a", "b")]})
    assert deliver_all(MlflowClient(), print) == 0
    kept = root / ".state" / "outbox" / "ab.jsonl"
    assert server.uri not in kept.read_text(), "a tracking URI may hold a password"


def test_what_a_killed_writer_left_of_a_line_is_no_report(root: Path) -> None:
    client, lines = MlflowClient(), []
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    run_id = client.create_run(experiment).info.run_id
    outbox = Outbox(Address(key=run_id, experiment=experiment, run_id=run_id), lines.append, client)
    outbox.keep({"kind": "batch", "tags": [("one", "1")]})
    whole = outbox.path.read_bytes()
    outbox.path.write_bytes(whole + b'{"kind": "batch", "ta')
    outbox.keep({"kind": "batch", "tags": [("two", "2")]})
    assert outbox.path.read_bytes().startswith(whole + b'{"kind": "batch", "tags"')
    outbox.path.write_bytes(outbox.path.read_bytes() + b'{"kind"')
    (outbox.path.parent / "begun.jsonl").write_bytes(whole[:20])
    assert deliver_all(client, lines.append) == 0
    assert {"one": "1", "two": "2"}.items() <= client.get_run(run_id).data.tags.items()
    assert not list(outbox.path.parent.glob("*.jsonl"))
