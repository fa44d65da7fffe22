"""Workers that share a study in a real PostgreSQL: first use at once, a killed worker, a database that crashes."""

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from plain_runners import Processes
from postgresql import Cluster
from small_searches import RESULTS, SEARCH, kill_a_worker, plan_of, run_search
from small_study import SPACE, in_another_process, outcomes, states, work
from sqlalchemy import Engine, event

from pipeline.storage import study_storage
from risloc.scenes.scenario import Scenario
from stages.support.mapping import SERIAL
from stages.tuning import study_backend
from stages.tuning.study import Plan, TakenOverError, open_study
from stages.tuning.study_backend import StudyError

pytestmark = pytest.mark.scale


@pytest.fixture
def storage(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database as the pipeline hands it to the stage."""
    monkeypatch.setenv("RISLOC_STUDY", database)
    url = study_storage()
    assert url is not None
    return url


@pytest.fixture
def plan(storage: str, tmp_path: Path) -> Plan:
    return Plan(
        name="parabola", trials=16, space=SPACE, seed=7, startup=4, run="one", folder=tmp_path, database=storage
    )


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats of this process, and its patience, in seconds that a test can wait."""
    monkeypatch.setattr(study_backend, "HEARTBEAT", 1)
    monkeypatch.setattr(study_backend, "GRACE", 3)
    monkeypatch.setattr(study_backend, "_OUTAGE", 1.0)


def test_workers_that_open_a_new_database_at_once_fill_each_place_once(plan: Plan) -> None:
    with ThreadPoolExecutor(5) as pool:
        places = [place for own in pool.map(work, [plan] * 5) for place in own]
    assert sorted(places) == list(range(16))
    with open_study(plan) as study:
        assert states(study) == ["COMPLETE"] * 16
    assert not list(plan.folder.iterdir())


def test_one_worker_finds_there_what_it_finds_in_a_journal(plan: Plan) -> None:
    work(plan)
    journal = dataclasses.replace(plan, database=None)
    work(journal)
    assert outcomes(plan) == outcomes(journal)


def test_a_database_holds_many_studies(plan: Plan) -> None:
    work(dataclasses.replace(plan, trials=2))
    assert work(dataclasses.replace(plan, name="another", trials=3)) == [0, 1, 2]
    assert len(outcomes(plan)) == 2


def test_a_worker_that_beats_keeps_its_trial_and_one_that_does_not_loses_it(plan: Plan, hasty: None) -> None:
    with open_study(plan) as ours, open_study(plan) as theirs:
        silent, held = ours.claim(), ours.claim()
        assert silent is not None
        assert held is not None
        with held:
            time.sleep(4.5)
            again = theirs.claim()
            assert again is not None
            assert again.place == silent.place
            assert states(theirs) == ["FAIL", "RUNNING", "RUNNING"]
            held.complete(1.0, [])
        with pytest.raises(TakenOverError), silent:
            silent.complete(1.0, [])


def test_a_trial_whose_worker_died_is_given_up_after_three_times(plan: Plan, hasty: None) -> None:
    plan = dataclasses.replace(plan, trials=2)
    work(dataclasses.replace(plan, trials=1))
    for _ in range(3):
        in_another_process(plan, "pass")
        time.sleep(3.5)
        with open_study(plan) as study:
            study.home.bury(study.study)
    assert work(plan) == []
    assert [outcome.state for outcome in outcomes(plan)] == ["COMPLETE", "FAIL"]


def test_a_killed_worker_s_trial_is_run_again_and_the_search_ends_the_same(
    easy: Scenario, shard_dir: Path, alone: Path, tmp_path: Path, storage: str
) -> None:
    plan = plan_of(easy, shard_dir, tmp_path, storage)
    (place, share), trials = _disturbed(easy, shard_dir, tmp_path, plan, lambda: kill_a_worker(plan))
    assert 0.1 <= share <= 0.9
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes(), name
    assert Counter(state for _, state in trials) == {"COMPLETE": SEARCH.trials, "FAIL": 1}
    assert (place, "FAIL") in trials


def test_a_database_that_crashes_in_the_middle_costs_nothing(
    easy: Scenario, shard_dir: Path, alone: Path, tmp_path: Path, storage: str, cluster: Cluster
) -> None:
    plan = plan_of(easy, shard_dir, tmp_path, storage)

    def crash() -> float:
        share = _wait_for_the_middle(plan)
        cluster.stop("immediate")
        time.sleep(3)
        cluster.start()
        return share

    share, trials = _disturbed(easy, shard_dir, tmp_path, plan, crash)
    assert 0.1 <= share <= 0.9
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes(), name
    assert sum(state == "COMPLETE" for _, state in trials) == SEARCH.trials


def test_connections_may_end_at_any_statement(plan: Plan, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends them before one statement in fifty, wherever in Optuna's work or ours that falls."""
    monkeypatch.setattr(study_backend, "HEARTBEAT", 1)
    monkeypatch.setattr(study_backend, "GRACE", 3)
    chance, ended = random.Random(1), Counter[str]()
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as killer:

        def end(_connection: Any, cursor: Any, statement: str, *_others: Any) -> None:
            if chance.random() < 0.02:
                ended[statement.split(maxsplit=1)[0]] += 1
                killer.execute("SELECT pg_terminate_backend(%s, 5000)", [cursor.connection.info.backend_pid])

        event.listen(Engine, "before_cursor_execute", end)
        try:
            done = work(plan)
        finally:
            event.remove(Engine, "before_cursor_execute", end)
    assert ended["SELECT"] >= 10
    assert ended["INSERT"] >= 1
    assert sorted(done) == list(range(plan.trials))
    assert [(outcome.place, outcome.state) for outcome in outcomes(plan)] == [
        (place, "COMPLETE") for place in sorted(done)
    ]


def test_a_database_that_stays_away_ends_the_search_with_a_word(plan: Plan, hasty: None, cluster: Cluster) -> None:
    with open_study(plan) as study:
        cluster.stop()
        try:
            with pytest.raises(StudyError, match=r"out of reach for 1 s.*start the stage again"):
                study.claim()
        finally:
            cluster.start()
        claim = study.claim()
        assert claim is not None
        assert claim.place == 0


def test_a_wrong_password_is_said_at_once_and_not_shown(
    easy: Scenario, shard_dir: Path, tmp_path: Path, storage: str, cluster: Cluster
) -> None:
    with pytest.raises(StudyError, match="password authentication failed") as caught:
        run_search(easy, shard_dir, tmp_path, SERIAL, storage.replace(cluster.password, "an0ther"))
    assert "an0ther" not in str(caught.value)


def _disturbed(
    easy: Scenario, shard_dir: Path, path: Path, plan: Plan, disturb: Callable[[], Any]
) -> tuple[Any, list[tuple[int, str]]]:
    """A search of two processes with something done to it meanwhile; what that gave, and (place, state) of all trials."""
    with ThreadPoolExecutor(1) as side:
        disturbed = side.submit(disturb)
        run_search(easy, shard_dir, path, Processes(2), plan.database)
        given = disturbed.result()
    with open_study(plan) as study:
        return given, [(trial.user_attrs["place"], trial.state.name) for trial in study.study.get_trials()]


def _wait_for_the_middle(plan: Plan) -> float:
    """Until a trial is under way and a tenth of the search is done; the share of it that is done."""
    with open_study(plan) as study:
        while True:
            trials = study.study.get_trials(deepcopy=False)
            share = sum(len(trial.intermediate_values) for trial in trials) / SEARCH.epochs / SEARCH.trials
            if share >= 0.2 and any(t.state.name == "RUNNING" and t.intermediate_values for t in trials):
                return share
            time.sleep(0.02)
