"""The record of executions in MLflow: one run a stage, with every parameter, metric and file that the stage reports."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import mlflow
import psutil
import torch
import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from torch import Tensor

from pipeline.env import COPY, ROOT, lock
from pipeline.portable import log_portable_model
from pipeline.signals import on_stop
from risloc.params import flatten
from stages.report import Reporter, shown_progress

__all__ = ["EXPERIMENT", "MlflowReporter", "stage_run"]

EXPERIMENT = "risloc"


class MlflowReporter:
    """A `Reporter` that writes to the MLflow run `run_id`; lines also go to `say`."""

    def __init__(self, run_id: str, say: Callable[[str], None]) -> None:
        self.run_id = run_id
        self.say = say
        self.client = MlflowClient()

    def line(self, text: str) -> None:
        """One line of the log."""
        self.say(text)

    def params(self, values: Mapping[str, object]) -> None:
        """Parameters with dotted keys; a second, different value of a key is an error of MLflow's."""
        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in values.items()])

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers at `step`, in one request."""
        now = int(time.time() * 1000)
        self.client.log_batch(
            self.run_id, metrics=[Metric(key, float(value), now, step or 0) for key, value in values.items()]
        )

    def tag(self, key: str, value: str) -> None:
        """A short fact to search runs by."""
        self.client.set_tag(self.run_id, key, value)

    def artifact(self, path: Path) -> None:
        """Keep a file, or a folder under its own name; FileNotFoundError where nothing is there."""
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), artifact_path=path.name)
        elif path.is_file():
            self.client.log_artifact(self.run_id, str(path))
        else:
            raise FileNotFoundError(f"artifact {path}: expected a file or a folder; write it before it is reported")

    def model(self, network: torch.nn.Module, example: tuple[Tensor, ...]) -> None:
        """A torch.export'ed copy with its signature."""
        log_portable_model(self.run_id, network, example)

    @contextlib.contextmanager
    def child(self, name: str) -> Iterator[Reporter]:
        """A nested run."""
        parent = self.client.get_run(self.run_id)
        tags = {"mlflow.parentRunId": self.run_id, **_process_tags()}
        run = self.client.create_run(parent.info.experiment_id, run_name=name, tags=tags)
        run_id = run.info.run_id
        with _ended(self.client, run_id, lambda status: self.client.set_terminated(run_id, status)):
            yield MlflowReporter(run_id, lambda text: self.say(f"{name}: {text}"))

    def progress(self, total: int, what: str) -> AbstractContextManager[Callable[[int], None]]:
        """A bar on a terminal, plain lines elsewhere."""
        return shown_progress(total, what, self.line)


@contextlib.contextmanager
def stage_run(stage: str, params: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[MlflowReporter]:
    """The MLflow run of one execution of `stage`: its parameters, and the tags that tie it to git, DVC and the data.

    It ends as FINISHED, as FAILED when the block raises, and as KILLED when a signal stops the process.
    """
    client = MlflowClient()
    with lock("mlflow"):  # two processes must not create the tables at once
        experiment = _experiment(client)
        _bury_the_dead(client, experiment)
    run = mlflow.start_run(experiment_id=experiment, run_name=stage, log_system_metrics=True)
    run_id = run.info.run_id
    reporter = MlflowReporter(run_id, say)
    with _ended(client, run_id, mlflow.end_run):
        reporter.params(flatten(params))
        for key, value in {**_origin_tags(stage), **_process_tags()}.items():
            reporter.tag(key, value)
        yield reporter


@contextlib.contextmanager
def _ended(client: MlflowClient, run_id: str, end: Callable[[str], object]) -> Iterator[None]:
    """End a run by `end(status)`, according to how the block ends."""
    with on_stop(lambda: client.set_terminated(run_id, "KILLED")):
        try:
            yield
        except BaseException:
            end("FAILED")
            raise
        end("FINISHED")


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return found.experiment_id
    local = mlflow.get_tracking_uri().startswith("sqlite:")
    return client.create_experiment(EXPERIMENT, artifact_location=(ROOT / "mlartifacts").as_uri() if local else None)


def _bury_the_dead(client: MlflowClient, experiment: str) -> None:
    """Mark as KILLED the runs of this host that stand as RUNNING but whose process is gone."""
    mine = f"attributes.status = 'RUNNING' and tags.host = '{socket.gethostname()}'"
    for run in client.search_runs([experiment], mine):
        if not _lives(int(run.data.tags["pid"]), run.data.tags["pid_started"]):
            client.set_terminated(run.info.run_id, "KILLED")


def _lives(pid: int, started: str) -> bool:
    try:
        return f"{psutil.Process(pid).create_time():.2f}" == started
    except psutil.NoSuchProcess:
        return False


def _process_tags() -> dict[str, str]:
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "pid_started": f"{started:.2f}"}


def _origin_tags(stage: str) -> dict[str, str]:
    tags = {"stage": stage, "git_commit": _git("rev-parse", "HEAD")}
    tags["git_dirty"] = str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower()
    for key in ("DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        if key in os.environ:
            tags[key.lower()] = os.environ[key]
    if "DVC_STAGE" in os.environ:  # only then is dvc.lock true of what the stage reads
        tags |= _dependency_checksums(stage)
    return tags


def _dependency_checksums(stage: str) -> dict[str, str]:
    """md5 of each DVC output that `stage` depends on, from the lock that DVC has just brought up to date."""
    described = yaml.safe_load((COPY / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    path = COPY / "dvc.lock"
    locked = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"] if path.exists() else {}
    outs = {out["path"]: out["md5"] for entry in locked.values() for out in entry.get("outs", [])}
    return {f"md5 {dep}": outs[dep] for dep in described["deps"] if dep in outs}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(COPY), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
