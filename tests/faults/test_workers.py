"""Whole runs and their workers are killed in the middle: nothing is left running, nothing that was done is done again."""

import shutil
import signal
from pathlib import Path

import psutil
import pytest
from mapped_stages import EVALUATE, SHARD, SIMULATE, Run, Work, identity, prepare, undisturbed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.usefixtures("shared_prefect")]

TWO = {"RISLOC_RUNNER": "processes:2"}


@pytest.mark.parametrize("work", [SIMULATE, SHARD, EVALUATE], ids=lambda work: work.stage)
def test_killed_workers_and_runs_lose_nothing_but_what_was_under_way(work: Work, tmp_path: Path) -> None:
    """A worker is killed, the run is stopped by SIGTERM, the next by kill -9; the last has no workers."""
    alone, into, part = tmp_path / "alone", tmp_path / "into", work.pieces // 10
    alone.mkdir()
    prepare(work, alone)
    shutil.copytree(alone, into)
    kept: set[tuple[int, int]] = set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with Run(work, into, **TWO) as run:
            before = run.wait_for(len(kept) + part + 1)
            if not kept:
                run.workers()[0].kill()
                run.wait_for(before + part)
                assert "A worker process has died; its work is repeated" in run.said()
            earlier, kept = kept, _ended(run, number)
        assert earlier < kept
    with Run(work, into) as run:
        run.wait()
    if work.made is not None:
        assert kept < {identity(path) for path in (into / work.made).iterdir()}
    assert not list((into / ".state" / work.stage).iterdir())
    assert (into / "metrics" / f"{work.stage}.json").read_bytes() == undisturbed(work, alone)


def _ended(run: Run, number: signal.Signals) -> set[tuple[int, int]]:
    """The pieces that are there when the run, stopped by the signal, is gone with all its workers."""
    workers, others = run.wait_for_workers(2), run.process.children(recursive=True)
    run.process.send_signal(number)
    run.process.wait(30)
    assert psutil.wait_procs(workers, 10)[1] == []
    for server in psutil.wait_procs(others, 5)[1]:  # Prefect's temporary one outlives kill -9
        server.kill()
    kept = run.work.kept(run.folder)
    assert run.work.midway(kept)
    return kept
