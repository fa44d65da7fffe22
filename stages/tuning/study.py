"""One study that many workers fill: each trial has a place, one worker runs it at a time, and another if that one dies.

Places 0, 1, ... are claimed in order, the first one for params.yaml as it stands. What a place is tried with follows from
the seed, the place and the trials there are, so one worker alone always runs the same search.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from stages.support.processes import this_process
from stages.tuning.study_backend import Home, StudyError, home_of, patient

__all__ = ["Claim", "Outcome", "Plan", "SharedStudy", "TakenOverError", "open_study"]

_RETRIES = 2  # of a trial whose worker died, in one search
_ASKS = 100  # proposals of the sampler before a repeated one is run all the same
_SECONDS_BETWEEN_LOOKS = 1.0
_LIVE = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)


class TakenOverError(RuntimeError):
    """The trial was given to another worker, for this one had not been heard of: what it found is not counted."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the workers of a search agree on.

    name : of the study; the same name resumes that study.  trials : places.
    space : what a trial is tried with.  seed, startup : of the proposals; the first `startup` are random.
    run : of this search, so that it counts its own workers' deaths.
    folder : of the journal.  database : URL of a PostgreSQL that takes the journal's place; None: the journal.
    """

    name: str
    trials: int
    space: Mapping[str, FloatDistribution]
    seed: int
    startup: int
    run: str
    folder: Path
    database: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished trial: COMPLETE, PRUNED, or FAIL where it broke. `held_out` are the scores of a complete one."""

    place: int
    state: str
    score: float | None
    params: dict[str, float]
    held_out: list[float]


@contextlib.contextmanager
def open_study(plan: Plan) -> Iterator["SharedStudy"]:
    """The study, made where it is not there yet. Any number of processes may open it, also for the first time at once."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with home_of(plan.folder, plan.database) as home:
        yield SharedStudy(plan, home)


class SharedStudy:
    """The study as one worker sees it."""

    def __init__(self, plan: Plan, home: Home) -> None:
        self.plan, self.home = plan, home
        self.study = self._open()

    def claim(self) -> "Claim | None":
        """The first free place, this worker's own from now on; None once all are finished.

        Waits while others run all that is left: should one of them die, its trial is run here.
        """
        while True:
            found, finished = self._look()
            if found is not None or finished:
                return found
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    @patient
    def outcomes(self) -> list[Outcome]:
        """What is finished, by place."""
        filled = sorted(self._filled(self.study.get_trials()).items())
        return [
            Outcome(
                place=place,
                state=trial.state.name,
                score=trial.value,
                params=dict(trial.params),
                held_out=trial.user_attrs.get("held_out", []),
            )
            for place, trial in filled
            if trial.state.is_finished()
        ]

    @patient
    def _open(self) -> optuna.Study:
        return optuna.create_study(
            storage=self.home.storage,
            study_name=self.plan.name,
            load_if_exists=True,
            sampler=RandomSampler(),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=self.plan.startup - 1, n_warmup_steps=0),
        )

    @patient
    def _look(self) -> "tuple[Claim | None, bool]":
        """A claim, if a place is free; whether all are finished."""
        with self.home.exclusive(self.plan.name):
            self.home.bury(self.study)
            trials = self.study.get_trials()
            filled = self._filled(trials)
            free = [place for place in range(self.plan.trials) if place not in filled]
            if free:
                again = [trial.params for trial in trials if trial.user_attrs["place"] == free[0]]
                return self._hold(free[0], again[0] if again else self._propose(free[0], list(filled.values()))), False
        return None, all(trial.state.is_finished() for trial in filled.values())

    def _filled(self, trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
        """The trial of each place that needs no other: it runs, is finished, or has cost too many workers their lives."""
        filled: dict[int, FrozenTrial] = {}
        deaths: Counter[int] = Counter()
        for trial in trials:
            place = trial.user_attrs["place"]
            if trial.state in _LIVE or "error" in trial.user_attrs:
                filled[place] = trial
            elif trial.state == TrialState.FAIL and trial.user_attrs["run"] == self.plan.run:
                deaths[place] += 1
                if deaths[place] > _RETRIES:
                    filled.setdefault(place, trial)
        return {place: trial for place, trial in filled.items() if place < self.plan.trials}

    def _hold(self, place: int, params: dict[str, float]) -> "Claim":
        """A new trial of `place`, running from now on. In `exclusive`."""
        waiting = create_trial(
            state=TrialState.WAITING,
            params=params,
            distributions={path: self.plan.space[path] for path in params},
            user_attrs={"place": place, "run": self.plan.run, "worker": this_process()},
        )
        storage = self.home.storage
        trial_id = storage.create_new_trial(storage.get_study_id_from_name(self.plan.name), waiting)
        self.home.beat(trial_id)  # before it runs: from its first moment it can be found dead
        storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return Claim(self, trial_id, place, params)

    def _propose(self, place: int, others: Sequence[FrozenTrial]) -> dict[str, float]:
        """The sampler's proposal in the light of `others`, and a further one where one of them has it already."""
        if place == 0:
            return {}
        sampler = TPESampler(seed=self.plan.seed + place, n_startup_trials=self.plan.startup)
        study = optuna.create_study(sampler=sampler)
        study.add_trials(sorted(others, key=lambda trial: trial.user_attrs["place"]))
        proposals = (study.ask(dict(self.plan.space)).params for _ in range(_ASKS))
        known = [trial.params for trial in others]
        first = next(proposals)
        return first if first not in known else next((p for p in proposals if p not in known), first)

    @patient
    def _report(self, trial: Trial, score: float, epoch: int) -> bool:
        trial.report(score, epoch)
        return trial.should_prune()

    @patient
    def _end(self, trial_id: int, state: TrialState, score: float | None, facts: Mapping[str, object]) -> None:
        storage = self.home.storage
        try:
            for key, value in facts.items():
                storage.set_trial_user_attr(trial_id, key, value)
            storage.set_trial_state_values(trial_id, state, None if score is None else [score])
        except UpdateFinishedTrialError:
            if storage.get_trial(trial_id).state != state:  # not our own word, said just before the database was lost
                raise


