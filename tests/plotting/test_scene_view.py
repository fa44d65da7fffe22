import dataclasses

import pytest
import torch

from risloc.io.measurements import Measurements, measurements_of
from risloc.learning.network import HybridNetwork
from risloc.locating.covariances import covariances
from risloc.locating.locator import Locator
from risloc.locating.networks import load_model
from risloc.plotting.scene_view import scene_view
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate


@pytest.fixture(scope="module")
def scene(scenario: Scenario) -> Measurements:
    return measurements_of(scenario, simulate(scenario, seed=3, split="test", start=0, stop=1, snr_db=10.0))


@pytest.fixture
def located(scene: Measurements) -> Locator:
    _, snapshots, antennas = scene.y.shape
    return Locator(scene.setup, snapshots, antennas, load_model("default"))


class Calls:
    """How often the parts of a network have run, all together."""

    def __init__(self, network: HybridNetwork) -> None:
        self.number = 0
        for part in network.modules():
            part.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.number += 1


def of_one_run(locator: Locator, scene: Measurements, calls: Calls) -> int:
    covariances(scene, locator.network)
    number, calls.number = calls.number, 0
    return number


def test_one_run_of_the_network_locates_and_shows(located: Locator, scene: Measurements) -> None:
    calls = Calls(located.network)
    once = of_one_run(located, scene, calls)
    assert once > 0
    assert not scene_view(located, scene).found.estimated.any()
    assert calls.number == once


def test_the_spectrum_is_of_the_noise_level_that_the_answer_rests_on(located: Locator, scene: Measurements) -> None:
    """A given level that the data contradict is corrected, and the network runs again with the corrected one."""
    calls = Calls(located.network)
    once = of_one_run(located, scene, calls)
    shown = scene_view(located, dataclasses.replace(scene, noise_var=scene.noise_var / 30))
    assert shown.found.estimated.all()
    assert calls.number == 2 * once
    again = scene_view(located, dataclasses.replace(scene, noise_var=shown.found.noise_var))
    assert not again.found.estimated.any()
    torch.testing.assert_close(shown.level, again.level, rtol=1e-3, atol=1e-3)
