"""Which wave of a source is its direct wave, where that is unsure, and where its line of sight is blocked."""

import dataclasses

import pytest
import torch
from echo_worlds import echo_world, with_waves
from worlds import roomy

from risloc.estimation.conditional import Sensing
from risloc.estimation.direct_path import constant_symbols, direct_first, direct_lost
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.estimation.localiser import Localiser
from risloc.estimation.reliability import DIRECT_LOST, REASONS
from risloc.estimation.wave_fit import fit_waves, wave_responses


@pytest.fixture(scope="module")
def roomy_scenario(scenario):
    return dataclasses.replace(roomy(scenario), K_MAX=3, K_span=(0, 3))


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def blocked(e):
    """The waves whose direct wave is an image twice as far as the domain reaches, the echo beside it another."""
    domain = e.world.scenario.surface.domain
    w = 0.5 / domain.distance[1]
    polar = e.listed.polar.clone()
    polar[..., 2] = torch.where(e.listed.present, w, polar[..., 2])
    return dataclasses.replace(e.listed, polar=polar)


def test_the_nearest_of_the_strong_waves_comes_first_and_is_unsure_among_several(roomy_scenario):
    e = echo_world(roomy_scenario, [1] * 3, paths=2, level_db=-20)
    gain = e.listed.gain.clone()
    gain[1, 1], gain[2, 1] = 0.9, 1.2  # in the second and third scene the first echo is about as strong
    waves, unsure = direct_first(sensing(e.world), dataclasses.replace(e.listed, gain=gain))
    assert torch.allclose(waves.polar[:, 0], e.world.polar[:, 0])
    assert unsure[:, 0].tolist() == [False, True, True]
    assert not unsure[:, 1:].any()


def test_constant_symbols_are_told_from_symbols_that_vary(roomy_scenario):
    e = echo_world(roomy_scenario, [1, 2] * 20, snr_db=10, seed=3)
    s = sensing(e.world)
    assert not constant_symbols(s, e.waves).any()
    same = e.world.symbols.clone()
    same[::2] = same[::2, :, :1]
    removed = (wave_responses(s, e.listed) * (e.world.symbols - same).mT[..., None]).sum(2)
    found = constant_symbols(dataclasses.replace(s, y=s.y - removed), e.listed)
    assert found[::2, 0].double().mean() > 0.9
    assert not found[1::2].any()


def test_a_blocked_line_of_sight_is_found_and_a_free_one_is_not(roomy_scenario):
    """20 scenes at 35 dB; the fit that keeps references inside the domain ends at its border."""
    e = echo_world(roomy_scenario, [1] * 20, paths=1, level_db=-6, snr_db=35, seed=7)
    s = sensing(e.world)
    free = fit_waves(s, e.waves, tolerance=1e-4, iterations=30).waves
    assert direct_lost(s, free).double().sum() == 0
    hidden = with_waves(e, s, blocked(e))
    there = fit_waves(hidden, blocked(e).ordered(), tolerance=1e-4, iterations=30).waves
    lost = direct_lost(hidden, there)
    assert lost[:, 0].double().mean() >= 0.9
    assert not lost[:, 1:].any()


def test_the_answer_says_that_the_direct_path_was_not_found(roomy_scenario):
    """No source whose direct wave is missing is resolved; those whose echo was found, too, say why."""
    e = echo_world(roomy_scenario, [1] * 12, paths=1, level_db=-6, snr_db=35, seed=7)
    hidden = with_waves(e, sensing(e.world), blocked(e))
    estimates = EchoLocaliser(Localiser(roomy_scenario)).locate(hidden, given=True).estimates
    assert not (estimates.resolved & estimates.present).any()
    said = [REASONS[number] for number in estimates.reason[estimates.present].tolist()]
    assert DIRECT_LOST in said
