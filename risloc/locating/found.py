"""The sources located in measurements, in the units of the measurements, and how reliable they are.

Axes: batch B, src K.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.estimation.assessment import EchoEstimates, Estimates
from risloc.estimation.misfit import misfit_limits
from risloc.estimation.reliability import NOT_WHITE, REASONS, with_reason
from risloc.estimation.whiteness import Whiteness
from risloc.performance.crb import position_jacobian
from risloc.physics.geometry import location_of, position_of

__all__ = ["Found", "FoundEchoes", "found_of"]


@dataclass(frozen=True, kw_only=True)
class FoundEchoes:
    """The echoes of the sources of B scenes, the strongest of each source first.

    Parameters
    ----------
    position : [batch, src, path, 3]
        x, y, z of the images in metres.
    position_covariance : [batch, src, path, 3, 3]
        The covariance of the positions in m^2, as that of a source.
    location : [batch, src, path, 3]
        Azimuth and elevation of the images in radians, distance in metres.
    gain : [batch, src, path]
        The complex gain relative to the direct wave.
    gain_std : [batch, src, path]
        The standard deviation of the gain: the root of the summed variances of its real and imaginary part.
    present : [batch, src, path]
        Which slots hold an echo.
    ambiguous : [batch]
        Whether the symbols do not vary and cannot tell an echo from a source, so that it is a choice what counts as one.
    """

    position: Float[Tensor, "batch src path 3"]
    position_covariance: Float[Tensor, "batch src path 3 3"]
    location: Float[Tensor, "batch src path 3"]
    gain: Complex[Tensor, "batch src path"]
    gain_std: Float[Tensor, "batch src path"]
    present: Bool[Tensor, "batch src path"]
    ambiguous: Bool[Tensor, " batch"]

    @property
    def position_std(self) -> Float[Tensor, "batch src path 3"]:
        """The standard deviations of the positions in metres."""
        return _deviations(self.position_covariance.diagonal(dim1=-2, dim2=-1), self.present[..., None])

    @property
    def share(self) -> Float[Tensor, "batch src"]:
        """The summed power of the echoes of each source relative to that of its direct wave; 0 if it has none."""
        return torch.where(self.present, self.gain.abs().square(), 0.0).sum(-1)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The sources of B scenes.

    A source is resolved if none of `risloc.estimation.reliability.REASONS` applies: the fit converged, the estimate is not at a
    border of the domain, each free coordinate is determined clearly better than by its span alone, no other position is more
    likely, and the residual is as expected.

    Parameters
    ----------
    position : [batch, src, 3]
        x, y, z in metres.
    position_covariance : [batch, src, 3, 3]
        The covariance of the position in m^2: the inverse Fisher information at the estimate times max(1, misfit), wider
        if another position is nearly as likely; infinite or NaN if the information is singular, NaN in empty slots.
    position_std : [batch, src, 3]
        The standard deviations of the position in metres.
    location : [batch, src, 3]
        Azimuth and elevation in radians, and distance in metres.
    location_std : [batch, src, 3]
        The standard deviations of the location, from the same covariance.
    power : [batch, src]
        Linear, in the units of |y|^2 / |H|^2.
    present : [batch, src]
        Which slots hold a source.
    reason : [batch, src]
        Why a source is not resolved, as an index into `risloc.estimation.reliability.REASONS`; `why` gives the text.
    misfit : [batch]
        The energy of the residual over that expected for the given sigma^2, 1 in a true model; see `risloc.estimation.misfit`.
        NaN if no sigma^2 was given, because the ratio would be 1 by construction.
    misfit_limits : [batch, 2]
        The limits between which the misfit does not differ significantly from 1.
    explained : [batch]
        The share of the energy of the scene that the sources explain.
    whiteness
        Tests of the residual if no sigma^2 was given, otherwise None.
    verdict
        What the residual of each scene says: "fits", "too high" or "too low" for the misfit under a given sigma^2, "white"
        or "not white" if sigma^2 is estimated, and "undetermined" if there are too few samples.
    noise_var : [batch]
        The noise variance that the deviations are based on.
    estimated : [batch]
        Whether `noise_var` was estimated from the data, because none was given or the data contradict the given one.
    method
        "hybrid", "nomp" or "music".
    echoes
        The echoes of the sources; None if they were not searched for.
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
    echoes: FoundEchoes | None = None

    def __len__(self) -> int:
        return len(self.power)

    @property
    def resolved(self) -> Bool[Tensor, "batch src"]:
        """Which sources are resolved."""
        return self.present & (self.reason == 0)

    @property
    def why(self) -> list[list[str]]:
        """Why the source of each scene and slot is not resolved; "" if it is, or if the slot is empty."""
        return [[REASONS[number] for number in row] for row in self.reason.tolist()]


def found_of(
    estimates: Estimates,
    *,
    scale: Float[Tensor, " batch"],
    noise_var: Float[Tensor, " batch"],
    whiteness: Whiteness | None,
    checked: bool,
    method: str,
) -> Found:
    """Convert estimates to the units of the measurements.

    Parameters
    ----------
    estimates
        The estimates.
    scale : [batch]
        The unit of the powers.
    noise_var : [batch]
        The noise variance, given or estimated.
    whiteness
        Tests of the residual if the noise variance is estimated, otherwise None.
    checked
        Whether a given noise variance is replaced if the misfit under it is too high.
    method
        The method.

    Returns
    -------
    Found
        The sources.
    """
    location = location_of(estimates.polar.double())
    present = estimates.present[..., None]
    J = position_jacobian(location)
    covariance = torch.where(present[..., None], J @ estimates.covariance @ J.mT, torch.nan)
    location_var = estimates.covariance.diagonal(dim1=-2, dim2=-1).clone()
    location_var[..., 2] *= location[..., 2] ** 4  # the variance of 1 / distance becomes that of the distance
    low, high = misfit_limits(estimates.freedom)
    misfit = estimates.misfit if whiteness is None else torch.full_like(estimates.misfit, torch.nan)
    contradicted = (misfit > high) & checked
    return Found(
        position=torch.where(present, position_of(location), torch.nan),
        position_covariance=covariance,
        position_std=_deviations(covariance.diagonal(dim1=-2, dim2=-1), present),
        location=torch.where(present, location, torch.nan),
        location_std=_deviations(location_var, present),
        power=torch.where(estimates.present, estimates.power.double() * scale[:, None], 0.0),
        present=estimates.present,
        reason=_reason(estimates, whiteness),
        misfit=misfit,
        misfit_limits=torch.stack([low, high], dim=-1),
        explained=estimates.explained,
        whiteness=whiteness,
        verdict=_verdict(misfit, low, high, whiteness),
        noise_var=torch.where(contradicted, noise_var.double() * misfit, noise_var.double()),
        estimated=contradicted if whiteness is None else torch.ones_like(contradicted),
        method=method,
        echoes=None if estimates.echoes is None else _found_echoes(estimates.echoes),
    )


def _found_echoes(echoes: EchoEstimates) -> FoundEchoes:
    location = location_of(echoes.polar.double())
    there = echoes.present[..., None]
    J = position_jacobian(location)
    variance = echoes.gain_covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    return FoundEchoes(
        position=torch.where(there, position_of(location), torch.nan),
        position_covariance=torch.where(there[..., None], J @ echoes.covariance @ J.mT, torch.nan),
        location=torch.where(there, location, torch.nan),
        gain=echoes.gain,
        gain_std=torch.where(echoes.present, variance.clamp_min(0).sqrt(), torch.nan),
        present=echoes.present,
        ambiguous=echoes.ambiguous,
    )


def _reason(estimates: Estimates, whiteness: Whiteness | None) -> Tensor:
    if whiteness is None:
        return estimates.reason
    stained = ~whiteness.white[:, None].expand_as(estimates.present)
    return with_reason(estimates.reason, estimates.present, NOT_WHITE, stained)


def _verdict(misfit: Tensor, low: Tensor, high: Tensor, whiteness: Whiteness | None) -> tuple[str, ...]:
    if whiteness is not None:
        undetermined = (whiteness.peak_limit.isnan() & whiteness.eigenvalue_limit.isnan()).tolist()
        words = ("white" if white else "not white" for white in whiteness.white.tolist())
        return tuple("undetermined" if blind else word for blind, word in zip(undetermined, words, strict=True))
    above, below, undefined = (x.tolist() for x in (misfit > high, misfit < low, misfit.isnan()))
    return tuple(
        "undetermined" if none else "too high" if up else "too low" if down else "fits"
        for none, up, down in zip(undefined, above, below, strict=True)
    )


def _deviations(variance: Tensor, present: Tensor) -> Tensor:
    """Return standard deviations: infinite if the information is singular (which makes the product NaN), NaN in empty slots."""
    std = variance.clamp_min(0).sqrt()
    return torch.where(present, torch.where(std.isnan(), torch.inf, std), torch.nan)
