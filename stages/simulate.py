"""Draw the scenes of all splits into raw blocks of fixed size."""

import hashlib
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from risloc.config import ParamError, as_mapping, param
from risloc.io.scene_arrays import Arrays, arrays_of, digest
from risloc.physics.channel import effective_rank
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from stages.support.mapping import SERIAL, Runner
from stages.support.pieces import each, finished
from stages.support.reporter import Reporter
from stages.support.resumable import kept, publish, work_key
from stages.support.writers import write_arrays, write_json

__all__ = [
    "AGAIN",
    "DataConfig",
    "Job",
    "Stretch",
    "block_paths",
    "draw_stretch",
    "load_block",
    "manifest",
    "run",
    "stretches",
]

_MANIFEST = "manifest.json"
AGAIN = "run `dvc repro simulate`, or, for a folder given to --into, `python -m pipeline simulate --into` it again"
"""What to do about raw scenes that are not whole."""
_RANK_SCENES = 256  # of a split, whose effective ranks are averaged
_STRETCH_SCENES = 8192


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


@dataclass(frozen=True)
class Job:
    """What all blocks have in common. folder : the blocks in `raw`, what is known of each in `known`."""

    seed: int
    scenario: Scenario
    data: DataConfig
    folder: Path

    @property
    def cells(self) -> list[tuple[float, int]]:
        """The (SNR, K) of the test split, in its order."""
        low, high = self.scenario.K_span
        return [(snr, k) for snr in self.data.test_snr_db for k in range(low, high + 1)]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of scenes of each split."""
        return {"train": self.data.train, "val": self.data.val, "test": self.data.test_per_cell * len(self.cells)}


@dataclass(frozen=True)
class Stretch:
    """Neighbouring blocks of a split: `numbers` of them, drawn one after another."""

    job: Job
    split: str
    numbers: range

    @property
    def blocks(self) -> list["Block"]:
        """The blocks, in order."""
        return [Block(self.job, self.split, number) for number in self.numbers]

    @property
    def scenes(self) -> int:
        """How many there are in all its blocks."""
        return sum(block.stop - block.start for block in self.blocks)


@dataclass(frozen=True)
class Block:
    """One raw block of a split."""

    job: Job
    split: str
    number: int

    @property
    def start(self) -> int:
        """Its first scene."""
        return self.number * self.job.data.block

    @property
    def stop(self) -> int:
        """The scene behind its last."""
        return min(self.start + self.job.data.block, self.job.sizes[self.split])

    @property
    def files(self) -> tuple[Path, Path]:
        """The block, and what is known of it."""
        name = f"{self.split}/{self.number:05d}.npz"
        return self.job.folder / "raw" / name, self.job.folder / "known" / name

    def kept(self) -> "Drawn | None":
        """What is known of the block, if it is there."""
        block, known = self.files
        if not (block.is_file() and known.is_file()):
            return None
        with np.load(known, allow_pickle=False) as file:
            return Drawn(file["digests"], int(file["sources"]), file["ranks"])

    def work(self) -> "Drawn":
        """Draw the block; what is known of it."""
        return _draw_block(self)


@dataclass(frozen=True)
class Drawn:
    """What is known of a block.

    digests : 16 bytes a scene.  sources : in all its scenes.  ranks : the effective rank of H of those of its scenes that
    are among the first of the split.
    """

    digests: np.ndarray
    sources: int
    ranks: np.ndarray


def run(
    *,
    seed: int,
    scenario: Scenario,
    data: DataConfig,
    raw: Path,
    metrics: Path,
    state: Path,
    report: Reporter,
    runner: Runner = SERIAL,
) -> None:
    """Write raw/<split>/<block>.npz and, last of all, raw/manifest.json.

    The test split has test_per_cell scenes for each SNR and each K, cell by cell, K fastest. A scene is the same
    whatever the block size and whoever draws it. Memory is bounded by a block for each worker, and what is known of the
    scenes. The blocks that an interrupted run has finished are not drawn again.
    """
    began = time.perf_counter()
    key = work_key(__name__, seed, as_mapping(scenario), as_mapping(data))
    job = Job(seed, scenario, data, state / key)
    with kept(job.folder, report.line):
        results = _draw_all(job, report, runner)
        publish(job.folder / "raw", raw)
    contents = {"scenario": as_mapping(scenario), "seed": seed, "block": data.block, "scenes": job.sizes}
    write_json(raw / _MANIFEST, contents)
    write_json(metrics, results)
    report.metrics({"simulate/scenes_per_second": sum(job.sizes.values()) / (time.perf_counter() - began)})


def draw_stretch(stretch: Stretch) -> list[Drawn]:
    """Draw those blocks that are not there yet; what is known of all of them."""
    return [finished(block) for block in stretch.blocks]


def manifest(raw: Path, scenario: Scenario, seed: int) -> tuple[dict[str, int], int]:
    """The number of scenes of each split under `raw`, and of scenes in a block.

    Raises
    ------
    ValueError
        No manifest (simulate did not finish), one of another scenario or seed, or blocks that are not those it tells of.
    """
    path = raw / _MANIFEST
    if not path.is_file():
        raise ValueError(f"{path}: not there, so the raw scenes are not whole; {AGAIN}")
    contents = json.loads(path.read_text(encoding="utf-8"))
    if contents["scenario"] != as_mapping(scenario) or contents["seed"] != seed:
        raise ValueError(f"{path}: the raw scenes are of another scenario or seed; {AGAIN}")
    block = int(contents["block"])
    for split, size in contents["scenes"].items():
        expected, there = -(-size // block), [path.name for path in block_paths(raw, split)]
        if there != [f"{number:05d}.npz" for number in range(expected)]:
            raise ValueError(
                f"{raw / split}: expected the {expected} blocks 00000.npz, 00001.npz, ..., got {len(there)}: "
                f"{', '.join(there[:3])}, ...; {AGAIN}"
            )
    return contents["scenes"], block


def block_paths(raw: Path, split: str) -> list[Path]:
    """The blocks of a split, in order."""
    return sorted((raw / split).glob("*.npz"))


def load_block(path: Path) -> Arrays:
    """The arrays of one block. ValueError where the file is damaged."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged block ({error}); delete it and {AGAIN}") from error


