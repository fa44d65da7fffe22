"""The whole pipeline for real, at toy size: DVC runs the stages, each a Prefect flow, and MLflow records them.

The tests share one clone and build on each other's results, in order.
"""

import csv
import json
import math
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
import torch
import yaml
from child_processes import end, kill
from cloned_pipeline import Clone
from loaded_model import answers, same
from mlflow import MlflowClient
from servers import free_port, mlflow_server, prefect_server, served_model

from pipeline.layout import MEASURED, PATHS, STAGES
from pipeline.sections import override
from pipeline.tracking.portable_model import REGISTERED
from pipeline.tracking.runs import EXPERIMENT
from risloc import load_model, locate, measurements_of, simulate, write_measurements
from risloc.io.measurements import Measurements
from risloc.locating.result_rows import records_of
from risloc.utils.yaml_reader import read_yaml
from stages.reporting.figures import FIGURES

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # within mlflow and what it stands on
]


LONG = {"train.epochs": 60, "train.patience": 60}  # long enough to be disturbed in the middle


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """The clone, and a Prefect server for its stages."""
    clone = Clone(Path(__file__).resolve().parents[2], tmp_path_factory.mktemp("e2e"))
    port = free_port()
    with prefect_server(clone.root.parent, port, clone.environment):
        clone.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        clone.environment["PREFECT_WORKER_QUERY_SECONDS"] = "1"  # not ten for each run of a deployment
        yield clone


def _ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def test_repro_runs_every_stage(clone: Clone) -> None:
    output = clone.run("dvc", "repro")
    assert _ran(output) == list(STAGES)
    for name in PATHS.values():
        assert (clone.root / name).exists(), name
    clone.commit("results")
    assert clone.run("git", "status", "--porcelain") == ""


def test_a_second_repro_runs_nothing(clone: Clone) -> None:
    began = time.monotonic()
    output = clone.run("dvc", "repro")
    assert _ran(output) == []
    assert "up to date" in output
    assert time.monotonic() - began < 60


def test_mlflow_holds_weights_components_and_origin(clone: Clone) -> None:
    params = read_yaml(clone.root / "params.yaml")
    weights = [f"loss.{name}" for name in params["loss"] if name.startswith("lam_")]
    commit = clone.run("git", "rev-parse", "HEAD~1").strip()
    for stage in STAGES:
        (run,) = clone.runs(f"tags.stage = '{stage}'")
        assert run.info.status == "FINISHED"
        assert run.info.artifact_uri.startswith(f"file://{clone.root}/mlartifacts/")
        assert {name: float(run.data.params[name]) for name in weights} == {
            name: float(params["loss"][name.removeprefix("loss.")]) for name in weights
        }
        assert (run.data.tags["git_commit"], run.data.tags["dvc_stage"]) == (commit, stage)
        assert run.data.tags["git_dirty"] == "false", "what the stages write is no change"
    (train,) = clone.runs("tags.stage = 'train'")
    assert "md5 data/shards" in train.data.tags
    assert {f"effective.loss_{term}" for term in ("nmse", "nmse_pred", "cross", "gap")} <= set(train.data.params)
    for split in ("train", "val"):
        terms = ("nmse", "nmse_pred", "cross", "gap", "ang", "rng", "K", "total")
        assert {f"{split}/loss_{term}" for term in terms} <= set(train.data.metrics)
    assert clone.runs("tags.mlflow.parentRunId != ''"), "the trials are nested runs"


@pytest.fixture(scope="module")
def measured(clone: Clone) -> Measurements:
    """Scenes of the clone's network."""
    world = load_model(clone.root / "models" / "checkpoint").scenario
    return measurements_of(world, simulate(world, seed=9, split="test", start=0, stop=6, snr_db=20.0))


