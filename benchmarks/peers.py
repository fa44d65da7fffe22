"""The scenario of published near-field subspace learning: simulate, train and evaluate in it, and write docs/peers.md.

    python -m benchmarks.peers        (`make peers`)

Both waveforms at once, a thread each, into peers/independent and peers/coherent. A stage that has ended with the same
parameters is not run again; code is not looked at: after a change of code, remove the folder peers/.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.peers_page import page
from risloc.params import read_yaml
from risloc.preset_files import preset
from stages.report import replacing
from stages.tables import Row

PRESET = "ula_coherent"
WAVEFORMS = ("independent", "coherent")
STAGES = ("simulate", "shard", "hpo", "train", "evaluate")
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
    "evaluate.k_rules": ["known"],
    "evaluate.gospa_cutoffs": [100.0, 2.0],
    "evaluate.search.rank": 4,
}
"""What differs from params.yaml. The first cut-off exceeds the domain, so that every estimate is assigned."""


def main() -> None:
    """Run what is missing and write the page."""
    root = Path("peers")
    try:
        with ThreadPoolExecutor(len(WAVEFORMS)) as pool:
            list(pool.map(lambda waveform: run_stages(root / waveform, waveform), WAVEFORMS))
    except subprocess.CalledProcessError as error:
        sys.exit(f"peers: {error.cmd[3]} into {error.cmd[5]} failed, see above; what has ended is kept")
    rows = {waveform: read_rows(root / waveform / "reports" / "evaluate" / "tables.json") for waveform in WAVEFORMS}
    confidence = read_yaml(Path("params.yaml"))["evaluate"]["confidence"]
    with replacing(Path("docs/peers.md")) as temporary:
        temporary.write_text(page(rows, SETTINGS, confidence), encoding="utf-8")
    print("docs/peers.md is written")


def run_stages(folder: Path, waveform: str) -> None:
    """Each stage in a process of its own, unless it and all before it ended with the same parameters.

    Raises
    ------
    subprocess.CalledProcessError
        A stage failed; what it said stands above.
    """
    settings = SETTINGS | {"scenario.waveform": waveform}
    asked = [read_yaml(Path("params.yaml")), preset(PRESET), settings]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    for stage in STAGES:
        done = folder / ".done" / stage
        if done.is_file() and done.read_text(encoding="utf-8") == key:
            continue
        subprocess.run(command(stage, folder, settings), check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        done.parent.mkdir(exist_ok=True)
        done.write_text(key, encoding="utf-8")
        for later in STAGES[STAGES.index(stage) + 1 :]:
            (folder / ".done" / later).unlink(missing_ok=True)


def command(stage: str, folder: Path, settings: Mapping[str, object]) -> list[str]:
    """The command line of one stage."""
    changes = [part for path, value in settings.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    return [sys.executable, "-m", "pipeline", stage, "--into", str(folder), "--preset", PRESET, *changes]


def read_rows(path: Path) -> list[Row]:
    """The table by SNR of an evaluation."""
    return read_yaml(path)["by_snr"]


if __name__ == "__main__":
    main()
