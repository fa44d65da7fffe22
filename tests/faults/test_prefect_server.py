"""kill -9 of Prefect's server in the middle of a stage whose work is mapped; of a training, see test_pipeline_e2e.py.

The stage goes on to its end, one line says that Prefect does not know, and the next run on a new server goes well.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from servers import free_port
from small_stages import small_simulation

from pipeline.sections import override, typed_sections
from risloc.params import read_yaml
from stages import simulate
from stages.report import ConsoleReporter

pytestmark = [pytest.mark.e2e, pytest.mark.scale, pytest.mark.timeout(900)]

BLOCKS = 600
SMALL = small_simulation(BLOCKS)


@contextlib.contextmanager
def _server(port: int, log: Path) -> Iterator[psutil.Popen]:
    """Prefect's server on loopback; when it answers."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("ab") as words:
        process = psutil.Popen(command, stdout=words, stderr=words)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                break
            assert process.poll() is None, log.read_text()[-4000:]
            time.sleep(0.2)
        else:
            pytest.fail(log.read_text()[-4000:])
        yield process
    finally:
        _kill(process)


def _kill(process: psutil.Popen) -> None:
    """kill -9 of a process and of all that it has started."""
    if process.is_running():
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def _simulation(repository: Path, folder: Path, port: int) -> psutil.Popen:
    words = [f"--set={key}={json.dumps(value)}" for key, value in SMALL.items()]
    with (folder / "log").open("ab") as log:
        return psutil.Popen(
            [sys.executable, "-m", "pipeline", "simulate", "--into", str(folder), *words],
            cwd=repository,
            env=os.environ
            | {
                "OMP_NUM_THREADS": "1",
                "RISLOC_RUNNER": "processes:2",
                "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
                "PREFECT_CLIENT_MAX_RETRIES": "1",  # not a minute of them
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _blocks(folder: Path) -> set[tuple[int, int]]:
    """Number and time of each training block: one that is drawn anew has others."""
    found = [path.stat() for path in folder.rglob("train/*.npz") if path.parts[-3] == "raw"]
    return {(stat.st_ino, stat.st_mtime_ns) for stat in found}


def test_a_mapped_stage_goes_on_without_the_server_and_does_not_wait_for_it(repository: Path, tmp_path: Path) -> None:
    port, alone = free_port(), tmp_path / "alone"
    into, again = tmp_path / "into", tmp_path / "again"
    into.mkdir()
    again.mkdir()
    with _server(port, tmp_path / "server.log") as server:
        stage = _simulation(repository, into, port)
        try:
            while len(_blocks(into)) <= BLOCKS / 5:
                assert stage.poll() is None, (into / "log").read_text()[-4000:]
                time.sleep(0.05)
            kept = _blocks(into)
            began = time.monotonic()
            _kill(server)
            assert BLOCKS / 10 < len(kept) < 9 * BLOCKS / 10
            code = stage.wait(300)
            print(f"ended {time.monotonic() - began:.1f} s after the server")
        finally:
            _kill(stage)
    said = (into / "log").read_text()
    assert code == 0, said[-4000:]
    assert "simulate is done; Prefect's server went away and was not told" in said
    assert "Still processing items" not in said, "it does not wait for a server that is gone"
    assert kept < _blocks(into)
    with _server(port, tmp_path / "server.log"):
        stage = _simulation(repository, again, port)
        try:
            assert stage.wait(300) == 0, (again / "log").read_text()[-4000:]
        finally:
            _kill(stage)
    given = typed_sections("simulate", override(read_yaml(repository / "params.yaml"), SMALL))
    paths = {"raw": alone / "raw", "metrics": alone / "metrics.json", "state": alone / "state"}
    simulate.run(**given, **paths, report=ConsoleReporter())
    for folder in (into, again):
        assert (folder / "metrics" / "simulate.json").read_bytes() == paths["metrics"].read_bytes()
