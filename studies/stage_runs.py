"""Stages run into a folder of their own, each once for the same parameters, code and inputs."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.git import git
from pipeline.sections import stage_function
from risloc.scenes.preset_files import preset
from risloc.utils.yaml_reader import read_yaml
from stages.support.resumable import source_digest

__all__ = ["command", "commit_of", "digest_of", "run_stages"]

_CODE = ("params.yaml", "risloc", "stages", "pipeline", ":(exclude)risloc/learning/shipped")


def run_stages(
    folder: Path,
    stages: Sequence[str],
    preset_name: str,
    settings: Mapping[str, object],
    threads: int | None = None,
    inputs: Sequence[Path] = (),
) -> None:
    """Each stage in a process of its own, unless it and all before it ended with the same parameters, code and inputs.

    threads : of each process; None: as torch has it.  inputs : files that the stages read besides what stages write.

    Raises
    ------
    subprocess.CalledProcessError
        A stage failed; what it said stands above.
    """
    asked = [read_yaml(Path("params.yaml")), preset(preset_name), dict(settings), digest_of(inputs)]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    for stage in stages:
        done = folder / ".done" / stage
        key = hashlib.sha256(json.dumps([*asked, _code_of(stage)]).encode()).hexdigest()
        if done.is_file() and done.read_text(encoding="utf-8").split("\n")[0] == key:
            continue
        commit = _commit()
        subprocess.run(command(stage, folder, preset_name, settings), check=True, env=environment)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(f"{key}\n{commit}\n", encoding="utf-8")
        for later in stages[stages.index(stage) + 1 :]:
            (folder / ".done" / later).unlink(missing_ok=True)


def command(stage: str, folder: Path, preset_name: str, settings: Mapping[str, object]) -> list[str]:
    """The command line of one stage."""
    changes = [part for path, value in settings.items() for part in ("--set", f"{path}={json.dumps(value)}")]
    return [sys.executable, "-m", "pipeline", stage, "--into", str(folder), "--preset", preset_name, *changes]


def commit_of(folder: Path, stage: str) -> str:
    """The last commit that touched the code that ran `stage` into `folder`; ``abc1234, changed`` where that had been changed since."""
    return (folder / ".done" / stage).read_text(encoding="utf-8").split("\n")[1]


def digest_of(files: Sequence[Path]) -> str:
    """A hash of what the files hold."""
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def _commit() -> str:
    commit, changed = (
        git("log", "-1", "--abbrev=7", "--format=%h", "--", *_CODE),
        git("status", "--porcelain", "--", *_CODE),
    )
    return f"{commit}, changed" if changed else commit or "unknown"


def _code_of(stage: str) -> str:
    stage_function(stage)  # imports it
    return source_digest(f"stages.{stage}")
