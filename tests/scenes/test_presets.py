import pytest

from risloc.cli.simulate import simulate as simulate_command
from risloc.cli.trace import trace
from risloc.config import ParamError, build
from risloc.scenes.preset_files import preset, preset_names, preset_purpose
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.yaml_reader import read_yaml


def test_the_presets_are_these():
    assert preset_names() == ["default", "hall", "legacy", "robust", "room_3g5", "ula_coherent", "wide"]


def test_params_yaml_holds_the_default_preset(repository):
    assert read_yaml(repository / "params.yaml")["scenario"] == preset("default")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_scenario_that_can_be_drawn(name):
    values = preset(name)
    scenario = build(Scenario, values, name)
    assert scenario.preset == name
    scenes = simulate(scenario, seed=1, split="train", start=0, stop=8)
    assert scenes.observation.y.shape == (8, scenario.snapshots, scenario.antennas)
    assert scenes.observation.y.isfinite().all()


@pytest.mark.parametrize("name", preset_names())
def test_the_world_departs_from_the_model_in_robust_alone(name):
    s = build(Scenario, preset(name), name)
    assert s.mismatch.on == s.mismatch.errs == (s.mismatch.multipath_paths > 0) == (name == "robust")
    assert (s.coherent_fraction > 0) == (name == "robust")


def test_wide_and_robust_are_the_default_world_at_any_snr_and_count():
    default, wide, robust = (preset(name) for name in ("default", "wide", "robust"))
    span = {"snr_db_span": [-5.0, 30.0], "K_span": [0, 5]}
    assert wide == default | span | {"preset": "wide"}
    departures = {name: robust[name] for name in ("coherent_fraction", "mismatch")}
    assert robust == default | span | departures | {"preset": "robust"}


@pytest.mark.parametrize("name", preset_names())
def test_sources_have_echoes_in_hall_alone(name):
    s = build(Scenario, preset(name), name)
    assert s.echoes.law == ("room" if name == "hall" else "none")
    assert preset(name)["echoes"] | {"law": "none"} == preset("default")["echoes"]


def test_hall_is_the_default_world_in_rooms():
    default, hall = preset("default"), preset("hall")
    changes = {"preset": "hall", "K_span": [0, 5], "snr_db_span": [0.0, 30.0]}
    assert hall == default | changes | {"echoes": default["echoes"] | {"law": "room"}}


def test_peers_scenario_is_as_published():
    s = build(Scenario, preset("ula_coherent"), "ula_coherent")
    assert (s.size, s.antennas, s.snapshots, s.K_span, s.K_MAX) == (15, 15, 100, (2, 2), 2)
    assert s.wavelength == 1.0
    assert s.surface.array.elements[0].tolist() == [0.0, 0.0]
    assert s.surface.domain.free == (True, False, True)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_s_purpose_is_said_where_one_chooses(name, repository):
    said = preset_purpose(name)
    assert said.endswith(".")
    assert len(said) > 30
    assert said in (repository / "docs" / "params.md").read_text(encoding="utf-8")
    for command in (simulate_command, trace):
        assert said in command.epilog


def test_an_unknown_preset_is_named_with_those_there_are():
    with pytest.raises(
        ParamError, match="one of default, hall, legacy, robust, room_3g5, ula_coherent, wide, got 'rom'"
    ):
        preset("rom")
