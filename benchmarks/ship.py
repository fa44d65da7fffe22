"""Train, test and ship a network: risloc/shipped/NAME, its weights, its config and its model card.

    python -m benchmarks.ship NAME [--card]        (`make ship NAME=default`)        NAME: default or robust

Trains in ship/NAME on scenes none of which is seen twice, copies the checkpoint into the package, evaluates that copy in
ship/NAME-test, and writes the card from what came of it. A stage that has ended with the same parameters is not run again,
and an interrupted training goes on. --card : write the card alone, from the evaluation that is there.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.stages_into import run_stages
from risloc.checkpoint import SHIPPED, load_checkpoint
from risloc.files import replacing
from risloc.params import as_mapping
from stages.labels import RULES, method_of

PRESETS = {"default": "wide", "robust": "robust"}
"""What each is trained on."""

TESTS: Mapping[str, tuple[str, dict[str, object]]] = {
    "default": ("default", {"data.test_per_cell": 200, "data.test_snr_db": [0.0, 5.0, 10.0, 15.0, 20.0]}),
    "robust": ("robust", {"data.test_per_cell": 167, "data.test_snr_db": [0.0, 10.0, 20.0, 30.0]}),
}
"""The preset that each is tested on, and what differs there from params.yaml: 1000 scenes an SNR."""

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
    "evaluate.k_rules": ["known", "bic", "bic_noise", "learnt"],
    "evaluate.methods": [
        "R_blend_refined",
        "slots_plain",
        "untrained_refined",
        "back_projection_refined",
        "nomp_refined",
    ],
}
SHOWN = ("R_blend_refined", "nomp_refined", "back_projection_refined", "untrained_refined")


def main() -> None:
    """Do what has not been done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SHIPPED)
    parser.add_argument("--card", action="store_true", help="write the card alone")
    options = parser.parse_args()
    name, shipped = options.name, Path("risloc/shipped") / options.name
    test = Path("ship") / f"{name}-test"
    try:
        if not options.card:
            run_stages(Path("ship") / name, ("simulate", "shard", "hpo", "train", "order"), PRESETS[name], TRAINING)
            shutil.copytree(Path("ship") / name / "models" / "checkpoint", shipped, dirs_exist_ok=True)
            preset, settings = TESTS[name]
            settings = settings | TESTING | {"evaluate.checkpoint": name}
            run_stages(test, ("simulate", "shard", "evaluate"), preset, settings)
    except subprocess.CalledProcessError as error:
        sys.exit(f"ship: {error.cmd[3]} into {error.cmd[5]} failed, see above; what has ended is kept")
    tables = json.loads((test / "reports" / "evaluate" / "tables.json").read_text(encoding="utf-8"))
    with replacing(shipped / "card.md") as temporary:
        temporary.write_text("\n".join(card(name, shipped, tables)) + "\n", encoding="utf-8")
    print(f"{shipped} is written: weights, config and card")


def card(name: str, shipped: Path, tables: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the model card."""
    network, extra = load_checkpoint(shipped)
    scenario, preset = as_mapping(network.scenario), TESTS[name][0]
    size = sum(value.numel() for value in network.parameters())
    fit, train = extra["fit"], extra["train"]
    yield f"# Network `{name}`"
    yield ""
    yield (
        f"Predicts the hybrid covariance of the scenes of preset `{PRESETS[name]}` and, by its own K rule, how many sources "
        f"there are. {size:,} parameters, safetensors. `evaluate.checkpoint: {name}` evaluates with it, and "
        f'`load_checkpoint(shipped_checkpoint("{name}"))` of `risloc.checkpoint` loads it.'
    )
    yield from ("", "## Data and training", "")
    yield (
        f"Scenes drawn while training, none seen twice: preset `{PRESETS[name]}`, seed {extra['seed']}, "
        f"{train['epochs']} epochs of 20,480; batches of {fit['batch_size']}, AdamW, peak learning rate "
        f"{fit['learning_rate']:g}, averaged weights (decay {fit['ema_decay']:g}). Loss weights: "
        + ", ".join(f"{key} {value:g}" for key, value in extra["loss"].items() if key.startswith("lam_"))
        + f". The K rule was fitted on {extra['order']['scenes']:,} further scenes. Physical score on validation scenes "
        f"{extra['score']:.3f}. Made by"
    )
    yield from ("", f"    make ship NAME={name}", "")
    note = shipped / "note.md"  # what else is to be known of how this one came about
    if note.is_file():
        yield from (note.read_text(encoding="utf-8").strip(), "")
    yield "## What it was trained for"
    yield ""
    for key in ("snr_db_span", "K_span", "azimuth_span_deg", "elevation_span_deg", "distance_span_m", "rician_span"):
        yield f"- {key}: {scenario[key]}"
    yield f"- mismatch: {scenario['mismatch']}, coherent_fraction: {scenario['coherent_fraction']}"
    yield from ("", f"## Measured on preset `{preset}`", "")
    snrs = sorted({row["snr_db"] for row in tables["by_snr"]})
    found = {(row["method"], row["snr_db"]): row for row in tables["by_snr"]}
    yield f"{found['nomp_refined', snrs[0]]['scenes']} scenes an SNR, intervals of 95 %, GOSPA with cut-off 2 m [m]."
    yield ""
    yield "| method | K | " + " | ".join(f"{snr:g} dB" for snr in snrs) + " |"
    yield "|" + "---|" * (2 + len(snrs))
    for rule in RULES:
        for base in SHOWN:
            method = base if rule == "known" else f"{base}_{rule}"
            if (method, snrs[0]) in found:
                values = (found[method, snr] for snr in snrs)
                cells = (f"{r['gospa_2m']:.3f} [{r['gospa_2m_low']:.3f}, {r['gospa_2m_high']:.3f}]" for r in values)
                yield f"| {method_of(method).text} | {RULES[rule]} | " + " | ".join(cells) + " |"
    yield from ("", "## Limits", "")
    yield (
        "One array and one wavelength: another `n_h`, `n_v`, `carrier_hz`, `reference` or `K_MAX` is refused. Sources "
        "outside the spans above are placed at their border. What it does in worlds that it was not trained for stands in "
        "docs/robustness.md."
    )


if __name__ == "__main__":
    main()
