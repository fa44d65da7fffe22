"""Classical MUSIC as a method: its strongest peaks are the positions, without a fit by likelihood.

MUSIC gives no standard deviations. Those of its peaks are the deviations of a fit that starts at them, plus the distance
that the fit moves.

Axes: batch B, src K_MAX.
"""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.covariance.snapshots import sample_covariance_of
from risloc.estimation.assessment import Estimates
from risloc.estimation.conditional import Sensing
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import Rule
from risloc.estimation.reliability import BORDERS, UNKNOWN, at_border, known_coordinates, with_reason
from risloc.performance.crb import position_jacobian
from risloc.physics.geometry import Domain, location_of
from risloc.scenes.batch import Observation

__all__ = ["displaced", "music_places"]


def music_places(
    localiser: Localiser, sensing: Sensing, observation: Observation, rule: Rule
) -> tuple[Float[Tensor, "batch src 3"], Bool[Tensor, "batch src"]]:
    """Locate by the strongest peaks of MUSIC on R_samp.

    Parameters
    ----------
    localiser
        The localiser of the surface.
    sensing
        The scenes.
    observation
        The same scenes.
    rule
        The number of sources, or the rule that estimates it from the fit of MUSIC's peaks.

    Returns
    -------
    [batch, src, 3]
        (u, v, w) of the peaks, in the first slots.
    [batch, src]
        Which slots hold a peak.
    """
    R_samp = sample_covariance_of(observation)
    count = rule if isinstance(rule, Tensor) else localiser.refined(sensing, R_samp, rule)[0].present.sum(1)
    located = localiser.music(R_samp, count)
    order = (~located.present).to(torch.uint8).argsort(dim=1, stable=True)
    polar, present = located.polar.gather(1, order[..., None].expand(-1, -1, 3)), located.present.gather(1, order)
    missing = localiser.slots - polar.shape[1]
    padded = torch.nn.functional.pad(polar, (0, 0, 0, missing))
    return localiser.domain.clamp(padded), torch.nn.functional.pad(present, (0, missing))


def displaced(fitted: Estimates, polar: Float[Tensor, "batch src 3"], domain: Domain) -> Estimates:
    """Move estimates to other places; their covariance is that of the fit plus d d^T, d their distance from the fit.

    A source is resolved if that of the fit is, and its coordinates are still known better than their spans.

    Parameters
    ----------
    fitted
        The estimates of the fit.
    polar : [batch, src, 3]
        The other places.
    domain
        The region where sources may be.

    Returns
    -------
    Estimates
        The estimates at the other places.
    """
    present = fitted.present[..., None]
    peaks, fit = (torch.cat([location_of(p.double())[..., :2], p.double()[..., 2:]], -1) for p in (polar, fitted.polar))
    d = torch.where(present, peaks - fit, torch.nan)
    covariance = fitted.covariance + d[..., :, None] * d[..., None, :]
    location = location_of(polar.double())
    J = position_jacobian(location)
    position_std = (J @ covariance @ J.mT).diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()
    distance_std = covariance[..., 2, 2].sqrt() * location[..., 2].square()
    angles = covariance.diagonal(dim1=-2, dim2=-1)[..., :2].sqrt()
    known = known_coordinates(domain, torch.cat([angles, distance_std[..., None]], -1))
    border = at_border(domain, polar)
    reason = fitted.reason
    for names, holds in ((UNKNOWN, ~known), (BORDERS, border)):
        for name, which in zip(names, holds.unbind(-1), strict=True):
            reason = with_reason(reason, fitted.present, name, which)
    return dataclasses.replace(
        fitted, polar=polar, covariance=covariance, position_std=position_std.to(polar.dtype),
        distance_std=distance_std.to(polar.dtype), reason=reason,
    )  # fmt: skip
