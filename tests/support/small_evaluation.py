"""The stage evaluate at toy size: its shards, its network and its tables."""

import csv
import dataclasses
from pathlib import Path

import torch

from pipeline.console_reporter import ConsoleReporter
from risloc.config import build
from risloc.covariance.factored import CovarianceConfig
from risloc.estimation.search_config import SearchConfig
from risloc.io.shard_reader import ShardConfig
from risloc.learning.checkpoint import save_checkpoint
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.physics.grid import GridConfig
from risloc.utils.yaml_reader import read_yaml
from stages import evaluate, shard, simulate

PARAMS = read_yaml(Path(__file__).parents[2] / "params.yaml")
GRID = GridConfig(step_beams=0.36, planes=3)
NETWORK = dataclasses.replace(build(NetworkConfig, PARAMS["network"], "network"), channels=8, blocks=1, passes=1)
SEARCH = dataclasses.replace(
    build(SearchConfig, PARAMS["search"], "search"),
    grid=GRID,
    rank=6,
    peaks=10,
    exchange_rounds=2,
    exchange_tries=2,
    iterations=20,
    coarse=GRID,
    sparse_iterations=10,
)
CONFIG = evaluate.EvaluateConfig(
    checkpoint="trained", batch=8, k_rules=("known", "bic"), methods=(), gospa_cutoffs=(2.0, 0.5), confidence=0.9
)
COMPANIONS = {
    "R_blend_refined": ["R_blend_stochastic", "R_blend_plain"],
    "R_pred_refined": ["R_pred_plain"],
    "untrained_refined": ["untrained_plain"],
    "R_samp_refined": ["R_samp_plain"],
    "back_projection_refined": ["beamforming_plain", "mvdr_plain"],
    "sbl_refined": ["sbl_plain"],
    "nomp_refined": ["nomp_stochastic"],
    "R_true_refined": ["R_true_stochastic", "R_true_plain"],
}  # what comes with each method
# K rules of those that have their own.
ENDS = {"ablation_no_selection": ("",), "nomp_echoes_refined": ("_bic", "_bic_noise")}


def results_of(name):
    """The names of the results of a method and its companions, with K known and by BIC, in their order."""
    ends = ENDS.get(name, ("", "_bic"))
    return [f"{each}{end}" for end in ends for each in (name, *COMPANIONS.get(name, []))]


def make(scenario, root):
    """Test scenes as shards, two for each SNR and K, and an untrained checkpoint."""
    report = ConsoleReporter()
    data = simulate.DataConfig(train=1, val=1, test_per_cell=2, test_snr_db=(10.0, 30.0), block=8)
    simulate.run(
        seed=3,
        scenario=scenario,
        data=data,
        raw=root / "raw",
        metrics=root / "simulate.json",
        state=root / "state",
        report=report,
    )
    packed = ShardConfig(scenes_per_shard=8, chunk=4)
    shard.run(
        seed=3,
        scenario=scenario,
        shards=packed,
        raw=root / "raw",
        shard_dir=root / "shards",
        metrics=root / "shard.json",
        state=root / "state",
        report=report,
    )
    torch.manual_seed(0)
    save_checkpoint(root / "checkpoint", HybridNetwork(scenario, GRID, CovarianceConfig(beta=0.3), NETWORK), {})


def run(world, scenario, out, config=CONFIG):
    report = ConsoleReporter()
    evaluate.run(
        seed=3,
        scenario=scenario,
        search=SEARCH,
        evaluate=config,
        shard_dir=world / "shards",
        checkpoint=world / "checkpoint",
        evaluate_report=out / "evaluate",
        metrics=out / "evaluate.json",
        state=out / "state",
        report=report,
    )
    return report


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))
