"""What was found in measurements, in the measurements' own units, and how far it is to be relied on.

Axes: batch B, src K.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.estimation.misfit import degrees_of_freedom, misfit_limits
from risloc.estimation.reliability import NOT_WHITE, REASONS, with_reason
from risloc.estimation.selection import Estimates
from risloc.estimation.whiteness import Whiteness
from risloc.performance.crb import position_jacobian
from risloc.physics.geometry import location_of, position_of

__all__ = ["Found", "found_of"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The sources found in B scenes; `present` says which slots hold one.

    position : x, y, z [m].  position_covariance : of it [m^2], from the Fisher information at the estimate times
    max(1, misfit); infinite or NaN where that is singular, NaN where no source is.  location : azimuth [rad], elevation
    [rad], distance [m].  position_std, location_std : standard deviations from the same covariance.  power : linear, in the
    units of |y|^2 / |H|^2.
    resolved : nothing speaks against the source: the fit converged, the estimate is not at a border of the domain, each free
    coordinate is known better than its span knows it, and the residual is what it should be.  reason : why not, a number of
    `risloc.estimation.reliability.REASONS`; `why` has the words.

    misfit : what the sources leave unexplained over what the given sigma^2 says they leave, 1 in a true model; see
    `risloc.estimation.misfit`. NaN where no sigma^2 was given: the ratio would be 1 by construction.  misfit_limits : between which it
    says nothing.  explained : the share of the scene's energy.  whiteness : tests of the residual where no sigma^2 was
    given, else None.  verdict : what each scene's residual says: "fits", "too high" or "too low" of the misfit to a given
    sigma^2, "white" or "not white" where sigma^2 is estimated, "untold" of too few samples.
    noise_var : sigma^2 that the deviations rest on.  estimated : where it is from the data: none was given, or the data
    contradict the one that was.  method : "hybrid" or "nomp".
    """

    position: Float[Tensor, "batch src 3"]
    position_covariance: Float[Tensor, "batch src 3 3"]
    position_std: Float[Tensor, "batch src 3"]
    location: Float[Tensor, "batch src 3"]
    location_std: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    present: Bool[Tensor, "batch src"]
    reason: Int[Tensor, "batch src"]
    misfit: Float[Tensor, " batch"]
    misfit_limits: Float[Tensor, "batch 2"]
    explained: Float[Tensor, " batch"]
    whiteness: Whiteness | None
    verdict: tuple[str, ...]
    noise_var: Float[Tensor, " batch"]
    estimated: Bool[Tensor, " batch"]
    method: str

    def __len__(self) -> int:
        return len(self.power)

    @property
    def resolved(self) -> Bool[Tensor, "batch src"]:
        """Which sources are to be relied on."""
        return self.present & (self.reason == 0)

    @property
    def why(self) -> list[list[str]]:
        """Of each scene and slot why it is not resolved; "" where it is, or where no source is."""
        return [[REASONS[number] for number in row] for row in self.reason.tolist()]


def found_of(
    estimates: Estimates,
    free: tuple[bool, bool, bool],
    samples: tuple[int, int],
    *,
    scale: Float[Tensor, " batch"],
    noise_var: Float[Tensor, " batch"],
    whiteness: Whiteness | None,
    checked: bool,
    method: str,
) -> Found:
    """The estimates in the measurements' units.

    samples : L and M.  scale : of powers.  noise_var : as given or as estimated.  whiteness : where none was given.
    checked : whether a given one gives way where the misfit to it is too high.
    """
    location = location_of(estimates.polar.double())
    there = estimates.present[..., None]
    J = position_jacobian(location)
    covariance = torch.where(there[..., None], J @ estimates.covariance @ J.mT, torch.nan)
    location_var = estimates.covariance.diagonal(dim1=-2, dim2=-1).clone()
    location_var[..., 2] *= location[..., 2] ** 4  # of the distance, from that of its inverse
    low, high = misfit_limits(degrees_of_freedom(estimates.present.sum(1), *samples, free))
    left = estimates.misfit if whiteness is None else torch.full_like(estimates.misfit, torch.nan)
    contradicted = (left > high) & checked
    return Found(
        position=torch.where(there, position_of(location), torch.nan),
        position_covariance=covariance,
        position_std=_told(covariance.diagonal(dim1=-2, dim2=-1), there),
        location=torch.where(there, location, torch.nan),
        location_std=_told(location_var, there),
        power=torch.where(estimates.present, estimates.power.double() * scale[:, None], 0.0),
        present=estimates.present,
        reason=_reason(estimates, whiteness),
        misfit=left,
        misfit_limits=torch.stack([low, high], dim=-1),
        explained=estimates.explained,
        whiteness=whiteness,
        verdict=_verdict(left, low, high, whiteness),
        noise_var=torch.where(contradicted, noise_var.double() * left, noise_var.double()),
        estimated=contradicted if whiteness is None else torch.ones_like(contradicted),
        method=method,
    )


def _reason(estimates: Estimates, whiteness: Whiteness | None) -> Tensor:
    if whiteness is None:
        return estimates.reason
    stained = ~whiteness.white[:, None].expand_as(estimates.present)
    return with_reason(estimates.reason, estimates.present, NOT_WHITE, stained)


def _verdict(left: Tensor, low: Tensor, high: Tensor, whiteness: Whiteness | None) -> tuple[str, ...]:
    if whiteness is not None:
        untold = (whiteness.peak_limit.isnan() & whiteness.eigenvalue_limit.isnan()).tolist()
        words = ("white" if white else "not white" for white in whiteness.white.tolist())
        return tuple("untold" if blind else word for blind, word in zip(untold, words, strict=True))
    above, below, blind = (x.tolist() for x in (left > high, left < low, left.isnan()))
    return tuple(
        "untold" if none else "too high" if up else "too low" if down else "fits"
        for none, up, down in zip(blind, above, below, strict=True)
    )


def _told(variance: Tensor, there: Tensor) -> Tensor:
    """Standard deviations; infinite where the information is singular (the product is NaN there), NaN without a source."""
    std = variance.clamp_min(0).sqrt()
    return torch.where(there, torch.where(std.isnan(), torch.inf, std), torch.nan)
