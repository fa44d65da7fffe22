"""A setting is better beyond doubt only if it is with other networks, orders and scenes, too."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from learning_problem import COVARIANCE, GRID, LOSS, NETWORK
from learning_shards import SEED
from small_searches import SEARCH, SLOW_START, plan_of, run_search

from pipeline.console_reporter import ConsoleReporter
from risloc.io.shard_reader import ShardReader
from risloc.scenes.scenario import Scenario
from stages.support.mapping import SERIAL
from stages.tuning.best_params import Best, Tunable
from stages.tuning.search import Search
from stages.tuning.study import Outcome
from stages.tuning.verdict import both_again, compare, compare_scenes

TUNED = Best.from_knobs("trial-1", {"fit.learning_rate": 4e-3})


def trainings(rng, mean, replicates, scenes, *, training, scene, both):
    """Scores [replicate, scene] of the default and of the best: what a training, a scene and both together contribute."""
    difficulty = rng.normal(1, 0.5, scenes)
    default, best = (
        rng.normal(0, training, (replicates, 1))
        + rng.normal(0, scene, scenes)
        + rng.normal(0, both, (replicates, scenes))
        for _ in range(2)
    )
    return default + difficulty, best + difficulty + mean


@pytest.mark.parametrize(
    ("training", "scene", "both"),
    [(0.03, 0.05, 0.1), (0.03, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.3), (0.02, 0.3, 0.3)],
)
def test_settings_that_are_alike_are_seldom_told_apart(training, scene, both):
    """4000 comparisons at 95 %: by chance at most 5 % + 4 standard errors of 0.34 %."""
    rng = np.random.default_rng(11)
    said = 0
    for _ in range(4000):
        default, best = trainings(rng, 0.0, 4, 100, training=training, scene=scene, both=both)
        said += compare(default, best, 0.95).better
    assert said / 4000 < 0.05 + 4 * 0.0034


def test_one_training_each_tells_alike_settings_apart_much_too_often():
    """What the comparison scene by scene is for: to spare trainings, not to decide."""
    rng = np.random.default_rng(12)
    found = [trainings(rng, 0.0, 1, 500, training=0.03, scene=0.05, both=0.1) for _ in range(1000)]
    assert np.mean([compare_scenes(default[0], best[0], 0.95).better for default, best in found]) > 0.3


def test_a_setting_that_is_better_is_found():
    rng = np.random.default_rng(13)
    found = [trainings(rng, -0.2, 4, 500, training=0.03, scene=0.05, both=0.1) for _ in range(300)]
    differences = [compare(default, best, 0.95) for default, best in found]
    assert np.mean([difference.better for difference in differences]) > 0.99
    assert np.mean([difference.mean for difference in differences]) == pytest.approx(-0.2, abs=0.01)


class Counted:
    """Trains by arithmetic, and says what it was asked for."""

    def __init__(self, breaks: str = ""):
        self.asked, self.breaks = [], breaks

    def train_again(self, name, best, replicate):
        self.asked.append((best.chosen, replicate))
        if best.chosen == self.breaks:
            raise FloatingPointError("loss is nan")
        return [replicate + (best.chosen != "default"), 7.0]


def test_both_are_trained_in_turn_and_what_is_done_is_kept(tmp_path):
    trainer, said = Counted(), []
    default, best = both_again(trainer, TUNED, range(1, 4), SERIAL, tmp_path, said.append)
    assert trainer.asked == [(name, number) for number in (1, 2, 3) for name in ("default", "trial-1")]
    np.testing.assert_array_equal(default, [[1, 7], [2, 7], [3, 7]])
    np.testing.assert_array_equal(best, [[2, 7], [3, 7], [4, 7]])
    assert said[-1] == "Replicate 6/6: trial-1-replicate-3 held-out score 5.5000"
    renamed = dataclasses.replace(TUNED, chosen="trial-5")
    both_again(trainer, renamed, range(1, 5), SERIAL, tmp_path, said.append)
    assert trainer.asked[6:] == [("default", 4), ("trial-5", 4)]


def test_what_cannot_be_trained_again_is_not_used(tmp_path):
    said = []
    assert both_again(Counted("trial-1"), TUNED, range(1, 3), SERIAL, tmp_path, said.append) is None
    assert said[-1] == "trial-1-replicate-1: cannot be trained"
    with pytest.raises(FloatingPointError):
        both_again(Counted("default"), TUNED, range(1, 3), SERIAL, tmp_path, said.append)


def search_of(easy: Scenario, shard_dir: Path, report: ConsoleReporter) -> Search:
    train, val = (ShardReader(shard_dir / split, easy) for split in ("train", "val"))
    default = Tunable(covariance=COVARIANCE, network=NETWORK, loss=LOSS, fit=SLOW_START)
    return Search(seed=SEED, scenario=easy, grid=GRID, default=default, hpo=SEARCH, train=train, val=val, report=report)


def test_a_lucky_trial_of_the_default_s_own_values_is_not_used(easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
    """Its scores are better in every held-out scene; trained again it is what the default is."""
    report = ConsoleReporter()
    outcomes = [
        Outcome(place=0, state="COMPLETE", score=0.9, params={}, held_out=list(np.linspace(0.9, 1.0, 16))),
        Outcome(
            place=1,
            state="COMPLETE",
            score=0.5,
            params={"fit.learning_rate": SLOW_START.learning_rate},
            held_out=list(np.linspace(0.5, 0.7, 16)),
        ),
    ]
    decision = search_of(easy, shard_dir, report).decide(outcomes, SERIAL, tmp_path)
    assert decision.best == Best.default()
    assert (decision.difference.mean, decision.difference.margin) == (0.0, 0.0)
    assert [row["replicate"] for row in decision.rows] == [1, 2, 3]
    assert decision.rows[0]["default"] != decision.rows[1]["default"]


def test_a_search_that_finds_better_values_says_so_by_replicates_and_goes_on_where_it_was(
    easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = Search.train_again, []

    def interrupted(self, name, best, replicate):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(name)
        return real(self, name, best, replicate)

    def counted(self, name, best, replicate):
        done.append(name)
        return real(self, name, best, replicate)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "train_again", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_search(easy, shard_dir, tmp_path, SERIAL)
    kept = list((plan_of(easy, shard_dir, tmp_path).folder / "replicates").iterdir())
    assert len(kept) == 3
    done.clear()
    monkeypatch.setattr(Search, "train_again", counted)
    run_search(easy, shard_dir, tmp_path, SERIAL)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert done == [f"{metrics['chosen']}-replicate-2", "default-replicate-3", f"{metrics['chosen']}-replicate-3"]
    assert metrics["replicates"] == 3
    assert metrics["difference"] + metrics["margin"] < 0
    header, *rows = (tmp_path / "trials" / "replicates.csv").read_text().splitlines()
    assert header == f"replicate,default,{metrics['chosen']}"
    assert len(rows) == 3
