"""Evaluate every method on the test scenes, beside the bound; the results are tables, which the stage report draws."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from risloc.config import ParamError, as_mapping, param
from risloc.estimation.localiser import Localiser
from risloc.estimation.search_config import SearchConfig
from risloc.io.shard_reader import ShardReader
from risloc.learning.checkpoint import SHIPPED, check_geometry, load_checkpoint, shipped_checkpoint
from risloc.learning.k_rules import K_RULES, KNOWN, RULES, alternatives, needs_network
from risloc.learning.network import HybridNetwork
from risloc.scenes.scenario import Scenario
from stages.evaluation.calibration import calibration
from stages.evaluation.covariance_errors import covariance_quality
from stages.evaluation.facts import Facts, facts_of
from stages.evaluation.methods import METHODS, NO_SELECTION
from stages.evaluation.model_order import k_accuracy
from stages.evaluation.one_scene import locate_one, representative_scene, write_scene
from stages.evaluation.paired_gospa import paired
from stages.evaluation.resolution import resolution
from stages.evaluation.scores import Collection
from stages.evaluation.scoring import Scoring, score_all
from stages.evaluation.tables import Row, Table, ablation, curves, flat_metrics, json_ready, number, tabulate, timing
from stages.support.mapping import SERIAL, Runner
from stages.support.reporter import Reporter
from stages.support.resumable import kept, work_key
from stages.support.writers import write_csv, write_json

__all__ = ["EvaluateConfig", "run"]

Tables = dict[str, list[Row]]
CURVES = {
    "error": "position_error_median_m",
    "ratio": "error_over_root_crb_median",
    "within_3_root_crb": "within_3_root_crb",
    "K_accuracy": "K_accuracy",
}
"""Columns of by_snr.csv that are repeated in curves/, one column a method, for line plots."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """The `evaluate` section of params.yaml."""

    checkpoint: str = param("the network: the trained one, or one that is shipped", choices=("trained", *SHIPPED))
    batch: int = param("scenes localised together", ge=1)
    k_rules: tuple[str, ...] = param(
        f"how K is known: given, or found by {alternatives(RULES)}; the first one names the metrics",
        choices=tuple(K_RULES),
    )
    methods: tuple[str, ...] = param(
        "which methods are run, none for all: each with its plain spectrum and its stochastic fit", choices=METHODS
    )
    gospa_cutoffs: tuple[float, ...] = param(
        "GOSPA cut-offs; the first one also decides what is matched", unit="m", gt=0.0
    )
    confidence: float = param("level of every interval", gt=0.0, lt=1.0)

    def __post_init__(self) -> None:
        for name in ("k_rules", "gospa_cutoffs"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ParamError(f"{name}: expected one or more values, each once, got {list(values)}")
        if len(set(self.methods)) != len(self.methods):
            raise ParamError(f"methods: expected each once, got {list(self.methods)}")
        if self.methods == (NO_SELECTION.name,) and KNOWN not in self.k_rules:
            raise ParamError(f"methods: {NO_SELECTION.name} finds no K, so it alone needs {KNOWN!r} among k_rules")


def run(
    *,
    seed: int,
    scenario: Scenario,
    search: SearchConfig,
    evaluate: EvaluateConfig,
    shard_dir: Path,
    checkpoint: Path,
    evaluate_report: Path,
    metrics: Path,
    state: Path,
    report: Reporter,
    runner: Runner = SERIAL,
) -> None:
    """Locate the sources of every test scene by every method and write what came of it.

    Into `evaluate_report`: a CSV for each table, all of them as tables.json, by_snr as curves/, one scene with its
    spectrum as scene.npz, and the settings and facts as evaluation.json. All numbers but the times are the same however
    it is run. An interrupted run is resumed after its last batch. The network that was evaluated is the run's model.

    Raises
    ------
    risloc.io.shard_header.ShardError, risloc.learning.checkpoint.CheckpointError
        The test shards or the checkpoint are missing, damaged, or made for another scenario.
    """
    reader = ShardReader(shard_dir / "test", scenario)
    folder = checkpoint if evaluate.checkpoint == "trained" else shipped_checkpoint(evaluate.checkpoint)
    network, trained = load_checkpoint(folder)
    _check_rules(evaluate.k_rules, network, folder)
    report.params({f"loss_used.{name}": value for name, value in trained.get("loss", {}).items()})
    check_geometry(network, scenario)
    scoring = Scoring(
        seed=seed,
        scenario=scenario,
        search=search,
        shards=shard_dir / "test",
        checkpoint=folder,
        k_rules=evaluate.k_rules,
        methods=evaluate.methods,
        cutoffs=evaluate.gospa_cutoffs,
        folder=state / _key(seed, search, evaluate, reader, folder),
    )
    with kept(scoring.folder, report.line):
        collected = score_all(scoring, len(reader), evaluate.batch, report, runner)
        tables = _tables(collected, evaluate, seed)
        _write_tables(tables, evaluate, evaluate_report)
        scene = reader.read(_representative(collected))
        located = locate_one(scene, scenario, Localiser(scenario, search), network)
        write_scene(evaluate_report / "scene.npz", located)
        settings = as_mapping(evaluate) | {"search": as_mapping(search)}
        _write_facts(facts_of(seed, reader, network, trained, folder, settings), tables, evaluate, evaluate_report)
        headline = flat_metrics(tables["by_snr"])
        write_json(metrics, headline)
    report.metrics({key: value for key, value in headline.items() if value is not None})
    report.metrics({f"ms_per_scene/{row['method']}": number(row, "ms_per_scene") for row in tables["time"]})
    report.artifact(evaluate_report)
    report.model(folder)


def _representative(collected: Collection) -> slice:
    index = representative_scene(collected.scenes["count"], collected.scenes["snr_db"])
    return slice(index, index + 1)


def _check_rules(rules: Sequence[str], network: HybridNetwork, folder: Path) -> None:
    learnt = next((rule for rule in rules if needs_network(rule)), None)
    if learnt is not None and not bool(network.order.fitted):
        raise ParamError(
            f"evaluate.k_rules: {learnt!r} needs a network with an order head, and {folder} has none that is fitted; train "
            f"with order.scenes > 0, or take {learnt!r} out"
        )


def _key(seed: int, search: SearchConfig, evaluate: EvaluateConfig, reader: ShardReader, checkpoint: Path) -> str:
    """The name of the scores of these scenes by this network; what comes after the scores may change."""
    files = sorted(path for path in checkpoint.iterdir() if path.suffix in (".json", ".safetensors"))
    network = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return work_key(
        "stages.evaluation.scoring", seed, as_mapping(search), as_mapping(evaluate), reader.checksum, network
    )


def _tables(collected: Collection, evaluate: EvaluateConfig, seed: int) -> Tables:
    """Every table by its name. One without a subject (two sources, a fit, NOMP to compare with) has no row."""
    table = Table(cutoffs=evaluate.gospa_cutoffs, confidence=evaluate.confidence, seed=seed)
    scenes, methods = collected.scenes, collected.methods
    by_snr, times = tabulate(scenes, methods, ["snr_db"], table), timing(collected.times, evaluate.batch, table)
    return {
        "by_snr": by_snr,
        "by_k": tabulate(scenes, methods, ["count"], table),
        "by_cell": tabulate(scenes, methods, ["snr_db", "count"], table),
        "paired": paired(scenes, methods, table),
        "resolution": resolution(scenes, methods, table),
        "k_accuracy": k_accuracy(scenes, methods, collected.orders, table),
        "calibration": calibration(scenes, methods, table),
        "covariances": covariance_quality(scenes, collected.covariances, table),
        "time": times,
        "ablation": ablation(by_snr, times, table),
    }


def _write_tables(tables: Tables, evaluate: EvaluateConfig, folder: Path) -> None:
    """A table without rows has no columns either, and no file; in tables.json it is an empty list."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        if rows:
            write_csv(folder / f"{name}.csv", rows)
    write_json(folder / "tables.json", json_ready(tables))
    by_snr = tables["by_snr"]
    columns = CURVES | {"gospa": f"gospa_{evaluate.gospa_cutoffs[0]:g}m"}
    for name, column in columns.items():
        bound = "root_crb_median_m" if name == "error" else None
        write_csv(folder / "curves" / f"{name}_by_snr.csv", curves(by_snr, column, bound))


def _write_facts(facts: Facts, tables: Tables, evaluate: EvaluateConfig, folder: Path) -> None:
    """Write what the stage report needs besides the tables: their names, the settings that it shows, and the facts."""
    shown = {
        "tables": list(tables),
        "k_rules": evaluate.k_rules,
        "gospa_cutoff": evaluate.gospa_cutoffs[0],
        "confidence": evaluate.confidence,
    }
    write_json(folder / "evaluation.json", shown | {"facts": facts})
