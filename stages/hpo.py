"""Tune learning rate, width, beta and a factor on each loss weight, by a physical score that no weight scales.

The study lies in a journal under the state folder, keyed by everything that changes the objective, so that a killed
search goes on where it was and more trials add to those there are. The winner must beat params.yaml's own values on
held-out scenes beyond doubt, else those stay.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from torch import Tensor

from risloc.checkpoint import load_checkpoint, save_checkpoint
from risloc.covariance import CovarianceConfig
from risloc.device import best_device
from risloc.grid import GridConfig
from risloc.loss import LossConfig, TermError
from risloc.network import NetworkConfig
from risloc.params import ParamError, as_mapping, param
from risloc.scene import Scenario
from risloc.shards import ShardReader, batches
from risloc.training import FitConfig, Trainer, validate
from stages.best import Best, Tunable, apply, knobs, write_best
from stages.fitting import Data, Log, build_network, fit_epoch, replicate_seed, report_weights, source_digest
from stages.report import Reporter, write_csv, write_json

__all__ = ["HpoConfig", "Knob", "run"]


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One line of the search space."""

    low: float = param("lowest value, or factor of a loss weight")
    high: float = param("highest value, or factor of a loss weight")
    log: bool = param("search the logarithm")
    step: float = param("multiple of this above `low`; 0: continuous", ge=0.0)

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0) or (self.log and self.step > 0):
            raise ParamError(f"expected low < high, and 0 < low and step 0 with log, got {as_mapping(self)}")


@dataclass(frozen=True, kw_only=True)
class HpoConfig:
    """The `hpo` section of params.yaml."""

    trials: int = param("trials; 0 keeps params.yaml's own values", ge=0)
    startup: int = param("random trials before the sampler models the score", ge=1)
    epochs: int = param("passes of a trial; the score after each may prune it", ge=1)
    train_scenes: int = param("training scenes of a trial", ge=1)
    val_scenes: int = param(
        "validation scenes that score a trial; as many others decide whether the best is used", ge=2
    )
    confidence: float = param("confidence with which the best must beat the default", gt=0.5, lt=1.0)
    space: dict[str, Knob] = param("the search space: dotted paths into params.yaml")


def run(
    *,
    seed: int,
    scenario: Scenario,
    covariance: CovarianceConfig,
    grid: GridConfig,
    network: NetworkConfig,
    loss: LossConfig,
    fit: FitConfig,
    hpo: HpoConfig,
    shard_dir: Path,
    overfit_report: Path,
    best: Path,
    trials: Path,
    metrics: Path,
    state: Path,
    report: Reporter,
) -> None:
    """Search, decide on held-out scenes, and write best.yaml, the table of trials and its figure."""
    del overfit_report  # a dependency only: nothing is tuned before the check has passed
    default = Tunable(covariance=covariance, network=network, loss=loss, fit=fit)
    if unknown := [path for path in hpo.space if path not in knobs(default)]:
        raise ParamError(f"hpo.space.{unknown[0]}: no such knob; expected one of {', '.join(knobs(default))}")
    report_weights(loss, report)
    search = Search(seed, scenario, grid, default, hpo, shard_dir, state, report)
    chosen = (
        search.decide(search.explore()) if hpo.trials else Decision(best=Best.default(), difference=0.0, margin=0.0)
    )
    write_best(best, chosen.best)
    search.write_trials(trials)
    report.line(f"best.yaml: {chosen.best.chosen}")
    report.tag("chosen", chosen.best.chosen)
    report.metrics({"hpo/difference": chosen.difference, "hpo/margin": chosen.margin})
    write_json(metrics, {"chosen": chosen.best.chosen, "difference": chosen.difference, "margin": chosen.margin})
    report.artifact(best)
    report.artifact(trials)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The values to train with; the mean held-out score of the best trial less the default's, with its margin."""

    best: Best
    difference: float
    margin: float


