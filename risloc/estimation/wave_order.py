"""How many sources with how many echoes: the search under an unknown noise level, and under a given one that is checked.

The search settles with sigma^2 unknown first, at a price of sources that prefers echoes and then at BIC's; a wrong model then
raises the noise level instead of the number of waves. If sigma^2 is given, the search continues with it, which shows weaker
sources. It is believed where the residual then agrees with it, and nearly did so after the first search or does so thanks to one or
two waves: sources that are too weak for the first search raise the residual little, whereas a wrong model or a wrong sigma^2 adds
waves until the residual is as small as the given sigma^2.

Axes: batch B.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.misfit import TOLERANCE, misfit_limits
from risloc.estimation.wave_criterion import (
    bic_free_symbols,
    bic_known_noise,
    bic_unknown_noise,
    residual_level,
    wave_freedom,
)
from risloc.estimation.wave_fit import fit_waves, project_waves
from risloc.estimation.wave_search import WaveSearch
from risloc.estimation.waves import Waves

__all__ = ["OrderedWaves", "search_waves"]

_TIGHT = 1e-3
_FEW = 2  # waves that the search with the given sigma^2 may add where the first search left too much


@dataclass(frozen=True)
class OrderedWaves:
    """The waves of each scene, fitted tightly.

    Parameters
    ----------
    waves
        The waves.
    noise_var : [batch]
        sigma^2: as given, or that of the residual.
    believed : [batch]
        Whether a given sigma^2 was used.
    converged : [batch]
        Whether the last fit converged.
    """

    waves: Waves
    noise_var: Float[Tensor, " batch"]
    believed: Bool[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def search_waves(search: WaveSearch, start: Waves, *, given: bool, checked: bool, iterations: int) -> OrderedWaves:
    """Search for sources with echoes and fit them.

    Parameters
    ----------
    search
        The search.
    start
        The waves to start from, mostly none.
    given
        Whether the sigma^2 of the scenes is given.
    checked
        Whether a given sigma^2 is replaced where the data contradict it.
    iterations
        The largest number of steps of the last fit.

    Returns
    -------
    OrderedWaves
        The waves.
    """
    sensing = search.sensing
    waves = search.settled(search.settled(start, bic_free_symbols), bic_unknown_noise)
    believed = torch.full((len(sensing),), given, device=sensing.y.device)
    if given:
        further = search.settled(waves, bic_known_noise)
        if checked:
            few = further.total <= waves.total + _FEW
            believed = (_agrees(sensing, waves, TOLERANCE) | few) & _agrees(sensing, further, 1.0)
        rows = believed.nonzero()[:, 0]
        waves = waves.put(rows, further[rows])
    end = fit_waves(sensing, waves, tolerance=_TIGHT, iterations=iterations)
    level = residual_level(end.value, wave_freedom(sensing, end.waves))
    noise_var = torch.where(believed, sensing.noise_var.double(), level)
    return OrderedWaves(end.waves, noise_var, believed, end.converged)


def _agrees(sensing: Sensing, waves: Waves, factor: float) -> Bool[Tensor, " batch"]:
    """Find the scenes whose residual is at most `factor` times what the given sigma^2 explains."""
    freedom = wave_freedom(sensing, waves)
    level = residual_level(project_waves(sensing, waves).cost, freedom)
    return level <= factor * sensing.noise_var.double() * misfit_limits(freedom)[1]
