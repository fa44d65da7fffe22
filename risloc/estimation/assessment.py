"""What is known of the result of a fit: standard deviations, misfit, and why a source is not resolved.

Axes: batch B, src K, path J, snap L, ant M.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.estimation.ambiguity import Doubt, doubt
from risloc.estimation.conditional import Sensing
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.misfit import fits, misfit, widening
from risloc.estimation.projection import project
from risloc.estimation.reliability import AMBIGUOUS, ONE_SNAPSHOT, in_one_snapshot, reasons, with_reason
from risloc.performance.crb import position_jacobian
from risloc.physics.geometry import location_of

__all__ = ["EchoEstimates", "Estimates", "Fitted", "assessed"]


@dataclass(frozen=True)
class EchoEstimates:
    """The echoes of the sources of B scenes.

    Parameters
    ----------
    polar : [batch, src, path, 3]
        (u, v, w) of the images.
    gain : [batch, src, path]
        The complex gain relative to the direct wave; 0 in empty slots.
    present : [batch, src, path]
        Which slots hold an echo.
    covariance : [batch, src, path, 3, 3]
        The covariance of (azimuth [rad], elevation [rad], 1/r [1/m]) of the image, times max(1, misfit); NaN in empty slots.
    gain_covariance : [batch, src, path, 2, 2]
        The covariance of the real and imaginary part of the gain, likewise.
    ambiguous : [batch]
        Whether symbols that do not vary cannot tell an echo from a source, so that every wave counts as a source.
    """

    polar: Float[Tensor, "batch src path 3"]
    gain: Complex[Tensor, "batch src path"]
    present: Bool[Tensor, "batch src path"]
    covariance: Float[Tensor, "batch src path 3 3"]
    gain_covariance: Float[Tensor, "batch src path 2 2"]
    ambiguous: Bool[Tensor, " batch"]


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
    freedom : [batch]
        The degrees of freedom n of the misfit.
    log_likelihood : [batch]
        ln p(y) of the stochastic model.
    converged : [batch]
        Whether the joint fit of the scene converged.
    echoes
        The echoes of the sources; None if they were not searched for.
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
    freedom: Float[Tensor, " batch"]
    log_likelihood: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]
    echoes: "EchoEstimates | None" = None

    @property
    def resolved(self) -> Bool[Tensor, "batch src"]:
        """Which sources are resolved: present, and without a reason against them."""
        return self.present & (self.reason == 0)


@dataclass(frozen=True)
class Fitted:
    """A fitted model of B scenes.

    Parameters
    ----------
    polar : [batch, src, 3]
        (u, v, w) of the sources.
    present : [batch, src]
        Which slots hold a source.
    responses : [batch, snap, src, ant]
        The responses of the sources, as rows.
    power : [batch, src]
        Their powers.
    value : [batch]
        The stochastic negative log-likelihood without its constant.
    covariance : [batch, src, 3, 3]
        The covariance of (azimuth, elevation, 1/r) by the Fisher information.
    position : [batch, src]
        The standard deviation of the position by it.
    freedom : [batch]
        The complex samples that the model leaves.
    converged : [batch]
        Whether the fit converged.
    """

    polar: Float[Tensor, "batch src 3"]
    present: Bool[Tensor, "batch src"]
    responses: Complex[Tensor, "batch snap src ant"]
    power: Float[Tensor, "batch src"]
    value: Float[Tensor, " batch"]
    covariance: Float[Tensor, "batch src 3 3"]
    position: Float[Tensor, "batch src"]
    freedom: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def assessed(sensing: Sensing, fitted: Fitted, gains: GainMap | None) -> Estimates:
    """Compute misfit, standard deviations, which misfit and doubt widen, and reasons.

    Parameters
    ----------
    sensing
        The scenes.
    fitted
        The fitted model.
    gains
        The map in which other places that are nearly as likely are searched for (`risloc.estimation.ambiguity`); None: no
        search.

    Returns
    -------
    Estimates
        The estimates.
    """
    polar, present, power = fitted.polar, fitted.present, fitted.power
    fit = project(fitted.responses, sensing.y, present)
    cost, energy = fit.cost.double(), sensing.y.abs().square().sum((1, 2)).double()
    scene_misfit = misfit(cost, sensing.noise_var, fitted.freedom, energy / sensing.y[0].numel())
    wider = widening(scene_misfit)
    covariance = fitted.covariance * wider[:, None, None, None]
    doubts = Doubt.none(polar)
    if gains is not None:
        level = dataclasses.replace(sensing, noise_var=sensing.noise_var * wider.to(sensing.noise_var))
        doubts = doubt(level, gains, fitted.responses, polar, power, present, covariance)
    covariance = covariance + doubts.moment
    location = location_of(polar.double())
    J = position_jacobian(location)
    displacement = (J @ doubts.moment @ J.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
    position_std = (fitted.position.square() * wider[:, None] + displacement).sqrt()
    location_std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    distance_std = location_std[..., 2] * location[..., 2].square()
    location_std = torch.cat([location_std[..., :2], distance_std[..., None]], dim=-1)
    well = fits(scene_misfit, fitted.freedom)
    why = reasons(sensing.array, sensing.domain, polar, power, present, location_std, well, fitted.converged)
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
        explained=1 - cost / energy,
        freedom=fitted.freedom,
        log_likelihood=(-fitted.value - sensing.y[0].numel() * math.log(math.pi)).to(polar.dtype),
        converged=fitted.converged,
    )
