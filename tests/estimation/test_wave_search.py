"""The search for sources with echoes: what it finds where echoes are, and what it leaves where there are none."""

import dataclasses

import pytest
import torch
from echo_worlds import echo_world, with_waves
from worlds import roomy, world

from risloc.estimation.conditional import Sensing
from risloc.estimation.echo_place import best_echo
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.wave_criterion import bic_known_noise, bic_unknown_noise, wave_freedom
from risloc.estimation.wave_fit import fit_waves, project_waves
from risloc.estimation.wave_search import WaveSearch
from risloc.estimation.waves import Waves
from risloc.physics.echo_domain import echo_domain
from risloc.physics.geometry import Surface
from risloc.physics.grid import GridConfig, polar_grid

CRITERIA = (bic_known_noise, bic_unknown_noise)
FINE = GridConfig(step_beams=0.5, planes=8)


@pytest.fixture(scope="module")
def roomy_scenario(scenario):
    return dataclasses.replace(roomy(scenario), K_MAX=3, K_span=(0, 3))


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def search(s, echoes=True):
    source_grid, echo_grid = (
        polar_grid(Surface(array=s.array, domain=d), FINE) for d in (s.domain, echo_domain(s.domain))
    )
    return WaveSearch(s, GainMap(s, source_grid), echo_grid, echoes=echoes)


def located(s, criterion):
    return search(s).settled(Waves.none(len(s), 12, 3, s.domain, s.y), criterion)


def nearest(waves, polar, present):
    """The distance in (u, v) of each true source from the nearest reference."""
    away = torch.cdist(polar[..., :2], waves.polar[..., :2].double())
    return away.masked_fill(~waves.reference[:, None], torch.inf).amin(-1)[present]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_sources_with_echoes_are_counted_and_found(roomy_scenario, criterion):
    """30 scenes; without echoes in the model, BIC calls every one of them sources."""
    e = echo_world(roomy_scenario, [1, 2, 3] * 10, snr_db=25, level_db=-6, seed=4)
    s = sensing(e.world)
    waves = located(s, criterion)
    assert (waves.count == e.world.count).double().mean() >= 0.9
    right = waves.count == e.world.count
    assert (nearest(waves[right], e.world.polar[right], e.world.present[right]) < 0.05).double().mean() >= 0.9
    plain = search(s, echoes=False).settled(Waves.none(len(s), 12, 3, s.domain, s.y), criterion)
    assert (plain.count == e.world.count)[e.world.count < 3].double().mean() <= 0.2


@pytest.mark.parametrize("criterion", CRITERIA)
def test_where_there_are_no_echoes_none_is_found(roomy_scenario, criterion):
    w = world(roomy_scenario, [0, 1, 2, 3] * 10, snr_db=10, seed=6)
    waves = located(sensing(w), criterion)
    assert (waves.total == waves.count).double().mean() >= 0.9
    assert (waves.count == w.count).double().mean() >= 0.9


def test_sources_whose_symbols_are_proportional_are_merged_and_others_are_not(roomy_scenario):
    """The second source sends the first one's symbols in every other scene; there is no room for further waves."""
    w = world(dataclasses.replace(roomy_scenario, K_MAX=2, K_span=(0, 2)), [2] * 20, snr_db=20, seed=8, noise=False)
    same = torch.arange(20) % 2 == 0
    symbols = w.symbols.clone()
    symbols[same, 1] = 0.7j * symbols[same, 0]
    o = w.observation
    y = torch.einsum("bmn,bln,bnk,bkl->blm", o.H, o.codebook, w.A, symbols)
    g = torch.Generator().manual_seed(1)
    y = y + torch.randn(y.shape, dtype=y.dtype, generator=g) * o.noise_var.sqrt()[:, None, None]
    s = sensing(dataclasses.replace(w, observation=dataclasses.replace(o, y=y)))
    start = Waves.of_sources(w.polar, w.present, 2)
    merged = search(s).settled(start, bic_unknown_noise)
    assert torch.equal(merged.count == 1, same)


