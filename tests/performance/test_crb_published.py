"""The bound against numbers that others have printed.

The bound's own laws stand in test_crb.py, closed forms in test_crb_closed.py.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from worlds import observed_directly, surface_of

from risloc.config import build
from risloc.performance.crb import deterministic_bound, stochastic_bound
from risloc.performance.fisher_information import (
    deterministic_information,
    location_derivatives,
    stochastic_information,
)
from risloc.physics.geometry import planar_array
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate

SPANS = ((0.5, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 5.0), (5.0, 7.0), (7.0, 10.0))
AGREEMENT = math.log(1.2)  # to which two independent computations of the table agree
# (elements a side, carrier, M, L), scenes drawn here, and as printed: range in mm, azimuth in hundredths of a degree.
TABLE = [
    ((12, 1.0e9, 16, 64), 64, (8, 18, 42, 101, 223, 467), (28, 19, 17, 16, 15, 15)),
    ((12, 1.0e9, 16, 16), 128, (13, 36, 79, 190, 407, 997), (49, 37, 29, 27, 26, 33)),
    ((16, 3.5e9, 16, 64), 48, (8, 33, 82, 217, 484, 900), (12, 12, 11, 12, 11, 12)),
    ((16, 3.5e9, 64, 64), 20, (5, 12, 30, 98, 250, 458), (6, 5, 4, 5, 6, 5)),
]


def root_bounds(scenario, scenes):
    """Root-CRB of the range [m] and of the azimuth [rad], [scene, src] each, a few scenes at a time."""
    distance, azimuth = [], []
    for start in range(0, scenes, 16):
        drawn = simulate(scenario, seed=7, split="test", start=start, stop=min(start + 16, scenes))
        bound = stochastic_bound(scenario.surface, drawn.observation, drawn.truth.location, drawn.truth.power)
        distance.append(bound.distance)
        azimuth.append(bound.covariance[..., 0, 0].sqrt())
    return torch.cat(distance).numpy(), torch.cat(azimuth).numpy()


def table_scenario(scenario, configuration, span):
    size, carrier, antennas, snapshots = configuration
    return dataclasses.replace(
        scenario,
        n_h=size,
        n_v=size,
        carrier_hz=carrier,
        antennas=antennas,
        snapshots=snapshots,
        K_MAX=2,
        K_span=(2, 2),
        distance_span_m=span,
        power_span_db=(0.0, 0.0),
        min_separation_uv=0.2,
        rician_span=(0.5, 10.0),
        snr_db_span=(10.0, 10.0),
    )


def log_median(values):
    """ln of the median over all sources, and its standard error by a bootstrap of the scenes."""
    rng = np.random.default_rng(0)
    again = values[rng.integers(len(values), size=(400, len(values)))].reshape(400, -1)
    return math.log(np.median(values)), float(np.log(np.median(again, axis=1)).std())


@pytest.mark.parametrize(("configuration", "scenes", "ranges", "azimuths"), TABLE)
def test_the_bound_reproduces_the_design_table(scenario, configuration, scenes, ranges, azimuths):
    """K = 2, equal powers, 10 dB, separation 0.2, Rician k 0.5..10 with a far-field line of sight: six spans a row.

    |ln(ours / printed)| <= ln 1.2 (to which two computations of the table agree) + what half a unit of the last printed
    digit is + three bootstrap standard errors of our median, in each of the twelve cells; and over the six cells of a
    row, where the errors average out, ln 1.2 alone.
    """
    ratios, wrong = [], []
    for span, *printed in zip(SPANS, ranges, azimuths, strict=True):
        distance, azimuth = root_bounds(table_scenario(scenario, configuration, span), scenes)
        for name, ours, number in zip(
            ("mm", "deg / 100"), (1e3 * distance, 100 * np.rad2deg(azimuth)), printed, strict=True
        ):
            middle, error = log_median(ours)
            ratio = middle - math.log(number)
            ratios.append(ratio)
            if abs(ratio) > AGREEMENT + math.log((number + 0.5) / number) + 3 * error:
                wrong.append(f"{span} m: {math.exp(middle):.1f} {name}, printed {number}, error {error:.0%}")
    assert not wrong
    assert np.abs(np.reshape(ratios, (6, 2)).mean(0)).max() < AGREEMENT


def test_scattering_halves_the_bound(scenario):
    """At k = 0 the median range bound at 3-5 m is about half of that at k in 0.5..10: here 0.4 to 0.7 of it."""
    sight = table_scenario(scenario, TABLE[0][0], (3.0, 5.0))
    scattered = dataclasses.replace(sight, rician_span=(0.0, 0.0))
    ratio = np.median(root_bounds(scattered, 64)[0]) / np.median(root_bounds(sight, 64)[0])
    assert 0.4 < ratio < 0.7


# Ten elements half a wavelength apart, sources at -60, -7.5 and 45 degrees, sigma^2 = 1, 100 snapshots. The numbers are
# those that doatools (M. Wang, github.com/morriswmz/doatools.py, doatools/tests/performance/test_crb.py) keeps as reference.
CORRELATED = np.array([[10, 1 + 0.3j, 0.5 - 0.1j], [1 - 0.3j, 11, 0.9 - 0.2j], [0.5 + 0.1j, 0.9 + 0.2j, 9]])
UNCORRELATED_CRB = np.array(
    [
        [1.3757938e-05, -3.7302575e-09, 4.3845873e-08],
        [-3.7302575e-09, 2.2173076e-06, 5.0642214e-09],
        [4.3845873e-08, 5.0642214e-09, 1.4740719e-05],
    ]
)
DETERMINISTIC_CRB = np.array(
    [
        [2.636339e-06, -2.947961e-08, -2.894480e-08],
        [-2.947961e-08, 5.868361e-07, -1.254243e-08],
        [-2.894480e-08, -1.254243e-08, 1.495266e-06],
    ]
)
STOCHASTIC_CRB = np.array(
    [
        [2.663109e-06, -3.037374e-08, -2.994223e-08],
        [-3.037374e-08, 5.922466e-07, -1.287051e-08],
        [-2.994223e-08, -1.287051e-08, 1.512018e-06],
    ]
)


@pytest.fixture
def doatools():
    """The array, what it observes (codes 1, H = I), the sources far away, sigma^2; and the responses Z."""
    array, L = planar_array(10, 1, 1.0, "first"), 100
    azimuth = torch.linspace(-math.pi / 3, math.pi / 4, 3, dtype=torch.float64)
    location = torch.stack([azimuth, 0 * azimuth, 0 * azimuth + 1e12], dim=-1)[None]
    observation = observed_directly(10, L, torch.ones(1, dtype=torch.float64))
    A, dA = location_derivatives(array, location)
    Z = torch.cat([A, dA.flatten(-2)], dim=-1).mT[:, None].expand(-1, L, -1, -1)
    return (surface_of(array, (True, False, False)), observation, location), observation.noise_var, Z


def inverse_of(F, kept):
    """The leading 3 x 3 block of the inverse over the kept parameters: the azimuths, whatever else is unknown."""
    return np.linalg.inv(F[0].numpy()[np.ix_(kept, kept)])[:3, :3]


def test_the_stochastic_bound_is_the_one_that_doatools_stores(doatools):
    """Powers 2, 3, 1, uncorrelated and known to be so: all nine entries to the precision printed."""
    known, noise, Z = doatools
    power = torch.tensor([[2.0, 3.0, 1.0]], dtype=torch.float64)
    V = inverse_of(stochastic_information(Z, power, noise), [0, 3, 6, 9, 10, 11, 12])
    np.testing.assert_allclose(V, UNCORRELATED_CRB, rtol=1e-6)
    variance = stochastic_bound(*known, power).covariance[0, :, 0, 0]
    np.testing.assert_allclose(variance.numpy(), UNCORRELATED_CRB.diagonal(), rtol=1e-6)


def test_the_deterministic_bound_is_the_one_that_doatools_stores(doatools):
    """Symbols whose sample covariance is the correlated P of powers 10, 11, 9."""
    known, noise, Z = doatools
    rows = np.exp(2j * np.pi * np.outer(np.arange(3), np.arange(100)) / 100)  # orthogonal, of power 1
    s = torch.from_numpy(np.linalg.cholesky(CORRELATED) @ rows)[None]
    V = inverse_of(deterministic_information(Z, s.mT[..., :, None] * s.mT[..., None, :].conj(), noise), [0, 3, 6])
    np.testing.assert_allclose(V, DETERMINISTIC_CRB, rtol=1e-6)
    variance = deterministic_bound(*known, s).covariance[0, :, 0, 0]
    np.testing.assert_allclose(variance.numpy(), DETERMINISTIC_CRB.diagonal(), rtol=1e-6)


def test_correlated_gaussian_sources_are_as_doatools_stores(doatools):
    """The bound of Gaussian sources of unknown P is the deterministic one of P A^H R^-1 A P (Stoica & Nehorai 1990)."""
    (surface, _, location), noise, Z = doatools
    A = location_derivatives(surface.array, location)[0][0].numpy()
    R = A @ CORRELATED @ A.conj().T + np.eye(10)
    effective = CORRELATED @ A.conj().T @ np.linalg.solve(R, A) @ CORRELATED
    F = deterministic_information(Z, torch.from_numpy(effective).expand(1, 100, 3, 3), noise)
    np.testing.assert_allclose(inverse_of(F, [0, 3, 6]), STOCHASTIC_CRB, rtol=1e-6)


def test_the_mean_bound_of_the_peers_scenario():
    """Two independent sources of 0 dB each before 15 elements, T = 100: about 0.007 rad and 2.4 m on average.

    Our SNR is of both sources together: 3.01 dB. Without codes the information of 100 snapshots is 100 times that of
    one, which is checked here on a few scenes and used on 3000. The standard errors of the means are below 0.05 m and
    0.00005 rad: three of them, and half a unit of the last printed digit. Bounds clipped at the prior's deviation
    (1 % of the sources) lower the mean range by 1 %.
    """
    each = 10 * math.log10(2)
    base = dataclasses.replace(
        build(Scenario, preset("ula_coherent"), "ula_coherent"), waveform="independent", snr_db_span=(each, each)
    )

    def bound(scenario, scenes):
        drawn = simulate(scenario, seed=11, split="test", start=0, stop=scenes)
        o, t = drawn.observation, drawn.truth
        torch.testing.assert_close(t.power / o.noise_var[:, None], torch.ones_like(t.power), rtol=1e-4, atol=0)
        return t, stochastic_bound(scenario.surface, o, t.location, t.power)

    few, every = bound(base, 4)
    truth, one = bound(dataclasses.replace(base, snapshots=1), 3000)
    assert base.snapshots == 100
    distance, angle = one.distance.numpy() / 10, one.angle.numpy() / 10
    again = stochastic_bound(base.surface, observed_directly(15, 1, torch.ones(4)), few.location, few.power)
    torch.testing.assert_close(every.distance, again.distance / 10, rtol=1e-4, atol=0)
    error = distance.mean(1).std() / math.sqrt(len(distance))
    assert error < 0.05
    assert distance.mean() == pytest.approx(2.4, abs=3 * error + 0.05)
    assert angle.mean() == pytest.approx(0.007, abs=3 * 0.00005 + 0.0005)
    clipped = np.minimum(distance, 40 / math.sqrt(12))
    assert clipped.mean() == pytest.approx(distance.mean(), rel=0.03)
    assert (distance > clipped).mean() < 0.02
