"""A disk is full in the middle of simulate, of train, of a report: one clear line, nothing torn, and the next run resumes.

The disk is real: a tmpfs. Without the right to mount one, the tests run in a user and mount namespace.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
import pytest
from disks import Disk, can_mount, mounted
from learning_shards import make_shards
from mapped_stages import small_simulation
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors import SafetensorError, safe_open
from small_training import sections, small, train_there

from pipeline.console_reporter import ConsoleReporter
from pipeline.sections import override, typed_sections
from pipeline.tracking.answering import ServerAwayError
from pipeline.tracking.outbox import deliver_all
from pipeline.tracking.runs import EXPERIMENT, stage_run
from pipeline.tracking.server import reach
from risloc.config import as_mapping, flatten
from risloc.utils.atomic_files import DiskFullError
from risloc.utils.yaml_reader import read_yaml
from stages import simulate
from stages.tuning.best_params import Best, write_best

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("shared_prefect"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # within mlflow and what it stands on
]

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
PLENTY = 1 << 28
BLOCKS, EPOCHS = 40, 12
SMALL = small_simulation(BLOCKS)


@pytest.fixture(scope="module")
def may_mount(tmp_path_factory: pytest.TempPathFactory) -> bool:
    return can_mount(tmp_path_factory.mktemp("mount"))


@pytest.fixture
def disk(may_mount: bool, tmp_path: Path) -> Iterator[Disk]:
    if not may_mount:
        pytest.skip("this process may not mount a tmpfs; see test_they_run_in_a_namespace")
    with mounted(tmp_path / "disk", PLENTY) as disk:
        yield disk


def test_they_run_in_a_namespace(may_mount: bool, repository: Path) -> None:
    if may_mount:
        pytest.skip("this process may mount a tmpfs itself")
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("neither mount nor unshare is allowed here, so there is no disk to fill")
    command = [*NAMESPACE, sys.executable, "-m", "pytest", __file__]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:]


def _stage(stage: str, folder: Path, changes: Mapping[str, object]) -> list[str]:
    """`python -m pipeline` with its results in `folder`."""
    words = [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
    return [sys.executable, "-m", "pipeline", stage, "--into", str(folder), *words]


def _told(stage: str, file: str, disk: Disk) -> str:
    """The line that a stage ends with, as a pattern; so is `file`."""
    place = re.escape(str(disk.root))
    remedy = "free some space and start again"
    return rf"^{stage} failed: DiskFullError: {file}: No space left on device \({place}\); {remedy}$"


def test_simulate_keeps_what_it_has_drawn_and_goes_on(repository: Path, disk: Disk, tmp_path: Path) -> None:
    given = typed_sections("simulate", override(read_yaml(repository / "params.yaml"), SMALL))

    def paths(folder: Path) -> dict[str, Path]:
        metrics = folder / "metrics" / "simulate.json"
        return {"raw": folder / "data" / "raw", "metrics": metrics, "state": folder / ".state" / "simulate"}

    alone, into = tmp_path / "alone", disk.root / "into"
    simulate.run(**given, **paths(alone), report=ConsoleReporter())
    disk.resize(sum(path.stat().st_size for path in alone.rglob("*.npz")) // 2)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RISLOC_RUNNER": "processes:2"}
    command = _stage("simulate", into, SMALL)
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr[-4000:]
    file = re.escape(str(into / ".state" / "simulate")) + r"/\w+/\w+/\w+/\d+\.npz"
    assert re.search(_told("simulate", file, disk), done.stderr, re.MULTILINE), done.stderr[-4000:]
    kept = _identities(into)
    assert BLOCKS / 10 < len(kept) < 9 * BLOCKS / 10
    assert not list(disk.root.rglob("*.part"))
    disk.resize(PLENTY)
    simulate.run(**given, **paths(into), report=ConsoleReporter())
    assert kept < _identities(into)
    assert _contents(into) == _contents(alone)


def _identities(folder: Path) -> set[tuple[int, int]]:
    """Number and time of each training block: one that is drawn again has others."""
    blocks = [path.stat() for path in folder.rglob("raw/train/*.npz")]
    return {(stat.st_ino, stat.st_mtime_ns) for stat in blocks}


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_train_keeps_its_last_checkpoint_and_goes_on(repository: Path, disk: Disk, tmp_path: Path) -> None:
    alone, into = tmp_path / "alone", disk.root / "into"
    for folder in (alone, into):
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "shards").symlink_to(make_shards(folder / "made", small(), train=112, val=40))
        write_best(folder / "models" / "best.yaml", Best.default())
    train_there(alone, ConsoleReporter(), fresh=True, epochs=EPOCHS)
    given = {
        name: as_mapping(value) if name != "seed" else value
        for name, value in sections(fresh=True, epochs=EPOCHS).items()
    }
    with (tmp_path / "words").open("w") as words:
        training = subprocess.Popen(
            _stage("train", into, flatten(given)),
            cwd=repository,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=words,
            stderr=words,
        )
    try:
        while _epoch(into) < 2:
            assert training.poll() is None, (tmp_path / "words").read_text()[-4000:]
            time.sleep(0.02)
        disk.fill()
        assert training.wait(120) == 1, (tmp_path / "words").read_text()[-4000:]
    finally:
        training.kill()
        training.wait()
    said = (tmp_path / "words").read_text()
    file = re.escape(str(into / ".state" / "train")) + r"/\w+/(best/)?[\w.]+"
    assert re.search(_told("train", file, disk), said, re.MULTILINE), said[-4000:]
    stopped_at = _epoch(into)
    assert 0.1 * EPOCHS < stopped_at < 0.9 * EPOCHS
    assert not list(disk.root.rglob("*.part"))
    disk.empty()
    report = ConsoleReporter()
    train_there(into, report, fresh=True, epochs=EPOCHS)
    assert ("line", f"Going on after epoch {stopped_at} of an interrupted run") in report.records
    for name in ("metrics/train.json", "reports/train/losses.csv", "models/network/model.safetensors"):
        assert (into / name).read_bytes() == (alone / name).read_bytes(), name


def _epoch(folder: Path) -> int:
    """The epochs that a checkpoint holds."""
    for path in folder.glob(".state/train/*/trainer.safetensors"):
        try:
            with safe_open(path, "pt") as file:
                return int(json.loads(file.metadata()["scalars"])["epoch"])
        except (FileNotFoundError, SafetensorError):
            return 0
    return 0


@pytest.fixture
def store(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """MLflow's file on the disk; its tables are there. What waits for it is elsewhere."""
    monkeypatch.setattr("pipeline.tracking.server.ROOT", disk.root)
    monkeypatch.setattr("pipeline.env.STATE", tmp_path / ".state")
    mlflow.set_tracking_uri(f"sqlite:///{disk.root / 'mlflow.db'}")
    yield disk.root / "mlflow.db"
    mlflow.set_tracking_uri(None)