def test_the_predicted_decrease_of_an_echo_is_that_of_the_linear_model(roomy_scenario):
    """In a scene without noise whose only fault is a weak echo, its place and its gain are found at once."""
    e = echo_world(roomy_scenario, [1] * 12, paths=1, level_db=-20, noise=False)
    s = sensing(e.world)
    alone = Waves.of_sources(e.world.polar, e.world.present, 4)
    fit = project_waves(s, alone)
    found = best_echo(
        s,
        alone,
        fit,
        polar_grid(Surface(array=s.array, domain=echo_domain(s.domain)), GridConfig(step_beams=0.25, planes=24)),
    )
    truth = e.gain[:, 0, 0]
    assert (found.gain - truth).abs().div(truth.abs()).median() < 0.25
    assert (found.value / fit.cost).median() > 0.8
    assert (found.value <= fit.cost * (1 + 1e-9)).all()


def test_the_freedom_is_the_mean_of_the_residual(roomy_scenario):
    """At the fit of the true model the residual over sigma^2 is n on average: 200 scenes, within four deviations."""
    e = echo_world(roomy_scenario, [1, 2] * 100, snr_db=30, seed=11)
    s = sensing(e.world)
    end = fit_waves(s, e.waves, tolerance=1e-6, iterations=30)
    n = wave_freedom(s, end.waves)
    ratio = (end.value / s.noise_var).sum() / n.sum()
    assert abs(float(ratio) - 1) < 4 / float(n.sum()) ** 0.5


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_search_never_raises_the_criterion_and_leaves_scenes_alone_that_it_is_not_asked_for(
    roomy_scenario, criterion
):
    e = echo_world(roomy_scenario, [2, 3] * 4, snr_db=10, level_db=0, seed=2)
    s = sensing(e.world)
    found, none = search(s), Waves.none(len(s), 6, 3, s.domain, s.y)
    first = found.settled(none, criterion)
    some = torch.arange(8) % 2 == 0
    second = found.settled(first, criterion, some)
    values = [criterion(s, each) for each in (none, first, second)]
    assert (values[1] <= values[0]).all()
    assert (first.total <= 6).all()
    assert (first.count <= 3).all()
    assert torch.equal(values[2][~some], values[1][~some])
    assert torch.equal(second.polar[~some], first.polar[~some])


def test_of_two_ends_the_better_is_chosen_in_each_scene(roomy_scenario):
    e = echo_world(roomy_scenario, [2] * 4, snr_db=20, seed=3)
    s = sensing(e.world)
    truth, none = e.waves.in_slots_of(Waves.none(4, 9, 3, s.domain, s.y)), Waves.none(4, 9, 3, s.domain, s.y)
    rows = torch.tensor([1, 3])
    first, second = truth.put(rows, none[rows]), none.put(rows, truth[rows])
    for chosen in (search(s).better(*pair, bic_unknown_noise) for pair in ((first, second), (second, first))):
        assert torch.equal(chosen.total, truth.total)


def test_an_echo_at_a_grazing_angle_is_found_on_its_side(roomy_scenario):
    """All else is true, the echo lies at v = -0.985, and the search starts from the other side, where the phase is nearly the same."""
    e = echo_world(roomy_scenario, [1] * 12, paths=1, level_db=-6, snr_db=25, seed=5)
    s = sensing(e.world)
    place = torch.tensor([0.03, -0.985, 0.1], dtype=torch.float64)
    own = e.listed.echo[..., None]
    waves = dataclasses.replace(e.listed, polar=torch.where(own, place, e.listed.polar))
    s = with_waves(e, s, waves)
    wrong = dataclasses.replace(waves, polar=torch.where(own, place * torch.tensor([1.0, -1.0, 1.0]), waves.polar))
    start = fit_waves(s, wrong, tolerance=1e-3, iterations=30).waves
    found = search(s).turned(start, bic_unknown_noise, start.present.any(1))
    side = torch.where(found.echo, found.polar[..., 1], 0.0).amin(1)
    assert (side < -0.9).double().mean() >= 0.9
    assert torch.equal(found.count, e.world.count)
