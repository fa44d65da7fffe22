"""Scenes a second and R_samp milliseconds a scene, batched against the plain reference, side by side on one core.

And a batch of fresh scenes against a training step on it: the share of the step that drawing the next batch takes.

python -m benchmarks.simulate
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import reference
from benchmarks.timing import alternately, best_seconds, median_ratio
from risloc.config import build
from risloc.covariance.factored import CovarianceConfig
from risloc.covariance.snapshots import sample_covariance_of
from risloc.io.scene_arrays import arrays_of
from risloc.io.shard_batches import batches
from risloc.io.shard_reader import ShardReader
from risloc.io.shard_writer import write_shard
from risloc.learning.loss_weights import LossConfig
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.learning.trainer import Trainer
from risloc.learning.training_step import FitConfig
from risloc.physics.grid import GridConfig
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.yaml_reader import read_yaml

SCENES = 1024
PLAIN = 20
REPEATS = 5


def main() -> None:
    """Print one line a comparison, and the same as JSON at the end."""
    torch.set_num_threads(1)
    scenario = build(Scenario, preset("default"), "default")
    rng = np.random.default_rng(0)
    plain_scenes = [reference.simulate(scenario, rng) for _ in range(PLAIN)]
    seen = simulate(scenario, seed=0, split="val", start=0, stop=SCENES).observation

    def batched() -> None:
        for start in range(0, SCENES, 128):
            part = seen[start : start + 128]
            sample_covariance_of(part)

    fast, slow = (
        best_seconds(lambda: simulate(scenario, seed=0, split="train", start=0, stop=SCENES), REPEATS) / SCENES,
        best_seconds(lambda: [reference.simulate(scenario, rng) for _ in range(PLAIN)], REPEATS) / PLAIN,
    )
    lean, dense = (
        best_seconds(batched, REPEATS) / SCENES,
        best_seconds(lambda: [reference.sample_covariance(scene) for scene in plain_scenes], REPEATS) / PLAIN,
    )
    results = {
        "simulate_scenes_per_second": 1 / fast,
        "simulate_reference_scenes_per_second": 1 / slow,
        "simulate_ratio": slow / fast,
        "R_samp_ms_per_scene": lean * 1e3,
        "R_samp_reference_ms_per_scene": dense * 1e3,
        "R_samp_ratio": dense / lean,
    }
    results |= _reading(scenario) | _fresh(scenario)
    print(f"simulation: {1 / fast:.0f} scenes/s batched, {1 / slow:.0f} plain: {slow / fast:.0f} times faster")
    print(
        f"R_samp: {lean * 1e3:.3f} ms for each scene as factors, {dense * 1e3:.1f} dense: {dense / lean:.0f} times faster"
    )
    print(
        f"shards: {results['read_in_order']:.0f} scenes/s in order, {results['read_shuffled']:.0f} shuffled, batches of 64"
    )
    print(
        f"fresh scenes: {results['draw_batch_ms']:.1f} ms to draw a batch, {results['train_step_ms']:.0f} to train on it: "
        f"{results['draw_over_step']:.1%}"
    )
    print(json.dumps({name: float(f"{value:.4g}") for name, value in results.items()}))


def _reading(scenario: Scenario) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        arrays = arrays_of(simulate(scenario, seed=0, split="train", start=0, stop=2048), scenario.code_bits)
        write_shard(Path(folder) / "0.h5", scenario, arrays, seed=0, split="train", start=0, chunk=32)
        reader = ShardReader(Path(folder))
        return {
            name: 2048
            / best_seconds(lambda seed=seed: sum(len(batch) for batch in batches(reader, 64, seed=seed)), REPEATS)  # type: ignore[misc]
            for name, seed in (("read_in_order", None), ("read_shuffled", 1))
        }


def _fresh(scenario: Scenario) -> dict[str, float]:
    params = read_yaml(Path("params.yaml"))
    fit, loss = build(FitConfig, params["fit"], "fit"), build(LossConfig, params["loss"], "loss")
    network = HybridNetwork(
        scenario,
        build(GridConfig, params["grid"], "grid"),
        build(CovarianceConfig, params["covariance"], "covariance"),
        build(NetworkConfig, params["network"], "network"),
    )
    trainer = Trainer(network, loss, fit, epochs=REPEATS + 1, steps_per_epoch=1, device=torch.device("cpu"))
    batch = simulate(scenario, seed=0, split="train", start=0, stop=fit.batch_size)
    works = {
        "draw": lambda: simulate(scenario, seed=0, split="train", start=0, stop=fit.batch_size),
        "step": lambda: trainer.train_epoch([batch], on_first=lambda _: None, on_step=lambda _: None),
    }
    took = alternately(works, REPEATS)
    drawn, trained = (1e3 * min(took[name]) for name in works)
    ratio = median_ratio(took["draw"], took["step"])
    return {"draw_batch_ms": drawn, "train_step_ms": trained, "draw_over_step": ratio}


if __name__ == "__main__":
    main()
