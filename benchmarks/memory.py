"""Peak memory of simulate, shard, train and evaluate at one and at ten times a size: bounded by the batch or not.

    python -m benchmarks.memory [--part 1]        part: of params.yaml's numbers of scenes, the smaller of both sizes

Each stage runs in its own process, without Prefect or MLflow. Training is one epoch of a small network and the search
of evaluate a coarse one, since memory and not accuracy is looked at.
"""

import argparse
import inspect
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.console_reporter import ConsoleReporter
from pipeline.sections import override, stage_function, typed_sections
from risloc.learning.k_rules import KNOWN
from risloc.utils.yaml_reader import read_yaml
from stages.tuning.best_params import Best, write_best

STAGES = ("simulate", "shard", "train", "evaluate")
SMALL = {
    "network.channels": 8,
    "network.blocks": 1,
    "network.passes": 1,
    "train.epochs": 1,
    "train.val_scenes": 64,
    "order.scenes": 64,
    "evaluate.k_rules": [KNOWN],
    "search.iterations": 3,
    "search.rank": 6,
    "search.peaks": 10,
    "search.exchange_rounds": 0,
}


def main() -> None:
    """Run every stage at both sizes and print the peaks side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--part", type=float, default=1.0, help="the smaller size, as a fraction of that in params.yaml"
    )
    part = parser.parse_args().part
    peaks = [_peaks(part * scale) for scale in (1, 10)]
    print(f"peak resident memory [MiB] at {part:g} and {10 * part:g} times the default size")
    for stage, small, large in zip(STAGES, *peaks, strict=True):
        print(f"  {stage:10s} {small:7.0f} {large:7.0f}   ratio {large / small:.2f}")


def _peaks(scale: float) -> list[float]:
    params = read_yaml(Path("params.yaml"))
    sizes = {f"data.{name}": max(1, round(params["data"][name] * scale)) for name in ("train", "val", "test_per_cell")}
    params = override(params, {**SMALL, **sizes})
    with tempfile.TemporaryDirectory() as folder:
        write_best(Path(folder) / "best", Best.default())
        context = multiprocessing.get_context("spawn")
        with context.Pool(1, maxtasksperchild=1) as pool:
            return [pool.apply(_run, (stage, params, folder)) for stage in STAGES]


def _run(stage: str, params: dict[str, Any], folder: str) -> float:
    run = stage_function(stage)
    sections = typed_sections(stage, params)
    hints = inspect.signature(run).parameters
    paths = {name: Path(folder) / name for name, value in hints.items() if value.annotation is Path}
    began = time.perf_counter()
    run(**{**paths, **sections}, report=ConsoleReporter())
    print(f"{stage}: {time.perf_counter() - began:.0f} s", flush=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
