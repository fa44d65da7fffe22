"""A small search on real shards, and what kills one of its workers in the middle of a trial.

    python tests/support/small_searches.py FOLDER SHARDS SCENARIO      on the runner of RISLOC_RUNNER, its study where RISLOC_STUDY says

SCENARIO is its JSON.
"""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from learning_problem import COVARIANCE, FIT, GRID, LOSS, NETWORK
from learning_shards import SEED

from pipeline.console_reporter import ConsoleReporter
from risloc.config import build
from risloc.io.shard_reader import ShardReader
from risloc.scenes.scenario import Scenario
from stages import hpo
from stages.support.mapping import Runner
from stages.tuning.best_params import Tunable
from stages.tuning.search import Search
from stages.tuning.search_space import HpoConfig, Knob
from stages.tuning.study import Plan, open_study

__all__ = ["RESULTS", "SEARCH", "kill_a_worker", "plan_of", "run_search"]

RESULTS = ("trials/trials.csv", "best.yaml", "metrics.json")
SLOW_START = dataclasses.replace(FIT, learning_rate=1e-4)  # so that a trial beats it
SEARCH = HpoConfig(
    trials=6,
    startup=7,  # all at random, and none pruned: what a place finds is the same in any order
    epochs=4,
    train_scenes=48,
    val_scenes=16,
    confidence=0.75,  # of so few scenes and trainings little is beyond doubt
    replicates=3,
    space={
        "fit": {"learning_rate": Knob(low=2e-3, high=1e-2, log=True, step=0.0)},
        "network": {"channels": Knob(low=8, high=16, log=False, step=8.0)},
    },
)


def run_search(
    scenario: Scenario,
    shard_dir: Path,
    path: Path,
    runner: Runner,
    storage: str | None = None,
    state: Path | None = None,
) -> ConsoleReporter:
    """`stages.hpo` with its results in `path`, and its state too where no other place is named."""
    report = ConsoleReporter()
    hpo.run(
        seed=SEED,
        scenario=scenario,
        covariance=COVARIANCE,
        grid=GRID,
        network=NETWORK,
        loss=LOSS,
        fit=SLOW_START,
        hpo=SEARCH,
        shard_dir=shard_dir,
        overfit_report=path,
        best=path / "best.yaml",
        trials=path / "trials",
        metrics=path / "metrics.json",
        state=state or path / "state",
        report=report,
        runner=runner,
        storage=storage,
    )
    return report


def plan_of(scenario: Scenario, shard_dir: Path, path: Path, storage: str | None = None) -> Plan:
    """Where the study of `run_search` with the same arguments lies."""
    train, val = (ShardReader(shard_dir / split, scenario) for split in ("train", "val"))
    default = Tunable(covariance=COVARIANCE, network=NETWORK, loss=LOSS, fit=SLOW_START)
    search = Search(
        seed=SEED,
        scenario=scenario,
        grid=GRID,
        default=default,
        hpo=SEARCH,
        train=train,
        val=val,
        report=ConsoleReporter(),
    )
    return search.plan(path / "state", storage)


def kill_a_worker(plan: Plan) -> tuple[int, float]:
    """Kill -9 the worker of a trial beyond the first that has some of its epochs done; its place and the share done."""
    ended = time.monotonic() + 300
    with open_study(plan) as study:
        while time.monotonic() < ended:
            for trial in study.study.get_trials(deepcopy=False):
                done = len(trial.intermediate_values)
                if trial.state.name == "RUNNING" and trial.user_attrs["place"] > 0 and 0 < done < SEARCH.epochs:
                    os.kill(trial.user_attrs["worker"]["pid"], signal.SIGKILL)
                    return trial.user_attrs["place"], done / SEARCH.epochs
            time.sleep(0.01)
    raise TimeoutError("no worker was found in the middle of a trial")


def _main(folder: Path, shard_dir: Path, scenario: Scenario) -> None:
    import prefect

    from pipeline.runner_setting import runner_setting
    from pipeline.runners import open_runner
    from pipeline.storage import study_storage

    @prefect.flow
    def search() -> None:
        with open_runner(runner_setting()) as runner:
            run_search(scenario, shard_dir, folder, runner, study_storage())

    search()


if __name__ == "__main__":
    torch.set_num_threads(1)
    _main(Path(sys.argv[1]), Path(sys.argv[2]), build(Scenario, json.loads(sys.argv[3]), "scenario"))
