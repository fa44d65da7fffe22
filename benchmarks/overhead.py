"""What a stage costs beside its work: seconds of imports, of Prefect's temporary server, of the MLflow run.

    python -m benchmarks.overhead

Runs `simulate` on a few scenes as DVC does (`python -m pipeline simulate`), into a temporary folder, and takes it apart.
Medians of a few runs; everything is timed as a process of its own, side by side.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 3
FEW = {"data.train": 8, "data.val": 8, "data.test_per_cell": 1, "data.block": 8}

WORK = """
from pathlib import Path
from pipeline.sections import override, stage_function, typed_sections
from risloc.utils.yaml_reader import read_yaml
from pipeline.console_reporter import ConsoleReporter
params = override(read_yaml(Path("params.yaml")), {few})
folder = Path({folder!r})
stage_function("simulate")(
    **typed_sections("simulate", params), raw=folder / "raw", metrics=folder / "m.json", state=folder / "state",
    report=ConsoleReporter(),
)
"""
SERVER = """
import pipeline.env
from prefect import flow
@flow
def nothing():
    return None
nothing()
"""
MLFLOW = """
import pipeline.env
from pipeline.tracking.runs import stage_run
with stage_run("overhead", {}, print):
    pass
"""


def main() -> None:
    """Print the parts and the whole."""
    with tempfile.TemporaryDirectory() as folder:
        few = [word for name, value in FEW.items() for word in ("--set", f"{name}={value}")]
        environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PREFECT_HOME": f"{folder}/prefect"}
        runs = {
            "import torch": ["-c", "import torch"],
            "import torch and all stages": ["-c", "from pipeline.sections import sections_of; import stages.evaluate"],
            "import prefect and mlflow": ["-c", "import pipeline.env, prefect, mlflow"],
            "the stage's work with its imports": ["-c", WORK.format(few=FEW, folder=folder)],
            "an empty MLflow run with its imports": ["-c", MLFLOW],
            "an empty flow on a temporary server with its imports": ["-c", SERVER],
            "the whole stage": ["-m", "pipeline", "simulate", "--into", f"{folder}/into", *few],
        }
        took = {name: _median(arguments, environment) for name, arguments in runs.items()}
    print("seconds, each in a separate process with existing databases")
    for name, seconds in took.items():
        print(f"  {name:55s} {seconds:5.1f}")
    overhead = took["the whole stage"] - took["the stage's work with its imports"]
    print(f"  {'overhead of Prefect and MLflow: total minus work':55s} {overhead:5.1f}")


def _median(arguments: list[str], environment: dict[str, str]) -> float:
    """Seconds of the process, after one run that makes databases and caches."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **environment},
            cwd=Path(__file__).parents[1],
            check=True,
            capture_output=True,
        )
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
