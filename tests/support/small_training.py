"""One small training through the real stage, wherever it runs: alone, or as one of several ranks."""

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from learning_problem import ALL, COVARIANCE, FIT, GRID, NETWORK
from learning_shards import SEED

from pipeline.console_reporter import ConsoleReporter
from risloc.config import build
from risloc.scenes.scenario import Scenario
from risloc.utils.yaml_reader import read_yaml
from stages import train
from stages.tuning.best_params import Best, write_best

SMALL = {
    "preset": "small",
    "n_h": 4,
    "n_v": 4,
    "antennas": 4,
    "snapshots": 6,
    "K_MAX": 2,
    "K_span": (0, 2),
    "distance_span_m": (0.3, 1.5),
}


def small() -> Scenario:
    """4 x 4 elements and 0 to 2 sources: a third of the scenes has none."""
    params = read_yaml(Path(__file__).parents[2] / "params.yaml")
    return dataclasses.replace(build(Scenario, params["scenario"], "scenario"), **SMALL)


def sections(*, fresh: bool, epochs: int) -> dict[str, Any]:
    """The sections of params.yaml that the small training takes."""
    return {
        "seed": SEED,
        "scenario": small(),
        "covariance": COVARIANCE,
        "grid": GRID,
        "network": NETWORK,
        "loss": ALL,
        "fit": FIT,
        "train": train.TrainConfig(epochs=epochs, fresh=fresh, patience=epochs, val_scenes=40),
    }


def train_there(folder: Path, report: ConsoleReporter, *, fresh: bool, epochs: int) -> None:
    """Train on the shards in `folder`, laid out as the repository is, into it."""
    write_best(folder / "models" / "best.yaml", Best.default())
    train.run(
        **sections(fresh=fresh, epochs=epochs),
        shard_dir=folder / "data" / "shards",
        best=folder / "models" / "best.yaml",
        trained=folder / "models" / "network",
        train_report=folder / "reports" / "train",
        metrics=folder / "metrics" / "train.json",
        state=folder / ".state" / "train",
        report=report,
    )


def losses(folder: Path) -> list[dict[str, float]]:
    """What a training in `folder` wrote of each epoch."""
    with (folder / "reports" / "train" / "losses.csv").open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def torchrun(folder: Path, size: int, fault: str, *, fresh: bool, epochs: int) -> subprocess.CompletedProcess[str]:
    """`train_there` in `size` ranks, see tests/support/training_ranks.py."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    return subprocess.run(
        [*command, str(here / "training_ranks.py"), str(folder), fault, str(int(fresh)), str(epochs)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
