"""sigma^2 from the data: what fits of growing order leave unexplained, and whether a given sigma^2 agrees with it.

K sources take with them, of the noise, what their parameters are free to take: n = L (M - K) - K q / 2 complex samples
are left, q free coordinates a source. The next source of the path is one that is not there. It stands at the best of
about N places that can be told apart, where noise has put the largest of N energies, each the L out of n parts of what is
left: of mean L and variance L (1 - L / n), so that its largest is about

    L + (2 L (1 - L / n) ln N)^(1/2) + ln(N) / 3

(normal, and the first term of the skewness). One such source is charged; each further one would find less than that,
because those before it have taken more than their share. With few antennas that matters: after four of them at M = 8 less
than two thirds of the noise that n counts is left.

The order is that of the stochastic BIC with the level that it leads to: a fixed point, reached from BIC with the noise
level unknown, which has the fewer sources.

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

__all__ = ["NoiseLevelError", "checked_order", "level_of_path", "noise_level"]

_LOOKS = 2  # the second with fits as tight as the level that the first has found asks for
_ROUNDS = 6  # most of the fixed point; two or three do
_LEAST = 16  # complex samples that must be left: the estimate then has a standard deviation of a quarter


class NoiseLevelError(ValueError):
    """The samples are too few to tell the noise from the sources."""


def noise_level(
    localiser: Localiser, observation: Observation, most: int, count: int | None = None
) -> Float[Tensor, " batch"]:
    """The noise variance of each scene, from the residuals of NOMP on the coarse grid with up to `most` sources.

    observation : its mean square is 1; its noise_var is not looked at.  count : K where it is known.

    Raises
    ------
    NoiseLevelError
        M antennas and L snapshots are too few to tell the noise beside `most` sources.
    """
    batch = len(observation)
    _check_samples(localiser, observation, most, count)
    least = torch.full((batch,), most if count is None else count)
    noise = torch.full((batch,), 0.1, dtype=torch.float32)
    blank = localiser.sensing(observation)
    source = MatchingPursuit(blank, GainMap(blank, localiser.coarse))
    for _ in range(_LOOKS):
        sensing = dataclasses.replace(blank, noise_var=noise)
        between = localiser.search.steps_between
        path = forward_selection(sensing, source, most, least=least, seek=False, steps_between=between)
        noise = level_of_path(sensing, path, None if count is None else least)[0]
    return noise


def level_of_path(
    sensing: Sensing, path: SelectionPath, count: Int[Tensor, " batch"] | None = None
) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]:
    """sigma^2 and the order that go together, among the orders of the path.

    count : the order where it is known, all of whose sources are there.
    """
    if count is not None:
        order = torch.minimum(count, path.reached)
        return _level(sensing, path, order, order), order
    order = torch.minimum(bic_noise_order(sensing, path), path.reached)
    for _ in range(_ROUNDS):
        noise = _level(sensing, path, order, torch.minimum(order + 1, path.reached))
        here = dataclasses.replace(sensing, noise_var=noise)
        better = torch.minimum(bic_order(here, path.valued(here)), path.reached)
        if torch.equal(better, order):
            break
        order = better
    return noise, order


def checked_order(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
    """BIC with sigma^2 as it is given, but where the data contradict it BIC with the noise level unknown.

    A model that is wrong calls for sources that are not there until the residual is as small as the given sigma^2, and BIC
    takes them all: its misfit is above the limit without `TOLERANCE`, or every slot is taken. The data contradict it where
    the misfit is too high at the order of `level_of_path`, too, by another `TOLERANCE`: sources too weak for that order
    raise it.
    """
    order = torch.minimum(bic_order(sensing, path), path.reached)
    cautious = torch.minimum(bic_noise_order(sensing, path), order)
    suspect = _too_high(sensing, path, order, 1 / TOLERANCE) | (order == path.polar.shape[2])
    rows = (suspect & _too_high(sensing, path, cautious, TOLERANCE)).nonzero()[:, 0]
    if len(rows) == 0:
        return order
    part, own_path = sensing.scenes(rows), path.scenes(rows)
    own = torch.minimum(level_of_path(part, own_path)[1], order[rows])
    order[rows] = torch.where(_too_high(part, own_path, own, TOLERANCE), cautious[rows], order[rows])
    return order


def _too_high(
    sensing: Sensing, path: SelectionPath, order: Int[Tensor, " batch"], factor: float
) -> Bool[Tensor, " batch"]:
    """Whether the misfit of that order is above that many times its limit."""
    freedom = _left(sensing, order, torch.zeros_like(order))
    level = path.cost.gather(1, order[:, None])[:, 0].double() / freedom
    return level > factor * sensing.noise_var.double() * misfit_limits(freedom)[1]


def _level(sensing: Sensing, path: SelectionPath, there: Tensor, order: Tensor) -> Tensor:
    """sigma^2 from the residual of `order` sources, of which `there` are there."""
    cost = path.cost.gather(1, order[:, None])[:, 0]
    level = cost / _left(sensing, there, order - there).clamp_min(1.0)
    return torch.maximum(level, 1e-9 * sensing.y.abs().square().mean((1, 2))).to(cost.dtype)


def _left(sensing: Sensing, there: Tensor, absent: Tensor) -> Tensor:
    """The expected residual over sigma^2, in complex samples, of sources that are there and 0 or 1 that is not."""
    _, snap, ant = sensing.y.shape
    n = degrees_of_freedom(there, snap, ant, sensing.domain.free)
    return n - absent * _taken(n, snap, sensing.array.size)


def _taken(n: Tensor, snap: int, elements: int) -> Tensor:
    """The largest share of the noise that one place of about `elements` explains, in samples."""
    chance = math.log(elements)
    return snap + (2 * snap * (1 - snap / n.clamp_min(snap)) * chance).sqrt() + chance / 3


def _check_samples(localiser: Localiser, observation: Observation, most: int, count: int | None) -> None:
    _, snap, ant = observation.y.shape
    there = torch.tensor([max(most - 1, 0) if count is None else count])
    n = degrees_of_freedom(there, snap, ant, localiser.domain.free)
    enough = n - _taken(n, snap, localiser.array.size) >= _LEAST if count is None else n > 0
    if not bool(enough):
        raise NoiseLevelError(
            f"noise_var: not given, and {ant} antennas with {snap} snapshots are too few to estimate it beside {most} "
            "sources: write noise_var into the file, or look for fewer sources"
        )