class Claim:
    """A trial that this worker runs, as a context: it is heard of meanwhile, and free for others if it ends unfinished.

    place : its place, 0 for params.yaml as it stands.  params : what is tried, by dotted path.
    """

    def __init__(self, study: SharedStudy, trial_id: int, place: int, params: dict[str, float]) -> None:
        self.place, self.params = place, params
        self._study, self._id = study, trial_id
        self._trial = Trial(study.study, trial_id)
        self._open = contextlib.ExitStack()
        self._finished = False

    def __enter__(self) -> "Claim":
        self._open.enter_context(self._study.home.alive(self._id))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if not self._finished and not isinstance(error, StudyError):
            with contextlib.suppress(TakenOverError):
                self._end(TrialState.FAIL, None, {})

    def report(self, score: float, epoch: int) -> bool:
        """Tell the score after `epoch`; whether the trial should stop here."""
        with _taken_over():
            return self._study._report(self._trial, score, epoch)

    def complete(self, score: float, held_out: Sequence[float]) -> None:
        """The trial ran to its end."""
        self._end(TrialState.COMPLETE, score, {"held_out": list(held_out)})

    def prune(self, score: float) -> None:
        """The trial was stopped at `score`."""
        self._end(TrialState.PRUNED, score, {})

    def fail(self, error: str) -> None:
        """What was tried cannot be fitted: it is not tried again."""
        self._end(TrialState.FAIL, None, {"error": error})

    def _end(self, state: TrialState, score: float | None, facts: Mapping[str, object]) -> None:
        with _taken_over():
            self._study._end(self._id, state, score, facts)
        self._finished = True


@contextlib.contextmanager
def _taken_over() -> Iterator[None]:
    try:
        yield
    except UpdateFinishedTrialError:
        raise TakenOverError("another worker has this trial: this one was not heard of in time") from None
