"""Draw the scenes of all splits into raw blocks of fixed size."""

import hashlib
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from risloc.channel import effective_rank
from risloc.params import ParamError, as_mapping, param
from risloc.records import Arrays, arrays_of, digest
from risloc.scene import Scenario, Scenes
from risloc.simulation import simulate
from stages.report import Reporter, replacing, write_json

__all__ = ["DataConfig", "block_paths", "load_block", "manifest", "run"]

_MANIFEST = "manifest.json"
_RANK_SCENES = 256


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How many scenes there are."""

    train: int = param("training scenes", ge=1)
    val: int = param("validation scenes", ge=1)
    test_per_cell: int = param("test scenes for each pair of an SNR and a number of sources", ge=1)
    test_snr_db: tuple[float, ...] = param("exact SNRs of the test scenes", unit="dB")
    block: int = param("scenes in a raw block: what is in memory at a time", ge=1)

    def __post_init__(self) -> None:
        if not self.test_snr_db or len(set(self.test_snr_db)) != len(self.test_snr_db):
            raise ParamError(f"test_snr_db: expected one or more values, each once, got {list(self.test_snr_db)}")


def run(*, seed: int, scenario: Scenario, data: DataConfig, raw: Path, metrics: Path, report: Reporter) -> None:
    """Write raw/<split>/<block>.npz and, last of all, raw/manifest.json.

    The test split has test_per_cell scenes for each SNR and each K, cell by cell, K fastest. A scene is the same
    whatever the block size. Memory is bounded by a block.
    """
    began = time.perf_counter()
    cells = [(snr, k) for snr in data.test_snr_db for k in range(scenario.K_span[0], scenario.K_span[1] + 1)]
    sizes = {"train": data.train, "val": data.val, "test": data.test_per_cell * len(cells)}
    results: dict[str, object] = {}
    with report.progress(sum(sizes.values()), "scenes") as advance:
        for split, size in sizes.items():
            running, sources, rank = hashlib.blake2b(digest_size=16), 0, 0.0
            for number, start in enumerate(range(0, size, data.block)):
                stop = min(start + data.block, size)
                scenes = _draw(scenario, data, cells, seed, split, start, stop)
                arrays = arrays_of(scenes, scenario.code_bits)
                _write_block(raw / split / f"{number:05d}.npz", arrays)
                digest(arrays, running)
                sources += int(scenes.truth.count.sum())
                rank = rank or float(effective_rank(scenes.observation.H[:_RANK_SCENES]).mean())
                advance(stop - start)
            summary = {"scenes": size, "mean_K": sources / size, "mean_effective_rank": round(rank, 4)}
            results[split] = {**summary, "hash": running.hexdigest()}
            report.line(f"{split}: {size} scenes, mean K {sources / size:.2f}, effective rank of H {rank:.2f}")
    contents = {"scenario": as_mapping(scenario), "seed": seed, "block": data.block, "scenes": sizes}
    write_json(raw / _MANIFEST, contents)
    write_json(metrics, results)
    report.metrics({"simulate/scenes_per_second": sum(sizes.values()) / (time.perf_counter() - began)})


def manifest(raw: Path, scenario: Scenario, seed: int) -> dict[str, int]:
    """The number of scenes of each split under `raw`.

    Raises
    ------
    ValueError
        No manifest (simulate did not finish), or one of another scenario or seed.
    """
    path = raw / _MANIFEST
    if not path.is_file():
        raise ValueError(f"{path}: not there, so the raw scenes are not whole; run `dvc repro simulate`")
    contents = json.loads(path.read_text(encoding="utf-8"))
    if contents["scenario"] != as_mapping(scenario) or contents["seed"] != seed:
        raise ValueError(f"{path}: the raw scenes are of another scenario or seed; run `dvc repro simulate`")
    return {split: int(size) for split, size in contents["scenes"].items()}


def block_paths(raw: Path, split: str) -> Iterator[Path]:
    """The blocks of a split, in order."""
    yield from sorted((raw / split).glob("*.npz"))


def load_block(path: Path) -> Arrays:
    """The arrays of one block. ValueError where the file is damaged."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged block ({error}); delete it and run `dvc repro simulate`") from error


def _draw(
    scenario: Scenario,
    data: DataConfig,
    cells: list[tuple[float, int]],
    seed: int,
    split: str,
    start: int,
    stop: int,
) -> Scenes:
    if split != "test":
        return simulate(scenario, seed=seed, split=split, start=start, stop=stop)
    here = [cells[index // data.test_per_cell] for index in range(start, stop)]
    snr_db, count = ([cell[i] for cell in here] for i in (0, 1))
    return simulate(scenario, seed=seed, split=split, start=start, stop=stop, snr_db=snr_db, count=count)


def _write_block(path: Path, arrays: Arrays) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
