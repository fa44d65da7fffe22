"""Classical MUSIC as a way to locate: its strongest peaks are the positions, no likelihood moves them.

MUSIC has no deviations of its own. A fit that starts at its peaks has: they, and how far the fit has moved, are the peaks'
deviations.

Axes: batch B, src K_MAX.
"""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.covariance.snapshots import sample_covariance_of
from risloc.estimation.conditional import Sensing
from risloc.estimation.estimates import Estimates
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
    """The strongest peaks of MUSIC on R_samp, and which slots hold one: the first.

    rule : K, or how the fit of MUSIC's peaks finds it; the peaks are then those for as many sources.
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
    """The estimates at other places `polar`: their covariance is the fit's plus d d^T, d how far they are from the fit.

    A source is resolved where the fit's is, and its coordinates are still known better than their spans.
    """
    there = fitted.present[..., None]
    here, end = (torch.cat([location_of(p.double())[..., :2], p.double()[..., 2:]], -1) for p in (polar, fitted.polar))
    d = torch.where(there, here - end, torch.nan)
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
