"""Validate the raw scenes and pack them into checksummed shards."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from risloc.config import as_mapping
from risloc.io.scene_arrays import Arrays
from risloc.io.scene_checks import SceneError, validate
from risloc.io.shard_reader import ShardConfig
from risloc.io.shard_writer import write_shard
from risloc.scenes.scenario import Scenario
from risloc.utils.atomic_files import replacing
from stages.simulate import AGAIN, block_paths, load_block, manifest
from stages.support.mapping import SERIAL, Runner
from stages.support.pieces import each, finished
from stages.support.reporter import Reporter
from stages.support.resumable import kept, publish, work_key
from stages.support.writers import write_json

__all__ = ["pack", "run"]


@dataclass(frozen=True)
class Job:
    """What all shards have in common. block : scenes in a raw block.  folder : takes `shards`, and each one's `known`."""

    seed: int
    scenario: Scenario
    shards: ShardConfig
    raw: Path
    block: int
    folder: Path


@dataclass(frozen=True)
class Piece:
    """One shard: scenes start..stop-1 of a split."""

    job: Job
    split: str
    number: int
    start: int
    stop: int

    @property
    def scenes(self) -> int:
        """How many there are."""
        return self.stop - self.start

    @property
    def files(self) -> tuple[Path, Path]:
        """The shard, and what is known of it."""
        folder, name = self.job.folder, f"{self.split}/{self.number:05d}"
        return folder / "shards" / f"{name}.h5", folder / "known" / f"{name}.npy"

    def kept(self) -> "Packed | None":
        """What is known of the shard, if it is there."""
        shard, known = self.files
        if not (shard.is_file() and known.is_file()):
            return None
        with h5py.File(shard) as file:
            return Packed(str(file.attrs["checksum"]), np.load(known, allow_pickle=False))

    def work(self) -> "Packed":
        """Write the shard; what is known of it."""
        return _write(self)


@dataclass(frozen=True)
class Packed:
    """What is known of a shard. hashes : eight bytes for each scene, as one unsigned number."""

    checksum: str
    hashes: np.ndarray


def run(
    *,
    seed: int,
    scenario: Scenario,
    shards: ShardConfig,
    raw: Path,
    shard_dir: Path,
    metrics: Path,
    state: Path,
    report: Reporter,
    runner: Runner = SERIAL,
) -> None:
    """Write shard_dir/<split>/<number>.h5: all of them, or, after any error, none.

    Memory is bounded by a shard for each worker and eight bytes a scene (the hashes that show that no scene occurs
    twice). The shards that an interrupted run has finished are not packed again while the raw blocks are the same files.

    Raises
    ------
    ValueError, risloc.io.scene_checks.SceneError
        Raw scenes that are not whole, of another scenario or seed, or not what they should be.
    """
    sizes, block = manifest(raw, scenario, seed)
    key = work_key(__name__, seed, as_mapping(scenario), as_mapping(shards), _identity(raw, sizes))
    job = Job(seed, scenario, shards, raw, block, state / key)
    with kept(job.folder, report.line):
        try:
            packed = _pack_all(job, sizes, report, runner)
            _require_no_scene_twice(packed, block)
        except ValueError:
            shutil.rmtree(job.folder)  # of no use any more: other blocks are other work
            raise
        results = {split: _summary(job.folder / "shards" / split, scenario, packed[split]) for split in sizes}
        publish(job.folder / "shards", shard_dir)
    write_json(metrics, results)
    for split, summary in results.items():
        report.line(f"{split}: {summary}")


def pack(piece: Piece) -> Packed:
    """Write one shard, if it is not there yet; what is known of it."""
    return finished(piece)


def _write(piece: Piece) -> Packed:
    job, (shard, known), arrays = piece.job, piece.files, _scenes(piece)
    for path in (shard, known):
        path.parent.mkdir(parents=True, exist_ok=True)
    checksum = write_shard(
        shard,
        job.scenario,
        arrays,
        seed=job.seed,
        split=piece.split,
        start=piece.start,
        chunk=job.shards.chunk,
    )
    hashes = b"".join(hashlib.blake2b(y.tobytes(), digest_size=8).digest() for y in arrays["y"])
    packed = Packed(checksum, np.frombuffer(hashes, np.uint64))
    with replacing(known) as temporary, temporary.open("wb") as file:
        np.save(file, packed.hashes, allow_pickle=False)
    return packed


def _identity(raw: Path, splits: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of every block: another file is another input."""
    found = [(path, path.stat()) for split in splits for path in block_paths(raw, split)]
    return [(f"{path.parent.name}/{path.name}", stat.st_size, stat.st_mtime_ns) for path, stat in found]


def _pack_all(job: Job, sizes: Mapping[str, int], report: Reporter, runner: Runner) -> dict[str, list[Packed]]:
    """Every shard of every split."""
    together = job.shards.scenes_per_shard
    pieces = [
        Piece(job, split, number, start, min(start + together, size))
        for split, size in sizes.items()
        for number, start in enumerate(range(0, size, together))
    ]
    packed: dict[str, list[Packed]] = {split: [] for split in sizes}
    for piece, own in each(pack, pieces, report, runner):
        packed[piece.split].append(own)
    return packed


def _scenes(piece: Piece) -> Arrays:
    """The validated scenes of a shard, from the blocks that hold them."""
    job, parts = piece.job, []
    for number in range(piece.start // job.block, -(-piece.stop // job.block)):
        where, first = f"{piece.split}/{number:05d}.npz", number * job.block
        arrays = load_block(job.raw / where)
        validate(arrays, job.scenario, where, first)
        here = slice(max(piece.start - first, 0), piece.stop - first)
        parts.append({name: array[here] for name, array in arrays.items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if len(joined["y"]) != piece.stop - piece.start:
        raise ValueError(
            f"{job.raw / piece.split}: expected {piece.stop - piece.start} scenes from {piece.start} on, got "
            f"{len(joined['y'])}; {AGAIN}"
        )
    return joined


def _require_no_scene_twice(packed: Mapping[str, Sequence[Packed]], block: int) -> None:
    """Raise SceneError, naming the first scene that repeats one of its own split or of one before it."""
    hashes = {split: np.concatenate([shard.hashes for shard in shards]) for split, shards in packed.items()}
    every = np.concatenate(list(hashes.values()))
    order = np.argsort(every, kind="stable")
    again = order[1:][every[order[1:]] == every[order[:-1]]]
    if not len(again):
        return
    scene = int(again.min())
    for split, own in hashes.items():
        if scene < len(own):
            raise SceneError(
                f"{split}/{scene // block:05d}.npz: scene {scene} of {split} occurs twice, in this split or another; "
                f"the splits must be disjoint, {AGAIN}"
            )
        scene -= len(own)


def _summary(folder: Path, scenario: Scenario, packed: Sequence[Packed]) -> dict[str, object]:
    scenes = sum(len(shard.hashes) for shard in packed)
    stored = sum(path.stat().st_size for path in folder.glob("*.h5"))
    channel = 8 * scenario.antennas * scenario.size
    covariance = 8 * scenario.size**2
    return {
        "scenes": scenes,
        "shards": len(packed),
        "bytes_per_scene": stored // scenes,
        "times_smaller_than_covariances": round(covariance / (stored / scenes - channel), 2),
        "checksum": hashlib.blake2b("".join(shard.checksum for shard in packed).encode(), digest_size=16).hexdigest(),
    }
