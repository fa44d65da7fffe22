"""Prove that the training loop learns: a small fixed set must be learnt by heart, with the curriculum and without.

The verdict is on the weight-free NMSE of R_blend. Where it fails, the stage fails, names the term at fault, and DVC
stops before anything is tuned or trained.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from risloc.config import param
from risloc.covariance.factored import CovarianceConfig
from risloc.io.shard_reader import ShardReader
from risloc.learning.loss_weights import LossConfig
from risloc.learning.network_config import NetworkConfig
from risloc.learning.trainer import Trainer
from risloc.learning.training_step import FitConfig
from risloc.learning.validation import Validation, validate
from risloc.physics.grid import GridConfig
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.utils.device import best_device
from stages.support.fitting import Data, Log, Row, build_network, fit_epoch, replicate_seed, report_weights
from stages.support.reporter import Reporter
from stages.support.writers import write_csv, write_json, write_text

__all__ = ["GateError", "OverfitConfig", "Verdict", "judge", "run"]


@dataclass(frozen=True, kw_only=True)
class OverfitConfig:
    """The `overfit` section of params.yaml."""

    scenes: int = param("scenes of the fixed set", ge=8)
    epochs: int = param("passes over the fixed set", ge=2)
    batch_size: int = param("scenes per step", ge=1)
    excellent: float = param("largest NMSE of R_blend on the fixed set that passes", gt=0.0)
    improvement: float = param("largest value of an active term at the end, as a share of its highest", gt=0.0, lt=1.0)
    gate: bool = param("whether a fault stops the pipeline; without, an ablation that does not learn is trained too")


class GateError(RuntimeError):
    """The network does not learn what it is shown; the message names the term at fault."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one schedule showed. `ratio` is each active term at the end over its highest value, on the fixed set."""

    schedule: str
    nmse: float
    nmse_fresh: float
    nmse_silent: float
    ratio: dict[str, float]
    faults: tuple[str, ...]


