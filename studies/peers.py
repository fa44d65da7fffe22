"""The scenario of published near-field subspace learning: simulate, train and evaluate in it, and write docs/peers.md.

    python -m studies.peers        (`make peers`)

Both waveforms at once, a thread each, into peers/independent and peers/coherent. A stage that has ended with the same
parameters and code is not run again.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from risloc.learning.k_rules import KNOWN
from risloc.utils.atomic_files import replacing
from risloc.utils.yaml_reader import read_yaml
from stages.evaluation.tables import Row
from studies.peers_page import page
from studies.stage_runs import run_stages

PRESET = "ula_coherent"
WAVEFORMS = ("independent", "coherent")
STAGES = ("simulate", "shard", "hpo", "train", "order", "evaluate")
SETTINGS: dict[str, object] = {
    "data.train": 20480,
    "data.val": 1024,
    "data.test_per_cell": 500,
    "data.test_snr_db": [3.0103, 10.0, 20.0],
    "covariance.beta": 0.7,
    "grid.step_beams": 0.25,
    "grid.planes": 8,
    "network.passes": 1,
    "network.amp": False,
    "hpo.trials": 0,
    "train.epochs": 10,
    "train.val_scenes": 512,
    "order.scenes": 0,
    "evaluate.k_rules": [KNOWN],
    "evaluate.gospa_cutoffs": [100.0, 2.0],
    "search.rank": 4,
}
"""What differs from params.yaml. The first cut-off exceeds the domain, so that every estimate is assigned."""


def main() -> None:
    """Run what is missing and write the page."""
    root = Path("peers")
    try:
        with ThreadPoolExecutor(len(WAVEFORMS)) as pool:
            list(
                pool.map(lambda each: run_stages(root / each, STAGES, PRESET, settings_of(each), threads=1), WAVEFORMS)
            )
    except subprocess.CalledProcessError as error:
        sys.exit(f"peers: {error.cmd[3]} into {error.cmd[5]} failed, see above; finished stages are kept")
    rows = {waveform: read_rows(root / waveform / "reports" / "evaluate" / "tables.json") for waveform in WAVEFORMS}
    confidence = read_yaml(Path("params.yaml"))["evaluate"]["confidence"]
    with replacing(Path("docs/peers.md")) as temporary:
        temporary.write_text(page(rows, SETTINGS, confidence), encoding="utf-8")
    print("docs/peers.md is written")


def settings_of(waveform: str) -> dict[str, object]:
    """All that differs from params.yaml."""
    return SETTINGS | {"scenario.waveform": waveform}


def read_rows(path: Path) -> list[Row]:
    """The table by SNR of an evaluation."""
    return json.loads(path.read_text(encoding="utf-8"))["by_snr"]


if __name__ == "__main__":
    main()
