import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learning_problem import network, scenes

from risloc.learning.checkpoint import CheckpointError, check_geometry, load_checkpoint, save_checkpoint
from risloc.scenes.scenario import Scenario


@pytest.fixture
def folder(small_scenario: Scenario, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "c", network(small_scenario, seed=4), {"score": 0.5})
    return tmp_path / "c"


def test_a_checkpoint_gives_the_same_network_again(small_scenario: Scenario, folder: Path) -> None:
    loaded, extra = load_checkpoint(folder)
    observation = scenes(small_scenario).observation
    with torch.no_grad():
        ours, theirs = network(small_scenario, seed=4).eval()(observation), loaded(observation)
    torch.testing.assert_close(ours.R_pred.factor, theirs.R_pred.factor, rtol=1e-6, atol=1e-6)
    assert (loaded.beta, loaded.scenario, extra) == (0.3, small_scenario, {"score": 0.5})
    assert not loaded.training


def test_a_scenario_without_echoes_is_stored_as_it_always_was(small_scenario: Scenario, folder: Path) -> None:
    assert "echoes" not in json.loads((folder / "config.json").read_text())["scenario"]
    assert load_checkpoint(folder)[0].scenario == small_scenario


def test_the_law_of_the_echoes_travels_with_the_weights(small_scenario: Scenario, tmp_path: Path) -> None:
    law = replace(small_scenario.echoes, law="room", paths=3)
    echoing = replace(small_scenario, echoes=law)
    save_checkpoint(tmp_path, network(echoing, seed=4), {})
    assert load_checkpoint(tmp_path)[0].scenario.echoes == law


def test_it_holds_data_only(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_or_truncated_file_says_which_and_what_to_do(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"not a readable checkpoint.*dvc repro train"):
        load_checkpoint(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: no such file.*dvc repro train"):
        load_checkpoint(folder)


def test_another_schema_version_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "schema_version": 99}))
    with pytest.raises(CheckpointError, match="expected checkpoint schema version 1, got 99"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="schema version"):
        load_checkpoint(folder)


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["network"]["channels"] = 24
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not form a network"):
        load_checkpoint(folder)


def test_a_missing_value_of_the_config_is_not_to_be_added_by_hand(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["network"]["channels"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        CheckpointError, match=r"network\.channels: missing \([^;]*\)\)\. Copy it again, or train it again"
    ):
        load_checkpoint(folder)


@pytest.mark.parametrize("extra", [None, [1]])
def test_a_config_without_what_travels_with_the_weights_is_refused(folder: Path, extra: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["extra"]
    (folder / "config.json").write_text(json.dumps(config if extra is None else {**config, "extra": extra}))
    with pytest.raises(CheckpointError, match=r"config\.json: extra: expected a mapping, got .*dvc repro train"):
        load_checkpoint(folder)


@pytest.mark.parametrize(("name", "value"), [("n_h", 6), ("carrier_hz", 2e9), ("K_MAX", 4), ("reference", "first")])
def test_another_geometry_is_refused_by_name(small_scenario: Scenario, folder: Path, name: str, value: object) -> None:
    loaded, _ = load_checkpoint(folder)
    check_geometry(loaded, small_scenario)
    check_geometry(loaded, replace(small_scenario, snr_db_span=(5.0, 6.0), antennas=3, snapshots=7))
    with pytest.raises(CheckpointError, match=rf"scenario\.{name} = .*asked to run on"):
        check_geometry(loaded, replace(small_scenario, **{name: value}))


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("network", {"channels": 1024, "blocks": 64, "passes": 16}),
        ("grid", {"step_beams": 0.01, "planes": 256}),
        ("scenario", {"n_h": 1024, "n_v": 1024}),
        ("scenario", {"K_MAX": 10**9}),
        ("scenario", {"carrier_hz": 1e-300}),
        ("scenario", {"distance_span_m": [1e-300, 1e300]}),
    ],
)
def test_a_network_larger_than_its_file_is_never_made(
    folder: Path, section: str, values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[section] |= values
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("risloc.learning.checkpoint.HybridNetwork", None)
    with pytest.raises(CheckpointError, match="do not form a network"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["[" * 2000, "9" * 5000, " " * 2**21, "\ufeff{}"])
def test_a_config_that_is_no_json_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(folder)
