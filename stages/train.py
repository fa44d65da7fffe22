"""Train the network with what tuning chose, and keep the averaged weights of the epoch with the best physical score.

Processes that have joined a group of torch.distributed train it together, with the result of one to rounding. They read
the same inputs and the same state; rank 0 alone writes. Any number of them can resume an interrupted run.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from risloc.config import as_mapping, param
from risloc.covariance.factored import CovarianceConfig
from risloc.io.shard_batches import batches
from risloc.io.shard_reader import ShardReader
from risloc.learning.checkpoint import load_checkpoint, save_checkpoint
from risloc.learning.distributed import Group, joined, share
from risloc.learning.fresh_batches import fresh_batches
from risloc.learning.loss_weights import WEIGHTS, LossConfig
from risloc.learning.network_config import NetworkConfig
from risloc.learning.trainer import Trainer
from risloc.learning.training_step import FitConfig
from risloc.physics.grid import GridConfig
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.utils.device import best_device
from stages.support.fitting import (
    Data,
    Log,
    build_network,
    fit_epoch,
    replicate_seed,
    report_weights,
)
from stages.support.reporter import Reporter
from stages.support.resumable import work_key
from stages.support.writers import write_csv, write_json, write_text
from stages.tuning.best_params import Best, Tunable, apply, read_best

__all__ = ["TrainConfig", "run"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The `train` section of params.yaml."""

    epochs: int = param("passes over the training scenes", ge=1)
    fresh: bool = param(
        "each epoch on as many scenes that were never seen, drawn while training; the first on the shards'"
    )
    patience: int = param("epochs without a better physical score before training stops", ge=1)
    val_scenes: int = param("validation scenes that score an epoch", ge=1)


