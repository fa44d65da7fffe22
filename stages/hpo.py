"""Tune learning rate, width, beta and a factor on each loss weight, by a physical score that no weight scales.

The study is keyed by everything that changes the objective, so that a killed search goes on where it was and more trials
add to those there are; any number of workers may share it (`stages.study`). The winner must beat params.yaml's own
values on held-out scenes beyond doubt, else those stay.
"""

import math
import uuid
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna.distributions import FloatDistribution

from risloc.covariance import CovarianceConfig
from risloc.device import best_device
from risloc.grid import GridConfig
from risloc.loss import LossConfig, TermError
from risloc.network import HybridNetwork, NetworkConfig
from risloc.params import ParamError, as_mapping, param
from risloc.physical_score import validate
from risloc.scene import Scenario, Scenes
from risloc.shards import ShardReader, batches
from risloc.training import FitConfig, Trainer
from stages.best import Best, Tunable, apply, knobs, write_best
from stages.fitting import Data, Log, build_network, fit_epoch, replicate_seed, report_weights
from stages.kept import work_key
from stages.mapping import Runner
from stages.report import Reporter, write_csv, write_json
from stages.study import Claim, Outcome, Plan, TakenOverError, open_study
from stages.study_home import StudyError, check_database

__all__ = ["HpoConfig", "Knob", "Search", "Worker", "join", "run"]


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

    def distribution(self) -> FloatDistribution:
        """As the sampler sees it."""
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step or None)


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
    space: dict[str, dict[str, Knob]] = param("search space: the range of each parameter searched, by section")

    def knobs(self) -> dict[str, Knob]:
        """The ranges of the search space by dotted path into params.yaml."""
        return {f"{section}.{name}": knob for section, ranges in self.space.items() for name, knob in ranges.items()}


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
    runner: Runner,
    storage: str | None,
) -> None:
    """Search, decide on held-out scenes, and write best.yaml, the table of trials and its figure.

    storage : URL of a PostgreSQL for the study; None: a journal under `state`, for the workers of one host.
    """
    del overfit_report  # a dependency only: nothing is tuned before the check has passed
    default = Tunable(covariance=covariance, network=network, loss=loss, fit=fit)
    if unknown := [path for path in hpo.knobs() if path not in knobs(default)]:
        raise ParamError(f"hpo.space.{unknown[0]}: no such knob; expected one of {', '.join(knobs(default))}")
    if runner.hosts and storage is None:
        raise ParamError(
            "the study: expected a database, for the workers are on several hosts, got the journal of one; name a "
            "PostgreSQL (RISLOC_STUDY=postgresql://USER:PASSWORD@HOST/NAME) or take workers of this host"
        )
    report_weights(loss, report)
    train, val = (ShardReader(shard_dir / split, scenario) for split in ("train", "val"))
    search = Search(
        seed=seed, scenario=scenario, grid=grid, default=default, hpo=hpo, train=train, val=val, report=report
    )
    outcomes = search.explore(runner, state, storage) if hpo.trials else []
    chosen = search.decide(outcomes)
    write_best(best, chosen.best)
    search.write_trials(outcomes, trials)
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


