"""One fit as every stage runs it: seeded network, epochs with their log line and table row; what it depends on."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from risloc.covariance.factored import CovarianceConfig
from risloc.learning.loss_weights import WEIGHTS, LossConfig
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.learning.trainer import Trainer
from risloc.learning.training_step import FirstStep
from risloc.learning.validation import Validation, validate
from risloc.physics.grid import GridConfig
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from stages.support.reporter import Reporter

__all__ = [
    "Data",
    "Log",
    "build_network",
    "fit_epoch",
    "replicate_seed",
    "report_weights",
]

Row = dict[str, float]
_SEEDED = threading.Lock()  # torch's own generator belongs to the process


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where a fit takes its scenes: `train(epoch)`, `scenes` of them in that epoch's order, and `validation()`.

    Of several processes that fit together, each takes its share of every training batch, and its turn of the others.
    """

    train: Callable[[int], Iterator[Scenes]]
    validation: Callable[[], Iterator[Scenes]]
    scenes: int


@dataclass
class Log:
    """The lines and rows of a fit, said to the reporter as they come and kept for the report's files."""

    report: Reporter
    prefix: str = ""
    lines: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def line(self, text: str) -> None:
        """Say and keep one line."""
        self.lines.append(text)
        self.report.line(text)

    def first_step(self, first: FirstStep) -> None:
        """Say whether R_blend is supervised at all."""
        self.line(
            f"First step: lam_cov={first.weights.lam_cov:.4g}  loss_nmse={first.loss_nmse:.4f}  "
            f"loss_nmse_pred={first.loss_nmse_pred:.4f}  R_blend.requires_grad={first.R_blend_requires_grad}"
        )

    def epoch(self, trainer: Trainer, row: Row, pace: Row) -> None:
        """Say and keep one epoch; its pace is said and not kept, for the files are the same whenever they are made."""
        self.rows.append(row)
        weights = trainer.loss.weights_at(trainer.epoch - 1, trainer.epochs)
        text = (
            f"Epoch {trainer.epoch:03d}/{trainer.epochs:03d}: train {row['train/loss_total']:.4f}  "
            f"val {row['val/loss_total']:.4f}  ({weights.text()})"
        )
        if trainer.skipped:
            text += f"  {trainer.skipped} steps skipped so far: gradients out of half precision's range"
        self.lines.append(text)
        self.report.line(f"{text}  {pace['scenes_per_second']:.3g} scenes/s, loader_wait {pace['loader_wait']:.1%}")
        shown = {k: v for k, v in (row | pace).items() if k != "epoch"}
        self.report.metrics({f"{self.prefix}{k}": v for k, v in shown.items()}, step=trainer.epoch)


def build_network(
    seed: int, scenario: Scenario, covariance: CovarianceConfig, grid: GridConfig, network: NetworkConfig
) -> HybridNetwork:
    """The network with initial weights that depend on the seed alone, also where other threads build theirs."""
    with _SEEDED, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HybridNetwork(scenario, grid, covariance, network)


def replicate_seed(seed: int, replicate: int) -> int:
    """The seed of the initial network and of the order of the scenes: `seed` itself for replicate 0, a stream each else."""
    if replicate == 0:
        return seed
    return int(np.random.SeedSequence(seed, spawn_key=(replicate,)).generate_state(1, np.uint64)[0])


def fit_epoch(trainer: Trainer, data: Data, log: Log) -> Validation:
    """Train one epoch, validate the averaged network, and log every component raw and weighted.

    The pace of the training alone is said too: scenes a second, and the share of the time spent waiting for scenes.
    """
    weights = trainer.weights()
    first = log.first_step if trainer.epoch == 0 else _ignore
    batches, began = _Awaited(data.train(trainer.epoch)), time.perf_counter()
    epoch, what = (trainer.epoch, trainer.epochs), f"scenes of epoch {trainer.epoch + 1}/{trainer.epochs}"
    with log.report.progress(data.scenes, what, epoch) as advance:
        train = trainer.train_epoch(batches, on_first=first, on_step=advance)
    took = time.perf_counter() - began
    pace = {"scenes_per_second": data.scenes / took, "loader_wait": batches.seconds / took}
    validation = validate(trainer.averaged, trainer.loss, data.validation(), trainer.device, trainer.group)
    row: Row = {"epoch": trainer.epoch}
    for split, terms in (("train", train), ("val", validation.terms)):
        weighted = weights.weighted(terms)
        row |= {f"{split}/{name}": value for name, value in terms.items()}
        row |= {f"{split}/weighted_{name}": value for name, value in weighted.items()}
        row[f"{split}/loss_total"] = sum(weighted.values())
    row |= {"val/score": float(validation.score.mean())}
    row |= {"val/nmse_pred": validation.nmse_pred, "val/nmse_silent": validation.nmse_silent}
    row |= {f"weight/{name}": weight for name, weight in weights.effective().items()}
    row |= {"skipped_steps": trainer.skipped, "learning_rate": trainer.optimizer.param_groups[0]["lr"]}
    log.epoch(trainer, row, pace)
    return validation


def report_weights(loss: LossConfig, report: Reporter) -> None:
    """Log the full weight of each term; a zero weight on the covariance is logged as a warning and tagged."""
    report.params({f"effective.{name}": weight for name, weight in loss.effective().items()})
    report.params({f"loss_used.{name}": getattr(loss, name) for name in WEIGHTS})
    for name in loss.unsupervised:
        report.line(f"WARNING: {name} is 0: this run trains without it, as an ablation. Nothing gates on it.")
        report.tag(f"ablation.{name}", "0")


class _Awaited:
    """Batches as they come, and the seconds that their consumer has waited."""

    def __init__(self, batches: Iterator[Scenes]) -> None:
        self.batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[Scenes]:
        return self

    def __next__(self) -> Scenes:
        began = time.perf_counter()
        try:
            return next(self.batches)
        finally:
            self.seconds += time.perf_counter() - began


def _ignore(first: FirstStep) -> None:
    """Nothing to say: only a run's first step is announced."""
