"""kill -9 of a Dask worker in the middle of a stage: what it had is done again by the others, and the results are the same."""

import shutil
from pathlib import Path

import pytest
from mapped_stages import EVALUATE, SHARD, SIMULATE, Run, Work, prepare, undisturbed
from servers import dask_cluster

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.scale,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("shared_prefect"),
]


@pytest.mark.parametrize("work", [SIMULATE, SHARD, EVALUATE], ids=lambda work: work.stage)
def test_a_stage_outlives_a_worker(work: Work, tmp_path: Path, repository: Path) -> None:
    alone, into = tmp_path / "alone", tmp_path / "into"
    alone.mkdir()
    prepare(work, alone)
    shutil.copytree(alone, into)
    with (
        dask_cluster(tmp_path, repository, workers=2, threads=1) as (address, keeper),
        Run(work, into, RISLOC_RUNNER=f"dask:{address}") as run,
    ):
        run.wait_for(work.pieces // 5)
        worker = next(child for child in keeper.children() if "spawn_main" in " ".join(child.cmdline()))
        worker.kill()
        assert work.midway(work.known(into))
        run.wait()
    assert not list((into / ".state" / work.stage).iterdir())
    assert (into / "metrics" / f"{work.stage}.json").read_bytes() == undisturbed(work, alone)
