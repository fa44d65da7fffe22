"""The stages whose work is mapped, at toy size by `--set`, as processes of their own that may be killed.

A piece (a block, a shard, a batch) takes hundredths of a second, and there are dozens or more.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import psutil
import pytest
import torch
from child_processes import kill

from pipeline.console_reporter import ConsoleReporter
from pipeline.sections import override, typed_sections
from risloc.config import build
from risloc.covariance.factored import CovarianceConfig
from risloc.learning.checkpoint import save_checkpoint
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.physics.grid import GridConfig
from risloc.utils.yaml_reader import read_yaml
from stages import evaluate, shard, simulate

__all__ = [
    "EVALUATE",
    "SHARD",
    "SIMULATE",
    "Run",
    "Work",
    "identity",
    "prepare",
    "small_simulation",
    "undisturbed",
]

ROOT = Path(__file__).resolve().parents[2]
PARAMS = read_yaml(ROOT / "params.yaml")


@dataclasses.dataclass(frozen=True)
class Work:
    """A stage whose work is mapped.

    pieces : how many there are.  note : pattern of the files, within the stage's state, that are written when a piece is
    done.  file : the piece's own file, from the note.  made : where, in the results, the pieces' files are in the end.
    """

    stage: str
    run: Callable[..., None]
    pieces: int
    note: str
    file: Callable[[Path], Path]
    made: str | None
    changes: Mapping[str, object]

    def known(self, folder: Path) -> list[Path]:
        """The notes of what is done. A piece that is written and not noted was under way."""
        return list((folder / ".state" / self.stage).glob(f"*/{self.note}"))

    def kept(self, folder: Path) -> set[tuple[int, int]]:
        """The pieces that are done, as `identity` tells them apart."""
        return {identity(self.file(note)) for note in self.known(folder)}

    def midway(self, pieces: Collection[object]) -> bool:
        """Whether they are between a tenth and nine tenths of the work."""
        return self.pieces / 10 < len(pieces) < 9 * self.pieces / 10


def small_simulation(blocks: int) -> dict[str, object]:
    """What differs from params.yaml, by dotted path: 4 x 4 elements, `blocks` blocks of 64 training scenes."""
    return {
        "scenario.n_h": 4,
        "scenario.n_v": 4,
        "scenario.antennas": 4,
        "scenario.snapshots": 6,
        "scenario.K_MAX": 3,
        "scenario.K_span": [1, 3],
        "scenario.distance_span_m": [0.3, 1.5],
        "data.block": 64,
        "data.val": 64,
        "data.test_per_cell": 1,
        "data.train": 64 * blocks,
    }


_BLOCKS, _PACKED, _BATCHES = 60, 50, 30
_SHARDS = {"shards.scenes_per_shard": 64, "shards.chunk": 16}
_SCENES = small_simulation(4) | _SHARDS | {"data.test_snr_db": [10.0, 30.0], "data.test_per_cell": _BATCHES // 6}

SIMULATE = Work(
    stage="simulate",
    run=simulate.run,
    pieces=_BLOCKS,
    note="known/train/*.npz",
    file=lambda note: note.parents[2] / "raw/train" / note.name,
    made="data/raw/train",
    changes=small_simulation(_BLOCKS),
)
SHARD = Work(
    stage="shard",
    run=shard.run,
    pieces=_PACKED,
    note="known/train/*.npy",
    file=lambda note: note.parents[2] / "shards/train" / f"{note.stem}.h5",
    made="data/shards/train",
    changes=small_simulation(_PACKED) | _SHARDS,
)
EVALUATE = Work(
    stage="evaluate",
    run=evaluate.run,
    pieces=_BATCHES,
    note="*.npz",
    file=lambda note: note,
    made=None,
    changes=_SCENES
    | {"evaluate.batch": 1, "evaluate.k_rules": ["known"], "evaluate.methods": ["R_blend_refined", "nomp_refined"]},
)


def identity(path: Path) -> tuple[int, int]:
    """Number and time of a file: one that is written again has others."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def undisturbed(work: Work, folder: Path) -> bytes:
    """The metrics of the stage run here, in one process, into `folder`, whose inputs it makes first where they are missing."""
    prepare(work, folder)
    paths = {
        "simulate": {"raw": "data/raw"},
        "shard": {"raw": "data/raw", "shard_dir": "data/shards"},
        "evaluate": {
            "shard_dir": "data/shards",
            "checkpoint": "models/checkpoint",
            "evaluate_report": "reports/evaluate",
        },
    }[work.stage]
    _stage(work, work.stage, work.run, folder, paths)
    return (folder / "metrics" / f"{work.stage}.json").read_bytes()


def prepare(work: Work, folder: Path) -> None:
    """What the stage reads: scenes, their shards, a network before training; nothing, if they are there."""
    if work.stage == "simulate" or (folder / "data").exists():
        return
    _stage(work, "simulate", simulate.run, folder, {"raw": "data/raw"})
    if work.stage == "shard":
        return
    _stage(work, "shard", shard.run, folder, {"raw": "data/raw", "shard_dir": "data/shards"})
    scenario = typed_sections("evaluate", override(PARAMS, work.changes))["scenario"]
    config = dataclasses.replace(build(NetworkConfig, PARAMS["network"], "network"), channels=8, blocks=1, passes=1)
    torch.manual_seed(0)
    network = HybridNetwork(scenario, GridConfig(step_beams=0.5, planes=3), CovarianceConfig(beta=0.3), config)
    save_checkpoint(folder / "models" / "checkpoint", network, {})


def _stage(work: Work, name: str, run: Callable[..., None], folder: Path, paths: Mapping[str, str]) -> None:
    given = typed_sections(name, override(PARAMS, work.changes))
    placed = {key: folder / path for key, path in paths.items()}
    metrics, state = folder / "metrics" / f"{name}.json", folder / ".state" / name
    run(**given, **placed, metrics=metrics, state=state, report=ConsoleReporter())


class Run:
    """`python -m pipeline STAGE` of a work, results into `folder`; in its block it runs, or is killed."""

    def __init__(self, work: Work, folder: Path, **environment: str) -> None:
        self.work, self.folder = work, folder
        changes = [f"--set={key}={json.dumps(value)}" for key, value in work.changes.items()]
        folder.mkdir(exist_ok=True)
        with (folder / "log").open("ab") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "pipeline", work.stage, "--into", str(folder), *changes],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        kill(self.process)

    def said(self) -> str:
        """The log of this run and the ones before it."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def workers(self) -> list[psutil.Process]:
        """The processes of its own that do the mapped work."""
        return [child for child in self.process.children() if "spawn_main" in " ".join(child.cmdline())]

    def wait_for_workers(self, count: int) -> list[psutil.Process]:
        """Until there are so many, as one that was killed is replaced by and by; which they are."""
        for _ in range(600):
            if len(workers := self.workers()) == count:
                return workers
            assert self.process.poll() is None, self.said()[-4000:]
            time.sleep(0.05)
        pytest.fail(f"{len(workers)} of {count} workers after 30 s:\n{self.said()[-4000:]}")

    def wait_for(self, pieces: int) -> int:
        """Until so many are done; how many are."""
        for _ in range(4000):
            if (now := len(self.work.known(self.folder))) >= pieces:
                return now
            assert self.process.poll() is None, self.said()[-4000:]
            time.sleep(0.05)
        pytest.fail(f"{now} of {pieces} pieces after 200 s:\n{self.said()[-4000:]}")

    def wait(self) -> None:
        """Until it has ended well."""
        assert self.process.wait(300) == 0, self.said()[-4000:]
