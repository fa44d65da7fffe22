"""How many sources with how many echoes: the search under an unknown noise level, and under a given one that is checked.

The search settles with sigma^2 unknown first; a wrong model then raises the noise level instead of the number of waves. BIC takes
strong echoes for sources, and a price of sources that prefers echoes takes sources for echoes while much is still missing. Therefore
scenes with echoes are searched from both starts, and the better end by BIC counts. If sigma^2 is given, the search continues with it, which shows weaker
sources. What it adds counts where the residual then agrees with sigma^2, and nearly did so after the first search or does so thanks to
one or two waves, and where the additional waves explain more than 2 % of the energy of all sources: sources that are too weak for
the first search are not much weaker than the noise, whereas a wrong model or a wrong sigma^2 adds waves, many or faint ones, until
the residual is as small as the given sigma^2.

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
from risloc.estimation.wave_fit import WaveFit, cancelling, fit_waves, project_waves
from risloc.estimation.wave_search import WaveSearch
from risloc.estimation.waves import Waves

__all__ = ["OrderedWaves", "ordered_waves", "waves_of_unknown_noise"]

_TIGHT = 1e-3
_FEW = 2  # waves that the search with the given sigma^2 may add where the first search left too much
_INEXACT = (
    0.02  # share of the signal's energy: what a wrong model leaves, and a source that the first search misses exceeds
)


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


def waves_of_unknown_noise(search: WaveSearch, start: Waves) -> Waves:
    """Search for sources with echoes with sigma^2 unknown; where there are echoes, from two starts.

    Parameters
    ----------
    search
        The search.
    start
        The waves to start from, mostly none.

    Returns
    -------
    Waves
        The waves.
    """
    first = search.settled(start, bic_unknown_noise)
    echoing = first.total > first.count
    if not echoing.any():
        return first
    rows = echoing.nonzero()[:, 0]
    second = search.settled(search.settled(start, bic_free_symbols, echoing), bic_unknown_noise, echoing)
    best = search.better(first, first.put(rows, second[rows]), bic_unknown_noise)
    turned = search.turned(best, bic_unknown_noise, echoing)
    return search.settled(turned, bic_unknown_noise, (turned.polar != best.polar).flatten(1).any(1))


def ordered_waves(search: WaveSearch, waves: Waves, *, given: bool, checked: bool, iterations: int) -> OrderedWaves:
    """Continue a search with a given sigma^2, and fit the waves.

    Parameters
    ----------
    search
        The search.
    waves
        What `waves_of_unknown_noise` found.
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
    believed = torch.full((len(sensing),), given, device=sensing.y.device)
    if given:
        further = search.settled(waves, bic_known_noise)
        better = believed
        if checked:
            agrees, few = _agrees(sensing, waves, TOLERANCE), further.total <= waves.total + _FEW
            better = (agrees | few) & _agrees(sensing, further, 1.0) & (_gained(sensing, waves, further) > _INEXACT)
            believed = agrees | better
        rows = better.nonzero()[:, 0]
        waves = waves.put(rows, further[rows])
    end = _fitted(sensing, waves, iterations)
    level = residual_level(end.value, wave_freedom(sensing, end.waves))
    noise_var = torch.where(believed, sensing.noise_var.double(), level)
    return OrderedWaves(end.waves, noise_var, believed, end.converged)


def _fitted(sensing: Sensing, waves: Waves, iterations: int) -> WaveFit:
    """Fit the waves tightly; of waves that cancel each other then, leave one out and fit again."""
    end = fit_waves(sensing, waves, tolerance=_TIGHT, iterations=iterations)
    cancel = cancelling(sensing, end.waves).any(1)
    if not cancel.any():
        return end
    rows = cancel.nonzero()[:, 0]
    scenes, some = sensing.scenes(rows), end.waves[rows].ordered()
    source = cancelling(scenes, some).int().argmax(1)
    strongest = (some.echo & (some.source == source[:, None])).int().argmax(1)
    again = _fitted(scenes, some.without(strongest), iterations)
    value, converged = end.value.clone(), end.converged.clone()
    value[rows], converged[rows] = again.value, again.converged
    return WaveFit(end.waves.put(rows, again.waves), value, converged)


def _agrees(sensing: Sensing, waves: Waves, factor: float) -> Bool[Tensor, " batch"]:
    """Find the scenes whose residual is at most `factor` times what the given sigma^2 explains."""
    freedom = wave_freedom(sensing, waves)
    level = residual_level(project_waves(sensing, waves).cost, freedom)
    return level <= factor * sensing.noise_var.double() * misfit_limits(freedom)[1]


def _gained(sensing: Sensing, waves: Waves, further: Waves) -> Float[Tensor, " batch"]:
    """Compute what further waves explain, as a share of the energy of all sources."""
    fall = project_waves(sensing, waves).cost - project_waves(sensing, further).cost
    energy = sensing.y.abs().square().sum((-2, -1)) - sensing.noise_var * sensing.y[0].numel()
    return fall.double() / energy.double().clamp_min(1e-30)
