"""sigma^2 from the residuals of fits of growing order, and whether a given sigma^2 agrees with them.

The parameters of K sources also fit a part of the noise: n = L (M - K) - K q / 2 complex samples are left, with q free
coordinates per source. The next source of the path does not exist. It lies at the best of about N distinct places, where the
noise has the largest of N energies. Each energy is a share L out of n of the residual, with mean L and variance L (1 - L / n),
so that the largest is about

    L + (2 L (1 - L / n) ln N)^(1/2) + ln(N) / 3

(normal, and the first term of the skewness). One such source is accounted for; each further one would explain less, because
those before it have explained more than their share. This matters with few antennas: after four such sources at M = 8, less
than two thirds of the noise that n counts is left.

The order is that of the stochastic BIC with the noise level that this order implies: a fixed point, reached from BIC with the
noise level unknown, which has fewer sources.

Axes: batch B, snap L, ant M, elem N.
"""

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.estimation.candidates import MatchingPursuit
from risloc.estimation.conditional import Sensing
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.localiser import Localiser
from risloc.estimation.misfit import TOLERANCE, degrees_of_freedom, misfit_limits
from risloc.estimation.order_rules import SelectionPath, bic_noise_order, bic_order
from risloc.estimation.selection import forward_selection
from risloc.scenes.batch import Observation

__all__ = ["NoiseLevelError", "check_samples", "checked_order", "level_of_path", "noise_level"]

_PASSES = 2  # the second fits as tightly as the noise level of the first requires
_ROUNDS = 6  # of the fixed point at most; two or three are enough
_LEAST = 16  # complex samples that must be left, for a standard deviation of a quarter


class NoiseLevelError(ValueError):
    """There are too few samples to separate the noise from the sources."""


def noise_level(
    localiser: Localiser, observation: Observation, most: int, count: int | None = None
) -> Float[Tensor, " batch"]:
    """Estimate the noise variance of each scene from the residuals of NOMP on the coarse grid.

    Parameters
    ----------
    localiser
        The localiser of the surface.
    observation
        The scenes, with unit mean square; their noise_var is not used.
    most
        The largest number of sources.
    count
        The number of sources K if it is known.

    Returns
    -------
    [batch]
        The noise variance.

    Raises
    ------
    NoiseLevelError
        M antennas and L snapshots are too few to estimate the noise with `most` sources.
    """
    batch = len(observation)
    check_samples(localiser, observation, most, count)
    least = torch.full((batch,), most if count is None else count)
    noise = torch.full((batch,), 0.1, dtype=torch.float32)
    blank = localiser.sensing(observation)
    source = MatchingPursuit(blank, GainMap(blank, localiser.coarse))
    for _ in range(_PASSES):
        sensing = dataclasses.replace(blank, noise_var=noise)
        between = localiser.search.steps_between
        path = forward_selection(sensing, source, most, least=least, seek=False, steps_between=between)
        noise = level_of_path(sensing, path, None if count is None else least)[0]
    return noise


