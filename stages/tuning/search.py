"""The search for hyperparameters: trials that any number of workers share, and the decision on held-out scenes."""

import math
import uuid
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from risloc.config import ParamError, as_mapping
from risloc.io.shard_batches import batches
from risloc.io.shard_reader import ShardReader
from risloc.learning.loss import TermError
from risloc.learning.network import HybridNetwork
from risloc.learning.trainer import Trainer
from risloc.learning.validation import validate
from risloc.physics.grid import GridConfig
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.utils.device import best_device
from stages.support.fitting import Data, Log, build_network, fit_epoch, replicate_seed
from stages.support.mapping import Runner
from stages.support.reporter import Reporter
from stages.support.resumable import work_key
from stages.support.writers import write_csv
from stages.tuning.best_params import Best, Tunable, apply
from stages.tuning.search_space import HpoConfig
from stages.tuning.study import Claim, Outcome, Plan, TakenOverError, open_study
from stages.tuning.study_backend import StudyError, check_database
from stages.tuning.verdict import Difference, both_again, compare, compare_scenes

__all__ = ["Decision", "Search", "Worker", "join"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The values to train with, and why. rows : the mean held-out scores of both in every replicate."""

    best: Best
    difference: Difference = Difference(mean=0.0, margin=0.0)
    rows: list[dict[str, float]] = field(default_factory=list)


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

    def decide(self, outcomes: Sequence[Outcome], runner: Runner, folder: Path) -> Decision:
        """The best trial, if on held-out scenes its score is lower than the default's beyond the confidence margin.

        First by the trainings of the search, and if they cannot say no, by `replicates` more of both.
        """
        complete = [outcome for outcome in outcomes if outcome.score is not None and outcome.state == "COMPLETE"]
        best = min(complete, key=lambda outcome: (outcome.score, outcome.place), default=None)
        if best is None or best.place == 0:
            self.report.line(
                "The default stays: " + ("there was no trial." if best is None else "it was the best trial.")
            )
            return Decision(best=Best.default())
        name = f"trial-{best.place}"
        difference = compare_scenes(complete[0].held_out, best.held_out, self.hpo.confidence)
        self.report.line(f"Held-out scenes, one training each: {name} less default {difference}")
        if difference.better:
            return self._decide_again(Best.from_knobs(name, best.params), runner, folder / "replicates")
        self.report.line("Not beyond doubt: the default stays")
        return Decision(best=Best.default(), difference=difference)

    def _decide_again(self, tuned: Best, runner: Runner, folder: Path) -> Decision:
        """`tuned`, if it is better when both are trained again; what is trained is kept in `folder`."""
        first = self.default.fit.replicate + 1  # not the search's own: the best had luck in it
        replicates = range(first, first + self.hpo.replicates)
        scores = both_again(self, tuned, replicates, runner, folder, self.report.line)
        if scores is None:
            self.report.line("The default stays")
            return Decision(best=Best.default())
        difference = compare(*scores, self.hpo.confidence)
        self.report.line(
            f"Held-out scenes, {len(replicates)} trainings each: {tuned.chosen} less default {difference} "
            f"({'it is used' if difference.better else 'not beyond doubt: the default stays'})"
        )
        means = zip(replicates, *(each.mean(1).tolist() for each in scores), strict=True)
        rows = [{"replicate": number, "default": default, tuned.chosen: best} for number, default, best in means]
        return Decision(best=tuned if difference.better else Best.default(), difference=difference, rows=rows)

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

    def apart(self) -> "Search":
        """This search with files that no other thread opens and closes."""
        return replace(self, train=copy(self.train), val=copy(self.val))

    def train_again(self, name: str, best: Best, replicate: int) -> list[float]:
        """The scores of the held-out scenes after a training of `best` as in a trial, from another network and order."""
        tuned, own = apply(self.default, best), self.apart()
        trainer, data = own._fit(replace(tuned, fit=replace(tuned.fit, replicate=replicate)))
        with self.report.child(name) as child:
            log = Log(child)
            for _ in range(self.hpo.epochs):
                fit_epoch(trainer, data, log)
        return own._held_out(trainer.averaged, trainer.device)

    def _fit(self, tuned: Tunable) -> tuple[Trainer, Data]:
        """A trial's training, not begun."""
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
        return trainer, data

    def _score(self, claim: Claim, tuned: Tunable, report: Reporter) -> str:
        """Tell the mean physical score after each epoch, and at the end the held-out scenes'; how the trial ended."""
        trainer, data = self._fit(tuned)
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
        del objective["trials"], objective["confidence"], objective["replicates"]
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
    before, done, search = torch.get_num_threads(), 0, worker.search.apart()
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
