"""The study that many workers share: whose turn it is, what a dead worker leaves, and that one worker's search is fixed."""

import dataclasses
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from small_study import SPACE, in_another_process, outcomes, states, work

from stages.tuning.study import Claim, Plan, TakenOverError, open_study
from stages.tuning.study_backend import StudyError

POINTS = {"x": FloatDistribution(0.0, 4.0, step=1.0)}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        name="parabola", trials=12, space=SPACE, seed=7, startup=4, run="one", folder=tmp_path / "study", database=None
    )


def test_one_worker_s_search_is_what_the_sampler_alone_would_do(plan: Plan) -> None:
    """The oracle asks and tells one study in memory, its sampler seeded again for each trial."""
    assert work(plan) == list(range(12))
    oracle = optuna.create_study()
    for place in range(12):
        oracle.sampler = optuna.samplers.TPESampler(seed=plan.seed + place, n_startup_trials=plan.startup)
        trial = oracle.ask()
        if place:
            trial.suggest_float("x", -1.0, 1.0)
            trial.suggest_float("y", 1e-3, 1.0, log=True)
        oracle.tell(trial, (trial.params.get("x", 0.9) - 0.3) ** 2 + trial.params.get("y", 1.0))
    found = outcomes(plan)
    assert [outcome.params for outcome in found] == [trial.params for trial in oracle.get_trials()]
    assert [outcome.score for outcome in found] == [trial.value for trial in oracle.get_trials()]
    assert found[0].params == {}
    assert found[5].held_out == [0.1, 1 / 3]


def test_workers_at_once_fill_each_place_once(plan: Plan) -> None:
    plan = dataclasses.replace(plan, trials=30)
    with ThreadPoolExecutor(6) as pool:
        places = [place for own in pool.map(work, [plan] * 6) for place in own]
    assert sorted(places) == list(range(30))
    found = outcomes(plan)
    assert [outcome.place for outcome in found] == list(range(30))
    assert sum(outcome.params == {} for outcome in found) == 1
    assert len({tuple(outcome.params.values()) for outcome in found}) == 30


def test_nothing_is_tried_twice_while_there_is_something_else(plan: Plan) -> None:
    plan = dataclasses.replace(plan, space=POINTS, trials=6)
    work(plan)
    assert sorted(outcome.params["x"] for outcome in outcomes(plan)[1:]) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_space_that_is_used_up_ends_the_search_all_the_same(plan: Plan) -> None:
    plan = dataclasses.replace(plan, space=POINTS, trials=9)
    assert work(plan) == list(range(9))
    assert {outcome.params["x"] for outcome in outcomes(plan)[1:]} == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_more_trials_add_and_fewer_show_fewer(plan: Plan) -> None:
    work(dataclasses.replace(plan, trials=3))
    assert work(dataclasses.replace(plan, trials=5)) == [3, 4]
    assert len(outcomes(dataclasses.replace(plan, trials=2))) == 2


def test_a_living_worker_s_trial_is_left_alone(plan: Plan) -> None:
    plan = dataclasses.replace(plan, trials=2)
    with open_study(plan) as ours, open_study(plan) as theirs:
        mine = ours.claim()
        yours = theirs.claim()
        assert mine is not None
        assert yours is not None
        assert (mine.place, yours.place) == (0, 1)
        assert states(ours) == ["RUNNING", "RUNNING"]
        with mine, yours:
            yours.complete(1.0, [])
            mine.complete(2.0, [])
        assert ours.claim() is None


def test_a_killed_worker_s_trial_is_run_again_with_what_it_tried(plan: Plan) -> None:
    whole = dataclasses.replace(plan, folder=plan.folder.with_name("whole"))
    work(whole)
    work(dataclasses.replace(plan, trials=6))
    in_another_process(plan, "claim.report(0.5, 0)")
    assert work(plan) == list(range(6, 12))
    assert outcomes(plan) == outcomes(whole)
    with open_study(plan) as study:
        assert states(study).count("FAIL") == 1


def test_an_exception_frees_the_place(plan: Plan) -> None:
    with open_study(plan) as study:
        claim = study.claim()
        assert claim is not None
        with pytest.raises(KeyboardInterrupt), claim:
            raise KeyboardInterrupt
        again = study.claim()
        assert again is not None
        assert again.place == 0


def test_what_cannot_be_fitted_is_finished_and_not_tried_again(plan: Plan) -> None:
    plan = dataclasses.replace(plan, trials=2)
    with open_study(plan) as study:
        for place, end in enumerate[Callable[[Claim], None]]([lambda c: c.complete(1.0, []), lambda c: c.fail("no")]):
            claim = study.claim()
            assert claim is not None
            assert claim.place == place
            with claim:
                end(claim)
        assert study.claim() is None
        assert [outcome.state for outcome in study.outcomes()] == ["COMPLETE", "FAIL"]


def test_a_trial_that_kills_its_workers_is_given_up_and_tried_again_by_the_next_search(plan: Plan) -> None:
    plan = dataclasses.replace(plan, trials=2)
    work(dataclasses.replace(plan, trials=1))
    for _ in range(3):
        in_another_process(plan, "pass")
    assert work(plan) == []
    assert [outcome.state for outcome in outcomes(plan)] == ["COMPLETE", "FAIL"]
    assert work(dataclasses.replace(plan, run="two")) == [1]


def test_a_worker_that_was_given_up_does_not_count(plan: Plan) -> None:
    with open_study(plan) as study:
        claim = study.claim()
        assert claim is not None
        study.home.storage.set_trial_state_values(0, TrialState.FAIL)
        with pytest.raises(TakenOverError, match="not heard of in time"), claim:
            claim.complete(1.0, [])
        assert study.outcomes() == []


def test_a_line_that_a_dying_writer_left_half_is_cut_off(plan: Plan) -> None:
    work(dataclasses.replace(plan, trials=3))
    journal = plan.folder / "study.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"trial_id":2,"va')
    assert work(dataclasses.replace(plan, trials=5)) == [3, 4]
    assert journal.read_bytes().startswith(whole + b"{")
    assert len(outcomes(plan)) == 5


def test_a_journal_does_not_judge_another_host(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_study(plan) as study:
        claim = study.claim()
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
        with pytest.raises(StudyError, match=rf"process {os.getpid()} of the host .*Several hosts need a database"):
            study.claim()
    assert claim is not None


def test_no_password_is_shown(plan: Plan) -> None:
    assert "secret" not in repr(dataclasses.replace(plan, database="postgresql://me:secret@here/db"))