def level_of_path(
    sensing: Sensing, path: SelectionPath, count: Int[Tensor, " batch"] | None = None
) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Find sigma^2 and the order that agree with each other, among the orders of a path.

    Parameters
    ----------
    sensing
        The scenes.
    path
        The fits of growing order.
    count : [batch]
        The order if it is known, which means that all of its sources exist.

    Returns
    -------
    [batch]
        sigma^2.
    [batch]
        The order.
    """
    if count is not None:
        order = torch.minimum(count, path.reached)
        return _level(sensing, path, order, order), order
    order = torch.minimum(bic_noise_order(sensing, path), path.reached)
    for _ in range(_ROUNDS):
        noise = _level(sensing, path, order, torch.minimum(order + 1, path.reached))
        scenes = dataclasses.replace(sensing, noise_var=noise)
        better = torch.minimum(bic_order(scenes, path.valued(scenes)), path.reached)
        if torch.equal(better, order):
            break
        order = better
    return noise, order


def checked_order(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
    """Estimate the order by BIC with the given sigma^2 or, if the data contradict it, by BIC with the noise level unknown.

    A wrong model adds sources that do not exist until the residual is as small as the given sigma^2, and BIC accepts them
    all: its misfit is above the limit without `TOLERANCE`, or every slot is taken. The data contradict sigma^2 if the misfit
    is also too high at the order of `level_of_path`, by another `TOLERANCE`, because sources too weak for that order raise
    it.

    Parameters
    ----------
    sensing
        The scenes.
    path
        The fits of growing order.

    Returns
    -------
    [batch]
        The order.
    """
    order = torch.minimum(bic_order(sensing, path), path.reached)
    cautious = torch.minimum(bic_noise_order(sensing, path), order)
    suspect = _too_high(sensing, path, order, 1 / TOLERANCE) | (order == path.polar.shape[2])
    rows = (suspect & _too_high(sensing, path, cautious, TOLERANCE)).nonzero()[:, 0]
    if len(rows) == 0:
        return order
    scenes, paths = sensing.scenes(rows), path.scenes(rows)
    consistent = torch.minimum(level_of_path(scenes, paths)[1], order[rows])
    order[rows] = torch.where(_too_high(scenes, paths, consistent, TOLERANCE), cautious[rows], order[rows])
    return order


def _too_high(
    sensing: Sensing, path: SelectionPath, order: Int[Tensor, " batch"], factor: float
) -> Bool[Tensor, " batch"]:
    """Check whether the misfit of that order is above `factor` times its limit."""
    freedom = _left(sensing, order, torch.zeros_like(order))
    level = path.cost.gather(1, order[:, None])[:, 0].double() / freedom
    return level > factor * sensing.noise_var.double() * misfit_limits(freedom)[1]


def _level(sensing: Sensing, path: SelectionPath, existing: Tensor, order: Tensor) -> Tensor:
    """Return sigma^2 from the residual of `order` sources, of which `existing` exist."""
    cost = path.cost.gather(1, order[:, None])[:, 0]
    level = cost / _left(sensing, existing, order - existing).clamp_min(1.0)
    return torch.maximum(level, 1e-9 * sensing.y.abs().square().mean((1, 2))).to(cost.dtype)


def _left(sensing: Sensing, existing: Tensor, spurious: Tensor) -> Tensor:
    """Return the expected residual over sigma^2, in complex samples, of sources that exist and of 0 or 1 that does not."""
    _, snap, ant = sensing.y.shape
    n = degrees_of_freedom(existing, snap, ant, sensing.domain.free)
    return n - spurious * _taken(n, snap, sensing.array.size)


def _taken(n: Tensor, snap: int, elements: int) -> Tensor:
    """Return the largest share of the noise that one place of about `elements` explains, in samples."""
    chance = math.log(elements)
    return snap + (2 * snap * (1 - snap / n.clamp_min(snap)) * chance).sqrt() + chance / 3


def check_samples(localiser: Localiser, observation: Observation, most: int, count: int | None) -> None:
    """Check that there are enough samples to separate the noise from the sources.

    Parameters
    ----------
    localiser
        The localiser of the surface.
    observation
        The scenes.
    most
        The largest number of sources.
    count
        The number of sources K if it is known.

    Raises
    ------
    NoiseLevelError
        There are too few.
    """
    _, snap, ant = observation.y.shape
    existing = torch.tensor([max(most - 1, 0) if count is None else count])
    n = degrees_of_freedom(existing, snap, ant, localiser.domain.free)
    enough = n - _taken(n, snap, localiser.array.size) >= _LEAST if count is None else n > 0
    if not bool(enough):
        raise NoiseLevelError(
            f"noise_var: not given, and {ant} antennas with {snap} snapshots are too few to estimate it with up to {most} "
            "sources: write noise_var to the file, or search for fewer sources"
        )