@dataclass(frozen=True, kw_only=True)
class Search:
    """One set of data and parameters, and what is tried on it."""

    seed: int
    scenario: Scenario
    grid: GridConfig
    default: Tunable
    hpo: HpoConfig
    train: ShardReader
    val: ShardReader
    report: Reporter

    def __post_init__(self) -> None:
        if len(self.val) < 2 * self.hpo.val_scenes or len(self.train) < self.hpo.train_scenes:
            raise ParamError(
                f"hpo.val_scenes, hpo.train_scenes: expected at most {len(self.val) // 2} and {len(self.train)} (half "
                f"of val, and train), got {self.hpo.val_scenes} and {self.hpo.train_scenes}; lower them or draw more "
                "scenes"
            )

    def explore(self, runner: Runner, state: Path, storage: str | None) -> list[Outcome]:
        """Have the workers run the trials that are still missing; all of them. Trial 0 is params.yaml as it stands."""
        if storage is not None:
            check_database(storage)
        plan = self.plan(state, storage)
        threads = None if runner.hosts else max(1, torch.get_num_threads() // runner.workers)
        workers = min(runner.workers, self.hpo.trials)
        sum(runner.map(join, [Worker(search=self, plan=plan, threads=threads)] * workers))
        with open_study(plan) as study:
            outcomes = study.outcomes()
        if outcomes[0].state != "COMPLETE":
            raise StudyError(
                "trial 0, params.yaml as it stands: its workers died each time, so nothing can be compared with it; see "
                "what ended them (memory?) and start the stage again"
            )
        return outcomes

    def plan(self, state: Path, storage: str | None) -> Plan:
        """Where the study lies, and what its workers agree on."""
        key = self._key()
        return Plan(
            name=f"hpo-{key}",
            trials=self.hpo.trials,
            space={path: knob.distribution() for path, knob in self.hpo.knobs().items()},
            seed=self.seed,
            startup=self.hpo.startup,
            run=uuid.uuid4().hex,
            folder=state / key,
            database=storage,
        )

    def decide(self, outcomes: Sequence[Outcome]) -> Decision:
        """The best trial, if on held-out scenes its score is lower than the default's beyond the confidence margin."""
        complete = [outcome for outcome in outcomes if outcome.score is not None and outcome.state == "COMPLETE"]
        best = min(complete, key=lambda outcome: (outcome.score, outcome.place), default=None)
        if best is None or best.place == 0:
            self.report.line(
                "The default stays: " + ("there was no trial." if best is None else "it was the best trial.")
            )
            return Decision(best=Best.default(), difference=0.0, margin=0.0)
        difference = torch.tensor(best.held_out).double() - torch.tensor(complete[0].held_out).double()
        quantile = torch.special.ndtri(torch.tensor(self.hpo.confidence))
        mean, margin = float(difference.mean()), float(quantile * difference.std() / math.sqrt(len(difference)))
        better = mean + margin < 0
        self.report.line(
            f"Held-out scenes: trial-{best.place} less default {mean:+.4f} +- {margin:.4f} "
            f"({'it is used' if better else 'not beyond doubt: the default stays'})"
        )
        chosen = Best.from_knobs(f"trial-{best.place}", best.params) if better else Best.default()
        return Decision(best=chosen, difference=mean, margin=margin)

    def write_trials(self, outcomes: Sequence[Outcome], folder: Path) -> None:
        """trials.csv: one row a trial, with every knob and its score."""
        folder.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, Any]] = []
        for outcome in outcomes:
            knob_values = {path: outcome.params.get(path, math.nan) for path in self.hpo.knobs()}
            score = math.nan if outcome.score is None else outcome.score
            rows.append({"trial": outcome.place, "state": outcome.state, "score": score, **knob_values})
        header = {"trial": 0, "state": "", "score": math.nan, **dict.fromkeys(self.hpo.knobs(), math.nan)}
        write_csv(folder / "trials.csv", rows or [{**header, "state": "NONE"}])

    def attempt(self, claim: Claim) -> None:
        """Fit what was claimed, and tell how it ended."""
        name = f"trial-{claim.place}"
        best = Best.from_knobs(name, claim.params) if claim.place else Best.default()
        with self.report.child(name) as child:
            try:
                ended = self._score(claim, apply(self.default, best), child)
            except (FloatingPointError, TermError) as error:
                child.tag("error", str(error))
                self.report.line(f"Trial {claim.place}: failed ({error})")
                if claim.place == 0:  # nothing to compare with, and train would fail alike
                    raise
                claim.fail(str(error))
                return
        shown = claim.params or "params.yaml as it stands"
        self.report.line(f"Trial {claim.place + 1}/{self.hpo.trials}: {ended}  {shown}")

    def _score(self, claim: Claim, tuned: Tunable, report: Reporter) -> str:
        """Tell the mean physical score after each epoch, and at the end the held-out scenes'; how the trial ended."""
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
        report.params({"trial": claim.place, **{f"tuned.{k}": v for k, v in _flat(tuned).items()}})
        log, score = Log(report), math.inf
        for epoch in range(self.hpo.epochs):
            score = float(fit_epoch(trainer, data, log).score.mean())
            if claim.report(score, epoch) and claim.place:
                claim.prune(score)
                return "pruned"
        claim.complete(score, self._held_out(trainer.averaged, trainer.device))
        return f"score {score:.4f}"

    def _held_out(self, network: HybridNetwork, device: torch.device) -> list[float]:
        held_out = self.val.read(slice(self.hpo.val_scenes, 2 * self.hpo.val_scenes))
        size = self.default.fit.batch_size
        cuts: Iterator[Scenes] = (held_out[i : i + size] for i in range(0, len(held_out), size))
        return validate(network, self.default.loss, cuts, device).score.tolist()

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
        }
        return work_key(__name__, parts)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One of those that share a search. threads : that its fits compute with; None: as its process is set up."""

    search: Search
    plan: Plan
    threads: int | None


def join(worker: Worker) -> int:
    """Run trials of the study until all are finished, whoever ran them; how many were finished here."""
    before, done, search = torch.get_num_threads(), 0, worker.search
    search = replace(
        search, train=copy(search.train), val=copy(search.val)
    )  # files that no other thread opens and closes
    torch.set_num_threads(worker.threads or before)
    try:
        with open_study(worker.plan) as study:
            while (claim := study.claim()) is not None:
                try:
                    with claim:
                        search.attempt(claim)
                    done += 1
                except TakenOverError as error:
                    search.report.line(f"Trial {claim.place}: {error}")
    finally:
        torch.set_num_threads(before)
    return done


def _flat(tuned: Tunable) -> dict[str, object]:
    return {f"{s}.{k}": v for s, section in as_mapping(tuned).items() for k, v in section.items()}
