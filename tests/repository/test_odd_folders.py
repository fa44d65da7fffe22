"""A clone whose path has spaces works as any other; one with what its tools cannot hold is refused before anything is done."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNFIT = ["%", "?", "#", ":", "$", '"', "'", "`", "\\"]
PYTHON = """#!/bin/sh
echo "$0 $*" >> "$SAID"
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
"""


def made(repository: Path, folder: Path, said: Path, *goals: str) -> "subprocess.CompletedProcess[str]":
    """Run `make GOALS` in a new clone in `folder`, with a Python that records its arguments and nothing installed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, folder)
    said.parent.mkdir(exist_ok=True)
    python = said.parent / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    for name in ("pip", "dvc", "mlflow"):
        (said.parent / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "$SAID"\n')
        (said.parent / name).chmod(0o755)
    environment = {"PATH": f"{said.parent}:/usr/bin:/bin", "SAID": str(said)}
    command = ["make", *goals, f"PYTHON={python}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["my project", "a  b/c d", "é ü (1) & co; x", "it is, ok)"])
def test_make_works_below_a_folder_with_spaces(repository: Path, tmp_path: Path, name: str) -> None:
    """A file of the user's beside the folder is left alone, and no Python but that of .venv gets the packages."""
    (tmp_path / "my").write_text("notes")
    folder, said = tmp_path / name / "risloc", tmp_path / "bin" / "said"
    for _ in range(2):
        done = made(repository, folder, said, "setup")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "my").read_text() == "notes"
    assert {path.name for path in folder.iterdir()} == {".venv", "Makefile", "pyproject.toml", "constraints.txt"}
    _, venv, *installed = said.read_text(encoding="utf-8").splitlines()
    assert venv.endswith(" -m venv .venv")
    assert [line.partition(" install")[0] for line in installed] == [".venv/bin/python -m pip"], "once, into .venv"
    made(repository, folder, said, "repro", "ui")
    *_, repro, ui = said.read_text(encoding="utf-8").splitlines()
    assert (repro, ui.rpartition(" ")[2]) == ("dvc repro", "sqlite:///mlflow.db")


@pytest.mark.parametrize("unfit", UNFIT)
@pytest.mark.parametrize("goal", ["setup", "repro", "wheel"])
def test_make_refuses_a_folder_that_its_tools_cannot_hold(
    repository: Path, tmp_path: Path, unfit: str, goal: str
) -> None:
    folder, said = tmp_path / f"p{unfit}q" / "risloc", tmp_path / "bin" / "said"
    done = made(repository, folder, said, goal)
    assert done.returncode == 2
    assert f"expected a folder without {unfit} in its path; move or rename it" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not said.exists(), "nothing was run"
    assert len(list(folder.iterdir())) == 3, "nothing was written"


@pytest.mark.parametrize("unfit", ["%", "?", "#"])
def test_a_stage_refuses_a_folder_in_which_mlflow_loses_its_database(
    repository: Path, tmp_path: Path, unfit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where the records go elsewhere."""
    root = tmp_path / f"p{unfit}2Fq"
    root.mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("DVC_ROOT", str(root))
    command = [sys.executable, "-m", "pipeline", "simulate"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{root}: expected none of % ? # in the path of the repository")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("mlflow.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    check = [sys.executable, "-c", "from pipeline.env import check_folder; check_folder()"]
    subprocess.run(check, cwd=repository, check=True)


STORES = """
import sys
from pipeline.tracking.runs import stage_run
with stage_run("overfit", {"seed": 1}, print) as report:
    report.metrics({"a": 1.0})
    report.artifact(__import__("pathlib").Path(sys.argv[1]))
"""


@pytest.mark.e2e
def test_mlflow_s_database_and_files_lie_in_a_folder_with_spaces(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "é my (project) & co; x"
    root.mkdir()
    (tmp_path / "note.txt").write_text("kept")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("DVC_ROOT", str(root))
    command = [sys.executable, "-c", STORES, str(tmp_path / "note.txt")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (root / "mlflow.db").is_file()
    (kept,) = (root / "mlartifacts").rglob("note.txt")
    assert kept.read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {root.name, "note.txt"}
