"""Steps of a training as `risloc.learning.trainer.Trainer` takes them: how long each takes, what it goes to, what it calls.

An epoch's first step, whose gradients the guard looks at, is left out everywhere.
"""

import dataclasses
import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, schedule

import risloc.learning.network
import risloc.learning.trainer
from benchmarks.timing import alternately
from benchmarks.workload import Case
from risloc.config import build
from risloc.learning.loss_weights import LossConfig
from risloc.learning.trainer import Trainer
from risloc.learning.training_step import FitConfig
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.yaml_reader import read_yaml

__all__ = ["PARTS", "SEED", "SPLIT", "STEP", "Clock", "draw", "in_turns", "now", "profiled", "seconds", "trainer_of"]

SEED, SPLIT = 0, "train"
FORWARD, SOLVED, MAPS = (
    "forward: snapshots to R_blend",
    "  including: solving the snapshots, once for each pass",
    "  including: the input maps",
)
LOSS, BACKWARD = "loss terms", "backward"
REST, STEP = "the rest: checks, clipping, optimiser, averages, means", "the step"
PARTS = (FORWARD, SOLVED, MAPS, LOSS, BACKWARD, REST, STEP)


def trainer_of(device: torch.device, *, finer: int = 1, amp: bool = True) -> Trainer:
    """The start of a training by params.yaml.  finer : so many times the elements along each side, on the same map."""
    params = read_yaml(Path("params.yaml"))
    torch.manual_seed(SEED)
    network = Case.of(1, side=finer * params["scenario"]["n_h"], coarser=finer).network
    network.config = dataclasses.replace(network.config, amp=amp and network.config.amp)
    loss, fit = build(LossConfig, params["loss"], "loss"), build(FitConfig, params["fit"], "fit")
    return Trainer(network, loss, fit, epochs=1000, steps_per_epoch=1, device=device)


def draw(scenario: Scenario, size: int, index: int) -> Scenes:
    """The `index`-th batch of the training scenes."""
    return simulate(scenario, seed=SEED, split=SPLIT, start=index * size, stop=(index + 1) * size)


def now(device: torch.device) -> float:
    """Seconds that this process has had of its processors: waiting for one does not count, a shared cache still does.

    With a GPU, of the clock on the wall, once the GPU has done what it was given.
    """
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(trainer: Trainer, drawn: Sequence[Scenes]) -> list[float]:
    """Of each step of an epoch but the first."""
    ends: list[float] = []
    _epoch(trainer, drawn, lambda: ends.append(now(trainer.device)))
    return [after - before for before, after in itertools.pairwise(ends)]


def in_turns(trainers: Mapping[str, Trainer], drawn: Sequence[Scenes], rounds: int) -> dict[str, list[float]]:
    """Seconds of each trainer's median step in each round, after one that warms up."""
    medians: dict[str, list[float]] = {name: [] for name in trainers}

    def work(name: str) -> None:
        medians[name].append(statistics.median(seconds(trainers[name], drawn)))

    alternately({name: functools.partial(work, name) for name in trainers}, rounds)
    return {name: each[1:] for name, each in medians.items()}


class Clock:
    """Seconds of the loop's own calls, in `steps` one mapping for each step, by the names of `PARTS`."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.steps: list[dict[str, float]] = []
        self._inside: dict[str, float] = {}
        self._last: float | None = None

    def epoch(self, drawn: Sequence[Scenes]) -> None:
        """An epoch under the clock."""
        network, self._last = self.trainer.network, None
        calls = [
            (network, "blend", FORWARD),
            (network, "snapshots", SOLVED),
            (risloc.learning.network, "pseudo_snapshots", SOLVED),
            (network, "input_map", MAPS),
            (risloc.learning.trainer, "loss_terms", LOSS),
            (torch.autograd, "backward", BACKWARD),
        ]
        self._inside = {name: 0.0 for _, _, name in calls}
        with ExitStack() as stack:
            for owner, call, name in calls:
                stack.enter_context(patch.object(owner, call, self._clocked(name, getattr(owner, call))))
            _epoch(self.trainer, drawn, self._on_step)

    def _clocked(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def timed(*args: Any, **named: Any) -> Any:
            began = now(self.trainer.device)
            result = call(*args, **named)
            self._inside[name] += now(self.trainer.device) - began
            return result

        return timed

    def _on_step(self) -> None:
        ended = now(self.trainer.device)
        if self._last is not None:
            whole = ended - self._last
            rest = whole - sum(self._inside[name] for name in (FORWARD, LOSS, BACKWARD))
            self.steps.append({**self._inside, REST: rest, STEP: whole})
        self._last, self._inside = ended, dict.fromkeys(self._inside, 0.0)


def profiled(trainer: Trainer, drawn: Sequence[Scenes]) -> profile:
    """All steps but the first two, of which the second warms the profiler up; with the shapes of all that is called."""
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (trainer.device.type == "cuda")
    plan = schedule(wait=1, warmup=1, active=len(drawn) - 2, repeat=1)
    with profile(activities=kinds, schedule=plan, record_shapes=True) as profiler:
        _epoch(trainer, drawn, profiler.step)
    return profiler


def _epoch(trainer: Trainer, drawn: Iterable[Scenes], on_step: Callable[[], None]) -> None:
    trainer.train_epoch(drawn, on_first=lambda _: None, on_step=lambda _: on_step())
