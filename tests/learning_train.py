"""One small training through the real stage, wherever it runs: alone, or as one of several ranks."""

import dataclasses
from pathlib import Path

from learning import COVARIANCE, FIT, GRID, LOSS, NETWORK
from learning_data import SEED

from risloc.params import build, read_yaml
from risloc.scene import Scenario
from stages import train
from stages.best import Best, write_best
from stages.report import ConsoleReporter

TRAIN = train.TrainConfig(epochs=3, fresh=False, patience=3, val_scenes=40)
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
    params = read_yaml(Path(__file__).parents[1] / "params.yaml")
    return dataclasses.replace(build(Scenario, params["scenario"], "scenario"), **SMALL)


def train_there(folder: Path, report: ConsoleReporter, *, fresh: bool = False, accumulate: int = 1) -> None:
    """Train on folder/shards into `folder`."""
    write_best(folder / "best.yaml", Best.default())
    train.run(
        seed=SEED,
        scenario=small(),
        covariance=COVARIANCE,
        grid=GRID,
        network=NETWORK,
        loss=dataclasses.replace(LOSS, lam_nll=0.1),
        fit=dataclasses.replace(FIT, accumulate=accumulate),
        train=dataclasses.replace(TRAIN, fresh=fresh),
        shard_dir=folder / "shards",
        best=folder / "best.yaml",
        trained=folder / "network",
        train_report=folder / "report",
        metrics=folder / "metrics.json",
        state=folder / "state",
        report=report,
    )
