"""What each part of the hybrid idea is worth: one knob at a time, some replicates each, and docs/ablations.md.

    python -m studies.ablations        (`make ablations`)
    python -m studies.ablations --only SETTING ... --page PAGE        some settings beside the base, into another page

A run is a DVC experiment in a temporary copy, so that the workspace stays as it is, `dvc exp show` lists it and MLflow has
its curves. Its name holds a digest of its parameters and of the code of the stages: what has been run is not run again,
and what would now give another result is. A command that is stopped, by Ctrl-C or kill -9, loses the run under way only;
if that run survives, the next command waits for it and takes its result.
"""

import argparse
import contextlib
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.env import STATE, child_environment
from pipeline.git import git
from pipeline.layout import STAGES
from pipeline.sections import override, typed_sections
from risloc.learning.k_rules import KNOWN
from risloc.utils.atomic_files import replacing
from risloc.utils.yaml_reader import read_yaml
from stages.evaluation.method import HYBRID, NOMP
from stages.support.file_lock import file_lock
from stages.support.resumable import source_digest
from studies.ablations_page import BASE, MEASURES, NOMP_MEASURES, R_PRED, SLOTS, page

REPLICATES = 3
COMMON: dict[str, object] = {
    "data.train": 5120,
    "data.val": 1024,
    "data.test_per_cell": 100,
    "data.test_snr_db": [0.0, 10.0],
    "overfit.scenes": 8,
    "overfit.epochs": 2,
    "overfit.gate": False,
    "hpo.trials": 0,
    "train.epochs": 4,
    "train.fresh": True,
    "train.patience": 4,
    "order.scenes": 0,
    "evaluate.k_rules": [KNOWN],
    "evaluate.methods": [method.name for method in (HYBRID, R_PRED, SLOTS, NOMP)],
}
"""What differs from params.yaml in every run: the overfit check is passed in seconds, each epoch has fresh scenes."""

SETTINGS: dict[str, dict[str, object]] = {
    BASE: {},
    "lam_cov = 0": {"loss.lam_cov": 0.0},
    "R_pred supervised in place of R_blend": {"loss.lam_cov": 0.0, "loss.lam_cov_pred": 1.05},
    "beta = 0": {"covariance.beta": 0.0},
    "beta = 0.5": {"covariance.beta": 0.5},
    "lam_cov_pred = 0": {"loss.lam_cov_pred": 0.0},
    "lam_cov_pred = 0.5": {"loss.lam_cov_pred": 0.5},
    "lam_cross = 0": {"loss.lam_cross": 0.0},
    "lam_gap = 0": {"loss.lam_gap": 0.0},
    "head = free": {"network.head": "free"},
    "curriculum = false": {"loss.curriculum": False},
    "passes = 1": {"network.passes": 1},
    "fine map": {"grid.step_beams": 0.36, "grid.planes": 6},
}
"""What each setting changes; the last ones change the architecture, `BASE` changes nothing."""


@dataclass(frozen=True)
class Run:
    """One experiment: its name, and its parameters that differ from params.yaml."""

    setting: str
    replicate: int
    name: str
    changes: dict[str, object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, one after another, and write the page when nothing is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[name for name in SETTINGS if name != BASE], metavar="SETTING")
    parser.add_argument("--page", type=Path, default=Path("docs/ablations.md"))
    options = parser.parse_args(arguments)
    settings = [name for name in SETTINGS if options.only is None or name in (BASE, *options.only)]
    asked = [run for run in runs(read_yaml(Path("params.yaml"))) if run.setting in settings]
    failed = []
    try:
        with _alone() as held:
            for number, run in enumerate(asked, start=1):
                if experiment(run.name) is None:
                    print(f"ablations: {number} of {len(asked)}: {run.setting}, replicate {run.replicate}", flush=True)
                    failed += [] if start(run, held) else [run.name]
    except KeyboardInterrupt:
        sys.exit("ablations: stopped; finished runs are kept")
    if failed:
        sys.exit(f"ablations: these runs failed, see above: {', '.join(failed)}; the results of the others are kept")
    found: dict[str, list[Mapping[str, float]]] = {setting: [] for setting in settings}
    for run in asked:
        found[run.setting].append(measured(run.name))
    command = (
        shlex.join(["python", "-m", "studies.ablations", "--only", *options.only, "--page", str(options.page)])
        if options.only
        else "make ablations"
    )
    with replacing(options.page) as temporary:
        temporary.write_text(page(found, SETTINGS, COMMON, command), encoding="utf-8")
    print(f"{options.page} is written")


def runs(params: Mapping[str, Any]) -> list[Run]:
    """Every run of the study: all settings of one replicate, then of the next. ParamError if one cannot be run."""
    code = {stage: _code_of(stage, params) for stage in STAGES}
    found = []
    for replicate in range(REPLICATES):
        for setting, knob in SETTINGS.items():
            changes = COMMON | knob | {"fit.replicate": replicate}
            changed = override(params, changes)
            typed_sections("evaluate", changed)
            digest = hashlib.sha256(json.dumps([changed, code], sort_keys=True).encode()).hexdigest()[:8]
            slug = re.sub(r"[^A-Za-z0-9_]+", "-", setting)
            found.append(Run(setting, replicate, f"ablation-{slug}-{replicate}-{digest}", changes))
    return found


def start(run: Run, held: int) -> bool:
    """Run the experiment to its end; whether it ended well. `held` : an open file that dvc keeps open while it lives."""
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", run.name]
    for path, value in run.changes.items():
        command += ["--set-param", f"{path}={json.dumps(value)}"]
    with subprocess.Popen(command, env=child_environment(), pass_fds=[held]) as dvc:
        try:
            return dvc.wait() == 0
        except KeyboardInterrupt:
            dvc.wait()  # the same Ctrl-C has reached it; let it remove its copy
            raise


def experiment(name: str) -> str | None:
    """Return the commit of the experiment of that name, on any base commit; None if there is no such experiment."""
    pattern = f"refs/exps/??/*/{name}"
    return git("for-each-ref", "--count=1", "--format=%(objectname)", pattern, at=Path()) or None


def measured(name: str) -> dict[str, float]:
    """Every measure of the experiment of that name, and those of NOMP, from the metrics in its commit."""
    commit = experiment(name)
    stages = ("train", "evaluate")
    metrics = {stage: json.loads(git("show", f"{commit}:metrics/{stage}.json", at=Path()) or "{}") for stage in stages}
    return {words: float(metrics[stage][key]) for words, (stage, key) in (MEASURES | NOMP_MEASURES).items()}


@contextlib.contextmanager
def _alone() -> Iterator[int]:
    """An open file that is locked: no other study is under way, nor a run that outlived one."""

    def wait() -> None:
        print("ablations: waiting for a run that is still in progress", flush=True)

    with file_lock(STATE / "locks" / "ablations.lock", wait) as held:
        yield held.descriptor


def _code_of(stage: str, params: Mapping[str, Any]) -> str:
    typed_sections(stage, params)  # imports it
    return source_digest(f"stages.{stage}")


if __name__ == "__main__":
    main()