class Search:
    """A study over one set of data and parameters."""

    def __init__(
        self,
        seed: int,
        scenario: Scenario,
        grid: GridConfig,
        default: Tunable,
        hpo: HpoConfig,
        shard_dir: Path,
        state: Path,
        report: Reporter,
    ) -> None:
        self.seed, self.scenario, self.grid, self.default, self.hpo = seed, scenario, grid, default, hpo
        self.report = report
        self.train, self.val = (ShardReader(shard_dir / split, scenario) for split in ("train", "val"))
        if len(self.val) < 2 * hpo.val_scenes or len(self.train) < hpo.train_scenes:
            raise ParamError(
                f"hpo.val_scenes, hpo.train_scenes: expected at most {len(self.val) // 2} and {len(self.train)} "
                f"(half of val, and train), got {hpo.val_scenes} and {hpo.train_scenes}; lower them or draw more scenes"
            )
        self.state = state / self._key()
        self.study: optuna.Study | None = None

    def explore(self) -> FrozenTrial:
        """Run the trials that are still missing; returns the best. Trial 0 is params.yaml as it stands."""
        self.state.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(self.state / "study.log")))
        self.study = optuna.create_study(
            storage=storage,
            study_name="hpo",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=self.hpo.startup - 1, n_warmup_steps=0),
        )
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
        while (done := self._finished(self.study)) < self.hpo.trials:
            self._trial(self.study, done)
        return self.study.best_trial

    def decide(self, trial: FrozenTrial) -> Decision:
        """The best trial, if on held-out scenes its score is lower than the default's beyond the confidence margin."""
        if trial.user_attrs["default"]:
            self.report.line("The default was the best trial: it stays.")
            return Decision(best=Best.default(), difference=0.0, margin=0.0)
        assert self.study is not None
        first = next(
            t for t in self.study.get_trials() if t.user_attrs.get("default") and t.state == TrialState.COMPLETE
        )
        difference = (self._held_out(trial) - self._held_out(first)).double()
        quantile = torch.special.ndtri(torch.tensor(self.hpo.confidence))
        mean, margin = float(difference.mean()), float(quantile * difference.std() / math.sqrt(len(difference)))
        better = mean + margin < 0
        self.report.line(
            f"Held-out scenes: trial-{trial.number} less default {mean:+.4f} +- {margin:.4f} "
            f"({'it is used' if better else 'not beyond doubt: the default stays'})"
        )
        best = Best.from_knobs(f"trial-{trial.number}", trial.params) if better else Best.default()
        return Decision(best=best, difference=mean, margin=margin)

    def write_trials(self, folder: Path) -> None:
        """trials.csv: one row a trial, with every knob and its score."""
        folder.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        for trial in self.study.get_trials() if self.study is not None else []:
            knob_values = {path: trial.params.get(path, math.nan) for path in self.hpo.space}
            score = math.nan if trial.value is None else trial.value
            rows.append({"trial": trial.number, "state": trial.state.name, "score": score, **knob_values})
        header = {"trial": 0, "state": "", "score": math.nan, **dict.fromkeys(self.hpo.space, math.nan)}
        write_csv(folder / "trials.csv", rows or [{**header, "state": "NONE"}])

    @staticmethod
    def _finished(study: optuna.Study) -> int:
        broken = [t for t in study.get_trials(states=(TrialState.FAIL,)) if "error" in t.user_attrs]
        return len(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))) + len(broken)

    def _trial(self, study: optuna.Study, done: int) -> None:
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + done, n_startup_trials=self.hpo.startup)
        trial = study.ask()
        is_default = done == 0
        best = Best.default() if is_default else Best.from_knobs(f"trial-{trial.number}", self._suggest(trial))
        trial.set_user_attr("default", is_default)
        with self.report.child(f"trial-{trial.number}") as child:
            try:
                score = self._score(study, trial, apply(self.default, best), child)
            except (FloatingPointError, TermError) as error:
                if not is_default:
                    trial.set_user_attr("error", str(error))
                study.tell(trial, state=TrialState.FAIL)
                child.tag("error", str(error))
                self.report.line(f"Trial {trial.number}: failed ({error})")
                if is_default:  # nothing to compare with, and train would fail alike
                    raise
                return
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
        study.tell(trial, score, state=state)
        shown = "pruned" if score is None else f"score {score:.4f}"
        self.report.line(
            f"Trial {done + 1}/{self.hpo.trials}: {shown}  {dict(trial.params) or 'params.yaml as it stands'}"
        )

    def _suggest(self, trial: Trial) -> Mapping[str, float]:
        return {
            path: trial.suggest_float(path, knob.low, knob.high, log=knob.log, step=knob.step or None)
            for path, knob in self.hpo.space.items()
        }

    def _score(self, study: optuna.Study, trial: Trial, tuned: Tunable, report: Reporter) -> float | None:
        """The mean physical score after the last epoch, or None for a pruned trial."""
        size, own = tuned.fit.batch_size, replicate_seed(self.seed, tuned.fit.replicate)
        net = build_network(own, self.scenario, tuned.covariance, self.grid, tuned.network)
        steps = -(-self.hpo.train_scenes // size)
        trainer = Trainer(
            net, tuned.loss, tuned.fit, epochs=self.hpo.epochs, steps_per_epoch=steps, device=best_device()
        )
        data = Data(
            train=lambda epoch: batches(self.train, size, seed=own, epoch=epoch, limit=self.hpo.train_scenes),
            validation=lambda: batches(self.val, size, limit=self.hpo.val_scenes),
            scenes=self.hpo.train_scenes,
        )
        report.params({"trial": trial.number, **{f"tuned.{k}": v for k, v in _flat(tuned).items()}})
        log, score = Log(report), math.inf
        for epoch in range(self.hpo.epochs):
            score = float(fit_epoch(trainer, data, log).score.mean())
            trial.report(score, epoch)
            if not trial.user_attrs["default"] and trial.should_prune():
                return None
        save_checkpoint(self.state / f"trial-{trial.number}", trainer.averaged, {"score": score})
        return score

    def _held_out(self, trial: FrozenTrial) -> Tensor:
        network, _ = load_checkpoint(self.state / f"trial-{trial.number}")
        device = best_device()
        held_out = self.val.read(slice(self.hpo.val_scenes, 2 * self.hpo.val_scenes))
        size = self.default.fit.batch_size
        cuts = (held_out[i : i + size] for i in range(0, len(held_out), size))
        return validate(network.to(device), self.default.loss, cuts, device).score

    def _key(self) -> str:
        objective = as_mapping(self.hpo)
        del objective["trials"], objective["confidence"]
        parts = {
            "seed": self.seed,
            "scenario": as_mapping(self.scenario),
            "grid": as_mapping(self.grid),
            "default": as_mapping(self.default),
            "hpo": objective,
            "data": [self.train.checksum, self.val.checksum],
            "source": source_digest(__name__),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _flat(tuned: Tunable) -> dict[str, object]:
    return {f"{s}.{k}": v for s, section in as_mapping(tuned).items() for k, v in section.items()}
