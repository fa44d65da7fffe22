"""The one table of the pipeline: its stages in order, and where each path parameter lies."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MEASURED", "PATHS", "STAGES", "StageFiles", "clear_outs", "paths_of"]

PATHS = {
    "raw": "data/raw",
    "shard_dir": "data/shards",
    "overfit_report": "reports/overfit",
    "best": "models/best.yaml",
    "trials": "reports/hpo",
    "trained": "models/network",
    "checkpoint": "models/checkpoint",
    "train_report": "reports/train",
    "evaluate_report": "reports/evaluate",
    "page_folder": "reports/page",
}
"""Path parameter of a stage: path in the repository. `metrics` and `state` are the stage's own, see `paths_of`."""


@dataclass(frozen=True)
class StageFiles:
    """Which path parameters a stage reads (`deps`) and writes (`outs`)."""

    deps: tuple[str, ...]
    outs: tuple[str, ...]
    state: bool = False
    """The stage keeps resumable work in a folder of its own."""
    metrics: bool = True
    """The stage writes metrics."""


STAGES = {
    "simulate": StageFiles(deps=(), outs=("raw",), state=True),
    "shard": StageFiles(deps=("raw",), outs=("shard_dir",), state=True),
    "overfit": StageFiles(deps=("shard_dir",), outs=("overfit_report",)),
    "hpo": StageFiles(deps=("shard_dir", "overfit_report"), outs=("best", "trials"), state=True),
    "train": StageFiles(deps=("shard_dir", "best"), outs=("trained", "train_report"), state=True),
    "order": StageFiles(deps=("trained",), outs=("checkpoint",)),
    "evaluate": StageFiles(deps=("shard_dir", "checkpoint"), outs=("evaluate_report",), state=True),
    "report": StageFiles(
        deps=("overfit_report", "trials", "train_report", "evaluate_report"), outs=("page_folder",), metrics=False
    ),
}

MEASURED = tuple(stage for stage, files in STAGES.items() if files.metrics)
"""The stages that write metrics."""


def paths_of(stage: str, here: Path, root: Path, into: Path | None = None) -> dict[str, Path]:
    """The value of each path parameter of `stage`.

    here : the tree whose results are read and written.  root : where resumable state lies, shared by temporary copies.
    into : a folder that takes all that is written; what it already holds is read from there, the rest from `here`.
    """
    files = STAGES[stage]
    target = into or here
    paths = {name: target / PATHS[name] for name in files.outs}
    for name in files.deps:
        overlaid = target / PATHS[name]
        paths[name] = overlaid if overlaid.exists() else here / PATHS[name]
    if files.metrics:
        paths["metrics"] = target / "metrics" / f"{stage}.json"
    if files.state:
        paths["state"] = (into or root) / ".state" / stage
    return paths


def clear_outs(stage: str, paths: Mapping[str, Path]) -> None:
    """Remove what an earlier run of `stage` wrote there, as DVC does in the workspace: nothing of it stays among the new."""
    for name in STAGES[stage].outs:
        if paths[name].is_dir():
            shutil.rmtree(paths[name])
        else:
            paths[name].unlink(missing_ok=True)
