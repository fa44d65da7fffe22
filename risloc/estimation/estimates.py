"""Estimates of a scene: the tight joint fit, and what is known of its result.

Axes: batch B, src K, snap L, ant M.
"""

import dataclasses
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.estimation.assessment import Estimates, Fitted, assessed
from risloc.estimation.conditional import Sensing, fit_conditional
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.misfit import degrees_of_freedom
from risloc.estimation.stochastic import fit_powers, fit_stochastic, information
from risloc.performance.crb import bound_of
from risloc.physics.geometry import location_of
from risloc.physics.steering import steering_matrix

__all__ = ["assess", "fit_and_assess", "refit_stochastic"]

TIGHT = 1e-3  # tolerance of a fit, in units of sigma^2


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
    _, snapshots, antennas = sensing.y.shape
    fitted = Fitted(
        polar=polar,
        present=present,
        responses=sensing.responses(A),
        power=power,
        value=value,
        covariance=bound.covariance,
        position=bound.position,
        freedom=degrees_of_freedom(present.sum(1), snapshots, antennas, sensing.domain.free),
        converged=converged,
    )
    return assessed(sensing, fitted, gains)


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
