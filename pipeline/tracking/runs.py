"""The record of executions in MLflow: one run a stage, with every parameter, metric and file that the stage reports."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking.context.registry import resolve_tags
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from ruamel.yaml import YAML

from pipeline.artifacts import Progress, link
from pipeline.env import COPY, lock
from pipeline.git import changed, git
from pipeline.signals import on_stop
from pipeline.tracking.outbox import Address, Outbox, deliver_all, now
from pipeline.tracking.portable_model import REGISTERED, PortableModel
from pipeline.tracking.server import EXPERIMENT, experiment_of, is_file, page_of, reach, starting
from risloc.config import flatten
from risloc.utils.atomic_files import DiskFullError
from risloc.utils.progress import shown_progress
from stages.support.processes import lives, this_process
from stages.support.reporter import Reporter

__all__ = ["EXPERIMENT", "MlflowReporter", "dependency_checksums", "stage_run"]


class MlflowReporter:
    """A `Reporter` that writes to one MLflow run, by way of its outbox; lines also go to `say`.

    It can be pickled, and then writes to the same run from another process; its lines go to that process's log.
    """

    def __init__(
        self, address: Address, say: Callable[[str], None], client: MlflowClient, progress: Progress | None = None
    ) -> None:
        self.outbox = Outbox(address, say, client)
        self.say = say
        self.shown = progress or Progress()

    @property
    def run_id(self) -> str | None:
        """The run's id; None for one begun while the server was away, as long as it is."""
        return self.outbox.address.run_id

    def line(self, text: str) -> None:
        """One line of the log."""
        self.say(text)

    def params(self, values: Mapping[str, object]) -> None:
        """Parameters with dotted keys; a second, different value of a key is an error of MLflow's."""
        self.outbox.send({"kind": "batch", "params": [(key, str(value)) for key, value in values.items()]})

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers at `step`, in one request."""
        time = now()
        self.outbox.send(
            {"kind": "batch", "metrics": [(key, float(value), time, step or 0) for key, value in values.items()]}
        )

    def tag(self, key: str, value: str) -> None:
        """A short fact to search runs by."""
        self.outbox.send({"kind": "batch", "tags": [(key, value)]})

    def artifact(self, path: Path) -> None:
        """Keep a file, or a folder under its own name; FileNotFoundError if the path does not exist."""
        if not path.exists():
            raise FileNotFoundError(f"artifact {path}: no such file or folder; write it before reporting it")
        self.outbox.send({"kind": "file", "path": str(path.resolve())})

    def model(self, checkpoint: Path) -> None:
        """A model of MLflow's that locates, registered if `dvc repro` made it; sent later, it is but a file of the run."""
        portable = PortableModel(checkpoint)
        registered = REGISTERED if "DVC_STAGE" in os.environ and "DVC_EXP_NAME" not in os.environ else None
        if not self.outbox.attempt(lambda run_id: portable.log(run_id, registered)):
            folder = self.outbox.room() / "model"
            portable.save(folder)
            self.outbox.keep({"kind": "file", "path": str(folder)})

    @contextlib.contextmanager
    def child(self, name: str) -> Iterator[Reporter]:
        """A nested run."""
        mine = self.outbox.address
        tags = {"mlflow.parentRunId": str(mine.run_id), **_process_tags()}
        address = Address.to_create(mine.experiment, name, tags)

        def create(run_id: str) -> None:
            nonlocal address
            address = address.begun(self.outbox.client)

        self.outbox.attempt(create)
        reporter = MlflowReporter(address, lambda text: self.say(f"{name}: {text}"), self.outbox.client, self.shown)
        with _ended(reporter):
            yield reporter

    def progress(
        self, total: int, what: str, part: tuple[int, int] = (0, 1)
    ) -> AbstractContextManager[Callable[[int], None]]:
        """A bar on a terminal, plain lines elsewhere; and in a flow, its progress artifact."""
        return self.shown.moving(shown_progress(total, what, self.line), total, what, part)

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.outbox.address, "uri": self.outbox.client.tracking_uri, "host": socket.gethostname()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        uri = state["uri"]
        if is_file(uri) and state["host"] != socket.gethostname():
            raise RuntimeError(
                f"MLFLOW_TRACKING_URI: {uri} is a file on {state['host']}, but this host is {socket.gethostname()}; work on "
                "several hosts needs a tracking server: set it to http://HOST:PORT"
            )
        self.__init__(state["address"], _log_line, MlflowClient(uri))  # type: ignore[misc]


