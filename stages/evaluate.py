"""Evaluate every method on the test scenes, beside the bound: tables by SNR, by K and by cell, and figures."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch

from risloc.checkpoint import check_geometry, load_checkpoint
from risloc.crb import prior_deviation
from risloc.localise import Localiser, SearchConfig
from risloc.network import HybridNetwork
from risloc.params import ParamError, param
from risloc.scene import Scenario
from risloc.shards import ShardReader, batches
from stages.figures import plot_errors, plot_spectrum, telling_scene
from stages.methods import K_RULES, run_methods
from stages.report import Reporter, write_csv, write_json
from stages.tables import Row, Scores, Table, error_curves, flat_metrics, score, score_bound, tabulate

__all__ = ["EvaluateConfig", "run"]

CURVES = ("R_blend", "R_pred", "R_samp", "R_true", "untrained")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """The `evaluate` section of params.yaml."""

    batch: int = param("scenes localised together", ge=1)
    k_rules: tuple[str, ...] = param(
        "how K is known: given, or found by BIC; the first one names the metrics", choices=K_RULES
    )
    gospa_cutoffs: tuple[float, ...] = param(
        "GOSPA cut-offs; the first one also decides what is matched", unit="m", gt=0.0
    )
    confidence: float = param("level of every interval", gt=0.0, lt=1.0)
    search: SearchConfig = param("how sources are searched for")

    def __post_init__(self) -> None:
        for name in ("k_rules", "gospa_cutoffs"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ParamError(f"{name}: expected one or more values, each once, got {list(values)}")


def run(
    *,
    seed: int,
    scenario: Scenario,
    evaluate: EvaluateConfig,
    shard_dir: Path,
    checkpoint: Path,
    evaluate_report: Path,
    metrics: Path,
    report: Reporter,
) -> None:
    """Locate the sources of every test scene by every method and write what came of it.

    Raises
    ------
    risloc.shards.ShardError, risloc.checkpoint.CheckpointError
        The test shards or the checkpoint are missing, damaged, or made for another scenario.
    """
    reader = ShardReader(shard_dir / "test", scenario)
    network, trained = load_checkpoint(checkpoint)
    report.params({f"loss_used.{name}": value for name, value in trained.get("loss", {}).items()})
    check_geometry(network, scenario)
    localiser = Localiser(scenario, evaluate.search)
    scenes, methods, seconds = _score_all(seed, reader, localiser, network, evaluate, report)
    table = Table(cutoffs=evaluate.gospa_cutoffs, confidence=evaluate.confidence, seed=seed)
    columns, scored = scenes.columns(), {name: scores.columns() for name, scores in methods.items()}
    by_snr = tabulate(columns, scored, ["snr_db"], table)
    names = [f"{name}_{step}{_suffix(evaluate)}" for name in CURVES for step in ("refined", "plain")]
    names += [f"{name}_refined{_suffix(evaluate)}" for name in ("back_projection", "pursuit")]
    curves = error_curves(by_snr, names)
    evaluate_report.mkdir(parents=True, exist_ok=True)
    write_csv(evaluate_report / "by_snr.csv", by_snr)
    write_csv(evaluate_report / "by_k.csv", tabulate(columns, scored, ["count"], table))
    write_csv(evaluate_report / "by_cell.csv", tabulate(columns, scored, ["snr_db", "count"], table))
    write_csv(evaluate_report / "error_by_snr.csv", curves)
    plot_errors(by_snr, _suffix(evaluate), evaluate_report / "error_by_snr.png")
    shown = telling_scene(columns["count"], columns["snr_db"])
    plot_spectrum(reader.read(slice(shown, shown + 1)), localiser, network, evaluate_report / "spectrum.png")
    flat = flat_metrics(by_snr)
    write_json(metrics, flat)
    report.metrics({key: value for key, value in flat.items() if value is not None})
    report.metrics({f"ms_per_scene/{name}": 1e3 * s / len(reader) for name, s in seconds.items()})
    report.artifact(evaluate_report)
    _say(by_snr, names, report)


def _score_all(
    seed: int,
    reader: ShardReader,
    localiser: Localiser,
    network: HybridNetwork,
    evaluate: EvaluateConfig,
    report: Reporter,
) -> tuple[Scores, dict[str, Scores], dict[str, float]]:
    """Batch by batch: what is kept of a scene is a row of numbers for each method."""
    untrained = _untrained(network, seed)
    prior = prior_deviation(localiser.domain)
    facts: Scores = Scores()
    methods: dict[str, Scores] = defaultdict(Scores)
    seconds: dict[str, float] = defaultdict(float)
    with torch.inference_mode(), report.progress(len(reader), "scenes") as advance:
        for scenes in batches(reader, evaluate.batch):
            bounds = score_bound(scenes, localiser, prior, reader.scenario.waveform)
            truth = scenes.truth
            facts.add(snr_db=truth.snr_db, count=truth.count, root_crb=bounds.position, clipped=bounds.clipped)
            for result in run_methods(scenes, localiser, network, untrained, evaluate.k_rules):
                methods[result.name].add(**score(scenes, bounds, result.located, evaluate.gospa_cutoffs))
                seconds[result.name] += result.seconds
            advance(len(scenes))
    return facts, methods, seconds


def _untrained(network: HybridNetwork, seed: int) -> HybridNetwork:
    """The same architecture with weights as they are before training, on a stream of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        fresh = HybridNetwork(network.scenario, network.grid_config, network.covariance_config, network.config)
    return fresh.eval()


def _suffix(evaluate: EvaluateConfig) -> str:
    return "" if evaluate.k_rules[0] == "known" else f"_{evaluate.k_rules[0]}"


def _say(rows: list[Row], names: list[str], report: Reporter) -> None:
    """The headline table in the log: median position error [m] by SNR."""
    snrs = sorted({float(str(row["snr_db"])) for row in rows})
    cell = {(row["method"], row["snr_db"]): row for row in rows}
    report.line("median position error [m] by SNR [dB]: " + " ".join(f"{snr:8g}" for snr in snrs))
    bound = " ".join(f"{cell[names[0], snr]['root_crb_median_m']:8.3g}" for snr in snrs)
    report.line(f"{'root-CRB':>37s}: {bound}")
    for name in names:
        values = " ".join(f"{cell[name, snr]['position_error_median_m']:8.3g}" for snr in snrs)
        report.line(f"{name:>37s}: {values}")