def run(
    *,
    seed: int,
    scenario: Scenario,
    covariance: CovarianceConfig,
    grid: GridConfig,
    network: NetworkConfig,
    loss: LossConfig,
    fit: FitConfig,
    overfit: OverfitConfig,
    shard_dir: Path,
    overfit_report: Path,
    metrics: Path,
    report: Reporter,
) -> None:
    """Overfit in both schedules, write the log, the table and the verdict, then gate.

    Raises
    ------
    GateError
        A schedule does not learn, unless lam_cov is 0 by intention or the gate is open.
    """
    train, val = (ShardReader(shard_dir / split, scenario) for split in ("train", "val"))
    fixed = train.read(slice(0, min(overfit.scenes, len(train))))
    fresh = val.read(slice(0, min(overfit.scenes, len(val))))
    log, verdicts, curves = Log(report), [], {}
    fit = dataclasses.replace(fit, batch_size=overfit.batch_size)
    open_because = "lam_cov is 0 by intention" if loss.lam_cov == 0 else "" if overfit.gate else "overfit.gate is false"
    report_weights(loss, report)
    report.tag("data_checksum", train.checksum)
    if not overfit.gate:
        report.tag("overfit.gate", "open")
    for curriculum in (False, True):
        schedule = "curriculum" if curriculum else "constant weights"
        weights = dataclasses.replace(loss, curriculum=curriculum)
        net = build_network(replicate_seed(seed, fit.replicate), scenario, covariance, grid, network)
        steps = -(-len(fixed) // fit.batch_size)
        trainer = Trainer(net, weights, fit, epochs=overfit.epochs, steps_per_epoch=steps, device=best_device())
        log.line(f"Overfit check, {schedule}: {len(fixed)} scenes, {overfit.epochs} epochs")
        part = Log(report, prefix=f"{schedule.replace(' ', '_')}/", lines=log.lines)
        verdicts.append(_fit(trainer, schedule, fixed, fresh, overfit, part))
        curves[schedule] = part.rows
        for line in verdict_lines(verdicts[-1], overfit, open_because):
            log.line(line)
    _write(verdicts, curves, log, overfit_report, metrics, report)
    if not open_because and (faults := [f"{v.schedule}: {fault}" for v in verdicts for fault in v.faults]):
        raise GateError("overfit check failed, nothing is tuned or trained. " + "; ".join(faults))


def judge(
    schedule: str, course: list[Validation], fresh: Validation, loss: LossConfig, overfit: OverfitConfig
) -> Verdict:
    """Judge the course of the fixed set, from before the first epoch on: every fault by name, the worst term first.

    A term is measured against its highest value, not its first: the energy between signal and noise subspace is near 0
    before the network points anywhere, rises as it begins to, and falls as it points well.
    """
    end = course[-1]
    highest = {name: max(each.terms[name] for each in course) for name in end.terms}
    active = [name for name, weight in loss.effective().items() if weight > 0 and highest[name] > 0]
    ratio = {name: end.terms[name] / highest[name] for name in active}
    nmse, faults = end.terms["loss_nmse"], []
    if not nmse < overfit.excellent:
        faults.append(f"loss_nmse: NMSE of R_blend is {nmse:.3f}, expected < {overfit.excellent}")
    if not nmse < end.nmse_silent:
        faults.append(f"loss_nmse: R_blend ({nmse:.3f}) is no better than with a silent R_pred ({end.nmse_silent:.3f})")
    for name in sorted(active, key=lambda term: -ratio[term]):
        if not ratio[name] <= overfit.improvement:
            faults.append(
                f"{name}: {highest[name]:.3g} -> {end.terms[name]:.3g}, expected at most {overfit.improvement} of it"
            )
    return Verdict(
        schedule=schedule,
        nmse=nmse,
        nmse_fresh=fresh.terms["loss_nmse"],
        nmse_silent=end.nmse_silent,
        ratio=ratio,
        faults=tuple(faults),
    )


def verdict_lines(verdict: Verdict, overfit: OverfitConfig, open_because: str) -> list[str]:
    """What the log says of a verdict, and why nothing stops, where nothing does."""
    lines = [
        f"NMSE of R_blend ({verdict.schedule}): fixed set {verdict.nmse:.3f}, fresh scenes {verdict.nmse_fresh:.3f}, "
        f"with a silent R_pred {verdict.nmse_silent:.3f}",
        "Terms, end over highest: " + ", ".join(f"{name} {value:.3f}" for name, value in verdict.ratio.items()),
    ]
    if verdict.nmse < overfit.excellent:
        lines.append(f"EXCELLENT: val loss < {overfit.excellent:g}")
    if open_because:
        return [*lines, f"NOT GATED: {open_because}"]
    return [*lines, *([f"FAULT: {fault}" for fault in verdict.faults] or ["READY FOR FULL HPO"])]


def _fit(trainer: Trainer, schedule: str, fixed: Scenes, fresh: Scenes, overfit: OverfitConfig, log: Log) -> Verdict:
    size = trainer.fit.batch_size
    cuts = [slice(i, i + size) for i in range(0, len(fixed), size)]
    data = Data(
        train=lambda _: (fixed[c] for c in cuts), validation=lambda: (fixed[c] for c in cuts), scenes=len(fixed)
    )

    def on(scenes: Scenes) -> Validation:
        batches = (scenes[i : i + size] for i in range(0, len(scenes), size))
        return validate(trainer.averaged, trainer.loss, batches, trainer.device)

    course = [on(fixed), *(fit_epoch(trainer, data, log) for _ in range(overfit.epochs))]
    return judge(schedule, course, on(fresh), trainer.loss, overfit)


def _write(
    verdicts: list[Verdict], curves: dict[str, list[Row]], log: Log, folder: Path, metrics: Path, report: Reporter
) -> None:
    write_text(folder / "log.txt", "\n".join(log.lines) + "\n")
    write_csv(folder / "losses.csv", [{"schedule": name, **row} for name, rows in curves.items() for row in rows])
    summary = {
        v.schedule.replace(" ", "_"): {"nmse": v.nmse, "nmse_fresh": v.nmse_fresh, "nmse_silent": v.nmse_silent}
        for v in verdicts
    }
    write_json(metrics, {**summary, "passed": not any(v.faults for v in verdicts)})
    report.metrics({f"overfit/{s}/{k}": v for s, values in summary.items() for k, v in values.items()})
    report.artifact(folder)