def test_the_model_of_the_run_locates_without_the_repository(
    clone: Clone, measured: Measurements, tmp_path: Path
) -> None:
    """By the run's name and by the registered one; it is the network that was judged."""
    store, checkpoint = f"sqlite:///{clone.root / 'mlflow.db'}", clone.root / "models" / "checkpoint"
    run = clone.runs("tags.stage = 'evaluate'")[0]
    (version,) = MlflowClient(store, store).search_model_versions(f"name = '{REGISTERED}'")
    assert (version.run_id, int(version.version)) == (run.info.run_id, 1)
    (kept,) = clone.root.glob("mlartifacts/models/*/artifacts/artifacts/checkpoint")
    for name in ("model.safetensors", "config.json"):
        assert (kept / name).read_bytes() == (checkpoint / name).read_bytes()
    write_measurements(tmp_path / "scenes.h5", len(measured), [measured])
    arrays = {"y": measured.y, "H": measured.H, "codes": measured.codebook, "noise_var": measured.noise_var}
    inputs = {
        "raw": {name: array.resolve_conj().numpy() for name, array in arrays.items()},
        "file": {"file": str(tmp_path / "scenes.h5")},
        "learnt": {"file": str(tmp_path / "scenes.h5"), "sources": "learnt"},
    }
    located = records_of(locate(measured, checkpoint), 0)
    assert any(record["sources"] for record in located)
    uris = [f"runs:/{run.info.run_id}/model", f"models:/{REGISTERED}/1"]
    for said in answers(uris, inputs, tmp_path, MLFLOW_TRACKING_URI=store):
        same(said["raw"], located)
        same(said["file"], located)
        same(said["learnt"], records_of(locate(measured, checkpoint, "learnt"), 0))


def test_the_registered_model_is_served(clone: Clone, measured: Measurements, tmp_path: Path) -> None:
    arrays = {"y": measured.y, "H": measured.H, "codes": measured.codebook}
    inputs = {name: torch.view_as_real(array.resolve_conj()).tolist() for name, array in arrays.items()}
    inputs["noise_var"] = measured.noise_var.tolist()
    with served_model(f"models:/{REGISTERED}/1", f"sqlite:///{clone.root / 'mlflow.db'}", tmp_path) as address:
        code, answer = _invoke(address, {"inputs": inputs})
        assert code == 200, answer
        same(answer["predictions"], records_of(locate(measured, clone.root / "models" / "checkpoint"), 0))
        code, answer = _invoke(address, {"inputs": {**inputs, "noise_var": -1.0}})
        assert (code, "expected positive numbers" in answer["message"]) == (400, True)
        code, answer = _invoke(address, {"inputs": {"file": str(clone.root / "params.yaml")}})
        assert (code, "a served model does not read files" in answer["message"]) == (400, True)