def run(
    *,
    seed: int,
    scenario: Scenario,
    covariance: CovarianceConfig,
    grid: GridConfig,
    network: NetworkConfig,
    loss: LossConfig,
    fit: FitConfig,
    train: TrainConfig,
    shard_dir: Path,
    best: Path,
    trained: Path,
    train_report: Path,
    metrics: Path,
    state: Path,
    report: Reporter,
) -> None:
    """Train to the end, to `patience`, or on from where an interrupted run of the same inputs stopped.

    Raises
    ------
    risloc.config.ParamError, risloc.io.shard_header.ShardError
        `best` is not what tuning writes; the shards are missing, damaged, or not of this scenario.
    ValueError
        The processes that train together do not read the same inputs and the same state.
    """
    group = joined()
    scenes, held = (ShardReader(shard_dir / split, scenario) for split in ("train", "val"))
    default = Tunable(covariance=covariance, network=network, loss=loss, fit=fit)
    chosen = read_best(best)
    tuned = apply(default, chosen)
    _report_tuned(default, chosen, tuned, report)
    _report_origin(scenes, group, report)
    network_seed = replicate_seed(seed, tuned.fit.replicate)
    net = build_network(network_seed, scenario, tuned.covariance, grid, tuned.network)
    steps = -(-len(scenes) // tuned.fit.batch_size)
    trainer = Trainer(
        net, tuned.loss, tuned.fit, epochs=train.epochs, steps_per_epoch=steps, device=best_device(), group=group
    )
    data = _data(scenes, held, tuned.fit, train, network_seed, group)
    parts = [seed, as_mapping(scenario), as_mapping(grid), as_mapping(tuned), as_mapping(train)]
    folder = state / work_key(__name__, *parts, scenes.checksum, held.checksum)
    log, best_score, best_epoch = _train(trainer, data, train, folder, report)
    if not group.first:
        return
    facts = _facts(seed, chosen, tuned, train) | {"data_checksum": scenes.checksum, "score": best_score}
    save_checkpoint(trained, load_checkpoint(folder / "best")[0], facts)
    _write(log, best_score, best_epoch, train_report, metrics, report)
    report.artifact(trained)
    shutil.rmtree(folder)


def _report_origin(scenes: ShardReader, group: Group, report: Reporter) -> None:
    report.tag("data_checksum", scenes.checksum)
    if group.size > 1:
        report.line(f"Rank 0 of {group.size} processes that train together")
        report.tag("processes", str(group.size))


def _facts(seed: int, chosen: Best, tuned: Tunable, train: TrainConfig) -> dict[str, object]:
    """What the checkpoint says of its training."""
    return {
        "seed": seed,
        "chosen": chosen.chosen,
        "loss": as_mapping(tuned.loss),
        "fit": as_mapping(tuned.fit),
        "train": as_mapping(train),
    }


def _data(scenes: ShardReader, held: ShardReader, fit: FitConfig, train: TrainConfig, seed: int, group: Group) -> Data:
    """The scenes that this rank trains on and validates with. seed : of the order of the training scenes."""
    turn = (group.rank, group.size)
    return Data(
        train=lambda epoch: _scenes_of(epoch, scenes, fit, seed, group, fresh=train.fresh),
        validation=lambda: batches(held, fit.batch_size, limit=train.val_scenes, worker=turn),
        scenes=len(scenes),
    )


def _scenes_of(
    epoch: int, shards: ShardReader, fit: FitConfig, seed: int, group: Group, *, fresh: bool
) -> Iterator[Scenes]:
    """Return this rank's share of the batches of an epoch: scenes of the shards, or fresh ones, the next of their stream.

    seed : of their order. Fresh scenes have none in replicate 0: they come as they are drawn.
    """
    if not fresh:
        whole = batches(shards, fit.batch_size, seed=seed, epoch=epoch)
        return (batch[share(len(batch), group.rank, group.size)] for batch in whole)
    return fresh_batches(
        shards.scenario,
        fit.batch_size,
        seed=shards.seed,
        split=shards.split,
        start=epoch * len(shards),
        stop=(epoch + 1) * len(shards),
        order=seed if fit.replicate else None,
        part=(group.rank, group.size),
    )


def _train(trainer: Trainer, data: Data, train: TrainConfig, folder: Path, report: Reporter) -> tuple[Log, float, int]:
    """Epochs with a checkpoint after each; the folder holds `trainer.safetensors` and the best network."""
    folder.mkdir(parents=True, exist_ok=True)
    resume = folder / "trainer.safetensors"
    log, best_score, best_epoch = Log(report), math.inf, 0
    if resume.is_file():
        kept = trainer.load(resume)
        log.lines, log.rows = kept["lines"], kept["rows"]
        best_score, best_epoch = kept["best_score"], kept["best_epoch"]
        report.line(f"Going on after epoch {trainer.epoch} of an interrupted run")
        report.tag("resumed_after_epoch", str(trainer.epoch))
    _check_alike(trainer, folder)
    while trainer.epoch < train.epochs and trainer.epoch - best_epoch < train.patience:
        score = float(fit_epoch(trainer, data, log).score.mean())
        if score < best_score:
            best_score, best_epoch = score, trainer.epoch
            if trainer.group.first:
                save_checkpoint(folder / "best", trainer.averaged, {"epoch": best_epoch, "score": best_score})
        kept = {"lines": log.lines, "rows": log.rows, "best_score": best_score, "best_epoch": best_epoch}
        if trainer.group.first:
            trainer.save(resume, kept)
    log.line(f"Best physical score {best_score:.4f} at epoch {best_epoch} of {trainer.epoch}")
    return log, best_score, best_epoch


def _check_alike(trainer: Trainer, folder: Path) -> None:
    """ValueError unless all ranks are about to train the same thing from the same epoch on."""
    states = trainer.group.gather((folder.name, trainer.epoch))
    if len(set(states)) > 1:
        raise ValueError(
            f"ranks: expected the same inputs and state in all, got (fingerprint of the inputs, epoch) {states} of ranks "
            f"0..{len(states) - 1}; let every host see one data/shards, models/best.yaml and .state"
        )


def _report_tuned(default: Tunable, chosen: Best, tuned: Tunable, report: Reporter) -> None:
    """Log each loss weight's value, factor and product, and every tuned value."""
    report.line(f"Training with {chosen.chosen}: {chosen.values or 'params.yaml as it stands'}")
    report_weights(tuned.loss, report)
    report.params({f"loss_factor.{name}": chosen.loss_factors[name] for name in WEIGHTS})
    report.params({f"loss_set.{name}": getattr(default.loss, name) for name in WEIGHTS})
    report.params({f"tuned.{path}": value for path, value in chosen.values.items()})
    report.tag("chosen", chosen.chosen)


def _write(log: Log, best_score: float, best_epoch: int, folder: Path, metrics: Path, report: Reporter) -> None:
    """The log, the losses and the metrics: of the epoch that is kept, the score and every validation loss."""
    write_text(folder / "log.txt", "\n".join(log.lines) + "\n")
    write_csv(folder / "losses.csv", log.rows)
    kept = log.rows[best_epoch - 1]
    held = {k.replace("/", "_"): v for k, v in kept.items() if k.startswith(("val/loss", "val/nmse_pred"))}
    write_json(metrics, {"score": best_score, "epochs": len(log.rows), "kept_epoch": best_epoch, **held})
    report.metrics({"train/best_score": best_score})
    report.artifact(folder)
