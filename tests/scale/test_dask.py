"""Mapped work on Dask, for real: a cluster of this process's own, and a scheduler and a worker that were there before."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mapped import differing, run_all, run_script

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def serial(small_scenario, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serial")
    run_all(folder, small_scenario)
    return folder


@pytest.fixture
def scheduler(repository: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with one worker of two threads, each a process that a person could have started."""
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "dask.log").open("w") as log:
        options = {"cwd": tmp_path, "env": environment, "stdout": log, "stderr": log}
        place = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        dask = [sys.executable, "-m", "dask"]
        processes = [subprocess.Popen([*dask, "scheduler", *place, "--port", "0"], **options)]
        try:
            address = _address(processes[0], tmp_path / "dask.log")
            worker = [*dask, "worker", address, *place, "--nthreads", "2", "--local-directory", str(tmp_path)]
            processes.append(subprocess.Popen(worker, **options))
            yield address
        finally:
            for process in reversed(processes):
                _end(process)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    for _ in range(600):
        if found := re.search(r"Scheduler at: +(tcp://\S+)", log.read_text(encoding="utf-8")):
            return found[1]
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"no scheduler:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    for slow in psutil.wait_procs(everyone, 15)[1]:
        slow.kill()
    process.wait()


def test_every_byte_is_the_same_on_a_cluster_of_its_own(serial, small_scenario, tmp_path):
    run_script(tmp_path, small_scenario, "dask:2")
    assert differing(serial, tmp_path / "0") == []
    assert list((tmp_path / "0" / "state").iterdir()) == []


def test_every_byte_is_the_same_on_a_scheduler_that_was_there(serial, small_scenario, tmp_path, scheduler):
    run_script(tmp_path, small_scenario, f"dask:{scheduler}")
    assert differing(serial, tmp_path / "0") == []
    assert list((tmp_path / "0" / "state").iterdir()) == []
