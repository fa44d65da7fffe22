"""Estimates of a scene: the tight joint fit, and what is known of its result.

Axes: batch B, src K, snap L, ant M.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.estimation.ambiguity import Doubt, doubt
from risloc.estimation.conditional import Sensing, fit_conditional
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.misfit import degrees_of_freedom, fits, misfit, widening
from risloc.estimation.projection import Projection, project
from risloc.estimation.reliability import AMBIGUOUS, ONE_SNAPSHOT, in_one_snapshot, reasons, with_reason
from risloc.estimation.stochastic import fit_powers, fit_stochastic, information
from risloc.performance.crb import bound_of, position_jacobian
from risloc.physics.geometry import location_of
from risloc.physics.steering import steering_matrix

__all__ = ["Estimates", "assess", "fit_and_assess", "refit_stochastic"]

TIGHT = 1e-3  # tolerance of a fit, in units of sigma^2


@dataclass(frozen=True)
class Estimates:
    """The estimates of the sources of B scenes, in the first slots.

    Parameters
    ----------
    polar : [batch, src, 3]
        (u, v, w).
    power : [batch, src]
        Linear powers.
    present : [batch, src]
        Which slots hold a source.
    reason : [batch, src]
        Why a source is not resolved, a number of `risloc.estimation.reliability.REASONS`; 0 if it is, or in empty slots.
    covariance : [batch, src, 3, 3]
        The covariance of (azimuth [rad], elevation [rad], 1/r [1/m]): the inverse Fisher information at the estimate times
        max(1, misfit), plus the second moment of other places that are nearly as likely (`risloc.estimation.ambiguity`); NaN
        in empty slots.
    position_std : [batch, src]
        Standard deviations of the position in metres, from the covariance.
    distance_std : [batch, src]
        Standard deviations of the distance in metres, from the covariance.
    misfit : [batch]
        The misfit of the scene, see `risloc.estimation.misfit`.
    explained : [batch]
        The share of the energy of the scene that the sources explain.
    log_likelihood : [batch]
        ln p(y) of the stochastic model.
    converged : [batch]
        Whether the joint fit of the scene converged.
    """

    polar: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    present: Bool[Tensor, "batch src"]
    reason: Int[Tensor, "batch src"]
    covariance: Float[Tensor, "batch src 3 3"]
    position_std: Float[Tensor, "batch src"]
    distance_std: Float[Tensor, "batch src"]
    misfit: Float[Tensor, " batch"]
    explained: Float[Tensor, " batch"]
    log_likelihood: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]

    @property
    def resolved(self) -> Bool[Tensor, "batch src"]:
        """Which sources are resolved: present, and without a reason against them."""
        return self.present & (self.reason == 0)


def fit_and_assess(
    sensing: Sensing,
    start: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    *,
    iterations: int,
    gains: GainMap | None = None,
) -> Estimates:
    """Run the tight joint fit and assess its result.

    Parameters
    ----------
    sensing
        The scenes.
    start : [batch, src, 3]
        Where the sources start.
    present : [batch, src]
        Which slots hold a source: the first ones.
    iterations
        The largest number of steps.
    gains
        As in `assess`.

    Returns
    -------
    Estimates
        The estimates.
    """
    slots = start.shape[1]
    used = max(1, int(present.sum(1).amax()))  # the slots behind are empty in every scene of the batch
    end = fit_conditional(sensing, start[:, :used], present[:, :used], tolerance=TIGHT, iterations=iterations)
    estimates = assess(sensing, end.polar, present[:, :used], end.converged, gains)
    return _widened(estimates, start[:, used:], slots)


def refit_stochastic(
    sensing: Sensing, estimates: Estimates, *, iterations: int, gains: GainMap | None = None
) -> Estimates:
    """Fit the same sources again from where they are, by the stochastic likelihood (`fit_stochastic`).

    That likelihood takes the symbols as Gaussian, whereas `fit_conditional` takes each as unknown: below threshold it is
    better, above it they agree. It is not for sources that share a waveform.

    Parameters
    ----------
    sensing
        The scenes.
    estimates
        The estimates so far.
    iterations
        The largest number of steps.
    gains
        As in `assess`.

    Returns
    -------
    Estimates
        The new estimates.
    """
    slots = estimates.present.shape[1]
    used = max(1, int(estimates.present.sum(1).amax()))
    start, present = estimates.polar[:, :used], estimates.present[:, :used]
    end, _ = fit_stochastic(sensing, start, estimates.power[:, :used], tolerance=TIGHT, iterations=iterations)
    fitted = assess(sensing, end.polar.to(start.dtype), present, end.converged, gains)
    return _widened(fitted, estimates.polar[:, used:], slots)


def assess(
    sensing: Sensing,
    polar: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    converged: Bool[Tensor, " batch"],
    gains: GainMap | None = None,
) -> Estimates:
    """Compute powers, log-likelihood, misfit, and standard deviations, which misfit and doubt widen, at given locations.

    Parameters
    ----------
    sensing
        The scenes.
    polar : [batch, src, 3]
        (u, v, w).
    present : [batch, src]
        Which slots hold a source.
    converged : [batch]
        Whether the fit converged.
    gains
        The map in which other places that are nearly as likely are searched for (`risloc.estimation.ambiguity`); None: no
        search.

    Returns
    -------
    Estimates
        The estimates.
    """
    power, value = fit_powers(sensing, polar, present)
    location = location_of(polar.double())
    bound = bound_of(information(sensing, location, power), location, present, sensing.domain.free)
    A = steering_matrix(sensing.array, polar.to(sensing.y.real.dtype))
    fit = project(sensing.responses(A), sensing.y, present)
    scene_misfit, freedom, explained = _misfit(sensing, fit, present)
    wider = widening(scene_misfit)
    covariance = bound.covariance * wider[:, None, None, None]
    doubts = Doubt.none(polar)
    if gains is not None:
        level = dataclasses.replace(sensing, noise_var=sensing.noise_var * wider.to(sensing.noise_var))
        doubts = doubt(level, gains, polar, power, present, covariance)
    covariance = covariance + doubts.moment
    J = position_jacobian(location)
    displacement = (J @ doubts.moment @ J.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
    position_std = (bound.position.square() * wider[:, None] + displacement).sqrt()
    location_std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    distance_std = location_std[..., 2] * location[..., 2].square()
    location_std = torch.cat([location_std[..., :2], distance_std[..., None]], dim=-1)
    why = reasons(
        sensing.array, sensing.domain, polar, power, present, location_std, fits(scene_misfit, freedom), converged
    )
    why = with_reason(why, present, AMBIGUOUS, doubts.elsewhere > 0.5)
    why = with_reason(why, present, ONE_SNAPSHOT, in_one_snapshot(fit.s))
    return Estimates(
        polar=polar,
        power=power.to(polar.dtype),
        present=present,
        reason=why,
        covariance=covariance,
        position_std=position_std.to(polar.dtype),
        distance_std=distance_std.to(polar.dtype),
        misfit=scene_misfit,
        explained=explained,
        log_likelihood=(-value - sensing.y[0].numel() * math.log(math.pi)).to(polar.dtype),
        converged=converged,
    )


def _misfit(sensing: Sensing, fit: Projection, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the misfit of the present sources, the degrees of freedom that they leave, and the share that they explain."""
    cost = fit.cost.double()
    energy = sensing.y.abs().square().sum((1, 2)).double()
    _, snapshots, antennas = sensing.y.shape
    freedom = degrees_of_freedom(present.sum(1), snapshots, antennas, sensing.domain.free)
    scene_misfit = misfit(cost, sensing.noise_var, freedom, energy / (snapshots * antennas))
    return scene_misfit, freedom, 1 - cost / energy


def _widened(estimates: Estimates, rest: Tensor, slots: int) -> Estimates:
    """Return the estimates in `slots` slots, of which the further ones are empty."""
    missing = slots - estimates.present.shape[1]

    def pad(x: Tensor, value: float | bool) -> Tensor:
        return torch.nn.functional.pad(x, (0, missing), value=value)

    return dataclasses.replace(
        estimates,
        polar=torch.cat([estimates.polar, rest], dim=1),
        power=pad(estimates.power, 0.0),
        present=pad(estimates.present, False),
        reason=pad(estimates.reason, 0.0),
        covariance=torch.nn.functional.pad(estimates.covariance, (0, 0, 0, 0, 0, missing), value=math.nan),
        position_std=pad(estimates.position_std, math.nan),
        distance_std=pad(estimates.distance_std, math.nan),
    )
