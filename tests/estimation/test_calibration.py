"""What a fit says of its own errors is true: standard deviations against errors, over scenes of the default scenario.

Errors are divided by the standard deviations that `assess` reports at the estimate. Both fits start from the truth, so
that what is tested is neither the search nor the threshold. 15-20 dB; scenes of the validation split.

Left out are only sources whose estimate lies on the border of the domain, where an error cannot show; they are few
(a twentieth at most, which is tested). Shares are held to the binomial's 99.9 %, other means to as many standard errors.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from risloc.estimation.candidates import PeakCandidates
from risloc.estimation.conditional import Sensing
from risloc.estimation.estimates import assess
from risloc.estimation.selection import select_and_fit
from risloc.estimation.spectrum import Peaks
from risloc.estimation.stochastic import fit_stochastic
from risloc.physics.geometry import location_of, polar_of, position_of
from risloc.scenes.simulation import simulate

FITS = ("conditional", "stochastic")
SCENES = {1: 700, 2: 400}
SIGMAS = 3.2905  # two-sided 99.9 % of a normal deviate
NORMAL = {1.0: 0.6827, 1.96: 0.9500}  # P(|z| <= ...) of one normal deviate
EVEN = {1.0: 0.6084, 1.96: 0.9908}  # the same of the length of an isotropic normal vector in space, rms 1


@dataclass(frozen=True)
class Errors:
    """Errors over reported standard deviations, one entry a source that is not on the border."""

    distance: np.ndarray  # signed
    position: np.ndarray  # lengths
    border: float
    converged: float


@pytest.fixture(scope="module")
def measured(scenario):
    """errors(fit, K), each pair measured once."""

    @functools.cache
    def errors(fit, K):
        drawn = dataclasses.replace(scenario, K_MAX=K, K_span=(K, K), snr_db_span=(15.0, 20.0))
        starts = range(0, SCENES[K], 100)
        parts = [batch_errors(fit, drawn, start) for start in starts]
        distance, position, border, converged = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return Errors(distance[~border], position[~border], border.mean(), converged.mean())

    return errors


def batch_errors(fit, scenario, start):
    drawn = simulate(scenario, seed=5, split="val", start=start, stop=start + 100)
    t, s = drawn.truth, Sensing.of(drawn.observation, scenario.surface)
    polar = polar_of(t.location)
    if fit == "conditional":
        oracle = PeakCandidates(s, Peaks(polar, torch.ones_like(t.power), t.present))
        [found] = select_and_fit(s, oracle, [t.count], scenario.K_MAX, steps_between=4, iterations=40)
    else:
        end, _ = fit_stochastic(s, polar, t.power, tolerance=1e-3, iterations=60)
        found = assess(s, end.polar, t.present, end.converged)
    gap = torch.cdist(found.polar[..., :2].float(), polar[..., :2])  # [scene, estimate, source]
    straight, crossed = gap.diagonal(dim1=1, dim2=2).sum(1), gap.flip(2).diagonal(dim1=1, dim2=2).sum(1)
    truth = torch.where((crossed < straight)[:, None, None], t.location.flip(1), t.location).double()
    estimate = location_of(found.polar.double())
    span = torch.tensor(
        [scenario.surface.domain.azimuth, scenario.surface.domain.elevation, scenario.surface.domain.distance]
    )
    margin = 1e-4 * (span[:, 1] - span[:, 0])
    border = ((estimate < span[:, 0] + margin) | (estimate > span[:, 1] - margin)).any(-1)
    distance = (estimate - truth)[..., 2] / found.distance_std.double()
    position = (position_of(estimate) - position_of(truth)).norm(dim=-1) / found.position_std.double()
    return distance.flatten(), position.flatten(), border.flatten(), found.converged


def margin(share, n):
    return SIGMAS * math.sqrt(share * (1 - share) / n)


def outside(errors):
    """The intervals of distance whose share of errors is not the normal one."""
    n = len(errors)
    shares = {z: (np.abs(errors) <= z).mean() for z in NORMAL}
    return {z: share for z, share in shares.items() if abs(share - NORMAL[z]) > margin(NORMAL[z], n)}


@pytest.mark.parametrize("K", SCENES)
@pytest.mark.parametrize("fit", FITS)
def test_intervals_of_distance_hold_as_often_as_they_say(measured, fit, K):
    """68 % and 95 % intervals; standard deviations a fifth too small or too large would be noticed."""
    errors = measured(fit, K)
    assert outside(errors.distance) == {}
    assert outside(errors.distance * 1.2)
    assert outside(errors.distance / 1.2)
    assert errors.border < 0.05
    assert errors.converged > 0.99


@pytest.mark.parametrize("K", SCENES)
@pytest.mark.parametrize("fit", FITS)
def test_errors_of_distance_are_centred_and_of_unit_variance(measured, fit, K):
    z = measured(fit, K).distance
    assert abs(z.mean()) < SIGMAS * z.std() / math.sqrt(len(z))
    squares = np.square(z)
    assert abs(squares.mean() - 1) < SIGMAS * squares.std() / math.sqrt(len(z))


@pytest.mark.parametrize("K", SCENES)
@pytest.mark.parametrize("fit", FITS)
def test_errors_of_position_are_as_long_as_they_say(measured, fit, K):
    """|p_hat - p| over its reported root mean square.

    A normal vector's length lies within 1 (1.96) of its rms with a probability between those of a vector along a line
    and of an isotropic one, whatever its covariance; its mean square is 1.
    """
    ratio = measured(fit, K).position
    n = len(ratio)
    for z in NORMAL:
        low, high = sorted((NORMAL[z], EVEN[z]))
        assert low - margin(low, n) <= (ratio <= z).mean() <= high + margin(high, n)
    squares = np.square(ratio)
    assert abs(squares.mean() - 1) < SIGMAS * squares.std() / math.sqrt(n)


def test_the_conditional_fit_is_as_good_as_the_stochastic(measured):
    """Conditional ML is not efficient at small M L; here (M L = 256) its spread is within 5 % of the other's."""
    for K in SCENES:
        one, other = (np.sqrt(np.square(measured(fit, K).distance).mean()) for fit in FITS)
        assert one == pytest.approx(other, rel=0.05)
