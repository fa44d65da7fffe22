"""The tracking server that MLFLOW_TRACKING_URI names: whether it answers, the experiment on it, where its pages are."""

import contextlib
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
from mlflow import MlflowClient
from sqlalchemy import make_url

from pipeline.env import ROOT, lock
from pipeline.tracking.answering import ServerAwayError, answering

__all__ = ["EXPERIMENT", "experiment_of", "is_file", "page_of", "reach", "starting"]

EXPERIMENT = "risloc"
_UI = "http://127.0.0.1:5000"
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_SECONDS = 5.0


class NoAnswerError(ServerAwayError):
    """Nothing answers at the tracking server's address; it may later."""


class _UnfitStoreError(ServerAwayError):
    """The tracking URI names what is no store; the message says so."""


def is_file(uri: str) -> bool:
    """Whether the tracking URI is a file of this host, which no other host can write to."""
    return uri.startswith(("sqlite:", "file:"))


def reach() -> MlflowClient:
    """A client of a server that has just taken a connection; ServerAwayError, which says what to do, if none does."""
    uri = mlflow.get_tracking_uri()
    with starting():
        if not is_file(uri):
            _connect(uri)
        with lock("mlflow-tables"):  # the first client of a database makes its tables: two at once break them
            _open(uri)
            return MlflowClient(uri)


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Tell with what is raised for a server that is away, before there is a run, which server it is and what to do."""
    try:
        with answering():
            yield
    except _UnfitStoreError:
        raise
    except ServerAwayError as error:
        if is_file(mlflow.get_tracking_uri()):
            raise ServerAwayError(
                f"MLFLOW_TRACKING_URI: cannot record in {_shown(mlflow.get_tracking_uri())} ({error}); free some space "
                "there, or choose another store"
            ) from error
        raise NoAnswerError(
            f"MLFLOW_TRACKING_URI: nothing answers at {_shown(mlflow.get_tracking_uri())} ({error}); start the "
            "tracking server, or unset the variable to record in mlflow.db of this repository"
        ) from error


def experiment_of(client: MlflowClient) -> str:
    """Return the id of the experiment, which is created if needed. Hold the lock "mlflow": two processes must not create it at once.

    Raises
    ------
    RuntimeError
        The tracking store is a database without a server, and no place for artifacts is set.
    """
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return found.experiment_id
    return client.create_experiment(EXPERIMENT, artifact_location=_artifact_location(client.tracking_uri))


def _artifact_location(uri: str) -> str | None:
    """Where artifacts go: a server knows it; for a file, beside it; for a bare database, MLFLOW_ARTIFACTS says it."""
    if uri.startswith(("http:", "https:")):
        return None
    given = os.environ.get("MLFLOW_ARTIFACTS")
    if given:
        return given
    if is_file(uri):
        return (ROOT / "mlartifacts").as_uri()
    raise RuntimeError(
        f"MLFLOW_ARTIFACTS: {_shown(uri)} is a database, which stores no files; set MLFLOW_ARTIFACTS to a location for artifacts, such as "
        "s3://BUCKET/risloc or file:///shared/mlartifacts, or let MLFLOW_TRACKING_URI name an MLflow server"
    )


def page_of(experiment: str, run_id: str) -> str:
    """The address of a run's page: on the tracking server, or else where MLFLOW_UI_URL says, as `make ui` shows it."""
    uri = mlflow.get_tracking_uri()
    base = uri if uri.startswith(("http:", "https:")) else os.environ.get("MLFLOW_UI_URL", _UI)
    return f"{base.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"


def _open(uri: str) -> None:
    """ServerAwayError for an SQLite file that cannot be opened: MLflow would try for minutes, then show its statements."""
    if not uri.startswith("sqlite:") or not (path := make_url(uri).database):
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")
    except (OSError, sqlite3.DatabaseError) as error:
        if "locked" in str(error):
            return  # it is in use, and MLflow waits for that
        raise _UnfitStoreError(
            f"MLFLOW_TRACKING_URI: cannot record in {path} ({error}); expected an MLflow database or a new file in a "
            "writable folder; correct the variable or the permissions"
        ) from error


def _connect(uri: str) -> None:
    """MLflow would try for minutes to reach a database that is not there."""
    split = urlsplit(uri)
    port = split.port or _PORTS.get(split.scheme.partition("+")[0])
    if split.hostname is None or port is None:
        return  # a scheme of which MLflow knows more than we do
    try:
        socket.create_connection((split.hostname, port), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ServerAwayError(str(error)) from error


def _shown(uri: str) -> str:
    """The URI without a user's name and password."""
    split = urlsplit(uri)
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"
