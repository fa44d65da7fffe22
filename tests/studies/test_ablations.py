"""The ablation study: its arithmetic against scipy's, its page from made-up numbers, and which runs are run."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloned_pipeline import Clone
from scipy import stats

from pipeline.sections import override, typed_sections
from risloc.config import ParamError
from risloc.utils.yaml_reader import read_yaml
from studies import ablations
from studies.ablations_page import BASE, MEASURES, NOMP_MEASURES, differences, mean_of, page


@pytest.fixture
def params(repository: Path) -> dict[str, Any]:
    return read_yaml(repository / "params.yaml")


def values(n: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(1.0, 0.3, n).tolist()


@pytest.mark.parametrize("n", [2, 3, 7])
def test_the_interval_of_a_mean_is_student_s(n: int) -> None:
    x = values(n)
    low, high = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    found = mean_of(x)
    assert (found.value, found.half) == (pytest.approx(np.mean(x)), pytest.approx((high - low) / 2))
    assert found.value - found.half == pytest.approx(low)
    assert found.beyond_doubt == (stats.ttest_1samp(x, 0).pvalue < 0.05)


def test_three_values_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, t of 2 degrees of freedom 4.303."""
    found = mean_of([1.0, 2.0, 3.0])
    assert (found.value, found.half) == (2.0, pytest.approx(4.30265 / 3**0.5, rel=1e-5))


def test_a_difference_is_paired() -> None:
    x, y = values(3, seed=1), values(3, seed=2)
    low, high = stats.ttest_rel(x, y).confidence_interval(0.95)
    found = differences(x, y)
    assert (found.value - found.half, found.value + found.half) == (pytest.approx(low), pytest.approx(high))
    shifted = differences([each + 0.1 for each in x], x)
    assert shifted.value == pytest.approx(0.1)
    assert shifted.half < 1e-12
    with pytest.raises(ValueError, match="zip"):
        differences(x, y[:2])


def test_one_value_has_no_interval() -> None:
    found = mean_of([0.5])
    assert found.value == 0.5
    assert np.isnan(found.half)
    assert not found.beyond_doubt


def test_the_page_says_what_matters() -> None:
    names = [*MEASURES, *NOMP_MEASURES]
    base = [dict.fromkeys(names, x) for x in (1.0, 1.1, 1.2)]
    worse = [{name: each[name] + 0.5 + 0.001 * i for name in names} for i, each in enumerate(base)]
    same = [{name: each[name] + x for name in names} for x, each in zip((0.2, -0.2, 0.01), base, strict=True)]
    settings = {BASE: {}, "beta = 0": {"covariance.beta": 0.0}, "head = free": {"network.head": "free"}}
    common = {"data.train": 10, "train.epochs": 4, "evaluate.k_rules": ["known"], "overfit.gate": False}
    text = page({BASE: base, "beta = 0": worse, "head = free": same}, settings, common, "make this")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert [len(table.splitlines()) for table in tables] == [5, 4]
    for table in tables:
        assert {line.count("|") for line in table.splitlines()} == {len(MEASURES) + 2}
    half = 4.30265 * 0.1 / 3**0.5
    assert f"| base | 1.1000 ± {half:.4f} |" in tables[0]
    assert "| beta = 0 | **+0.5010 ± 0.0025** |" in tables[1]
    assert "| head = free | +0.0033 ± " in tables[1]
    assert "0 dB 1.000, 10 dB 1.000" in text
    assert "40 scenes" in text
    assert "    beta = 0: covariance.beta=0.0\n" in text
    assert '    head = free: network.head="free"\n' in text
    assert "    overfit.gate=false\n" in text
    assert "Of 16 intervals about 1 exclude 0" in text


def test_every_run_is_one_knob_of_parameters_that_there_are(params: dict[str, Any]) -> None:
    asked = ablations.runs(params)
    assert len(asked) == len({run.name for run in asked}) == 3 * len(ablations.SETTINGS) <= 40
    for run in asked:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", run.name)
        changed = override(params, run.changes)
        sections = typed_sections("evaluate", changed)
        assert sections["evaluate"].methods
        typed_sections("hpo", changed)
        assert changed["data"]["val"] >= 2 * changed["hpo"]["val_scenes"]
        assert changed["data"]["train"] >= changed["hpo"]["train_scenes"]
        knob = set(run.changes) - set(ablations.COMMON) - {"fit.replicate"}
        pairs = {
            "fine map": {"grid.step_beams", "grid.planes"},
            "R_pred supervised in place of R_blend": {"loss.lam_cov", "loss.lam_cov_pred"},
        }
        assert knob == pairs[run.setting] if run.setting in pairs else len(knob) == (run.setting != BASE)
        for path in knob:
            section, name = path.split(".")
            assert params[section][name] != run.changes[path], f"{run.setting} is what params.yaml has"


