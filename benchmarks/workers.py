"""How simulate and evaluate scale from 1 to 2 workers: the work alone, start-up apart, both sides from one run.

    python -m benchmarks.workers [--seconds 180] [--runner processes] [--workers 1 2] [--stages simulate evaluate]

The work is that of the stages, sized so that one worker has `--seconds` of it; a worker computes with one thread. Before
the clock runs, the pool exists and has done a few small pieces of the same work, which loads code and data: that is the
start-up. Finished blocks are removed as they come, so that the scenes of minutes need little room.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.console_reporter import ConsoleReporter
from pipeline.env import COPY
from pipeline.runner_setting import RUNNER, runner_setting
from risloc.config import build
from risloc.estimation.search_config import SearchConfig
from risloc.io.shard_reader import ShardConfig
from risloc.learning.checkpoint import shipped_checkpoint
from risloc.learning.k_rules import BY_BIC, KNOWN, LEARNT
from risloc.scenes.scenario import Scenario
from risloc.utils.yaml_reader import read_yaml
from stages import shard, simulate
from stages.evaluation.scoring import Batch, Scoring, score_batch
from stages.support.mapping import SERIAL, Runner

SEED = 1
BATCH = 16
"""Scenes in a batch of evaluate: small enough that the last ones leave no worker idle for long."""


@dataclass(frozen=True)
class Work:
    """A stage's mapped work. items : so many scenes of it.  piece : scenes in an item."""

    function: Callable[[Any], Any]
    items: Callable[[int], Sequence[Any]]
    piece: int


def main() -> None:
    """Print a line for each stage and number of workers, the ratios, and the same as JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--runner", choices=("threads", "processes", "dask"), default="processes")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--stages", nargs="+", choices=("simulate", "evaluate"), default=["simulate", "evaluate"])
    options = parser.parse_args()
    import prefect

    params = read_yaml(COPY / "params.yaml")
    scenario = build(Scenario, params["scenario"], "scenario")
    with tempfile.TemporaryDirectory() as folder:
        works = {
            "simulate": lambda: _simulate(scenario, Path(folder)),
            "evaluate": lambda: _evaluate(scenario, build(SearchConfig, params["search"], "search"), Path(folder)),
        }

        @prefect.flow
        def workers() -> dict[str, dict[str, float]]:
            return {name: _scaling(name, works[name](), options) for name in options.stages}

        print(json.dumps(workers()))


def _scaling(name: str, work: Work, options: argparse.Namespace) -> dict[str, float]:
    from pipeline.runners import open_runner

    scenes = _enough(work, options.seconds)
    result: dict[str, float] = {"scenes": scenes}
    for count in options.workers:
        began = time.perf_counter()
        with open_runner(runner_setting({RUNNER: f"{options.runner}:{count}"})) as runner:
            _run(runner, work, work.items(3 * count * work.piece))
            started = time.perf_counter() - began
            seconds = _run(runner, work, work.items(scenes))
        print(
            f"{name}, {options.runner}:{count}: {scenes} scenes in {seconds:.1f} s; start-up {started:.1f} s",
            flush=True,
        )
        result |= {f"seconds_{count}": seconds, f"start_up_{count}": started}
    first, last = options.workers[0], options.workers[-1]
    result["ratio"] = result[f"seconds_{first}"] / result[f"seconds_{last}"]
    print(f"{name}: {last} workers are {result['ratio']:.2f} times as fast as {first}", flush=True)
    return result


def _enough(work: Work, seconds: float) -> int:
    """Scenes that take one worker so long: by a piece done here, after one that warms up."""
    took = [_run(SERIAL, work, work.items(work.piece)) for _ in range(2)][-1]
    return work.piece * max(2, round(seconds / took))


def _run(runner: Runner, work: Work, items: Sequence[Any]) -> float:
    """Seconds for all the items; what they write is removed."""
    began = time.perf_counter()
    for item, _ in zip(items, runner.map(work.function, items), strict=True):
        for path in _written(item):
            path.unlink()
    return time.perf_counter() - began


def _written(item: Any) -> Iterator[Path]:
    if isinstance(item, Batch):
        yield item.file
    else:
        for number in item.numbers:
            yield item.job.folder / "raw" / item.split / f"{number:05d}.npz"


def _simulate(scenario: Scenario, folder: Path) -> Work:
    def items(scenes: int) -> Sequence[Any]:
        data = simulate.DataConfig(train=scenes, val=1, test_per_cell=1, test_snr_db=(0.0,), block=512)
        return list(simulate.stretches(simulate.Job(SEED, scenario, data, folder / "drawn"), "train"))

    return Work(simulate.draw_stretch, items, 8192)


def _evaluate(scenario: Scenario, search: SearchConfig, folder: Path) -> Work:
    """Every method on test scenes, which come round again where more are asked for; scores go to a file each time."""
    cells, report = scenario.K_span[1] - scenario.K_span[0] + 1, ConsoleReporter()
    data = simulate.DataConfig(train=1, val=1, test_per_cell=8 * BATCH, test_snr_db=(10.0,), block=128)
    raw, metrics, state = folder / "raw", folder / "metrics.json", folder / "state"
    simulate.run(seed=SEED, scenario=scenario, data=data, raw=raw, metrics=metrics, state=state, report=report)
    shard.run(
        seed=SEED,
        scenario=scenario,
        shards=ShardConfig(scenes_per_shard=8 * BATCH, chunk=BATCH),
        raw=raw,
        shard_dir=folder / "shards",
        metrics=metrics,
        state=state,
        report=report,
    )
    scoring = Scoring(
        seed=SEED,
        scenario=scenario,
        search=search,
        shards=folder / "shards" / "test",
        checkpoint=shipped_checkpoint("default"),
        k_rules=(KNOWN, BY_BIC, LEARNT),
        methods=(),
        cutoffs=(2.0,),
        folder=folder / "scores",
    )
    starts = np.random.default_rng(SEED).permutation(8 * cells) * BATCH  # few and many sources alike

    def items(scenes: int) -> Sequence[Any]:
        order = [int(starts[number % len(starts)]) for number in range(scenes // BATCH)]
        return [Batch(scoring, number, start, start + BATCH) for number, start in enumerate(order)]

    return Work(score_batch, items, BATCH)


if __name__ == "__main__":
    main()
