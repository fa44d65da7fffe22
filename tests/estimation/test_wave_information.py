"""The covariance of waves: the bound at the truth, what a change of the reference leaves, and that the fit attains it."""

import dataclasses

import pytest
import torch
from echo_worlds import echo_world
from scipy.stats import chi2
from worlds import roomy, world

from risloc.estimation.conditional import Sensing
from risloc.estimation.stochastic import fit_response_powers, information
from risloc.estimation.wave_fit import fit_waves, wave_responses
from risloc.estimation.wave_information import wave_covariance
from risloc.estimation.waves import Waves
from risloc.performance.crb import bound_of, deterministic_bound, stochastic_bound
from risloc.performance.echo_bound import echo_bound, echo_columns, echo_owner, echo_parameters, present_echoes
from risloc.performance.fisher_information import diagonal_blocks, inverse_information, stochastic_information
from risloc.physics.geometry import location_of


@pytest.fixture(scope="module")
def roomy_scenario(scenario):
    return dataclasses.replace(roomy(scenario), K_MAX=3, K_span=(0, 3))


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def by_source(e, x):
    """[batch, wave, ...] to [batch, src, 1 + path, ...]."""
    return x.unflatten(1, (e.gain.shape[1], -1))


def known_noise_bound(e, power):
    """The bound of a known sigma^2: the whole information without its last row, and direct waves and echoes of the inverse."""
    w, echoes, o = e.world, present_echoes(e.echoes, e.world.present), e.world.observation
    columns = echo_columns(w.scenario.surface.array, w.location, echoes)
    Z = ((o.H[:, None] * o.codebook[:, :, None]) @ columns[:, None]).mT
    F = stochastic_information(Z, power, o.noise_var, echo_owner(echoes))[:, :-1, :-1]
    V = inverse_information(F, echo_parameters(echoes, w.present, w.scenario.surface.domain)[:, :-1])
    bound = echo_bound(V, echoes)
    return torch.cat([diagonal_blocks(V, 3, w.present)[:, :, None], bound.covariance], dim=2), bound.gain


def test_at_the_truth_it_is_the_bound(roomy_scenario):
    """Exactly the bound of a known sigma^2; an unknown one costs next to nothing, and is never to the advantage."""
    e = echo_world(roomy_scenario, [1, 2, 3], snr_db=10, seed=1)
    w = e.world
    power, on = w.power * w.present, w.present
    place, gain = (by_source(e, x) for x in wave_covariance(sensing(w), e.listed, power))
    known = known_noise_bound(e, power)
    torch.testing.assert_close(place, known[0], rtol=1e-7, atol=0, equal_nan=True)
    torch.testing.assert_close(gain[:, :, 1:], known[1], rtol=1e-7, atol=0, equal_nan=True)
    assert (gain[:, :, 0][on] == 0).all()
    assert place[~on].isnan().all()
    assert gain[~on].isnan().all()
    bound = stochastic_bound(w.scenario.surface, w.observation, w.location, power, e.echoes)
    unknown = torch.cat([bound.covariance[:, :, None], bound.echoes.covariance], dim=2)
    size = unknown.diagonal(dim1=-2, dim2=-1).sqrt()
    gap = ((unknown - place) / (size[..., None] * size[..., None, :]))[on]
    assert 0 < gap.abs().amax() < 0.01
    assert torch.linalg.eigvalsh(gap).amin() > -1e-9


def test_without_echoes_it_is_the_covariance_of_sources(roomy_scenario):
    w = world(roomy_scenario, [0, 1, 2, 3], snr_db=10, seed=2)
    s, power = sensing(w), w.power * w.present
    place, gain = wave_covariance(s, Waves.of_sources(w.polar, w.present, 7), power)
    plain = bound_of(information(s, w.location, power), w.location, w.present, s.domain.free).covariance
    torch.testing.assert_close(place[:, :3], plain, rtol=1e-7, atol=0, equal_nan=True)
    assert place[:, 3:].isnan().all()
    assert (gain[:, :3][w.present] == 0).all()


def test_the_order_of_waves_carries_their_covariance_along(roomy_scenario):
    """Echoes that are stronger than their direct waves, so that `ordered` changes the reference, the gains and the powers."""
    e = echo_world(roomy_scenario, [1, 2, 3], level_db=3, seed=3)
    w, listed = e.world, e.listed
    s, power = sensing(w), w.power * w.present
    ordered = listed.ordered()
    assert (ordered.reference & ~torch.isclose(ordered.polar, listed.polar).all(-1)).any()
    first = by_source(e, listed.gain).abs().amax(-1)  # of the new reference, whose gain becomes 1
    place, _ = wave_covariance(s, listed, power)
    other, gain = wave_covariance(s, ordered, power * first.square())
    for b in range(3):
        for i in torch.nonzero(ordered.present[b]).flatten():
            j = (listed.polar[b] - ordered.polar[b, i]).abs().sum(-1).argmin()
            torch.testing.assert_close(other[b, i], place[b, j], rtol=1e-5, atol=0)
    assert ((gain == 0).all(-1).all(-1) == ordered.reference)[ordered.present].all()