def test_a_name_stands_for_parameters_and_code(params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    first = ablations.runs(params)
    assert ablations.runs(params) == first
    other = ablations.runs(override(params, {"fit.learning_rate": 1e-4}))
    assert not {run.name for run in other} & {run.name for run in first}
    monkeypatch.setattr(ablations, "source_digest", lambda module: "edited")
    assert not {run.name for run in ablations.runs(params)} & {run.name for run in first}
    monkeypatch.setitem(ablations.SETTINGS, "beta = 1", {"covariance.beta": 1.0})
    with pytest.raises(ParamError, match=r"covariance\.beta"):
        ablations.runs(params)


class FakeDvc:
    """Experiments as git refs to commits that hold the metrics, made by no training."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, list[str]()
        self.git("init", "--quiet")
        for stage in ("train", "evaluate"):
            keys = [key for of, key in (MEASURES | NOMP_MEASURES).values() if of == stage]
            (root / "metrics").mkdir(exist_ok=True)
            (root / "metrics" / f"{stage}.json").write_text(json.dumps(dict.fromkeys(keys, 0.5)))
        self.git("add", "--all")
        self.git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "results")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, check=True)

    def start(self, run: ablations.Run, held: int) -> bool:
        self.asked.append(run.name)
        if len(self.asked) == 3:
            raise KeyboardInterrupt
        if len(self.asked) == 4:
            return False
        self.git("update-ref", f"refs/exps/ab/{'c' * 38}/{run.name}", "HEAD")
        return True


def test_what_has_been_run_is_not_run_again(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text((repository / "params.yaml").read_text(encoding="utf-8"))
    fake = FakeDvc(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablations, "start", fake.start)
    monkeypatch.setattr(ablations, "STATE", tmp_path / ".state")
    monkeypatch.setattr(ablations, "SETTINGS", {name: ablations.SETTINGS[name] for name in (BASE, "beta = 0")})
    names = [run.name for run in ablations.runs(read_yaml(Path("params.yaml")))]
    with pytest.raises(SystemExit, match="stopped; finished runs are kept"):
        ablations.main([])
    with pytest.raises(SystemExit, match=f"failed, see above: {names[2]}; the results of the others are kept"):
        ablations.main([])
    assert not (tmp_path / "docs").exists()
    assert fake.asked == [*names[:3], *names[2:]]
    ablations.main([])
    assert fake.asked[7:] == [names[2]]
    assert "docs/ablations.md is written" in capsys.readouterr().out
    assert (tmp_path / "docs" / "ablations.md").read_text().count("| 0.5000 ± 0.0000 |") == 2 * (len(MEASURES) // 2)
    ablations.main([])
    assert len(fake.asked) == 8


TINY = """
from studies import ablations
ablations.COMMON = {common!r}
ablations.SETTINGS = {{"base": {{}}, "lam_cov = 0": {{"loss.lam_cov": 0.0}}}}
ablations.REPLICATES = 1
ablations.main([])
"""


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_the_study_for_real_at_toy_size(tmp_path: Path) -> None:
    """Two experiments in temporary copies; killed in the second one with all it started, the study repeats only that."""
    clone = Clone(Path(__file__).resolve().parents[2], tmp_path)
    tiny = {"data.train": 256, "data.val": 64, "data.test_per_cell": 4, "train.epochs": 2}
    command = [sys.executable, "-c", TINY.format(common=ablations.COMMON | tiny)]
    said = tmp_path / "said"
    with said.open("w") as log:
        study = subprocess.Popen(
            command, cwd=clone.root, env=clone.environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            while "ablations: 2 of 2" not in said.read_text():
                assert study.poll() is None, said.read_text()[-4000:]
                time.sleep(0.5)
            time.sleep(15)  # somewhere in its stages
        finally:
            os.killpg(study.pid, signal.SIGKILL)
            study.wait()
    output = clone.run(*command)
    assert "ablations: 1 of 2" not in output
    assert "ablations: 2 of 2" in output
    assert "docs/ablations.md is written" in output
    assert clone.run("git", "status", "--porcelain").split()[1:] == ["docs/ablations.md"]
    assert clone.run("dvc", "exp", "list", "--name-only").count("ablation-") == 2
    assert "ablations: " not in clone.run(*command)
