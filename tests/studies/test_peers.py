"""The page beside published work, from made-up tables; and which stages are run, without running any."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_answers import draw

from pipeline.__main__ import _parser
from pipeline.changes import parse_change
from pipeline.sections import override, typed_sections, with_preset
from risloc.utils.yaml_reader import read_yaml
from studies import peers, stage_runs
from studies.peers_page import METHODS, page
from studies.stage_runs import command, run_stages

COLUMNS = (
    "angle_rmse_matched_deg",
    "distance_rmse_matched_m",
    "angle_error_median_deg",
    "distance_error_median_m",
    "within_3_root_crb",
)


def rows(angle: float = 1.0) -> list[dict[str, Any]]:
    """Two SNRs; a value is so many thousandths of its column's number for each method's place, its interval 10 % wide."""
    table = []
    for snr in (10.0, 3.0103):
        for place, name in enumerate(METHODS, start=1):
            row: dict[str, Any] = {"method": name, "snr_db": snr, "scenes": 500}
            for column in COLUMNS:
                value = angle * place if "angle" in column else 0.01 * place * snr
                row |= {column: value, f"{column}_low": 0.9 * value, f"{column}_high": 1.1 * value}
            bounds = {"root_crb_angle_mean_deg": 0.4, "root_crb_distance_mean_m": 2.34}
            table.append(
                row | bounds | {"root_crb_angle_rms_deg": 0.5, "root_crb_distance_rms_m": 2.9, "detected": 0.999}
            )
    return table


def both(**changes: float) -> dict[str, list[dict[str, Any]]]:
    return {waveform: rows(**changes) for waveform in peers.WAVEFORMS}


def test_figures_stand_in_radians_and_metres_with_their_intervals() -> None:
    text = page(both(), {"data.train": 7}, 0.9)
    lines = [line for line in text.splitlines() if line.startswith("| MUSIC on R_samp |")]
    assert len(lines) == 4  # two tables for each waveform
    assert lines[0].startswith("| MUSIC on R_samp | 0.0175 [0.0157, 0.0192] | 0.0301 [0.0271, 0.0331] |")
    assert lines[0].endswith("| 0.999 |")
    assert lines[1] == "| MUSIC on R_samp | 0.0175 / 0.0301 | 0.0175 / 0.1 |"  # the lower SNR first
    assert "At 3.01 dB, 500 scenes; 90 % intervals" in text
    assert "| **mean root-CRB** | **0.007** | **2.34** |" in text
    assert "| **root mean CRB** | 0.0087 / 2.9 | 0.0087 / 2.9 |" in text
    assert "    data.train: 7\n" in text


def test_published_figures_are_marked_as_not_comparable() -> None:
    text = page(both(), {}, 0.95)
    assert "Published figures on the grid are not comparable with ours." in text
    published = re.findall(r"^\| \*published, on the grid, not comparable.*", text, re.MULTILINE)
    assert ["0.0073" in published[0], "1.8" in published[0], "0.05*" in published[1], "8*" in published[1]] == [
        True
    ] * 4


def test_every_row_of_a_table_has_its_columns() -> None:
    tables = re.findall(r"(?:^\|.*\n)+", page(both(), {}, 0.95), re.MULTILINE)
    assert len(tables) == 4
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_missing_row_is_named() -> None:
    tables = both()
    tables["coherent"] = [row for row in tables["coherent"] if row["method"] != "mvdr_plain" or row["snr_db"] == 10]
    with pytest.raises(ValueError, match=r"coherent: expected a row .*'mvdr_plain', 3\.0103"):
        page(tables, {}, 0.95)


@pytest.mark.parametrize("waveform", peers.WAVEFORMS)
def test_the_settings_are_parameters_and_the_first_snr_is_0_db_a_source(repository: Path, waveform: str) -> None:
    line = command("train", Path("there"), peers.PRESET, peers.settings_of(waveform))
    options = _parser().parse_args(line[3:])
    params = override(
        with_preset(read_yaml(repository / "params.yaml"), options.preset), dict(map(parse_change, options.set))
    )
    for stage in peers.STAGES:
        sections = typed_sections(stage, params)
    scenario, cutoff = sections["scenario"], sections["evaluate"].gospa_cutoffs[0]
    assert (scenario.preset, scenario.waveform) == ("ula_coherent", waveform)
    assert cutoff > 2 * scenario.distance_span_m[1]  # nobody is farther off: all are assigned
    scenes = draw(scenario, min(params["data"]["test_snr_db"]), n=64)
    truth, noise = scenes.truth, scenes.observation.noise_var[:, None]
    alone = truth.power / noise  # of H = I and codes of 1, the power at each antenna
    if waveform == "independent":
        assert alone.flatten().tolist() == pytest.approx([1.0] * 128, rel=1e-4)
    else:  # they add in amplitude
        level = 10 * alone.log10()
        assert abs(float(level.mean())) < 0.1
        assert 0.2 < float(level.std()) < 0.5


def test_a_stage_that_ended_is_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[str] = []
    fail = {"train"}

    def run(line: list[str], **_: object) -> None:
        stage = line[3]
        if stage in fail:
            raise subprocess.CalledProcessError(1, line)
        ran.append(stage)
        (tmp_path / "there").mkdir(exist_ok=True)

    code = dict.fromkeys(peers.STAGES, "as it is")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(stage_runs, "source_digest", lambda module: code[module.removeprefix("stages.")])
    monkeypatch.setattr(stage_runs, "git", lambda command, *_: {"log": "abc1234", "status": ""}[command])
    Path("params.yaml").write_text(yaml.safe_dump({"seed": 1}))
    with pytest.raises(subprocess.CalledProcessError):
        run_stages(tmp_path / "there", peers.STAGES, peers.PRESET, peers.settings_of("coherent"))
    assert ran == ["simulate", "shard", "hpo"]
    fail.clear()
    run_stages(tmp_path / "there", peers.STAGES, peers.PRESET, peers.settings_of("coherent"))
    assert ran == list(peers.STAGES)
    run_stages(tmp_path / "there", peers.STAGES, peers.PRESET, peers.settings_of("coherent"))
    assert ran == list(peers.STAGES)
    Path("params.yaml").write_text(yaml.safe_dump({"seed": 2}))
    run_stages(tmp_path / "there", peers.STAGES, peers.PRESET, peers.settings_of("coherent"))
    assert ran == 2 * list(peers.STAGES)
    (tmp_path / "there" / ".done" / "shard").unlink()
    run_stages(tmp_path / "there", peers.STAGES, peers.PRESET, peers.settings_of("coherent"))
    assert ran == 2 * list(peers.STAGES) + list(peers.STAGES[1:])
    ran.clear()
    code["train"] = "another"
    run_stages(tmp_path / "there", peers.STAGES, peers.PRESET, peers.settings_of("coherent"))
    assert ran == ["train", "order", "evaluate"]
    assert stage_runs.commit_of(tmp_path / "there", "train") == "abc1234"
    ran.clear()
    (tmp_path / "weights").write_text("some")
    for _ in range(2):
        run_stages(
            tmp_path / "there",
            peers.STAGES[:2],
            peers.PRESET,
            peers.settings_of("coherent"),
            inputs=[tmp_path / "weights"],
        )
    assert ran == ["simulate", "shard"]


def test_a_stage_is_marked_where_its_code_is_no_commit_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (tmp_path / "there").mkdir(exist_ok=True))
    Path("params.yaml").write_text(yaml.safe_dump({"seed": 1}))
    for stage, answers, said in (
        ("simulate", {"log": "abc1234", "status": " M risloc/learning/loss.py"}, "abc1234, changed"),
        ("shard", {"log": None, "status": None}, "unknown"),
    ):
        monkeypatch.setattr(stage_runs, "git", lambda command, *_, answers=answers: answers[command])
        run_stages(tmp_path / "there", [stage], peers.PRESET, {})
        assert stage_runs.commit_of(tmp_path / "there", stage) == said


def test_tables_of_any_size_are_read(tmp_path):
    rows = [{"method": f"method {i}", "snr_db": 10.0} for i in range(20_000)]
    path = tmp_path / "tables.json"
    path.write_text(json.dumps({"by_snr": rows}))
    assert path.stat().st_size > 2**19
    assert peers.read_rows(path) == rows
