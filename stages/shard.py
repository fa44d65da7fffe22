"""Validate the raw scenes and pack them into checksummed shards."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from risloc.records import Arrays
from risloc.scene import Scenario
from risloc.shard_writer import write_shard
from risloc.shards import ShardConfig
from risloc.validation import SceneError, validate
from stages.report import Reporter, write_json
from stages.simulate import block_paths, load_block, manifest

__all__ = ["run"]


def run(
    *,
    seed: int,
    scenario: Scenario,
    shards: ShardConfig,
    raw: Path,
    shard_dir: Path,
    metrics: Path,
    report: Reporter,
) -> None:
    """Write shard_dir/<split>/<number>.h5: all of them, or, after any error, none.

    Memory is bounded by a shard and eight bytes a scene (the hashes that show that no scene is there twice).
    """
    sizes = manifest(raw, scenario, seed)
    building = shard_dir.with_name(f".{shard_dir.name}.part")
    shutil.rmtree(building, ignore_errors=True)
    seen: set[bytes] = set()
    results: dict[str, object] = {}
    try:
        for split, size in sizes.items():
            (building / split).mkdir(parents=True)
            running, start = hashlib.blake2b(digest_size=16), 0
            with report.progress(size, f"{split} scenes") as advance:
                blocks = _blocks(raw, split, scenario, seen)
                for number, arrays in enumerate(_regrouped(blocks, shards.scenes_per_shard)):
                    path = building / split / f"{number:05d}.h5"
                    checksum = write_shard(
                        path, scenario, arrays, seed=seed, split=split, start=start, chunk=shards.chunk
                    )
                    running.update(checksum.encode())
                    start += len(arrays["y"])
                    advance(len(arrays["y"]))
            if start != size:
                raise ValueError(f"{raw / split}: expected {size} scenes, got {start}; run `dvc repro simulate`")
            results[split] = _summary(building / split, scenario, size, running.hexdigest())
        shutil.rmtree(shard_dir, ignore_errors=True)
        building.replace(shard_dir)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    write_json(metrics, results)
    for split, summary in results.items():
        report.line(f"{split}: {summary}")


def _blocks(raw: Path, split: str, scenario: Scenario, seen: set[bytes]) -> Iterator[Arrays]:
    """The validated blocks of a split; `seen` gathers the hash of every scene of every split."""
    start = 0
    for path in block_paths(raw, split):
        arrays = load_block(path)
        where = f"{path.parent.name}/{path.name}"
        validate(arrays, scenario, where, start)
        for row, y in enumerate(arrays["y"]):
            key = hashlib.blake2b(y.tobytes(), digest_size=8).digest()
            if key in seen:
                raise SceneError(
                    f"{where}: scene {start + row} of {split} is there twice, in this split or another; "
                    "the splits must be disjoint, run `dvc repro simulate`"
                )
            seen.add(key)
        start += len(arrays["y"])
        yield arrays


def _regrouped(blocks: Iterator[Arrays], size: int) -> Iterator[Arrays]:
    """The same scenes in groups of `size`, the last one perhaps smaller."""
    waiting: list[Arrays] = []
    have = 0
    for block in blocks:
        waiting.append(block)
        have += len(block["y"])
        while have >= size:
            joined = _joined(waiting)
            yield {name: array[:size] for name, array in joined.items()}
            waiting = [{name: array[size:] for name, array in joined.items()}]
            have -= size
    if have:
        yield _joined(waiting)


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _summary(folder: Path, scenario: Scenario, scenes: int, checksum: str) -> dict[str, object]:
    stored = sum(path.stat().st_size for path in folder.iterdir())
    channel = 8 * scenario.antennas * scenario.size
    covariance = 8 * scenario.size**2
    return {
        "scenes": scenes,
        "shards": len(list(folder.iterdir())),
        "bytes_per_scene": stored // scenes,
        "times_smaller_than_covariances": round(covariance / (stored / scenes - channel), 2),
        "checksum": checksum,
    }
