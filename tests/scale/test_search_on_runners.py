"""A search on the pipeline's own runners, a worker killed in the middle: processes and a journal, Dask and PostgreSQL."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from child_processes import started
from servers import dask_cluster
from small_searches import RESULTS, SEARCH, kill_a_worker, plan_of

from pipeline.storage import study_storage
from risloc.config import as_mapping
from risloc.scenes.scenario import Scenario
from stages.tuning.study import Plan, open_study

pytestmark = pytest.mark.scale


@pytest.fixture
def dask(repository: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with two workers, all processes of their own."""
    with dask_cluster(tmp_path, repository, workers=2, threads=1) as (address, _):
        yield address


def test_processes_and_a_journal(
    repository: Path, easy: Scenario, shard_dir: Path, alone: Path, tmp_path: Path
) -> None:
    _disturb(repository, easy, shard_dir, alone, tmp_path, {"RISLOC_RUNNER": "processes:2"}, None)


def test_dask_and_a_database(
    repository: Path,
    easy: Scenario,
    shard_dir: Path,
    alone: Path,
    tmp_path: Path,
    dask: str,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"RISLOC_RUNNER": f"dask:{dask}", "RISLOC_STUDY": database}
    monkeypatch.setenv("RISLOC_STUDY", database)
    said = _disturb(repository, easy, shard_dir, alone, tmp_path, settings, study_storage())
    assert database.split(":")[2].split("@")[0] not in said


def _disturb(
    repository: Path,
    easy: Scenario,
    shard_dir: Path,
    alone: Path,
    path: Path,
    settings: dict[str, str],
    storage: str | None,
) -> str:
    """The search in a process of its own, one of its workers killed; it ends as if nothing had been. What it said."""
    plan = plan_of(easy, shard_dir, path, storage)
    command = [
        sys.executable,
        "tests/support/small_searches.py",
        str(path),
        str(shard_dir),
        json.dumps(as_mapping(easy)),
    ]
    log = path / "log.txt"
    environment = _environment(repository) | settings
    with log.open("w") as out, started(command, cwd=repository, env=environment, stdout=out, stderr=out) as search:
        place, share = kill_a_worker(plan)
        assert search.wait(300) == 0, log.read_text()
    assert 0.1 <= share <= 0.9
    for name in RESULTS:
        assert (path / name).read_bytes() == (alone / name).read_bytes(), name
    trials = _trials(plan)
    assert Counter(state for _, state in trials)["COMPLETE"] == SEARCH.trials
    assert (place, "FAIL") in trials
    return log.read_text()


def _trials(plan: Plan) -> list[tuple[int, str]]:
    with open_study(plan) as study:
        return [(trial.user_attrs["place"], trial.state.name) for trial in study.study.get_trials()]


def _environment(repository: Path) -> dict[str, str]:
    path = os.pathsep.join(map(str, (repository, repository / "tests" / "support")))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
