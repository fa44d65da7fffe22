"""What echoes that were not found add to the covariance: the scatter of fits that know nothing of them, and true intervals."""

import dataclasses
import math

import pytest
import torch
from echo_worlds import echo_world
from scipy.stats import chi2
from worlds import roomy, world

from risloc.estimation.conditional import Sensing
from risloc.estimation.missing_echoes import missing_echo_covariance
from risloc.estimation.stochastic import fit_response_powers
from risloc.estimation.wave_fit import fit_waves, project_waves, wave_responses
from risloc.estimation.wave_information import wave_covariance
from risloc.estimation.waves import Waves
from risloc.performance.fisher_information import deterministic_information, inverse_information, wave_columns
from risloc.physics.geometry import location_of


@pytest.fixture(scope="module")
def roomy_scenario(scenario):
    return dataclasses.replace(roomy(scenario), K_MAX=2, K_span=(0, 2))


def sensing(w):
    return Sensing.of(w.observation, w.scenario.surface)


def linearised(s, waves):
    """Z, the symbols, and F^-1, by the tools of the bound."""
    location = location_of(waves.polar)
    Z = s.responses(wave_columns(s.array, location, waves.composition))
    symbols = project_waves(s, waves).s
    owner = torch.cat([waves.source.repeat_interleave(n, dim=1) for n in (3, 2)], dim=1)
    F = deterministic_information(Z, symbols[..., :, None] * symbols[..., None, :].conj(), s.noise_var, owner)
    used = torch.cat(
        [torch.ones_like(F[:, : 3 * len(waves.source[0]), 0]).bool(), waves.echo.repeat_interleave(2, 1)], 1
    )
    return Z, symbols, inverse_information(F, used), used


def test_fits_scatter_as_predicted_if_the_missing_echoes_come_from_all_sides(roomy_scenario):
    """400 draws of what the elements receive over missing echoes, a tenth as strong, for the fit to be linear; 16 unknowns."""
    e = echo_world(roomy_scenario, [2], paths=1, level_db=-22, snr_db=20, seed=3, noise=False)
    s, waves = sensing(e.world), e.listed
    Z, symbols, covariance, used = linearised(s, waves)
    added = missing_echo_covariance(s, waves, Z, symbols, covariance)
    _, snapshots, antennas = s.y.shape
    price = 5 * math.log(snapshots * antennas)
    missing = 2 * price / (2 * 2 * math.log(4)) * s.noise_var  # two echoes near the threshold, for two sources
    energy = s.G.abs().square().sum(-1).view(snapshots, antennas).sum(-1) * (1 - 2 / antennas)
    tau = (missing / (symbols[0].abs().square() * energy[:, None]).sum(0)).sqrt()
    g = torch.Generator().manual_seed(4)
    draws = 400
    far = 0.1 * tau * torch.randn(draws, s.G.shape[-1], 2, dtype=s.y.dtype, generator=g)
    change = (s.G[0].view(snapshots, antennas, -1) @ far[:, None] @ symbols[0][None, :, :, None])[..., 0]
    many = s[torch.zeros(draws, dtype=torch.long)]
    start = waves[torch.zeros(draws, dtype=torch.long)]
    fit = fit_waves(dataclasses.replace(many, y=many.y + change), start, tolerance=1e-6, iterations=30)
    moved = location_of(fit.waves.polar) - location_of(waves.polar)
    moved[..., 2] = 1 / location_of(fit.waves.polar)[..., 2] - 1 / location_of(waves.polar)[..., 2]
    gain = torch.view_as_real(fit.waves.gain - waves.gain)
    step = 10 * torch.cat([moved.flatten(1), gain.flatten(1)], dim=1)[:, used[0]]
    predicted = added[0][used[0]][:, used[0]]
    q = (step @ torch.linalg.inv(predicted) * step).sum(1) / 16
    assert fit.converged.all()
    assert abs(q.mean() - 1) < 0.06  # three standard deviations


def test_nothing_is_missing_where_no_echo_was_found(roomy_scenario):
    w = world(roomy_scenario, [1, 2], snr_db=10, seed=2)
    s, waves = sensing(w), Waves.of_sources(w.polar, w.present, 3)
    Z, symbols, covariance, _ = linearised(s, waves.trimmed())
    assert (missing_echo_covariance(s, waves.trimmed(), Z, symbols.nan_to_num(), covariance) == 0).all()


def test_nothing_is_missing_where_all_echoes_are_far_above_the_threshold(roomy_scenario):
    e = echo_world(roomy_scenario, [2], paths=2, level_db=-3, snr_db=40, seed=5)
    s = sensing(e.world)
    Z, symbols, covariance, _ = linearised(s, e.listed)
    assert (missing_echo_covariance(s, e.listed, Z, symbols, covariance) == 0).all()


def test_the_ellipsoids_hold_the_sources_though_echoes_are_missing(roomy_scenario):
    """150 scenes with 20 echoes between -22 and -34 dB; the fit knows the half whose energy is above the price of BIC.

    95 % ellipsoids: within 6 points. Without what is missing they would hold fewer by at least 15 points.
    """
    large = dataclasses.replace(roomy_scenario, antennas=16, snapshots=16)
    e = echo_world(large, [1] * 150, paths=20, level_db=-99, snr_db=15, seed=6, noise=False)
    size = 10 ** (-torch.linspace(22, 34, 20, dtype=torch.float64) / 20)
    gain = e.gain / e.gain.abs() * size
    clean = sensing(e.world)
    full = dataclasses.replace(e, gain=gain).listed
    symbols = project_waves(clean, e.listed).s
    g = torch.Generator().manual_seed(7)
    noise = torch.randn(clean.y.shape, dtype=clean.y.dtype, generator=g) * clean.noise_var.sqrt()[:, None, None]
    received = (symbols[..., None] * wave_responses(clean, full)).sum(2)
    s = dataclasses.replace(clean, y=received + noise)
    energy = (symbols[..., None] * wave_responses(clean, e.listed)).abs().square().sum((1, 2, 3))
    price = 5 * math.log(s.y[0].numel())
    found = 2 * full.gain.abs().square() * (energy / s.noise_var)[:, None] > price
    known = dataclasses.replace(full, present=full.present & (found | full.reference)).ordered()
    fit = fit_waves(s, known, tolerance=1e-3, iterations=30).waves
    power, _ = fit_response_powers(wave_responses(s, fit), s.y, s.noise_var, fit.sources)
    place, _ = wave_covariance(s, fit, power, observed=True)
    _, _, covariance, _ = linearised(s, fit.trimmed())
    first = fit.polar[:, 0]
    moved = location_of(first) - e.world.location[:, 0]
    moved[:, 2] = first[:, 2] - e.world.polar[:, 0, 2]
    limit = chi2.ppf(0.95, 3)
    inside = [
        (torch.einsum("bi,bij,bj->b", moved, torch.linalg.inv(C), moved) < limit).double().mean()
        for C in (place[:, 0], covariance[:, :3, :3])
    ]
    assert abs(inside[0] - 0.95) <= 0.06
    assert inside[1] <= inside[0] - 0.15