def _invoke(address: str, body: dict[str, Any]) -> tuple[int, Any]:
    """The status and the answer to a request."""
    request = Request(f"{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_metrics_and_plots_are_there(clone: Clone) -> None:
    shown = clone.run("dvc", "metrics", "show")
    for stage in MEASURED:
        assert f"metrics/{stage}.json" in shown
    clone.run("dvc", "plots", "show", "--out", "dvc_plots")
    assert list((clone.root / "dvc_plots").rglob("*.png"))
    shutil.rmtree(clone.root / "dvc_plots")


def test_metrics_plots_page_and_mlflow_tell_the_same_numbers(clone: Clone) -> None:
    folder = clone.root / "reports" / "evaluate"
    evaluated = clone.runs("tags.stage = 'evaluate'")[0]
    metrics = json.loads((clone.root / "metrics" / "evaluate.json").read_text(encoding="utf-8"))
    known = {key: value for key, value in metrics.items() if value is not None}  # null: not finite
    assert {key: evaluated.data.metrics[key] for key in known} == known
    with (folder / "curves" / "error_by_snr.csv").open(encoding="utf-8") as file:
        plotted = {float(row["snr_db"]): row for row in csv.DictReader(file)}
    page = (clone.root / "reports" / "page" / "page.html").read_text(encoding="utf-8")
    rows = json.loads((folder / "tables.json").read_text(encoding="utf-8"))["by_snr"]
    assert len(rows) == sum(key.startswith("position_error_median/") for key in metrics)
    for row in rows:
        name, snr, error = (
            row["method"],
            row["snr_db"],
            metrics[f"position_error_median/{row['method']}/snr{row['snr_db']:g}"],
        )
        assert row["position_error_median_m"] == error
        assert float(plotted[snr][name]) == (math.inf if error is None else error)
        assert str("inf" if error is None else error) in page


def test_every_link_of_the_page_leads_somewhere(clone: Clone) -> None:
    folder = clone.root / "reports" / "page"
    links = re.findall(r'href="([^#"]+)"', (folder / "page.html").read_text(encoding="utf-8"))
    named = {f"{drawing.name}.pdf" for drawing in FIGURES} | {
        "../evaluate/by_snr.csv",
        "../evaluate/tables.json",
        "../train/losses.csv",
        "../hpo",
    }
    assert named <= set(links)
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("module", ["estimation/music", "performance/crb"])
def test_an_edit_of_the_search_or_the_bound_trains_nothing(clone: Clone, module: str) -> None:
    path = clone.root / "risloc" / f"{module}.py"
    before = path.read_text(encoding="utf-8")
    path.write_text(before + "\n# edited\n", encoding="utf-8")
    changed = re.findall(r"^(\w+):$", clone.run("dvc", "status"), re.MULTILINE)
    path.write_text(before, encoding="utf-8")
    assert sorted(changed) == ["evaluate", "order", "report"]


def test_a_weight_of_the_loss_makes_due_what_trains(clone: Clone) -> None:
    before = (clone.root / "params.yaml").read_text(encoding="utf-8")
    changed = yaml.safe_dump(override(yaml.safe_load(before), {"loss.lam_cov": 0.5}), sort_keys=False)
    (clone.root / "params.yaml").write_text(changed, encoding="utf-8")
    due = re.findall(r"^(\w+):$", clone.run("dvc", "status"), re.MULTILINE)
    (clone.root / "params.yaml").write_text(before, encoding="utf-8")
    assert sorted(due) == ["hpo", "overfit", "train"]


def test_a_wrong_parameter_stops_the_first_stage(clone: Clone) -> None:
    before = (clone.root / "params.yaml").read_text(encoding="utf-8")
    (clone.root / "params.yaml").write_text(before.replace("lam_cov:", "lam_covv:"), encoding="utf-8")
    output = clone.run("dvc", "repro", code=255)
    (clone.root / "params.yaml").write_text(before, encoding="utf-8")
    assert "params.yaml: loss.lam_covv: unknown parameter" in output
    assert "Traceback" not in output
    assert _ran(clone.run("dvc", "repro")) == [], "DVC's run cache puts everything back"
    assert clone.run("git", "status", "--porcelain") == ""


WORKER = ["prefect", "worker", "start", "--pool", "local"]


@pytest.fixture(scope="module")
def worker(clone: Clone) -> Iterator[list[psutil.Popen]]:
    """The worker, the last of a list that tests may change, with all deployments registered."""
    clone.run("prefect", "work-pool", "create", "local", "--type", "process")
    clone.run("prefect", "--no-prompt", "deploy", "--all")
    workers = [_start(clone, WORKER)]
    yield workers
    for process in workers:
        end(process)


def _start(clone: Clone, command: list[str]) -> psutil.Popen:
    with (clone.root.parent / "servers.log").open("ab") as log:
        return psutil.Popen(command, cwd=clone.root, env=clone.environment, stdout=log, stderr=log)


@pytest.mark.usefixtures("worker")
def test_a_sweep_runs_experiments_side_by_side_and_only_what_is_due(clone: Clone) -> None:
    """Two that go well beside one that fails the overfit check, and stops no other.

    The two are equal, and begin at once: the lock that the workspace's runs take too, and DVC's run cache, let the second
    take the results of the first.
    """
    equal = {"evaluate.k_rules": ["known"]}
    sets = [
        {"name": "twin-a", "set_params": equal},
        {"name": "twin-b", "set_params": equal},
        {"name": "gate", "set_params": {"loss.lam_cov": 0.5, "overfit.excellent": 1.0e-9, "overfit.epochs": 2}},
    ]
    before = clone.log()
    arguments = ["-p", f"sets={json.dumps(sets)}", "-p", "side_by_side=3"]
    clone.run("prefect", "deployment", "run", "pipeline/sweep", "--watch", *arguments, code=1)
    assert "1 of 3 did not complete: gate (Failed)" in clone.log()[len(before) :]
    assert clone.run("git", "status", "--porcelain") == "", "the workspace is as it was"
    assert sorted(_stages_of(clone, "twin-a") + _stages_of(clone, "twin-b")) == ["evaluate", "report"]
    assert _stages_of(clone, "gate") == ["overfit"]
    assert {run.data.params["loss.lam_cov"] for run in clone.runs("tags.dvc_exp_name = 'gate'")} == {"0.5"}
    assert {"twin-a", "twin-b"} <= set(re.findall(r"[\w-]+", clone.run("dvc", "exp", "show", "--only-changed", "--md")))
    store = f"sqlite:///{clone.root / 'mlflow.db'}"
    versions = MlflowClient(store, store).search_model_versions(f"name = '{REGISTERED}'")
    assert len(versions) == 1, "an experiment keeps its model, and registers none"


@pytest.mark.usefixtures("worker")
def test_prefect_shows_a_table_of_the_sweep(clone: Clone) -> None:
    shown = _artifact(clone, "pipeline-sweep")
    assert shown["type"] == "table"
    rows = {row["name"]: row for row in json.loads(shown["data"])}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"twin-a": "Completed", "twin-b": "Completed", "gate": "Failed"}
    assert rows["gate"]["loss.lam_cov"] == 0.5
    for twin in ("twin-a", "twin-b"):
        assert any(key.startswith("position_error_median/R_blend_refined/") for key in rows[twin])


