"""simulate, shard and evaluate at toy size, on whatever runner.

    python tests/support/mapped_run.py FOLDER SCENARIO SETTING ...      in one flow, on each of the settings in turn

SCENARIO is its JSON; the results of the i-th setting lie in FOLDER/i. pytest imports this for the serial run.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from pipeline.console_reporter import ConsoleReporter
from risloc.config import as_mapping, build
from risloc.covariance.factored import CovarianceConfig
from risloc.estimation.search_config import SearchConfig
from risloc.io.shard_reader import ShardConfig
from risloc.learning.checkpoint import save_checkpoint
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.physics.grid import GridConfig
from risloc.scenes.scenario import Scenario
from risloc.utils.yaml_reader import read_yaml
from stages import evaluate, shard, simulate
from stages.support.mapping import SERIAL, Runner
from stages.support.reporter import Reporter

SEED = 3
PARAMS = read_yaml(Path(__file__).parents[2] / "params.yaml")
GRID = GridConfig(step_beams=0.36, planes=3)
NETWORK = dataclasses.replace(build(NetworkConfig, PARAMS["network"], "network"), channels=8, blocks=1, passes=1)
SEARCH = dataclasses.replace(
    build(SearchConfig, PARAMS["search"], "search"),
    grid=GRID,
    coarse=GRID,
    rank=6,
    peaks=8,
    exchange_rounds=2,
    exchange_tries=2,
)
DATA = simulate.DataConfig(train=70, val=20, test_per_cell=4, test_snr_db=(10.0, 30.0), block=16)
SHARDS = ShardConfig(scenes_per_shard=24, chunk=8)
EVALUATE = evaluate.EvaluateConfig(
    checkpoint="trained",
    batch=5,
    k_rules=("known", "bic"),
    methods=("R_blend_refined", "untrained_refined", "nomp_refined"),
    gospa_cutoffs=(2.0,),
    confidence=0.9,
)


def run_simulate(folder: Path, scenario: Scenario, runner: Runner, report: Reporter) -> None:
    """folder/raw and folder/simulate.json."""
    simulate.run(
        seed=SEED,
        scenario=scenario,
        data=DATA,
        raw=folder / "raw",
        metrics=folder / "simulate.json",
        state=folder / "state",
        report=report,
        runner=runner,
    )


def run_shard(folder: Path, scenario: Scenario, runner: Runner, report: Reporter) -> None:
    """folder/shards and folder/shard.json, of folder/raw."""
    shard.run(
        seed=SEED,
        scenario=scenario,
        shards=SHARDS,
        raw=folder / "raw",
        shard_dir=folder / "shards",
        metrics=folder / "shard.json",
        state=folder / "state",
        report=report,
        runner=runner,
    )


def run_evaluate(folder: Path, scenario: Scenario, runner: Runner, report: Reporter) -> None:
    """folder/evaluate and folder/evaluate.json, of folder/shards, by a network before training."""
    if not (folder / "checkpoint").exists():
        torch.manual_seed(0)
        network = HybridNetwork(scenario, GRID, CovarianceConfig(beta=0.3), NETWORK)
        save_checkpoint(folder / "checkpoint", network, {})
    evaluate.run(
        seed=SEED,
        scenario=scenario,
        search=SEARCH,
        evaluate=EVALUATE,
        shard_dir=folder / "shards",
        checkpoint=folder / "checkpoint",
        evaluate_report=folder / "evaluate",
        metrics=folder / "evaluate.json",
        state=folder / "state",
        report=report,
        runner=runner,
    )


STAGES = (run_simulate, run_shard, run_evaluate)


def run_all(folder: Path, scenario: Scenario, runner: Runner = SERIAL) -> None:
    """All three."""
    for stage in STAGES:
        stage(folder, scenario, runner, ConsoleReporter())


def results(folder: Path) -> dict[str, bytes]:
    """Every file that does not depend on the clock, by its path."""
    made = [path for kind in ("raw", "shards") for path in (folder / kind).rglob("*") if path.is_file()]
    made += [folder / f"{name}.json" for name in ("simulate", "shard", "evaluate")]
    made += [path for path in (folder / "evaluate").glob("*.csv") if path.stem not in ("time", "ablation")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(made) if path.exists()}


def differing(expected: Path, found: Path) -> list[str]:
    """The results that are not the same, byte for byte, in both folders."""
    one, other = results(expected), results(found)
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def run_script(folder: Path, scenario: Scenario, *settings: str, **environment: str) -> None:
    """This file as a process of its own, which must end well."""
    words = [sys.executable, __file__, str(folder), json.dumps(as_mapping(scenario)), *settings]
    root = str(Path(__file__).parents[2])
    inherited = os.environ | {"PYTHONPATH": root, "PREFECT_HOME": str(folder / "prefect")}
    done = subprocess.run(words, env=inherited | environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


def _main(folder: Path, scenario: Scenario, settings: list[str]) -> None:
    import prefect

    from pipeline.runner_setting import RUNNER, runner_setting
    from pipeline.runners import open_runner

    @prefect.flow
    def each() -> None:
        for number, setting in enumerate(settings):
            with open_runner(runner_setting({RUNNER: setting})) as runner:
                run_all(folder / str(number), scenario, runner)

    each()


if __name__ == "__main__":
    torch.set_num_threads(2)
    _main(Path(sys.argv[1]), build(Scenario, json.loads(sys.argv[2]), "scenario"), sys.argv[3:])
