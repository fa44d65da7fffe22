"""Train, test and ship a network: risloc/learning/shipped/NAME, its weights, its config and its model card.

    python -m studies.ship NAME [--test | --card]        (`make ship NAME=default`)        NAME: default or robust

Trains in ship/NAME on scenes none of which is seen twice, copies the checkpoint into the package, evaluates that copy in
ship/NAME-test, and writes the card from what came of it. A stage that has ended with the same parameters, code and
checkpoint is not run again, and an interrupted training or test is resumed. --test : train nothing, test the shipped
checkpoint and write its card again. --card : only write the card, from the existing evaluation.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.sections import override
from risloc.learning.checkpoint import SHIPPED
from risloc.learning.k_rules import K_RULES
from risloc.utils.atomic_files import replacing, write_bytes
from risloc.utils.yaml_reader import read_yaml
from stages.evaluation.method import HYBRID, NOMP, PLAIN, Method
from stages.order import HELD_BACK  # one scene of so many
from studies.card import Tested, card
from studies.stage_runs import commit_of, digest_of, run_stages

PRESETS = {"default": "wide", "robust": "robust"}
"""What each is trained on."""

TESTS: Mapping[str, tuple[str, dict[str, object]]] = {
    "default": ("default", {"data.test_per_cell": 100, "data.test_snr_db": [0.0, 5.0, 10.0, 15.0, 20.0]}),
    "robust": ("robust", {"data.test_per_cell": 84, "data.test_snr_db": [0.0, 10.0, 20.0, 30.0]}),
}
"""The preset that each is tested on, and what differs there from params.yaml: some 500 scenes an SNR."""

TRAINING: dict[str, object] = {
    "hpo.trials": 0,
    "fit.learning_rate": 3.0e-3,
    "train.fresh": True,
    "train.epochs": 20,
    "train.patience": 20,
    "train.val_scenes": 2048,
    "order.scenes": 8192,
}
TESTING: dict[str, object] = {
    "data.train": 1,
    "data.val": 1,
    "evaluate.k_rules": list(K_RULES),
    "evaluate.methods": [
        method.name
        for method in (
            HYBRID,
            Method("slots", PLAIN),
            *(Method(source) for source in ("untrained", "R_samp", "back_projection", "sbl")),
            NOMP,
        )
    ],
}
ROOT = Path("ship")


def main() -> None:
    """Do what has not been done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SHIPPED)
    less = parser.add_mutually_exclusive_group()
    less.add_argument(
        "--test", action="store_true", help="test the shipped network and write its card, without training"
    )
    less.add_argument("--card", action="store_true", help="only write the card")
    options = parser.parse_args()
    name, shipped = options.name, Path("risloc/learning/shipped") / options.name
    try:
        if not options.test and not options.card:
            train(name, shipped)
        if not options.card:
            test(name, shipped)
    except subprocess.CalledProcessError as error:
        sys.exit(f"ship: {error.cmd[3]} into {error.cmd[5]} failed, see above; finished stages are kept")
    write_card(name, shipped)
    print(f"{shipped} is written: weights, config and card")


def train(name: str, shipped: Path) -> None:
    """Train what is not trained, and put it into the package."""
    run_stages(ROOT / name, ("simulate", "shard", "hpo", "train", "order"), PRESETS[name], TRAINING)
    shutil.copytree(ROOT / name / "models" / "checkpoint", shipped, dirs_exist_ok=True)
    commits = {stage: commit_of(ROOT / name, stage) for stage in ("train", "order")}
    stamp(shipped, {**commits, **sizes(read_yaml(Path("params.yaml")))})


def sizes(params: Mapping[str, Any]) -> dict[str, int]:
    """With these parameters, the scenes of an epoch, and of those for the K rule the ones that it is judged by, not fitted on."""
    asked = override(params, TRAINING)
    return {"epoch_scenes": asked["data"]["train"], "order_held_back": asked["order"]["scenes"] // HELD_BACK}


def stamp(shipped: Path, made: Mapping[str, object]) -> None:
    """Write into the shipped config, beside what the stages put there, how the network came about."""
    path = shipped / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["extra"]["made"] = dict(made)
    write_bytes(path, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def test(name: str, shipped: Path) -> None:
    """Evaluate what is shipped."""
    preset, settings = TESTS[name]
    settings = settings | TESTING | {"evaluate.checkpoint": name}
    stages = ("simulate", "shard", "evaluate")
    run_stages(tested(name), stages, preset, settings, inputs=files_of(shipped))
    (tested(name) / "checkpoint").write_text(digest_of(files_of(shipped)), encoding="utf-8")


def write_card(name: str, shipped: Path) -> None:
    """Write the card from the evaluation of this very network; SystemExit if the evaluation is missing or of another one."""
    of = tested(name) / "checkpoint"
    if not of.is_file() or of.read_text(encoding="utf-8") != digest_of(files_of(shipped)):
        sys.exit(f"ship: {tested(name)} has no evaluation of {shipped}; run `python -m studies.ship {name} --test`")
    tables = json.loads((tested(name) / "reports" / "evaluate" / "tables.json").read_text(encoding="utf-8"))
    confidence = read_yaml(Path("params.yaml"))["evaluate"]["confidence"]
    how = Tested(TESTS[name][0], commit_of(tested(name), "evaluate"), confidence)
    lines = card(name, shipped, tables, PRESETS[name], how)
    with replacing(shipped / "card.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tested(name: str) -> Path:
    """Where a network is tested."""
    return ROOT / f"{name}-test"


def files_of(shipped: Path) -> list[Path]:
    """What a checkpoint is made of."""
    return [shipped / "config.json", shipped / "model.safetensors"]


if __name__ == "__main__":
    main()
