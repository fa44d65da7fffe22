"""`python -m pipeline train` in several processes for real: flow, tracking, and the deaths that it survives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from child_processes import kill, started
from learning_shards import make_shards
from mlflow import MlflowClient
from safetensors import SafetensorError, safe_open
from small_training import losses, sections, small, torchrun, train_there

from pipeline.console_reporter import ConsoleReporter
from pipeline.torchrun import PROCESSES, Silent, processes
from risloc.config import ParamError, as_mapping, flatten
from stages.support.reporter import Reporter
from stages.tuning.best_params import Best, write_best

EPOCHS = 8


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "", " 2"])
@pytest.mark.parametrize("stage", ["train", "hpo"])
def test_a_bad_number_of_processes_is_named(monkeypatch: pytest.MonkeyPatch, stage: str, value: str) -> None:
    monkeypatch.setenv(PROCESSES, value)
    with pytest.raises(
        ParamError, match=rf"{PROCESSES}: expected a whole number >= 1, got '{value}'; correct or unset"
    ):
        processes(stage)


def test_the_command_line_says_that_it_is_of_the_environment(repository: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "train"]
    environment = os.environ | {PROCESSES: "two"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{PROCESSES}: expected a whole number >= 1, got 'two'")
    assert done.stderr.count("\n") == 1


def test_only_train_runs_in_several_processes_and_starts_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes("train") == 1
    monkeypatch.setenv(PROCESSES, "2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [processes(stage) for stage in ("simulate", "hpo", "train")] == [1, 1, 2]
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert processes("train") == 1
    with pytest.raises(ParamError, match="only train supports several ranks; run hpo without torchrun"):
        processes("hpo")
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ParamError, match=r"at most one for each CUDA device \(1\), got 2"):
        processes("train")


def test_the_silent_reporter_is_a_reporter_and_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report: Reporter = Silent()
    report.line("a")
    report.params({"a": 1})
    report.metrics({"a": 1.0}, step=2)
    report.tag("a", "b")
    report.artifact(tmp_path / "missing")
    with report.child("b") as child, child.progress(10, "scenes") as advance:
        advance(10)
    assert "".join(capsys.readouterr()) == ""


class Training:
    """`python -m pipeline train` in two processes, on the shards and into the results of `folder`; killed after its block."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.folder, self.words = folder, folder / "words.txt"
        given = {name: as_mapping(value) if name != "seed" else value for name, value in asked().items()}
        changes = [f"--set={path}={json.dumps(value)}" for path, value in flatten(given).items()]
        with self.words.open("a") as words:
            self.process = psutil.Popen(
                [sys.executable, "-m", "pipeline", "train", "--into", str(folder), *changes],
                cwd=repository,
                env=os.environ | {PROCESSES: "2", "OMP_NUM_THREADS": "1"},
                stdout=words,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *error: object) -> None:
        kill(self.process)

    def rank(self, number: int) -> psutil.Process:
        """The process of that rank."""
        (found,) = [p for p in self.process.children() if p.environ().get("RANK") == str(number)]
        return found

    def epoch(self) -> int:
        """The epochs that a checkpoint holds."""
        for path in self.folder.glob(".state/train/*/trainer.safetensors"):
            try:
                with safe_open(path, "pt") as file:
                    return int(json.loads(file.metadata()["scalars"])["epoch"])
            except (FileNotFoundError, SafetensorError):
                return 0
        return 0

    def wait_for(self, epoch: int) -> None:
        """Return when a checkpoint holds `epoch` epochs."""
        while self.epoch() < epoch:
            assert self.process.poll() is None, self.words.read_text()[-8000:]
            time.sleep(0.02)


def asked() -> dict[str, object]:
    return sections(fresh=True, epochs=EPOCHS)


@pytest.mark.e2e
@pytest.mark.usefixtures("shared_prefect")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within mlflow and what it stands on
def test_ranks_that_are_killed_or_stopped_lose_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0, which speaks and writes, by kill -9, then the launcher by SIGTERM; one process ends what two began."""
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    folder, undisturbed = tmp_path / "into", tmp_path / "undisturbed"
    for each in (folder, undisturbed):
        (each / "data").mkdir(parents=True)
        (each / "data" / "shards").symlink_to(make_shards(each / "made", small(), train=112, val=40))
        write_best(each / "models" / "best.yaml", Best.default())
    with Training(repository, folder) as training:
        training.wait_for(2)
        first = [training.rank(0), training.rank(1), *training.rank(0).children(recursive=True)]
        first[0].kill()
        assert 0.1 * EPOCHS < training.epoch() < 0.9 * EPOCHS
        killed_at = training.epoch()
        training.wait_for(killed_at + 2)
        assert "rank 0 was killed; all start again from the last checkpoint" in training.words.read_text()
        assert "Going on after epoch" in training.words.read_text()
        running = training.process.children(recursive=True)
        assert len(running) >= 2
        began = time.monotonic()
        training.process.terminate()
        assert training.process.wait(30) == 130
        assert time.monotonic() - began < 15
    psutil.wait_procs(running, timeout=5)
    assert not [p for p in (*first, *running) if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    stopped_at = training.epoch()
    assert 0.1 * EPOCHS < stopped_at < 0.9 * EPOCHS

    done = torchrun(undisturbed, 2, "none", fresh=True, epochs=EPOCHS)
    assert done.returncode == 0, done.stderr
    report = ConsoleReporter()
    train_there(folder, report, fresh=True, epochs=EPOCHS)
    assert ("line", f"Going on after epoch {stopped_at} of an interrupted run") in report.records
    whole, cut = losses(undisturbed), losses(folder)
    assert cut[:stopped_at] == whole[:stopped_at]
    for one, other in zip(whole[stopped_at:], cut[stopped_at:], strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-5)

    client = MlflowClient(store)
    mine = client.search_runs([client.get_experiment_by_name("risloc").experiment_id], order_by=["start_time"])
    assert [run.info.status for run in mine] == ["KILLED", "KILLED"]
    assert mine[-1].data.tags["resumed_after_epoch"] == str(killed_at)
    assert mine[-1].data.tags["processes"] == "2"


def test_an_error_of_a_rank_s_own_is_not_tried_again(repository: Path) -> None:
    """The same error would come again: each rank says it once, and no rank is started again."""
    code = "import sys; from pipeline.torchrun import launch; sys.exit(launch(2, ['train', '--set=loss.lam_cov=-1']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 1 <= done.stderr.count("params.yaml with --set: loss.lam_cov: expected a value >= 0.0, got -1") <= 2
    assert "start again" not in done.stderr


LONELY = """
import os, sys, time
from pathlib import Path
from pipeline import signals
from pipeline.torchrun import joined
signals.install()
with joined():
    Path(sys.argv[1], os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(60)
"""


def test_ranks_end_when_their_launcher_is_killed(repository: Path, tmp_path: Path) -> None:
    script = tmp_path / "lonely.py"
    script.write_text(LONELY)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    with started([*command, str(script), str(tmp_path)], env=environment, stderr=subprocess.DEVNULL) as launcher:
        while not all((tmp_path / rank).exists() and (tmp_path / rank).read_text() for rank in "01"):
            assert launcher.poll() is None
            time.sleep(0.05)
        ranks = psutil.Process(launcher.pid).children()
        assert len(ranks) == 2
        launcher.kill()
        launcher.wait()
    _, alive = psutil.wait_procs(ranks, timeout=20)
    assert not alive
