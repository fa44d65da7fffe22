"""The whole pipeline in a clone of its own, at toy size."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.sections import override
from pipeline.tracking.runs import EXPERIMENT
from risloc.utils.yaml_reader import read_yaml

SMALL = {
    "scenario.n_h": 4,
    "scenario.n_v": 4,
    "scenario.antennas": 8,
    "scenario.snapshots": 8,
    "scenario.K_MAX": 2,
    "scenario.K_span": [1, 2],
    "scenario.distance_span_m": [0.3, 1.5],
    "data.train": 256,
    "data.val": 64,
    "data.test_per_cell": 4,
    "data.test_snr_db": [0.0, 20.0],
    "data.block": 64,
    "shards.scenes_per_shard": 128,
    "grid.step_beams": 0.5,
    "grid.planes": 3,
    "network.channels": 16,
    "network.blocks": 1,
    "overfit.scenes": 32,
    "overfit.epochs": 16,
    "overfit.excellent": 5.0,
    "overfit.improvement": 0.999,
    "hpo.trials": 2,
    "hpo.startup": 1,
    "hpo.epochs": 1,
    "hpo.train_scenes": 64,
    "hpo.val_scenes": 16,
    "train.epochs": 2,
    "train.val_scenes": 32,
    "order.scenes": 64,
}


class Clone:
    """A copy of the repository as it stands, small parameters committed, with an environment of its own."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.root = folder / "clone"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "PREFECT_", "MLFLOW_"))}
        self.environment = inherited | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PREFECT_HOME": str(folder / "prefect"),
            "PWD": str(self.root),
            "OMP_NUM_THREADS": "1",
        }
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=repository, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            if (repository / name).is_file() and name != "dvc.lock":
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(repository / name, self.root / name)
        params = override(read_yaml(repository / "params.yaml"), SMALL)
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        self.run("git", "init", "--quiet")
        self.commit("start")

    def run(self, *command: str, code: int = 0) -> str:
        """Both streams of a command run in the clone, which must end with `code`."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout[-8000:]}"
        return done.stdout

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", message)

    def runs(self, filter_string: str) -> list[Run]:
        """The MLflow runs that match, newest first."""
        client = MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")
        return client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], filter_string)

    def log(self) -> str:
        """What the server and the worker said."""
        return (self.root.parent / "servers.log").read_text(encoding="utf-8")
