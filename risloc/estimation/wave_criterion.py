"""BIC of sources with echoes: what a source costs and what an echo costs.

    BIC = 2 f + q ln(L M),   q = K (c + 1) + E (c' + 2)

with the stochastic negative log-likelihood f, K sources of c free coordinates and a power, and E echoes of c' free coordinates
and a complex gain. Under this likelihood it is not the price that tells an echo from a source: two sources of independent
symbols have a covariance of rank two in each snapshot, a source and its echo one of rank one.

If sigma^2 is unknown, it is that of the residual, f_c / n, with the conditional cost f_c and the degrees of freedom n that the
symbols, places and gains leave.

Axes: batch B, wave W, src K, snap L, ant M.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.information_criteria import bic
from risloc.estimation.projection import project
from risloc.estimation.stochastic import fit_response_powers
from risloc.estimation.wave_fit import project_waves, wave_responses
from risloc.estimation.waves import Waves
from risloc.physics.echo_domain import echo_domain

__all__ = ["Criterion", "bic_free_symbols", "bic_known_noise", "bic_unknown_noise", "residual_level", "wave_freedom"]

_STEPS = 4  # of the powers

Criterion = Callable[[Sensing, Waves], Float[Tensor, " batch"]]
"""Rates models of each scene: the smallest value is the best."""


def bic_known_noise(sensing: Sensing, waves: Waves) -> Float[Tensor, " batch"]:
    """Compute BIC with the sigma^2 of the scenes.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves, fitted.

    Returns
    -------
    [batch]
        BIC; infinite if the responses are linearly dependent.
    """
    return _bic(sensing, waves, wave_responses(sensing, waves), sensing.noise_var)


def bic_unknown_noise(sensing: Sensing, waves: Waves) -> Float[Tensor, " batch"]:
    """Compute BIC with the sigma^2 of the residual.

    Parameters
    ----------
    sensing
        The scenes; their noise_var is not used.
    waves
        Their waves, fitted.

    Returns
    -------
    [batch]
        BIC; infinite if the responses are linearly dependent, or if no sample is left for the noise.
    """
    B = wave_responses(sensing, waves)
    level = residual_level(project(B, sensing.y, waves.sources).cost, wave_freedom(sensing, waves))
    return _bic(sensing, waves, B, level)


def bic_free_symbols(sensing: Sensing, waves: Waves) -> Float[Tensor, " batch"]:
    """Compute BIC = 2 L M ln f_c + q ln(L M) of the conditional likelihood, with 2 L parameters more a source: its symbols.

    It overcharges a source, and misses weak ones. While much is still missing this is an advantage: free symbols explain a part
    of everything, so that a cheaper source would always win against an echo.

    Parameters
    ----------
    sensing
        The scenes; their noise_var is not used.
    waves
        Their waves, fitted.

    Returns
    -------
    [batch]
        BIC; infinite if the responses are linearly dependent.
    """
    _, snapshots, antennas = sensing.y.shape
    cost = project_waves(sensing, waves).cost.double().nan_to_num(torch.inf)
    value = snapshots * antennas * cost.clamp_min(1e-300).log()
    return bic(value, _parameters(sensing, waves) + waves.count * (2 * snapshots - 1), snapshots * antennas)


def residual_level(cost: Float[Tensor, " batch"], freedom: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Compute the sigma^2 that a residual implies.

    Parameters
    ----------
    cost : [batch]
        The energy of the residual.
    freedom : [batch]
        The complex samples that the model leaves.

    Returns
    -------
    [batch]
        cost / freedom; NaN if no sample is left.
    """
    return torch.where(freedom > 0, cost.double() / freedom.clamp_min(1e-30), torch.nan)


def wave_freedom(sensing: Sensing, waves: Waves) -> Float[Tensor, " batch"]:
    """Compute n = L (M - K) - (K c + E (c' + 2)) / 2, the complex samples that K sources with E echoes leave.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves.

    Returns
    -------
    [batch]
        n.
    """
    _, snapshots, antennas = sensing.y.shape
    sources = waves.count.double()
    places_and_gains = _parameters(sensing, waves) - sources  # without the powers
    return snapshots * (antennas - sources) - places_and_gains / 2


def _bic(sensing: Sensing, waves: Waves, B: Tensor, noise_var: Tensor) -> Tensor:
    usable = noise_var.isfinite() & (noise_var > 0)
    level = torch.where(usable, noise_var, 1.0)
    _, value = fit_response_powers(B, sensing.y, level, waves.sources, iterations=_STEPS)
    criterion = bic(value, _parameters(sensing, waves), sensing.y[0].numel())
    return torch.where(usable, criterion, torch.inf).nan_to_num(torch.inf, posinf=torch.inf)


def _parameters(sensing: Sensing, waves: Waves) -> Tensor:
    """Return K (c + 1) + E (c' + 2): free coordinates, powers, and gains."""
    echoes = waves.total - waves.count
    return waves.count * (sum(sensing.domain.free) + 1) + echoes * (sum(echo_domain(sensing.domain).free) + 2)
