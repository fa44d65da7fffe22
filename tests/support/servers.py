"""Real servers on loopback, for the time of a test."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from child_processes import end, kill

__all__ = [
    "MlflowServer",
    "dask_cluster",
    "free_port",
    "mlflow_server",
    "prefect_server",
    "served_model",
]

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class MlflowServer:
    """An MLflow server that can be killed and started again on the same store."""

    def __init__(self, folder: Path, store: str | None = None) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.store = store or f"sqlite:///{folder / 'server.db'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.store]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | quiet, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            assert self._process.poll() is None, (self.folder / "server.log").read_text()[-4000:]
            time.sleep(0.1)
        raise TimeoutError((self.folder / "server.log").read_text()[-4000:])

    def kill(self) -> None:
        """kill -9 of the server and its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def mlflow_server(folder: Path, store: str | None = None) -> Iterator[MlflowServer]:
    """A server that runs, and is gone afterwards."""
    server = MlflowServer(folder, store)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def prefect_server(folder: Path, port: int, environment: Mapping[str, str] = os.environ) -> Iterator[psutil.Popen]:
    """Prefect's server on this port of loopback, once it answers; its log is folder/prefect.log."""
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    log = folder / "prefect.log"
    with log.open("ab") as words:
        process = psutil.Popen(command, cwd=ROOT, env=environment, stdout=words, stderr=words)
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                break
            assert process.poll() is None, log.read_text()[-4000:]
            time.sleep(0.1)
        else:
            raise TimeoutError(log.read_text()[-4000:])
        yield process
    finally:
        kill(process)


@contextlib.contextmanager
def served_model(uri: str, store: str, folder: Path) -> Iterator[str]:
    """The address of a model of the tracking store that `mlflow models serve` serves, from a folder without a repository."""
    port, log = free_port(), folder / "serve.log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    known = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = known | {"DO_NOT_TRACK": "true", "MLFLOW_TRACKING_URI": store, "PATH": path}
    with log.open("wb") as words:
        process = psutil.Popen([*command], cwd=folder, env=environment, stdout=words, stderr=words)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/ping", timeout=5):
                break
            assert process.poll() is None, log.read_text()[-4000:]
            time.sleep(0.1)
        yield address
    finally:
        kill(process)


@contextlib.contextmanager
def dask_cluster(folder: Path, repository: Path, *, workers: int, threads: int) -> Iterator[tuple[str, psutil.Popen]]:
    """A Dask scheduler and workers of so many threads, processes that a person could have started, in the repository.

    Yields the scheduler's address and the process that keeps the workers, which are its children.
    """
    where = folder / "scheduler.json"
    paths = os.pathsep.join(map(str, (repository, repository / "tests" / "support")))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    place = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(where)]
    kept = ["--nworkers", str(workers), "--nthreads", str(threads), "--local-directory", str(folder)]
    commands = [["scheduler", *place, "--port", "0", "--dashboard-address", "127.0.0.1:0"], ["worker", *place, *kept]]
    processes: list[psutil.Popen] = []
    log = folder / "dask.log"
    with log.open("ab") as words:
        try:
            for command in commands:
                line = [sys.executable, "-m", "dask", *command]
                processes.append(psutil.Popen(line, cwd=repository, env=environment, stdout=words, stderr=words))
                while not (where.exists() and where.stat().st_size):
                    assert processes[-1].poll() is None, log.read_text()[-4000:]
                    time.sleep(0.1)
            yield json.loads(where.read_text())["address"], processes[-1]
        finally:
            for process in reversed(processes):
                end(process)
