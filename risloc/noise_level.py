"""sigma^2 where it is not known, from what a fit of more sources than there may be leaves unexplained.

A source that is there takes with it, of the noise, what its parameters are free to take: L complex symbols and 3/2 for its
place. One that is not there stands at the best of about N places that can be told apart, where noise alone has put the
largest of N energies of mean L and variance L: L + (2 L ln N)^(1/2).

Axes: batch B, snap L, ant M, elem N.
"""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.gain import GainMap
from risloc.localise import Localiser
from risloc.scene import Observation
from risloc.selection import MatchingPursuit, bic_noise_order, bic_order, forward_selection

__all__ = ["NoiseLevelError", "noise_level"]

_LOOKS = 3  # each with the ridge, and from the second on the BIC, of the level that the one before has found
_PLACE = 1.5  # complex samples: three real coordinates


class NoiseLevelError(ValueError):
    """The samples are too few to tell the noise from the sources."""


def noise_level(
    localiser: Localiser, observation: Observation, most: int, count: int | None = None
) -> Float[Tensor, " batch"]:
    """The noise variance of each scene, from the residuals of NOMP on the coarse grid with `most` sources.

    observation : its mean square is 1; its noise_var is not looked at.  count : K where it is known: K sources are fitted,
    all of them there. Else BIC says how many of the `most` are, first with the noise level unknown, then with that of the
    look before.

    Raises
    ------
    NoiseLevelError
        M antennas and L snapshots are too few to tell the noise beside `most` sources.
    """
    batch, snap, ant = observation.y.shape
    real, chance = snap + _PLACE, snap + math.sqrt(2 * snap * math.log(observation.H.shape[-1]))
    if snap * ant <= most * (chance if count is None else real):
        raise NoiseLevelError(
            f"noise_var: not given, and {ant} antennas with {snap} snapshots are too few to estimate it beside {most} "
            "sources: write noise_var into the file, or look for fewer sources"
        )
    fitted = torch.full((batch,), most if count is None else count)
    noise = torch.full((batch,), 0.1, dtype=torch.float32)
    blank = localiser.sensing(observation)
    source = MatchingPursuit(blank, GainMap(blank, localiser.coarse))
    for look in range(_LOOKS):
        sensing = dataclasses.replace(blank, noise_var=noise)
        between = localiser.search.steps_between
        path = forward_selection(sensing, source, most, least=fitted, seek=look > 0, steps_between=between)
        reached = torch.minimum(fitted, path.reached)
        order = bic_order if look > 0 else bic_noise_order
        there = reached if count is not None else torch.minimum(order(sensing, path), reached)
        cost = path.cost.gather(1, reached[:, None])[:, 0]
        real_ones, others = there.to(cost.dtype), (reached - there).to(cost.dtype)
        noise = (cost / (snap * ant - real_ones * real - others * chance)).clamp(1e-9, 1.0)
    return noise
