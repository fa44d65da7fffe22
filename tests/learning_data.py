"""Real shards of a small scenario, made by the real stages."""

from pathlib import Path

from risloc.scene import Scenario
from risloc.shards import ShardConfig
from stages import shard, simulate
from stages.report import ConsoleReporter

SEED = 3


def make_shards(folder: Path, scenario: Scenario, *, train: int = 48, val: int = 32) -> Path:
    """folder/shards with the splits train, val and test."""
    data = simulate.DataConfig(train=train, val=val, test_per_cell=2, test_snr_db=(10.0,), block=16)
    raw, shards, metrics, report = folder / "raw", folder / "shards", folder / "metrics.json", ConsoleReporter()
    simulate.run(seed=SEED, scenario=scenario, data=data, raw=raw, metrics=metrics, report=report)
    config = ShardConfig(scenes_per_shard=32, chunk=8)
    shard.run(seed=SEED, scenario=scenario, shards=config, raw=raw, shard_dir=shards, metrics=metrics, report=report)
    return shards