def test_a_training_that_is_cancelled_or_loses_its_worker_goes_on_later(
    clone: Clone, worker: list[psutil.Popen]
) -> None:
    """Cancelled first; then its worker is killed (-9) with all that it has started, as when a host dies."""
    epochs = LONG["train.epochs"]
    parameters = {"name": "long", "target": "train", "set_params": LONG}
    run_id = _begin(clone, "ablation", parameters)
    _wait_for_epoch(clone, "long", 0.2 * epochs)
    cancelled = time.monotonic()
    clone.run("prefect", "flow-run", "cancel", run_id)
    while _processes_of(clone):
        assert time.monotonic() - cancelled < 60, _processes_of(clone)
        time.sleep(0.2)
    took = time.monotonic() - cancelled
    print(f"from cancel to stopped: {took:.1f} s")
    assert took < 30, "the worker asks every ten seconds whether something was cancelled"
    stopped_at = _epoch_of(clone, "long")
    assert 0.1 * epochs < stopped_at < 0.9 * epochs
    assert _end_state(clone, run_id)["name"] == "Cancelled"
    (train,) = clone.runs("tags.dvc_exp_name = 'long' and tags.stage = 'train'")
    assert train.info.status == "KILLED"

    _begin(clone, "ablation", parameters)
    _wait_for_epoch(clone, "long", stopped_at + 0.1 * epochs)
    kill(worker.pop())
    killed_at = _epoch_of(clone, "long")
    assert stopped_at < killed_at < 0.9 * epochs
    assert _processes_of(clone) == []
    worker.append(_start(clone, WORKER))
    assert _end_state(clone, _begin(clone, "ablation", parameters))["name"] == "Completed"
    last, lost, _ = clone.runs("tags.dvc_exp_name = 'long' and tags.stage = 'train'")
    resumed_after = int(lost.data.tags["resumed_after_epoch"])
    assert abs(resumed_after - stopped_at) <= 1, (
        "an epoch is a checkpoint interval; its line comes before its checkpoint"
    )
    assert killed_at <= int(last.data.tags["resumed_after_epoch"]) <= killed_at + 1
    assert last.info.status == "FINISHED"
    assert _stages_of(clone, "long") == ["train"] * 3, "only what is due"


@pytest.mark.usefixtures("worker")
def test_prefect_shows_progress_tables_and_the_way_to_mlflow(clone: Clone) -> None:
    """Of the training that has ended."""
    train = clone.runs("tags.dvc_exp_name = 'long' and tags.stage = 'train'")[0]
    kinds = {"train-mlflow": "markdown", "train-metrics": "table", "train-progress": "progress"}
    shown = {key: _artifact(clone, key) for key in kinds}
    assert {key: shown[key]["type"] for key in kinds} == kinds
    page = f"http://127.0.0.1:5000/#/experiments/{train.info.experiment_id}/runs/{train.info.run_id}"
    assert page in shown["train-mlflow"]["data"]
    assert "kept_epoch" in shown["train-metrics"]["data"]
    assert shown["train-progress"]["data"] == 100.0


