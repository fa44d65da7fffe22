"""Scenes a second and R_samp milliseconds a scene, batched against the plain reference, side by side on one core.

python -m benchmarks.simulate
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import reference
from benchmarks.timing import best_seconds
from risloc.covariance import least_squares_snapshots, sample_covariance
from risloc.params import build
from risloc.preset_files import preset
from risloc.records import arrays_of
from risloc.scene import Scenario
from risloc.shard_writer import write_shard
from risloc.shards import ShardReader, batches
from risloc.simulation import simulate

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
            sample_covariance(least_squares_snapshots(part.y, part.codebook, part.H, part.noise_var))

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
    } | _reading(scenario)
    print(f"simulation: {1 / fast:.0f} scenes/s batched, {1 / slow:.0f} plain: {slow / fast:.0f} times faster")
    print(f"R_samp: {lean * 1e3:.3f} ms a scene as factors, {dense * 1e3:.1f} dense: {dense / lean:.0f} times faster")
    print(
        f"shards: {results['read_in_order']:.0f} scenes/s in order, {results['read_shuffled']:.0f} shuffled, batches of 64"
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


if __name__ == "__main__":
    main()
