"""Every method on every test scene, a batch at a time: each finished batch is a file of plain arrays until the end."""

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from risloc.estimation.localiser import Localiser
from risloc.estimation.search_config import SearchConfig
from risloc.io.shard_reader import ShardReader
from risloc.learning.checkpoint import load_checkpoint
from risloc.performance.crb import prior_deviation
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from stages.evaluation.covariance_errors import covariance_scores
from stages.evaluation.methods import Seen, model_orders, run_methods
from stages.evaluation.scores import Collection, score_bound
from stages.support.fitting import build_network
from stages.support.mapping import Runner
from stages.support.pieces import each, finished
from stages.support.reporter import Reporter
from stages.support.writers import write_arrays

__all__ = ["Batch", "Scoring", "score_all", "score_batch"]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What all batches have in common.

    seed : of the untrained network.  shards : the folder of the test split.  folder : takes a file for each batch; its name
    stands for all that the scores depend on, the contents of the other paths included.
    """

    seed: int
    scenario: Scenario
    search: SearchConfig
    shards: Path
    checkpoint: Path
    k_rules: tuple[str, ...]
    methods: tuple[str, ...]
    cutoffs: tuple[float, ...]
    folder: Path


@dataclass(frozen=True)
class Batch:
    """Scenes start..stop-1."""

    scoring: Scoring
    number: int
    start: int
    stop: int

    @property
    def scenes(self) -> int:
        """How many there are."""
        return self.stop - self.start

    @property
    def file(self) -> Path:
        """Where its scores are when it is finished."""
        return self.scoring.folder / f"{self.number:05d}.npz"

    def kept(self) -> Path | None:
        """The file, if it is there."""
        return self.file if self.file.is_file() else None

    def work(self) -> Path:
        """Score the scenes and write the file."""
        with torch.inference_mode():
            collected = _Bench.of(self.scoring).score(self)
        write_arrays(self.file, collected.arrays())
        return self.file


def score_all(scoring: Scoring, scenes: int, size: int, report: Reporter, runner: Runner) -> Collection:
    """All scores, in the order of the scenes: `scenes` of them in batches of `size`."""
    batches = [
        Batch(scoring, number, start, min(start + size, scenes)) for number, start in enumerate(range(0, scenes, size))
    ]
    files = [file for _, file in each(score_batch, batches, report, runner)]
    collected = Collection(scoring.scenario, scoring.cutoffs)
    for path in files:
        with np.load(path, allow_pickle=False) as file:
            collected.extend(file)
    return collected


def score_batch(batch: Batch) -> Path:
    """Score a batch, if that is not done yet; the file of its scores."""
    return finished(batch)


class _Bench:
    """What a process scores batches with, made once; its threads share it."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.reading = threading.Lock()
        self.reader = ShardReader(scoring.shards, scoring.scenario)
        self.localiser = Localiser(scoring.scenario, scoring.search)
        self.network, _ = load_checkpoint(scoring.checkpoint)
        net = self.network
        configs = (net.scenario, net.covariance_config, net.grid_config, net.config)
        self.untrained = build_network(scoring.seed + 1, *configs).eval()  # on a stream of its own
        self.prior = prior_deviation(self.localiser.domain)

    @classmethod
    def of(cls, scoring: Scoring) -> "_Bench":
        """The one of this process."""
        with _MAKING:
            return _bench(scoring)

    def score(self, batch: Batch) -> Collection:
        """What is kept of a scene is a row of numbers for each method."""
        scoring, scenes = self.scoring, self.read(batch)
        collected = Collection(scoring.scenario, scoring.cutoffs)
        bounds = score_bound(scenes, self.localiser, self.prior, scoring.scenario.waveform)
        collected.add_scenes(scenes, bounds)
        seen = Seen.by(self.network, scenes)
        for result in run_methods(scenes, self.localiser, seen, self.untrained, scoring.k_rules, scoring.methods):
            collected.add_result(scenes, bounds, result)
        collected.add_orders(model_orders(self.localiser, seen))
        collected.add_covariances(covariance_scores(seen, scenes))
        return collected

    def read(self, batch: Batch) -> Scenes:
        """The scenes of a batch; one thread reads at a time."""
        with self.reading:
            return self.reader.read(slice(batch.start, batch.stop))


_MAKING = threading.Lock()
_bench = lru_cache(maxsize=1)(_Bench)