def test_single_precision_gives_the_same(roomy_scenario):
    e = echo_world(roomy_scenario, [1, 2, 3], snr_db=20, seed=4)
    o, power = e.world.observation, e.world.power * e.world.present
    single = dataclasses.replace(
        o, y=o.y.cfloat(), codebook=o.codebook.cfloat(), H=o.H.cfloat(), noise_var=o.noise_var.float()
    )
    waves = dataclasses.replace(e.listed, polar=e.listed.polar.float(), gain=e.listed.gain.cfloat())
    one = wave_covariance(sensing(e.world), e.listed, power)
    two = wave_covariance(Sensing.of(single, e.world.scenario.surface), waves, power.float())
    for exact, rounded in zip(one, two, strict=True):
        size = exact[e.listed.present].diagonal(dim1=-2, dim2=-1)
        other = rounded[e.listed.present].diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(other, size, rtol=1e-2, atol=0)


def test_at_high_snr_the_observed_covariance_is_the_deterministic_bound(roomy_scenario):
    e = echo_world(roomy_scenario, [1, 2, 3], snr_db=60, seed=6)
    w = e.world
    place, gain = (by_source(e, x) for x in wave_covariance(sensing(w), e.listed, w.power * w.present, observed=True))
    symbols = w.symbols * w.present[..., None]
    bound = deterministic_bound(w.scenario.surface, w.observation, w.location, symbols, e.echoes)
    on = w.present
    for one, other in ((place[:, :, 0], bound.covariance), (place[:, :, 1:], bound.echoes.covariance)):
        size = other[on].diagonal(dim1=-2, dim2=-1)
        torch.testing.assert_close(one[on].diagonal(dim1=-2, dim2=-1), size, rtol=0.05, atol=0)
    assert place[~on].isnan().all()
    assert (gain[:, :, 0][on] == 0).all()


@pytest.mark.parametrize("snr_db", [0, 20])
def test_in_many_snapshots_the_observed_covariance_is_the_expected_one(roomy_scenario, snr_db):
    """In 800 snapshots, within 15 %; also where the symbols are lost in noise, which the deterministic bound ignores."""
    e = echo_world(dataclasses.replace(roomy_scenario, snapshots=800), [1, 2], snr_db=snr_db, seed=7)
    s, power, on = sensing(e.world), e.world.power * e.world.present, e.listed.present
    one, other = (wave_covariance(s, e.listed, power, observed=each)[0][on] for each in (True, False))
    torch.testing.assert_close(one.diagonal(dim1=-2, dim2=-1), other.diagonal(dim1=-2, dim2=-1), rtol=0.15, atol=0)


def test_the_observed_covariance_is_calibrated_and_the_expected_one_is_too_small(scenario):
    """The default scenario at 20 dB, five sources with two echoes each, 60 scenes, fitted from the truth.

    The shares of true places inside the 68 % and the 95 % ellipsoids are within 6 points of that, for direct waves and echoes;
    those of the expected covariance are lower by 5 points or more at 68 %.
    """
    e = echo_world(scenario, [5] * 60, snr_db=20, seed=19)
    s, start = sensing(e.world), e.waves.trimmed()
    end = fit_waves(s, start, tolerance=1e-8, iterations=30).waves
    power, _ = fit_response_powers(wave_responses(s, end), s.y, s.noise_var, end.sources)
    error = coordinates(end) - coordinates(start)
    observed, expected = (wave_covariance(s, end, power, observed=each)[0] for each in (True, False))
    for on in (start.reference, start.present & ~start.reference):
        share = {level: inside(error[on], observed[on], level) for level in (0.68, 0.95)}
        assert all(abs(value - level) < 0.06 for level, value in share.items())
        assert inside(error[on], expected[on], 0.68) < share[0.68] - 0.05


def coordinates(waves):
    location = location_of(waves.polar)
    return torch.cat([location[..., :2], 1 / location[..., 2:]], dim=-1)


def inside(error, V, level):
    square = (error[:, None] @ torch.linalg.solve(V, error[..., None])).flatten()
    return float((square < chi2.ppf(level, 3)).double().mean())


def test_the_fit_attains_the_bound(roomy_scenario):
    """200 scenes at 30 dB, from the truth: e^T V^-1 e of direct places is chi-squared with 3 degrees of freedom, and so on.

    The sums over all waves lie in a band that they leave once in 10 000 seeds if the fit is efficient. V is the deterministic
    bound given the symbols; a bound without echoes as parameters fails this.
    """
    e = echo_world(roomy_scenario, [1, 2] * 100, snr_db=30, seed=5)
    w = e.world
    s = sensing(w)
    start = e.waves
    end = fit_waves(s, start, tolerance=1e-8, iterations=40).waves
    assert torch.equal(end.reference, start.reference)
    error = (coordinates(end) - coordinates(start))[start.reference]
    symbols = w.symbols * w.present[..., None]
    bound, blind = (
        deterministic_bound(w.scenario.surface, w.observation, w.location, symbols, echoes).covariance[w.present]
        for echoes in (e.echoes, None)
    )
    low, high = (chi2.ppf(level, 3 * len(error)) for level in (5e-5, 1 - 5e-5))
    assert low < float(squared(error, bound)) < high
    assert float(squared(error, blind)) > high


def squared(error, V):
    return (error[:, None] @ torch.linalg.solve(V, error[..., None])).sum()
