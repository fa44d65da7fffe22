"""What a given noise level adds to a search without one, and when it is not believed."""

import dataclasses

import pytest
import torch
from echo_worlds import echo_world, with_waves
from worlds import roomy, world

from risloc.estimation.conditional import Sensing
from risloc.estimation.echo_localiser import EchoLocaliser, most_waves
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.localiser import Localiser
from risloc.estimation.wave_fit import cancelling, fit_waves
from risloc.estimation.wave_order import ordered_waves, waves_of_unknown_noise
from risloc.estimation.wave_search import WaveSearch
from risloc.estimation.waves import Waves


@pytest.fixture(scope="module")
def localiser(scenario):
    own = dataclasses.replace(roomy(scenario), K_MAX=3, K_span=(0, 3))
    return EchoLocaliser(Localiser(own))


def scenes(localiser, counts, *, snr_db, seed):
    w = world(localiser.localiser.scenario, counts, snr_db=snr_db, seed=seed)
    return w, Sensing.of(w.observation, w.scenario.surface)


def share(answer, count):
    return float((answer.estimates.present.sum(1) == count).double().mean())


def test_a_given_noise_level_shows_weak_sources(localiser):
    """60 scenes at 0 dB: the given level finds the right number in at least as many, and is believed."""
    w, s = scenes(localiser, [1, 2, 3] * 20, snr_db=0, seed=4)
    search = localiser.search(s)
    given, unknown = search.answer(given=True), search.answer(given=False)
    assert given.believed.double().mean() >= 0.95
    assert share(given, w.count) >= share(unknown, w.count)


def test_one_search_answers_as_two(localiser):
    _, s = scenes(localiser, [0, 1, 2, 3], snr_db=10, seed=5)
    search = localiser.search(s)
    for given in (True, False):
        together, alone = search.answer(given=given).estimates, localiser.locate(s, given=given).estimates
        assert torch.equal(together.polar, alone.polar)
        assert torch.equal(together.present, alone.present)


def test_a_slightly_wrong_model_adds_no_faint_sources(localiser):
    """The gain of each element is wrong by 4 %: 0.16 % of the signal, as much as noise of 28 dB; 40 scenes at 25 dB."""
    w, s = scenes(localiser, [1, 2] * 20, snr_db=25, seed=6)
    g = torch.Generator().manual_seed(2)
    wrong = 1 + 0.04 * torch.randn(s.G.shape[-1], dtype=torch.complex128, generator=g)
    bent = torch.einsum("bpn,n,bnk,bkl->bpl", s.G, wrong, w.A, w.symbols)
    true = torch.einsum("bpn,bnk,bkl->bpl", s.G, w.A, w.symbols)
    snap, ant = s.y.shape[1:]
    own = torch.arange(snap)
    change = (bent - true).view(len(s), snap, ant, snap)[:, own, :, own].transpose(0, 1)
    answer = localiser.locate(dataclasses.replace(s, y=s.y + change), given=True)
    assert share(answer, w.count) >= 0.9


def test_a_noise_level_that_is_far_too_small_is_not_believed(localiser):
    w, s = scenes(localiser, [1, 2] * 10, snr_db=15, seed=7)
    answer = localiser.locate(dataclasses.replace(s, noise_var=s.noise_var / 10), given=True)
    assert not answer.believed.any()
    assert share(answer, w.count) >= 0.9
    unchecked = localiser.locate(dataclasses.replace(s, noise_var=s.noise_var / 10), given=True, checked=False)
    assert unchecked.believed.all()


def test_waves_that_cancel_each_other_are_never_the_answer(scenario):
    """The region ends a tenth nearer than each source; two waves of nearly opposite gains then fit best in some of 12 scenes."""
    beyond = dataclasses.replace(roomy(scenario), K_MAX=3, K_span=(0, 3))
    w = world(beyond, [1] * 12, snr_db=20, seed=9)
    cancelled = 0
    for row in torch.arange(12).split(1):
        far = float(w.location[row, 0, 2])
        near = dataclasses.replace(beyond, distance_span_m=(0.3, 0.9 * far))
        localiser, s = Localiser(near), Sensing.of(w.observation, near.surface)[row]
        start = Waves.none(1, 12, 3, s.domain, s.y)
        search = WaveSearch(s, GainMap(s, localiser.coarse), EchoLocaliser(localiser).grid)
        waves = waves_of_unknown_noise(search, start)
        cancelled += int(cancelling(s, fit_waves(s, waves, tolerance=1e-3, iterations=30).waves).any())
        found = ordered_waves(search, waves, given=False, checked=True, iterations=30).waves
        assert not cancelling(s, found).any()
    assert cancelled > 0


def test_more_echoes_than_the_samples_carry_are_found_in_part_the_strong_ones_first(localiser):
    """Thirty echoes of one source, 10 dB between the strong and the weak ones, of which half of the samples carry fewer."""
    e = echo_world(localiser.localiser.scenario, [1] * 6, paths=30, level_db=0, snr_db=30, seed=8)
    gain = e.gain * torch.where(torch.arange(30) < 3, 1.0, 0.1)
    s = Sensing.of(e.world.observation, localiser.localiser.scenario.surface)
    weak = dataclasses.replace(e, gain=gain).listed
    found = localiser.locate(with_waves(e, s, weak), given=True).estimates
    _, snapshots, antennas = s.y.shape
    total = found.present.sum(1) + found.echoes.present.sum((1, 2))
    assert (total <= most_waves(3, snapshots, antennas)).all()
    assert most_waves(3, snapshots, antennas) < 31
    away = torch.cdist(weak.polar[:, 1:4, :2].double(), found.echoes.polar.flatten(1, 2)[..., :2].double())
    near = away.masked_fill(~found.echoes.present.flatten(1)[:, None], torch.inf).amin(-1)
    assert (near < 0.1).double().mean() >= 0.7
    assert found.polar.isfinite().all()


@pytest.mark.parametrize(("sources", "snapshots", "antennas", "most"), [(3, 1, 4, 3), (2, 16, 16, 24), (3, 4, 8, 4)])
def test_the_waves_of_a_scene_leave_half_of_its_samples_to_the_noise(sources, snapshots, antennas, most):
    assert most_waves(sources, snapshots, antennas) == most
    assert most == sources or 2 * snapshots + 4 + 5 * most <= snapshots * antennas
