"""`make verify` on real commits: what agrees, what is named, and the exit codes."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline import __main__ as command
from pipeline.layout import MEASURED
from pipeline.verify import VerifyError, compare, tolerance, verify

METRICS = {
    "simulate": {"train": {"scenes": 4, "mean_K": 2.5, "hash": "36af"}},
    "shard": {"train": {"scenes": 4, "checksum": "7506"}},
    "overfit": {"curriculum": {"nmse": 0.13}, "passed": True},
    "hpo": {"chosen": "default", "difference": -0.01, "margin": 0.02, "replicates": 4},
    "train": {"score": 0.63, "kept_epoch": 4},
    "order": {"scenes": 2048, "gospa_learnt": 0.25},
    "evaluate": {
        f"position_error_median/{method}/snr{snr}": 0.1
        for method in ("R_blend_refined", "nomp_refined", "nomp_refined_learnt")
        for snr in (0, 10)
    },
}


def write(folder: Path, **changes: dict[str, object]) -> None:
    (folder / "metrics").mkdir(exist_ok=True)
    for stage, values in METRICS.items():
        (folder / "metrics" / f"{stage}.json").write_text(json.dumps({**values, **changes.get(stage, {})}))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    write(tmp_path)
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "metrics"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_every_stage_has_its_metrics_here() -> None:
    assert tuple(METRICS) == MEASURED


def test_a_run_that_is_the_same_agrees(clone: Path) -> None:
    lines, good = verify("HEAD", clone)
    assert good
    assert lines[0] == "simulate: 3 values, 3 of them equal, 0 outside their tolerance"
    assert lines[-1] == "All values agree with HEAD."


@pytest.mark.parametrize(
    ("stage", "changed", "named"),
    [
        ("simulate", {"train": {"scenes": 4, "mean_K": 2.5, "hash": "36b0"}}, ["train/hash"]),
        ("simulate", {"train": {"scenes": 4, "mean_K": 2.5 + 1e-12, "hash": "36af"}}, ["train/mean_K"]),
        ("shard", {"train": {"scenes": 4}}, ["train/checksum"]),
        ("shard", {"new": 1}, ["new"]),
        ("overfit", {"passed": False}, ["passed"]),
        ("overfit", {"curriculum": {"nmse": 0.17}}, []),
        ("overfit", {"curriculum": {"nmse": 0.9}}, ["curriculum/nmse"]),
        ("hpo", {"difference": 0.5, "margin": 0.1, "replicates": 0}, []),
        ("hpo", {"chosen": "trial-3"}, ["chosen"]),
        ("order", {"scenes": 2047}, ["scenes"]),
        ("train", {"score": float("nan")}, ["score"]),
        ("evaluate", {"position_error_median/nomp_refined/snr0": 0.108}, []),
        ("evaluate", {"position_error_median/nomp_refined/snr0": 0.12}, ["position_error_median/nomp_refined/snr0"]),
        ("evaluate", {"position_error_median/R_blend_refined/snr0": 0.12}, []),
        ("evaluate", {"position_error_median/nomp_refined_learnt/snr0": 0.12}, []),
        (
            "evaluate",
            {"position_error_median/R_blend_refined/snr0": None},
            ["position_error_median/R_blend_refined/snr0"],
        ),
    ],
)
def test_what_differs_is_named_and_nothing_else(
    clone: Path, stage: str, changed: dict[str, object], named: list[str]
) -> None:
    write(clone, **{stage: changed})
    lines, good = verify("HEAD", clone)
    assert good is not bool(named)
    assert [line.split()[0] for line in lines if line.endswith("DIFFERS")] == named
    assert lines[-1].startswith("NOT all" if named else "All ")


def test_of_many_values_those_alone_that_differ_are_shown() -> None:
    many = {f"gospa/nomp_refined/snr{i}": 1.0 for i in range(40)}
    lines, good = compare("evaluate", many | {"gospa/nomp_refined/snr7": 3.0}, many)
    assert not good
    assert lines[0] == "evaluate: 40 values, 39 of them equal, 1 outside their tolerance"
    assert len(lines) == 3
    assert lines[2].split() == ["gospa/nomp_refined/snr7", "3", "1", "within", "2", "%", "+", "0.01", "DIFFERS"]


def test_the_committed_metrics_of_this_repository_have_tolerances(repository: Path) -> None:
    for name in json.loads((repository / "metrics" / "evaluate.json").read_text()):
        assert tolerance("evaluate", name).relative in (0.02, 0.5)


def test_nothing_to_compare_is_said(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match=r"nowhere:metrics/simulate.json: not in git; name a commit"):
        verify("nowhere", clone)
    (clone / "metrics" / "hpo.json").unlink()
    with pytest.raises(VerifyError, match=r"metrics/hpo.json: missing; `dvc repro hpo` makes it"):
        verify("HEAD", clone)
    shutil.rmtree(clone / ".git")
    with pytest.raises(VerifyError, match="not in git"):
        verify("HEAD", clone)


def test_the_command_ends_with_0_1_or_2(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "COPY", clone)
    assert command.main(["verify"]) == 0
    write(clone, hpo={"chosen": "trial-3"})
    assert command.main(["verify", "HEAD"]) == 1
    assert "NOT all values agree with HEAD: see DIFFERS above." in capsys.readouterr().out
    assert command.main(["verify", "nowhere"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
