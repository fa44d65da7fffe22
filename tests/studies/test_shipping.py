"""What is shipped, and the page on mismatch from made-up numbers; what they claim to change is what is changed."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from made_cards import made_checkpoint, made_tables

from pipeline.__main__ import _parser
from pipeline.changes import parse_change
from pipeline.sections import override, typed_sections, with_preset
from risloc.config import as_mapping
from risloc.learning.checkpoint import SHIPPED, CheckpointError, load_checkpoint, shipped_checkpoint
from risloc.learning.k_rules import BY_BIC, NOISE_UNKNOWN
from risloc.scenes.scenario import Scenario
from risloc.utils.yaml_reader import read_yaml
from stages.evaluation.method import ECHOES, NOMP
from stages.order import HELD_BACK
from stages.reporting.looks import phrase
from studies import robustness, ship
from studies.robustness_page import RESULTS, read_results
from studies.stage_runs import command


@pytest.mark.parametrize("name", SHIPPED)
def test_the_settings_of_both_halves_are_parameters(repository: Path, name: str) -> None:
    halves = {ship.PRESETS[name]: ship.TRAINING, ship.TESTS[name][0]: ship.TESTS[name][1] | ship.TESTING}
    for preset, settings in halves.items():
        options = _parser().parse_args(command("train", Path("there"), preset, settings)[3:])
        params = override(
            with_preset(read_yaml(repository / "params.yaml"), options.preset), dict(map(parse_change, options.set))
        )
        for stage in ("simulate", "shard", "hpo", "train", "order", "evaluate"):
            typed_sections(stage, params)


def test_the_test_alone_trains_nothing_and_a_card_is_of_its_own_network(
    repository: Path, small_scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = made_checkpoint(tmp_path / "risloc" / "learning" / "shipped" / "default", small_scenario)
    for needed in ("params.yaml", "docs/robustness.json"):
        (tmp_path / needed).parent.mkdir(exist_ok=True)
        shutil.copy(repository / needed, tmp_path / needed)
    ran: list[str] = []

    def run(folder: Path, stages: Sequence[str], *_: object, inputs: Sequence[Path] = ()) -> None:
        ran.extend(f"{folder}: {stage}" for stage in stages)
        for stage in stages:
            (folder / ".done").mkdir(parents=True, exist_ok=True)
            (folder / ".done" / stage).write_text("key\nfeed123\n")
        (folder / "reports" / "evaluate").mkdir(parents=True, exist_ok=True)
        (folder / "reports" / "evaluate" / "tables.json").write_text(json.dumps(made_tables()))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ship, "run_stages", run)
    monkeypatch.setattr(sys, "argv", ["ship", "default", "--card"])
    with pytest.raises(SystemExit, match=r"has no evaluation of .*--test"):
        ship.main()
    monkeypatch.setattr(sys, "argv", ["ship", "default", "--test"])
    ship.main()
    assert ran == [f"ship/default-test: {stage}" for stage in ("simulate", "shard", "evaluate")]
    assert "tested with that of feed123" in (shipped / "card.md").read_text()
    monkeypatch.setattr(sys, "argv", ["ship", "default", "--card"])
    ship.main()
    ship.stamp(shipped, {"train": "another"})
    with pytest.raises(SystemExit, match="has no evaluation"):
        ship.main()


def test_a_training_is_stamped_with_the_code_that_did_it(
    repository: Path, small_scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: Path, stages: Sequence[str], *_: object) -> None:
        made_checkpoint(folder / "models" / "checkpoint", small_scenario)
        (folder / ".done").mkdir()
        for number, stage in enumerate(stages):
            (folder / ".done" / stage).write_text(f"key\n{number}000000\n")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ship, "run_stages", run)
    params = read_yaml(repository / "params.yaml")
    params["data"]["train"] = 777
    Path("params.yaml").write_text(yaml.safe_dump(params))
    ship.train("default", tmp_path / "shipped")
    _, extra = load_checkpoint(tmp_path / "shipped")
    assert extra["made"] == {"train": "3000000", "order": "4000000", "epoch_scenes": 777, "order_held_back": 1024}


def test_what_is_not_shipped_is_refused() -> None:
    with pytest.raises(CheckpointError, match="one of default, robust"):
        shipped_checkpoint("mine")


def test_every_departure_is_one_from_the_default_scenario(scenario: Scenario) -> None:
    for path, values in robustness.MISMATCH.values():
        for value in values:
            differs = {
                key
                for key, other in flat(as_mapping(robustness.changed(scenario, {path: value}))).items()
                if flat(as_mapping(scenario))[key] != other
            }
            assert differs <= {path, *(["mismatch.multipath_paths"] if path.endswith("multipath_db") else [])}
    for changes in robustness.ELSEWHERE.values():
        robustness.changed(scenario, changes)
    assert not scenario.mismatch.on


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def test_the_page_has_every_cell_and_computes_each_once(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, Any]] = []

    class Made(robustness.Study):
        def __init__(self) -> None:
            self.count, self.base, self.search, self.state = 3, scenario, {}, "made"
            self.kept = json.loads(robustness.KEPT.read_text()) if robustness.KEPT.is_file() else {}

        def _compute(self, changed: Scenario, snr_db: float, sources: int | None, echoes: bool) -> robustness.Cell:
            asked.append((snr_db, sources))
            return {
                "gospa": {name: [float(len(name)), 1.0, 2.0] for name in robustness.METHODS},
                "right": {name: [1, 0, int(echoes)] for name in robustness.METHODS},
            }

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(robustness, "as_mapping", lambda x: x if isinstance(x, dict) else as_mapping(x))
    results = robustness.results_of(Made())
    lines = list(robustness.page(results))
    cells = sum(len(values) for _, values in robustness.MISMATCH.values()) + len(robustness.ELSEWHERE) + 5 * 6
    judged = lines.index("## The default against the best other method")
    ratios = [line for line in lines[judged:] if line.startswith("|") and "---" not in line]
    rows = [line for line in lines[:judged] if line.startswith("|") and "---" not in line]
    heads = len(robustness.MISMATCH) + 1 + 5
    with_echoes, tables = sum(map(len, robustness.ECHOES.values())), 4 * len(robustness.ECHOES)  # and as many without
    assert len(rows) == cells + heads + 4 * with_echoes + tables  # GOSPA, and how often K is right
    assert len(ratios) == cells + heads + 2 * (with_echoes + len(robustness.ECHOES))
    default, best = len("NOMP with echoes, K by BIC"), len("NOMP, K by BIC")
    assert f" | {(default + 3) / (best + 3):.3f} [" in ratios[1]
    with_and_without = [row.split(" | ")[1] for row in rows if row.startswith("| 6 |")][-2:]
    assert with_and_without == ["0.667 [0.208, 0.939]", "0.333 [0.061, 0.792]"]
    assert not any("Not measured yet" in line for line in lines)
    assert all(line.count("|") == rows[0].count("|") for line in rows)
    done = len(asked)
    assert done < cells + 2 * with_echoes  # the default scenario stands in several tables
    assert robustness.results_of(Made()) == results
    assert len(asked) == done


def test_a_cell_with_echoes_and_the_same_scenes_without_them(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study itself, three scenes of two sources with one echo each; computed once, and kept."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(robustness, "KEPT", tmp_path / "kept" / "robustness.json")
    changes = robustness.ECHOES["echoes a source, their mean power together -6 dB"]["1"]
    study = robustness.Study(3)
    cells = [study.cell(changes, 20.0, 2, echoes=echoes) for echoes in (True, False)]
    for cell in cells:
        assert list(cell["gospa"]) == list(cell["right"]) == list(robustness.METHODS)
        for rule in (BY_BIC, NOISE_UNKNOWN):
            name = phrase(ECHOES.by(rule))
            assert cell["right"][name] == [1, 1, 1]
            assert max(cell["gospa"][name]) < 0.5
    plain = phrase(NOMP.by(BY_BIC))
    assert sum(cells[0]["right"][plain]) < sum(cells[1]["right"][plain]) == 3
    monkeypatch.setattr(robustness, "simulate", None)
    assert [robustness.Study(3).cell(changes, 20.0, 2, echoes=echoes) for echoes in (True, False)] == cells


def test_the_page_names_what_its_results_have_not(repository: Path) -> None:
    results = read_results(repository / RESULTS)
    first = next(iter(robustness.METHODS))
    less = dataclasses.replace(
        results,
        departures={
            title: {row: {name: x for name, x in cells.items() if name != first} for row, cells in rows.items()}
            for title, rows in results.departures.items()
        },
        echoes={},
    )
    lines = list(robustness.page(less))
    assert any(line.startswith("Not measured yet") and first in line and "with echoes" in line for line in lines)
    heads = [line for line in lines if line.startswith("| phase error")]
    assert len(heads) == 1
    assert first not in heads[0]


def test_the_study_writes_results_page_and_figure_that_agree(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = read_results(repository / RESULTS)
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    robustness.write(committed)
    assert read_results() == committed
    assert Path("docs/robustness.md").read_text() == (repository / "docs" / "robustness.md").read_text()
    assert Path("docs/robustness.png").stat().st_size > 10_000


def test_shipped_networks_load_and_know_how_many(scenario: Scenario) -> None:
    for name in SHIPPED:
        folder = shipped_checkpoint(name)
        net, extra = load_checkpoint(folder)
        assert bool(net.order.fitted)
        assert net.scenario.K_span == (0, 5)
        assert net.scenario.mismatch.on == (name == "robust")
        assert all(value.isfinite().all() for value in net.parameters())
        assert extra["order"]["gospa_learnt"] <= 1.05 * extra["order"]["gospa_bic"]
        made, text = extra["made"], (folder / "card.md").read_text(encoding="utf-8")
        assert text.startswith(f"# Network `{name}`")
        assert made["order_held_back"] == extra["order"]["scenes"] // HELD_BACK
        for said in (
            made["train"],
            f"epochs of {made['epoch_scenes']:,};",
            f"tested on {made['order_held_back']:,} more",
        ):
            assert said in text
        assert torch.isfinite(torch.tensor(extra["score"]))