def _log_line(text: str) -> None:
    """A line into the log of the flow or task that runs here, or else into the process's."""
    try:
        get_run_logger().info(text)
    except MissingContextError:
        get_logger("risloc").info(text)


@contextlib.contextmanager
def stage_run(stage: str, params: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[MlflowReporter]:
    """The MLflow run of one execution of `stage`: its parameters, and the tags that tie it to git, DVC and the data.

    It ends as FINISHED, as FAILED when the block raises, and as KILLED when a signal stops the process. Once it has
    begun, an outage of the server costs no more than the system metrics of that time.

    Raises
    ------
    ServerAwayError
        The server is away at the start, when nothing is lost by waiting for it.
    """
    client = reach()
    with lock("mlflow"), starting():
        experiment = experiment_of(client)
        _bury_the_dead(client, experiment)
        tags = resolve_tags({**_origin_tags(stage), **_process_tags()})
        run = client.create_run(experiment, run_name=stage, tags=tags)
    deliver_all(client, say)
    address = Address(key=run.info.run_id, experiment=experiment, run_id=run.info.run_id)
    with _ended(MlflowReporter(address, say, client)) as reporter, _system_metrics(reporter):
        link("mlflow", page_of(experiment, run.info.run_id), f"MLflow: {stage}", "parameters, metrics, files, model")
        reporter.params(flatten(params))
        yield reporter
        reporter.shown.close()
    if reporter.outbox.outages and not reporter.outbox.waiting:
        deliver_all(client, say)  # of its nested runs


@contextlib.contextmanager
def _ended(reporter: MlflowReporter) -> Iterator[MlflowReporter]:
    """End the run of `reporter` according to how the block ends."""

    def end(status: str) -> None:
        reporter.outbox.send({"kind": "end", "status": status, "time": now()})

    with on_stop(lambda: end("KILLED")):
        try:
            yield reporter
        except BaseException:
            with contextlib.suppress(DiskFullError):  # report the error that ended the block
                end("FAILED")
                reporter.outbox.close()
            raise
        end("FINISHED")
        reporter.outbox.close()


@contextlib.contextmanager
def _system_metrics(reporter: MlflowReporter) -> Iterator[None]:
    """CPU, memory, disk, network and GPU of the run; MLflow's monitor ends at the first outage."""
    uri = reporter.outbox.client.tracking_uri
    monitor = SystemMetricsMonitor(reporter.run_id, tracking_uri=uri)  # type: ignore[no-untyped-call]
    monitor.start()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        monitor.finish()  # type: ignore[no-untyped-call]
        if reporter.outbox.outages:
            reporter.line(
                "MLflow was unreachable for a while: system metrics (system/...) were not recorded from then on"
            )


def _bury_the_dead(client: MlflowClient, experiment: str) -> None:
    """Mark as KILLED the runs of this host that are listed as RUNNING but whose process has died."""
    mine = f"attributes.status = 'RUNNING' and tags.host = '{socket.gethostname()}'"
    for run in client.search_runs([experiment], mine):
        if not lives(int(run.data.tags["pid"]), float(run.data.tags["pid_started"])):
            client.set_terminated(run.info.run_id, "KILLED")


def _process_tags() -> dict[str, str]:
    own = this_process()
    return {"host": str(own["host"]), "pid": str(own["pid"]), "pid_started": f"{own['started']:.2f}"}


def _origin_tags(stage: str) -> dict[str, str]:
    differs = changed(COPY)
    dirty = "unknown" if differs is None else str(differs).lower()
    tags = {"stage": stage, "git_commit": git("rev-parse", "HEAD", at=COPY) or "unknown", "git_dirty": dirty}
    for key in ("DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        if key in os.environ:
            tags[key.lower()] = os.environ[key]
    if "DVC_STAGE" in os.environ:  # only then is dvc.lock true of what the stage reads
        tags |= dependency_checksums(stage)
    return tags


def dependency_checksums(stage: str) -> dict[str, str]:
    """md5 of each DVC output that `stage` depends on, from the lock that DVC has just brought up to date."""
    reader = YAML(typ="safe")  # of DVC's own files, four times faster than `read_yaml`, which trusts no file
    described = reader.load(COPY / "dvc.yaml")["stages"][stage]
    path = COPY / "dvc.lock"
    locked = reader.load(path)["stages"] if path.exists() else {}
    outs = {out["path"]: out["md5"] for entry in locked.values() for out in entry.get("outs", [])}
    return {f"md5 {dep}": outs[dep] for dep in described["deps"] if dep in outs}