def _run(name: str) -> Run:
    client = MlflowClient()
    found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    return next(run for run in found if run.info.run_name == name)


def _whole(store: Path) -> bool:
    with sqlite3.connect(store) as database:
        return database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_reports_wait_elsewhere_while_mlflow_s_disk_is_full(store: Path, disk: Disk, tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "table.csv").write_text("x\n" * 10_000)
    with stage_run("train", {"seed": 1}, lines.append) as report:
        report.metrics({"loss": 1.0}, step=1)
        disk.fill()
        for epoch in range(2, 200):
            report.metrics({f"loss/{name}": 1.0 / epoch for name in "abcdefgh"}, step=epoch)
        report.artifact(tmp_path / "report")
        assert report.outbox.waiting
        disk.empty()
        report.outbox._next_try = 0.0  # as if the time between two tries had passed
        report.metrics({"loss": 0.5}, step=200)
    assert any("The run continues; its reports are stored in" in line for line in lines)
    assert _whole(store)
    history = MlflowClient().get_metric_history(_run("train").info.run_id, "loss/a")
    assert [(point.step, point.value) for point in history] == [(epoch, 1.0 / epoch) for epoch in range(2, 200)]
    assert mlflow.artifacts.load_text(f"{_run('train').info.artifact_uri}/report/table.csv") == "x\n" * 10_000


def test_with_no_room_for_what_waits_the_run_ends_and_nothing_is_torn(
    store: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.env.STATE", disk.root / ".state")
    lines: list[str] = []
    with pytest.raises(DiskFullError, match=r"outbox/\w+\.jsonl: No space left on device .*free some space"):
        _report_on_a_full_disk(disk, lines)
    for path in disk.root.rglob("*.jsonl"):
        assert all(json.loads(line) for line in path.read_text().splitlines())
    assert _whole(store)
    disk.empty()
    assert deliver_all(reach(), lines.append) == 0
    with stage_run("order", {"seed": 1}, lines.append):
        pass
    assert (_run("order").info.status, _run("train").data.metrics["loss"]) == ("FINISHED", 1.0)


def _report_on_a_full_disk(disk: Disk, lines: list[str]) -> None:
    with stage_run("train", {"seed": 1}, lines.append) as report:
        report.metrics({"loss": 1.0}, step=1)
        disk.fill()
        for epoch in range(2, 1000):
            report.metrics({f"loss/{name}": 1.0 / epoch for name in "abcdefgh"}, step=epoch)


def test_a_stage_that_finds_mlflow_s_disk_full_says_so(store: Path, disk: Disk) -> None:
    disk.fill()
    with pytest.raises(ServerAwayError, match="disk is full"), stage_run("train", {"seed": 1}, print):
        pytest.fail("it began")
    disk.empty()
    with stage_run("train", {"seed": 1}, print):
        pass
    assert _whole(store)
