"""The model card and the page on mismatch, from made-up numbers; what they claim to change is what is changed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from learning import network

from benchmarks import robustness, ship
from benchmarks.stages_into import command
from pipeline.__main__ import _parser
from pipeline.sections import override, typed_sections, with_preset
from risloc.checkpoint import SHIPPED, CheckpointError, load_checkpoint, save_checkpoint, shipped_checkpoint
from risloc.params import as_mapping, read_yaml
from risloc.scene import Scenario


@pytest.mark.parametrize("name", SHIPPED)
def test_the_settings_of_both_halves_are_parameters(repository: Path, name: str) -> None:
    halves = {ship.PRESETS[name]: ship.TRAINING, ship.TESTS[name][0]: ship.TESTS[name][1] | ship.TESTING}
    for preset, settings in halves.items():
        options = _parser().parse_args(command("train", Path("there"), preset, settings)[3:])
        params = override(with_preset(read_yaml(repository / "params.yaml"), options.preset), dict(options.set))
        for stage in ("simulate", "shard", "hpo", "train", "order", "evaluate"):
            typed_sections(stage, params)


def test_a_card_says_what_was_trained_on_what_and_what_came_of_it(small_scenario: Scenario, tmp_path: Path) -> None:
    extra = {
        "seed": 7,
        "score": 0.4321,
        "fit": {"batch_size": 64, "learning_rate": 3e-3, "ema_decay": 0.999},
        "train": {"epochs": 20},
        "order": {"scenes": 8192},
        "loss": {"lam_cov": 1.0, "lam_K": 2.5, "gap_margin": 0.6},
    }
    net = network(small_scenario)
    save_checkpoint(tmp_path, net, extra)
    rows: list[dict[str, Any]] = [
        {"method": f"{method}{rule}", "snr_db": snr, "scenes": 1000, "gospa_2m": 0.5 + snr / 100, "gospa_2m_low": 0.4,
         "gospa_2m_high": 0.9}
        for method in ship.SHOWN for rule in ("", "_bic") for snr in (0.0, 20.0)
    ]  # fmt: skip
    rows.append({**rows[0], "method": "R_blend_refined_learnt"})
    rows.append({**rows[1], "method": "R_blend_refined_learnt"})
    text = "\n".join(ship.card("default", tmp_path, {"by_snr": rows}))
    size = sum(value.numel() for value in net.parameters())
    for said in (f"{size:,} parameters", "preset `wide`, seed 7, 20 epochs", "lam_K 2.5, lam_cov 1", "score on validation scenes 0.432",
                 "8,192 further", "make ship NAME=default", "1000 scenes an SNR", "K_span: [1, 3]"):  # fmt: skip
        assert said in text
    assert "| R_blend, refined | K learnt | 0.500 [0.400, 0.900] | 0.700 [0.400, 0.900] |" in text
    assert text.count("| K by BIC |") == len(ship.SHOWN)
    assert "noise level" not in text.split("## Measured")[1]  # no such row was measured
    (tmp_path / "note.md").write_text("A remark.\n")
    assert "A remark." in "\n".join(ship.card("default", tmp_path, {"by_snr": rows}))


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

        def _compute(self, changed: Scenario, snr_db: float, sources: int | None) -> robustness.Cell:
            asked.append((snr_db, sources))
            return {name: [float(len(name)), 1.0, 2.0] for name in robustness.METHODS}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(robustness, "as_mapping", lambda x: x if isinstance(x, dict) else as_mapping(x))
    Path("docs").mkdir()
    first = "\n".join(robustness.page(Made()))
    cells = sum(len(values) for _, values in robustness.MISMATCH.values()) + len(robustness.ELSEWHERE) + 5 * 6
    rows = [line for line in first.splitlines() if line.startswith("|") and "---" not in line]
    assert len(rows) == cells + len(robustness.MISMATCH) + 1 + 5  # and a head each
    assert all(line.count("|") == rows[0].count("|") for line in rows)
    assert (tmp_path / "docs" / "robustness.png").stat().st_size > 10_000
    done = len(asked)
    assert done < cells  # the default scenario stands in several tables
    assert "\n".join(robustness.page(Made())) == first
    assert len(asked) == done


def test_shipped_networks_load_and_know_how_many(scenario: Scenario) -> None:
    for name in SHIPPED:
        folder = shipped_checkpoint(name)
        net, extra = load_checkpoint(folder)
        assert bool(net.order.fitted)
        assert net.scenario.K_span == (0, 5)
        assert net.scenario.mismatch.on == (name == "robust")
        assert all(value.isfinite().all() for value in net.parameters())
        assert extra["order"]["gospa_learnt"] <= 1.05 * extra["order"]["gospa_bic"]
        assert (folder / "card.md").read_text().startswith(f"# Network `{name}`")
        assert torch.isfinite(torch.tensor(extra["score"]))
