"""Two real processes share a search: they find what one finds, also when one of them is killed."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from plain_runners import Processes, Threads
from small_searches import RESULTS, SEARCH, kill_a_worker, plan_of, run_search

from risloc.scenes.scenario import Scenario
from stages.support.mapping import SERIAL
from stages.tuning.study import open_study


def test_a_killed_worker_s_trial_is_run_again_and_the_search_ends_the_same(
    easy: Scenario, shard_dir: Path, alone: Path, tmp_path: Path
) -> None:
    plan = plan_of(easy, shard_dir, tmp_path)
    with ThreadPoolExecutor(1) as side:
        killed = side.submit(kill_a_worker, plan)
        run_search(easy, shard_dir, tmp_path, Processes(2))
        place, share = killed.result()
    assert 0.1 <= share <= 0.9
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes(), name
    with open_study(plan) as study:
        trials = study.study.get_trials()
    assert Counter(trial.state.name for trial in trials) == {"COMPLETE": SEARCH.trials, "FAIL": 1}
    assert [trial.user_attrs["place"] for trial in trials if trial.state.name == "FAIL"] == [place]
    assert len({trial.user_attrs["worker"]["pid"] for trial in trials}) > 1


def test_threads_find_what_one_worker_finds(easy: Scenario, shard_dir: Path, alone: Path, tmp_path: Path) -> None:
    run_search(easy, shard_dir, tmp_path, Threads(2))
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes(), name


def test_two_runs_of_the_stage_at_once_share_the_work(
    easy: Scenario, shard_dir: Path, alone: Path, tmp_path: Path
) -> None:
    both = [(easy, shard_dir, tmp_path / name, SERIAL, None, tmp_path / "state") for name in ("a", "b")]
    list(Processes(2).map(_search, both))
    for name in RESULTS:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
        assert (tmp_path / "a" / name).read_bytes() == (alone / name).read_bytes(), name
    with open_study(plan_of(easy, shard_dir, tmp_path)) as study:
        assert [trial.state.name for trial in study.study.get_trials()] == ["COMPLETE"] * SEARCH.trials


def _search(case: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)  # as in every test: with more, sums are rounded otherwise
    run_search(*case)
