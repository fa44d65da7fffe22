"""Estimates of sources with echoes: the direct places, the images, and what is known of both.

Axes: batch B, wave W, src K, path J.
"""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.estimation.assessment import EchoEstimates, Estimates, Fitted, assessed
from risloc.estimation.conditional import Sensing
from risloc.estimation.direct_path import direct_first, direct_lost
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.misfit import widening
from risloc.estimation.reliability import DIRECT_LOST, DIRECT_UNSURE, with_reason
from risloc.estimation.stochastic import fit_response_powers
from risloc.estimation.wave_criterion import wave_freedom
from risloc.estimation.wave_fit import wave_responses
from risloc.estimation.wave_information import wave_covariance
from risloc.estimation.waves import Waves
from risloc.performance.crb import position_jacobian
from risloc.physics.geometry import location_of

__all__ = ["assess_waves"]


def assess_waves(
    sensing: Sensing,
    waves: Waves,
    converged: Bool[Tensor, " batch"],
    ambiguous: Bool[Tensor, " batch"],
    gains: GainMap | None = None,
) -> Estimates:
    """Compute what `risloc.estimation.estimates.assess` does for sources, for sources with echoes.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves, fitted.
    converged : [batch]
        Whether the fit converged.
    ambiguous : [batch]
        Whether waves count as sources because symbols do not tell.
    gains
        As in `assess`.

    Returns
    -------
    Estimates
        The estimates with their echoes.
    """
    waves, unsure = direct_first(sensing, waves)
    B, present = wave_responses(sensing, waves), waves.sources
    power, value = fit_response_powers(B, sensing.y, sensing.noise_var, present)
    places, gain_covariance = wave_covariance(sensing, waves, power, observed=True)
    direct = _slots(waves, waves.reference)
    polar = _taken(waves.polar, direct, present)
    covariance = torch.where(present[..., None, None], _taken(places, direct, present), torch.nan)
    J = position_jacobian(location_of(polar.double()))
    position = (J @ covariance @ J.mT).diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()
    fitted = Fitted(
        polar=sensing.domain.clamp(polar),
        present=present,
        responses=B,
        power=power,
        value=value,
        covariance=covariance,
        position=torch.where(present & position.isnan(), torch.inf, position),
        freedom=wave_freedom(sensing, waves),
        converged=converged,
    )
    estimates = assessed(sensing, fitted, gains)
    wider = widening(estimates.misfit)
    reason = with_reason(estimates.reason, present, DIRECT_UNSURE, unsure)
    return dataclasses.replace(
        estimates,
        reason=with_reason(reason, present, DIRECT_LOST, direct_lost(sensing, waves)),
        echoes=_echoes(waves, places, gain_covariance, wider, ambiguous),
    )


def _echoes(
    waves: Waves, places: Tensor, gains: Tensor, wider: Float[Tensor, " batch"], ambiguous: Tensor
) -> EchoEstimates:
    """Sort the echoes by their source; the strongest of each comes first."""
    echo = waves.echo
    own = waves.own & echo[..., None]
    rank = (own.cumsum(1) * own).sum(-1) - 1  # of an echo among those of its source
    paths = max(1, int(own.sum(1).amax()))
    scene, wave = echo.nonzero(as_tuple=True)
    at = scene, waves.source[scene, wave], rank[scene, wave]
    batch = len(waves)

    def placed(x: Tensor, empty: float | bool) -> Tensor:
        slots = torch.full((batch, waves.most, paths, *x.shape[2:]), empty, dtype=x.dtype, device=x.device)
        slots[at] = x[scene, wave]
        return slots

    scale = wider[:, None, None, None]
    return EchoEstimates(
        polar=placed(waves.polar, 1.0),
        gain=placed(waves.gain, 0.0),
        present=placed(echo, False),
        covariance=placed(places * scale, torch.nan),
        gain_covariance=placed(gains * scale, torch.nan),
        ambiguous=ambiguous,
    )


def _slots(waves: Waves, chosen: Tensor) -> Tensor:
    """Return the slot of the chosen wave of each source [batch, src]; 0 in empty slots."""
    own = torch.nn.functional.one_hot(waves.source, waves.most) * chosen[..., None]
    return own.argmax(1)


def _taken(x: Tensor, slots: Tensor, present: Tensor) -> Tensor:
    """Return x of these slots; the value of slot 0 in empty ones."""
    index = slots.view(*slots.shape, *(1 for _ in x.shape[2:])).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)