def _draw_all(job: Job, report: Reporter, runner: Runner) -> dict[str, object]:
    """Every block of every split; the metrics."""
    pieces = [piece for split in job.sizes for piece in stretches(job, split)]
    drawn: dict[str, list[Drawn]] = {split: [] for split in job.sizes}
    for piece, blocks in each(draw_stretch, pieces, report, runner):
        drawn[piece.split] += blocks
    results: dict[str, object] = {}
    for split, size in job.sizes.items():
        blocks = drawn[split]
        mean_K = sum(block.sources for block in blocks) / size
        rank = float(np.concatenate([block.ranks for block in blocks]).mean())
        running = hashlib.blake2b(b"".join(block.digests.tobytes() for block in blocks), digest_size=16)
        results[split] = {
            "scenes": size,
            "mean_K": mean_K,
            "mean_effective_rank": round(rank, 4),
            "hash": running.hexdigest(),
        }
        report.line(f"{split}: {size} scenes, mean K {mean_K:.2f}, effective rank of H {rank:.2f}")
    return results


def stretches(job: Job, split: str) -> Iterator[Stretch]:
    """The blocks of a split in pieces of work that take a second or two each: handing one out costs a few hundredths."""
    blocks = -(-job.sizes[split] // job.data.block)
    together = max(1, _STRETCH_SCENES // job.data.block)
    for first in range(0, blocks, together):
        yield Stretch(job, split, range(first, min(first + together, blocks)))


def _draw_block(block: Block) -> Drawn:
    job, (raw, known) = block.job, block.files
    scenes = _draw(job, block.split, block.start, block.stop)
    arrays = arrays_of(scenes, job.scenario.code_bits)
    digests = [digest({name: array[row] for name, array in arrays.items()}).digest() for row in range(len(scenes))]
    drawn = Drawn(
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(len(scenes), -1),
        sources=int(scenes.truth.count.sum()),
        ranks=effective_rank(scenes.observation.H[: max(0, _RANK_SCENES - block.start)].to(torch.complex128)).numpy(),
    )
    write_arrays(raw, arrays)
    write_arrays(known, {"digests": drawn.digests, "sources": np.array(drawn.sources), "ranks": drawn.ranks})
    return drawn


def _draw(job: Job, split: str, start: int, stop: int) -> Scenes:
    if split != "test":
        return simulate(job.scenario, seed=job.seed, split=split, start=start, stop=stop)
    cells = job.cells
    here = [cells[index // job.data.test_per_cell] for index in range(start, stop)]
    snr_db, count = ([cell[i] for cell in here] for i in (0, 1))
    return simulate(job.scenario, seed=job.seed, split=split, start=start, stop=stop, snr_db=snr_db, count=count)