def test_a_training_goes_on_without_its_servers_and_says_what_it_holds(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of MLflow's and of Prefect's server. The same training was stopped twice before: the metrics are the same."""
    epochs = LONG["train.epochs"]
    changes = [word for key, value in LONG.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "pipeline", "train", "--into", str(tmp_path / "into"), *changes]
    with mlflow_server(tmp_path) as mlflow:
        client, port = MlflowClient(mlflow.uri), free_port()
        settings = {
            "MLFLOW_TRACKING_URI": mlflow.uri,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_CLIENT_MAX_RETRIES": "1",  # not a minute of them when the training has ended
        }
        for name, value in settings.items():
            monkeypatch.setitem(clone.environment, name, value)
        with prefect_server(tmp_path, port, {**clone.environment, "PREFECT_HOME": str(tmp_path)}) as prefect:
            training = _start(clone, command)
            while not 0.2 * epochs < len(_history(client)):
                assert training.poll() is None, clone.log()[-4000:]
                time.sleep(0.2)
            received = len(_history(client))
            mlflow.kill()
            kill(prefect)
            assert training.wait(300) == 0, clone.log()[-4000:]
        assert 0.1 * epochs < received < 0.9 * epochs
        assert "MLflow is still unreachable. Unsent reports in" in clone.log()
        assert "train is done; Prefect's server is unreachable and was not informed" in clone.log()
        assert "nothing answers at" in clone.run(sys.executable, "-m", "pipeline", "outbox", code=1)
        mlflow.start()
        assert "no reports are waiting for MLflow" in clone.run(sys.executable, "-m", "pipeline", "outbox")
        assert _history(client) == list(range(1, epochs + 1))
        (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
        assert run.info.status == "FINISHED"
        assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"train", "network"}
    ref = clone.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/long").strip()
    expected = json.loads(clone.run("git", "show", f"{ref}:metrics/train.json"))
    assert json.loads((tmp_path / "into" / "metrics" / "train.json").read_text()) == expected


def _history(client: MlflowClient, which: str = "tags.host != ''") -> list[int]:
    """The epochs of the newest training that this server has heard of."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = f"{which} and tags.stage = 'train'"
    runs = [] if experiment is None else client.search_runs([experiment.experiment_id], wanted)
    return [value.step for value in client.get_metric_history(runs[0].info.run_id, "val/score")] if runs else []


def _begin(clone: Clone, deployment: str, parameters: dict[str, Any]) -> str:
    """Start a run of a deployment; its id."""
    words = [word for key, value in parameters.items() for word in ("-p", f"{key}={json.dumps(value)}")]
    output = clone.run("prefect", "deployment", "run", f"pipeline/{deployment}", *words)
    return re.search(r"UUID: ([0-9a-f-]{36})", output)[1]


def _api(clone: Clone, path: str, body: dict[str, Any] | None = None) -> Any:
    url = f"{clone.environment['PREFECT_API_URL']}/{path}"
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=30) as answer:
        return json.load(answer)


def _end_state(clone: Clone, run_id: str) -> dict[str, Any]:
    for _ in range(600):
        state = _api(clone, f"flow_runs/{run_id}")["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        time.sleep(0.5)
    pytest.fail(f"{run_id} never ended:\n{clone.log()[-4000:]}")


def _artifact(clone: Clone, key: str) -> dict[str, Any]:
    """The newest artifact of that key."""
    wanted = {"artifacts": {"key": {"any_": [key]}}, "sort": "UPDATED_DESC", "limit": 1}
    found = _api(clone, "artifacts/filter", wanted)
    assert found, f"no artifact {key}"
    return found[0]


def _stages_of(clone: Clone, experiment: str) -> list[str]:
    """The stages that ran for an experiment, as MLflow has them."""
    return [
        run.data.tags["stage"] for run in clone.runs(f"tags.dvc_exp_name = '{experiment}'") if "stage" in run.data.tags
    ]


def _epoch_of(clone: Clone, experiment: str) -> int:
    """The epoch that its training has reported last."""
    client = MlflowClient(f"sqlite:///{clone.root / 'mlflow.db'}")
    return max(_history(client, f"tags.dvc_exp_name = '{experiment}'"), default=0)


def _wait_for_epoch(clone: Clone, experiment: str, epoch: float) -> None:
    began = time.monotonic()
    while not epoch < _epoch_of(clone, experiment):
        assert time.monotonic() - began < 300, clone.log()[-4000:]
        time.sleep(0.5)


def _processes_of(clone: Clone) -> list[str]:
    """The dvc and stage processes of the clone that live."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = " ".join(process.info["cmdline"] or [])
        mine = (process.info["environ"] or {}).get("PREFECT_HOME") == clone.environment["PREFECT_HOME"]
        if mine and " -m pipeline" in command:
            found.append(command)
    return found


@pytest.mark.usefixtures("worker")
def test_a_deployment_fails_on_what_is_no_parameter(clone: Clone) -> None:
    run_id = _begin(clone, "ablation", {"set_params": {"loss.lam_covv": 0.5}})
    assert _end_state(clone, run_id)["name"] == "Failed"
    assert "loss.lam_covv: not a parameter" in clone.log()


@pytest.mark.usefixtures("worker")
def test_the_end_to_end_deployment_finds_all_up_to_date(clone: Clone) -> None:
    before = len(clone.runs(""))
    assert _end_state(clone, _begin(clone, "end-to-end", {}))["name"] == "Completed"
    assert len(clone.runs("")) == before
