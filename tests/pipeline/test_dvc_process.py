"""Real DVC under `pipeline.dvc_process`: its exit code says whether another try may help."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from child_processes import started
from dvc.lock import Lock

from pipeline.dvc_process import TRANSIENT

FAILED = 255  # dvc's own
STAGES = {
    "wrong": "raise SystemExit(1)",
    "like_transient": "print('nothing answers at X'); print('Unable to acquire lock'); raise SystemExit(75)",
    "transient": "from pipeline.dvc_process import mark_transient; mark_transient(); raise SystemExit(75)",
    "well": "from pipeline.dvc_process import mark_transient; mark_transient()",
    "slow": "import pathlib, time; pathlib.Path('began').touch(); time.sleep(60)",
}

Run = Callable[..., contextlib.AbstractContextManager["subprocess.Popen[str]"]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with a DVC pipeline of these stages."""
    folder = tmp_path_factory.mktemp("project")
    stages = {name: {"cmd": f'"{sys.executable}" {name}.py', "outs": [f"{name}.out"]} for name in STAGES}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    for name, code in STAGES.items():
        (folder / f"{name}.py").write_text(f"{code}\nopen('{name}.out', 'w').close()\n")
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (
        ["git", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        ["git", "add", "."],
        ["git", *who, "commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.fixture
def run(project: Path, repository: Path) -> Run:
    """Starts `dvc ARGUMENTS` by way of `pipeline.dvc_process`."""

    def start(*arguments: str) -> contextlib.AbstractContextManager["subprocess.Popen[str]"]:
        return started(
            [sys.executable, "-m", "pipeline.dvc_process", *arguments],
            cwd=project,
            env={name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
            | {"PYTHONPATH": str(repository)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.mark.parametrize(
    ("stage", "code"), [("wrong", FAILED), ("like_transient", FAILED), ("transient", TRANSIENT), ("well", 0)]
)
@pytest.mark.parametrize("how", [("repro",), ("exp", "run", "--temp")], ids=" ".join)
def test_a_stage_says_whether_its_failure_is_transient(run: Run, how: tuple[str, ...], stage: str, code: int) -> None:
    with run(*how, stage) as dvc:
        said, _ = dvc.communicate(timeout=120)
    assert dvc.returncode == code, said


def test_a_stage_that_another_dvc_runs_is_transient(run: Run, project: Path) -> None:
    with run("repro", "slow") as other:
        try:
            while not (project / "began").exists():
                assert other.poll() is None
                time.sleep(0.1)
            with run("repro", "slow") as dvc:
                said, _ = dvc.communicate(timeout=120)
        finally:
            other.kill()
    assert dvc.returncode == TRANSIENT, said


def test_a_repository_that_another_dvc_has_locked_is_transient(run: Run, project: Path) -> None:
    with Lock(str(project / ".dvc" / "tmp" / "lock")), run("repro", "well") as dvc:
        said, _ = dvc.communicate(timeout=120)
    assert dvc.returncode == TRANSIENT, said


def test_what_is_no_stage_is_not_transient(run: Run) -> None:
    with run("repro", "nope") as dvc:
        said, _ = dvc.communicate(timeout=120)
    assert dvc.returncode == FAILED, said
