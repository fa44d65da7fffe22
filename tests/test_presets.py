import pytest

from risloc.params import ParamError, build, read_yaml
from risloc.preset_files import preset, preset_names
from risloc.scene import Scenario
from risloc.simulation import simulate


def test_the_presets_are_these():
    assert preset_names() == ["default", "legacy", "robust", "room_3g5", "ula_coherent"]


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


def test_peers_scenario_is_as_published():
    s = build(Scenario, preset("ula_coherent"), "ula_coherent")
    assert (s.size, s.antennas, s.snapshots, s.K_span, s.K_MAX) == (15, 15, 100, (2, 2), 2)
    assert s.wavelength == 1.0
    assert s.array().elements[0].tolist() == [0.0, 0.0]
    assert s.domain().free == (True, False, True)


def test_an_unknown_preset_is_named_with_those_there_are():
    with pytest.raises(ParamError, match="one of default, legacy, robust, room_3g5, ula_coherent, got 'rom'"):
        preset("rom")
