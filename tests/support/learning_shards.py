"""Real shards of a small scenario, made by the real stages."""

from pathlib import Path

from pipeline.console_reporter import ConsoleReporter
from risloc.io.shard_reader import ShardConfig
from risloc.scenes.scenario import Scenario
from stages import shard, simulate

SEED = 3


def make_shards(folder: Path, scenario: Scenario, *, train: int = 48, val: int = 32) -> Path:
    """folder/shards with the splits train, val and test."""
    data = simulate.DataConfig(train=train, val=val, test_per_cell=2, test_snr_db=(10.0,), block=16)
    raw, shards = folder / "raw", folder / "shards"
    common = {"seed": SEED, "scenario": scenario, "raw": raw, "report": ConsoleReporter()}
    common |= {"metrics": folder / "metrics.json", "state": folder / "state"}
    simulate.run(**common, data=data)
    shard.run(**common, shards=ShardConfig(scenes_per_shard=32, chunk=8), shard_dir=shards)
    return shards
