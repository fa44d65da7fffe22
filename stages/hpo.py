"""Tune learning rate, width, beta and a factor on each loss weight, by a physical score that no weight scales.

The study is keyed by everything that changes the objective, so that a killed search is resumed and more trials
add to the existing ones; any number of workers may share it (`stages.tuning.study`). The winner must beat params.yaml's own
values on held-out scenes beyond doubt, also when both are trained again from other networks and in other orders, else
those stay (`stages.tuning.verdict`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from risloc.config import ParamError
from risloc.covariance.factored import CovarianceConfig
from risloc.io.shard_reader import ShardReader
from risloc.learning.loss_weights import LossConfig
from risloc.learning.network_config import NetworkConfig
from risloc.learning.training_step import FitConfig
from risloc.physics.grid import GridConfig
from risloc.scenes.scenario import Scenario
from stages.support.fitting import report_weights
from stages.support.mapping import Runner
from stages.support.reporter import Reporter
from stages.support.writers import write_csv, write_json
from stages.tuning.best_params import Tunable, knobs, write_best
from stages.tuning.search_space import HpoConfig

if TYPE_CHECKING:
    from stages.tuning.search import Decision

__all__ = ["run"]


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
    from stages.tuning.search import Search  # optuna, which the other stages need not load to check these parameters

    del overfit_report  # a dependency only: nothing is tuned before the check has passed
    default = Tunable(covariance=covariance, network=network, loss=loss, fit=fit)
    _check(hpo, default, runner, storage)
    report_weights(loss, report)
    train, val = (ShardReader(shard_dir / split, scenario) for split in ("train", "val"))
    search = Search(
        seed=seed, scenario=scenario, grid=grid, default=default, hpo=hpo, train=train, val=val, report=report
    )
    outcomes = search.explore(runner, state, storage) if hpo.trials else []
    chosen = search.decide(outcomes, runner, search.plan(state, storage).folder)
    search.write_trials(outcomes, trials)
    _write(chosen, best, trials, metrics, report)


def _check(hpo: HpoConfig, default: Tunable, runner: Runner, storage: str | None) -> None:
    """Raise ParamError for a search space or a study that cannot work."""
    if unknown := [path for path in hpo.knobs() if path not in knobs(default)]:
        raise ParamError(f"hpo.space.{unknown[0]}: no such knob; expected one of {', '.join(knobs(default))}")
    if runner.hosts and storage is None:
        raise ParamError(
            "the study: expected a database, because the workers are on several hosts; got the journal of one host. Name "
            "a PostgreSQL (RISLOC_STUDY=postgresql://USER:PASSWORD@HOST/NAME) or use workers of this host"
        )


def _write(chosen: "Decision", best: Path, trials: Path, metrics: Path, report: Reporter) -> None:
    """Write and report what was chosen, and why."""
    write_best(best, chosen.best)
    if chosen.rows:
        write_csv(trials / "replicates.csv", chosen.rows)
    report.line(f"best.yaml: {chosen.best.chosen}")
    report.tag("chosen", chosen.best.chosen)
    found = {"difference": chosen.difference.mean, "margin": chosen.difference.margin, "replicates": len(chosen.rows)}
    report.metrics({f"hpo/{name}": value for name, value in found.items()})
    write_json(metrics, {"chosen": chosen.best.chosen, **found})
    report.artifact(best)
    report.artifact(trials)
