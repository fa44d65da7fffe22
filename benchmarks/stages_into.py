"""Stages run into a folder of their own, each once for the same parameters."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from risloc.params import read_yaml
from risloc.preset_files import preset

__all__ = ["command", "run_stages"]


def run_stages(
    folder: Path, stages: Sequence[str], preset_name: str, settings: Mapping[str, object], threads: int | None = None
) -> None:
    """Each stage in a process of its own, unless it and all before it ended with the same parameters.

    Code is not looked at: after a change of code, remove the folder.  threads : of each process; None: as torch has it.

    Raises
    ------
    subprocess.CalledProcessError
        A stage failed; what it said stands above.
    """
    asked = [read_yaml(Path("params.yaml")), preset(preset_name), dict(settings)]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    for stage in stages:
        done = folder / ".done" / stage
        if done.is_file() and done.read_text(encoding="utf-8") == key:
            continue
        subprocess.run(command(stage, folder, preset_name, settings), check=True, env=environment)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(key, encoding="utf-8")
        for later in stages[stages.index(stage) + 1 :]:
            (folder / ".done" / later).unlink(missing_ok=True)


def command(stage: str, folder: Path, preset_name: str, settings: Mapping[str, object]) -> list[str]:
    """The command line of one stage."""
    changes = [part for path, value in settings.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    return [sys.executable, "-m", "pipeline", stage, "--into", str(folder), "--preset", preset_name, *changes]
