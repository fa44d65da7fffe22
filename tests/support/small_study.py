"""A study of a parabola, its workers, and one that dies."""

import subprocess
import sys

from optuna.distributions import FloatDistribution

from stages.tuning.study import Claim, Outcome, Plan, SharedStudy, open_study

SPACE = {"x": FloatDistribution(-1.0, 1.0), "y": FloatDistribution(1e-3, 1.0, log=True)}


def parabola(claim: Claim) -> float:
    return (claim.params.get("x", 0.9) - 0.3) ** 2 + claim.params.get("y", 1.0)


def work(plan: Plan) -> list[int]:
    """Run what is left; the places that were run here."""
    places = []
    with open_study(plan) as study:
        while (claim := study.claim()) is not None:
            with claim:
                claim.complete(parabola(claim), [0.1, 1 / 3])
            places.append(claim.place)
    return places


def outcomes(plan: Plan) -> list[Outcome]:
    with open_study(plan) as study:
        return study.outcomes()


def states(study: SharedStudy) -> list[str]:
    return [trial.state.name for trial in study.study.get_trials()]


def in_another_process(plan: Plan, what: str) -> None:
    """A worker of its own that claims a place, does `what` and is killed."""
    code = f"""
import os, signal
from pathlib import Path
from optuna.distributions import FloatDistribution
from stages.tuning.study import Plan, open_study
plan = Plan(name={plan.name!r}, trials={plan.trials}, space={{'x': FloatDistribution(-1.0, 1.0), 'y': FloatDistribution(1e-3, 1.0, log=True)}},
    seed={plan.seed}, startup={plan.startup}, run={plan.run!r}, folder=Path({str(plan.folder)!r}), database={plan.database!r})
with open_study(plan) as study, study.claim() as claim:
    {what}
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
