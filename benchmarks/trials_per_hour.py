"""Trials an hour with one and with two workers, processes of one thread each that share a study, and their ratio.

    python -m benchmarks.trials_per_hour [--trials 12] [--quick]

The searches run one after the other on the same scenes and try the same values, so each does the same work. Time counts
from the first trial's start to the last one's end: what a process takes to start, and to import torch, is apart. Learning
rate alone is tuned and nothing is pruned, so that all trials cost alike.
"""

import argparse
import dataclasses
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

from pipeline.console_reporter import ConsoleReporter
from pipeline.sections import override, typed_sections
from risloc.io.shard_reader import ShardReader
from risloc.utils.yaml_reader import read_yaml
from stages import shard, simulate
from stages.support.mapping import SERIAL
from stages.tuning.best_params import Tunable
from stages.tuning.search import Search
from stages.tuning.study import open_study

T = TypeVar("T")
R = TypeVar("R")

QUICK = {"hpo.train_scenes": 256, "hpo.val_scenes": 32, "hpo.epochs": 1}


class Processes:
    """`workers` processes on this host."""

    hosts = False

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """`work` of each item, in their order."""
        with ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from pool.map(work, items)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials",
        type=int,
        default=12,
        help="trials of each search; an even number, so that two workers get the same share",
    )
    parser.add_argument("--quick", action="store_true", help="use trials of a few seconds, to test the benchmark")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        params = _params(options.trials, QUICK if options.quick else {})
        _draw(params, Path(folder))
        hours = {workers: _hours(params, Path(folder), workers) for workers in (1, 2)}
    print(f"{options.trials} trials, one thread for each worker")
    print(f"{'workers':>8s} {'minutes':>8s} {'trials an hour':>15s}")
    for workers, took in hours.items():
        print(f"{workers:8d} {60 * took:8.1f} {options.trials / took:15.1f}")
    print(f"ratio {hours[1] / hours[2]:.2f}")


def _params(trials: int, changes: dict[str, Any]) -> dict[str, Any]:
    params = override(read_yaml(Path("params.yaml")), {"hpo.trials": trials, "hpo.startup": trials + 1, **changes})
    section = params["hpo"]
    section["space"] = {"fit.learning_rate": section["space"]["fit.learning_rate"]}
    scenes = {"data.train": section["train_scenes"], "data.val": 2 * section["val_scenes"], "data.test_per_cell": 1}
    return override(params, scenes)


def _draw(params: dict[str, Any], folder: Path) -> None:
    """The scenes of the searches, in `folder`/shards."""
    raw, metrics, report = folder / "raw", folder / "metrics.json", ConsoleReporter()
    common: dict[str, Any] = {
        "raw": raw,
        "metrics": metrics,
        "state": folder / "state",
        "report": report,
        "runner": SERIAL,
    }
    simulate.run(**typed_sections("simulate", params), **common)
    shard.run(**typed_sections("shard", params), **common, shard_dir=folder / "shards")


def _hours(params: dict[str, Any], folder: Path, workers: int) -> float:
    """What a search took from its first trial's start to its last one's end."""
    sections = typed_sections("hpo", params)
    tuned = Tunable(**{field.name: sections.pop(field.name) for field in dataclasses.fields(Tunable)})
    train, val = (ShardReader(folder / "shards" / split) for split in ("train", "val"))
    search = Search(**sections, default=tuned, train=train, val=val, report=ConsoleReporter(f"{workers}: "))
    state = folder / str(workers)
    search.explore(Processes(workers), state, None)
    with open_study(search.plan(state, None)) as study:
        trials = study.study.get_trials()
    begun = min(trial.datetime_start for trial in trials if trial.datetime_start)
    ended = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
    return (ended - begun).total_seconds() / 3600


if __name__ == "__main__":
    main()
