"""The whole run and its workers are killed in the middle of simulate: nothing is left running, nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from small_stages import small_simulation

from pipeline.sections import override, typed_sections
from risloc.params import read_yaml
from stages import simulate
from stages.report import ConsoleReporter

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BLOCKS = 600
SMALL = small_simulation(BLOCKS)


class Run:
    """`python -m pipeline simulate` on processes:2, results into `folder`."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.folder = folder
        changes = [word for key, value in SMALL.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        command = [sys.executable, "-m", "pipeline", "simulate", "--into", str(folder), *changes]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RISLOC_RUNNER": "processes:2"}
        self.log = (folder / "log").open("a+")
        self.process = subprocess.Popen(
            command, cwd=repository, env=environment, stdout=subprocess.DEVNULL, stderr=self.log, text=True
        )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        for process in psutil.Process().children(recursive=True):
            process.kill()
        self.process.wait()
        self.log.close()

    def said(self) -> str:
        """The log of this run and the ones before it."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def workers(self) -> list[psutil.Process]:
        """The processes that do the mapped work."""
        return [
            child for child in psutil.Process(self.process.pid).children() if "spawn_main" in " ".join(child.cmdline())
        ]

    def wait_for(self, blocks: int) -> int:
        """Until so many are finished; how many are."""
        for _ in range(3000):
            if (now := done(self.folder)) >= blocks:
                return now
            time.sleep(0.05)
        pytest.fail(f"{now} of {blocks} blocks after 150 s:\n{self.said()[-4000:]}")


def done(folder: Path) -> int:
    """How many training blocks are finished."""
    return len(list((folder / ".state").rglob("known/train/*.npz")))


def midway(blocks: int) -> bool:
    return BLOCKS / 10 < blocks < 9 * BLOCKS / 10


def test_killed_workers_and_runs_lose_nothing_but_what_was_under_way(repository: Path, tmp_path: Path) -> None:
    with Run(repository, tmp_path) as run:
        before = run.wait_for(BLOCKS // 10 + 1)
        assert midway(before)
        run.workers()[0].kill()
        run.wait_for(before + BLOCKS // 10)
        assert "A worker process has died; its work begins anew" in run.said()
        kept = _ended(run, signal.SIGTERM)
    with Run(repository, tmp_path) as run:
        run.wait_for(len(kept) + BLOCKS // 10)
        kept_later = _ended(run, signal.SIGKILL)
        assert kept < kept_later
    with Run(repository, tmp_path) as run:
        assert run.process.wait(200) == 0, run.said()[-4000:]
    assert kept_later < _identities(tmp_path / "data" / "raw")
    assert not list((tmp_path / ".state" / "simulate").iterdir())
    given = typed_sections("simulate", override(read_yaml(repository / "params.yaml"), SMALL))
    alone = tmp_path / "alone"
    paths = {"raw": alone / "raw", "metrics": alone / "metrics.json", "state": alone / "state"}
    simulate.run(**given, **paths, report=ConsoleReporter())
    assert (tmp_path / "metrics" / "simulate.json").read_bytes() == paths["metrics"].read_bytes()


def _ended(run: Run, number: signal.Signals) -> set[tuple[int, int]]:
    """The blocks that are there when the run, stopped by the signal, is gone with all its workers."""
    workers, others = run.workers(), psutil.Process(run.process.pid).children(recursive=True)
    assert len(workers) == 2
    run.process.send_signal(number)
    run.process.wait(30)
    assert psutil.wait_procs(workers, 10)[1] == []
    for server in psutil.wait_procs(others, 5)[1]:  # Prefect's temporary one outlives kill -9
        server.kill()
    assert midway(done(run.folder))
    return _identities(run.folder / ".state")


def _identities(folder: Path) -> set[tuple[int, int]]:
    """Number and time of each training block: one that is drawn anew has others."""
    blocks = [path.stat() for path in folder.rglob("train/*.npz") if path.parts[-3] == "raw"]
    return {(stat.st_ino, stat.st_mtime_ns) for stat in blocks}
