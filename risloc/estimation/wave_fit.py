"""The joint fit of sources with echoes by the conditional likelihood, concentrated over the symbols.

As in `risloc.estimation.conditional`, f = sum_l |P_perp(B_l) y_l|^2 with the columns G_l at_k of B_l, and its Jacobian in
Kaufman's form is -P_perp(B_l) G_l (d at_k / d theta) s_k(l): g da for the place of a wave, a and j a for the gain of an echo.

Axes: batch B, wave W, src K, snap L, ant M, par = 5 W.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.newton import Minimum, Model, Problem, minimise
from risloc.estimation.projection import Projection, project
from risloc.estimation.waves import Waves
from risloc.physics.box_coordinates import box_clamp, box_derivatives, from_box, to_box
from risloc.physics.echo_domain import echo_domain
from risloc.physics.steering import steering_derivatives, steering_matrix

__all__ = ["WaveFit", "cancelling", "fit_newest", "fit_waves", "project_waves", "wave_responses"]

_CANCEL = 10.0  # the energy of the waves of a source apart over that of their sum; it is at most 2 in rooms


@dataclass(frozen=True)
class WaveFit:
    """A joint fit of all waves of each scene.

    Parameters
    ----------
    waves
        The waves.
    value : [batch]
        The cost at the fit.
    converged : [batch]
        Whether the fit converged.
    """

    waves: Waves
    value: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def fit_waves(sensing: Sensing, start: Waves, *, tolerance: float, iterations: int, anywhere: bool = False) -> WaveFit:
    """Fit the places of all waves and the gains of all echoes jointly; the cost never rises.

    Parameters
    ----------
    sensing
        The scenes.
    start
        Where the waves start; absent waves stay there.
    tolerance
        The predicted decrease of the cost at which to stop, in units of the mean |residual|^2 of a sample at the start.
    iterations
        The largest number of steps.
    anywhere
        Whether references may lie where only echoes do.

    Returns
    -------
    WaveFit
        The fit. References stay inside the region of the sources, echoes inside that of the echoes.
    """
    waves = start.trimmed()
    width = waves.present.shape[1]
    point = torch.cat([to_box(waves.polar).flatten(1), waves.gain.real, waves.gain.imag], dim=1)
    direct = waves.reference & (not anywhere)
    end = _minimised(_Joint(sensing, waves, waves.reference, direct), sensing, point, tolerance, iterations)
    fitted = _waves_at(waves, waves.reference, end.point, width)
    return WaveFit(fitted.in_slots_of(start), end.value, end.converged)


def fit_newest(sensing: Sensing, start: Waves, *, tolerance: float, iterations: int) -> WaveFit:
    """Fit the place and the gain of the last wave of each scene alone; the other waves keep theirs.

    Parameters
    ----------
    sensing
        The scenes.
    start
        The waves, with at least one in each scene.
    tolerance
        As in `fit_waves`.
    iterations
        The largest number of steps.

    Returns
    -------
    WaveFit
        The fit.
    """
    waves = start.trimmed()
    newest = torch.nn.functional.one_hot(waves.total - 1, waves.present.shape[1]).bool()
    before = dataclasses.replace(waves, present=waves.present & ~newest)
    own = torch.nn.functional.one_hot(waves.source[newest], waves.most).bool()
    problem = _Newest(sensing, wave_responses(sensing, before), own, waves.echo[newest], waves.sources)
    gain = waves.gain[newest]
    point = torch.cat([to_box(waves.polar[newest]), gain.real[:, None], gain.imag[:, None]], dim=1)
    end = _minimised(problem, sensing, point, tolerance, iterations)
    polar, gain = waves.polar.clone(), waves.gain.clone()
    polar[newest] = from_box(end.point[:, :3])
    gain[newest] = torch.where(problem.echo, torch.complex(end.point[:, 3], end.point[:, 4]), gain[newest])
    return WaveFit(dataclasses.replace(waves, polar=polar, gain=gain).in_slots_of(start), end.value, end.converged)


def _minimised(problem: Problem, sensing: Sensing, point: Tensor, tolerance: float, iterations: int) -> Minimum:
    energy = sensing.y.abs().square().sum((-2, -1))
    rounding = torch.finfo(point.dtype).eps * energy
    return minimise(problem, point, rounding, iterations, share=tolerance / sensing.y[0].numel())


def _waves_at(waves: Waves, reference: Tensor, point: Tensor, width: int) -> Waves:
    gain = torch.complex(point[:, 3 * width : 4 * width], point[:, 4 * width :])
    gain = torch.where(reference, torch.ones_like(gain), gain)
    return dataclasses.replace(waves, polar=from_box(point[:, : 3 * width].reshape(-1, width, 3)), gain=gain)


@dataclass(frozen=True)
class _Joint(Problem):
    sensing: Sensing
    waves: Waves
    reference: Tensor
    direct: Tensor  # the waves that stay inside the region of the sources

    def __getitem__(self, rows: Tensor) -> "_Joint":
        return _Joint(self.sensing[rows], self.waves[rows], self.reference[rows], self.direct[rows])

    def project(self, point: Tensor) -> Tensor:
        width = self.reference.shape[1]
        box = point[:, : 3 * width].reshape(len(point), width, 3)
        direct, echo = box_clamp(box, self.sensing.domain), box_clamp(box, echo_domain(self.sensing.domain))
        inside = torch.where(self.direct[..., None], direct, echo)
        return torch.cat([inside.flatten(1), point[:, 3 * width :]], dim=1)

    def model(self, point: Tensor) -> Model:
        width = self.reference.shape[1]
        waves = _waves_at(self.waves, self.reference, point, width)
        A, dA = steering_derivatives(self.sensing.array, waves.polar)
        Z = self.sensing.responses(torch.cat([A, box_derivatives(dA, waves.polar).flatten(-2)], dim=-1))
        fit = project(waves.composition.mT[:, None] @ Z[:, :, :width], self.sensing.y, waves.sources)
        symbols = fit.s.gather(2, waves.source[:, None].expand(-1, fit.s.shape[1], -1)) * waves.present[:, None]
        by_place = Z[:, :, width:] * (symbols * waves.gain[:, None]).repeat_interleave(3, dim=-1)[..., None]
        by_gain = Z[:, :, :width] * (symbols * ~self.reference[:, None])[..., None]
        V = fit.complement(torch.cat([by_place, by_gain], dim=2))
        return _kaufman(fit, torch.cat([V, 1j * V[:, :, 3 * width :]], dim=2))


@dataclass(frozen=True)
class _Newest(Problem):
    sensing: Sensing
    rest: Tensor  # [row, snap, src, ant]: the responses of the other waves
    own: Tensor  # [row, src]: the source of the wave
    echo: Tensor
    sources: Tensor

    def __getitem__(self, rows: Tensor) -> "_Newest":
        return _Newest(self.sensing[rows], self.rest[rows], self.own[rows], self.echo[rows], self.sources[rows])

    def project(self, point: Tensor) -> Tensor:
        domains = self.sensing.domain, echo_domain(self.sensing.domain)
        direct, echo = (box_clamp(point[:, :3], domain) for domain in domains)
        return torch.cat([torch.where(self.echo[:, None], echo, direct), point[:, 3:]], dim=1)

    def model(self, point: Tensor) -> Model:
        polar = from_box(point[:, None, :3])
        gain = torch.complex(point[:, 3], point[:, 4])[:, None, None, None]
        A, dA = steering_derivatives(self.sensing.array, polar)
        Z = self.sensing.responses(torch.cat([A, box_derivatives(dA, polar).flatten(-2)], dim=-1))
        own = self.own[:, None, :, None]
        fit = project(self.rest + own * (gain * Z[:, :, :1]), self.sensing.y, self.sources)
        s = (fit.s[..., None] * own).sum(2, keepdim=True)  # [row, snap, 1, 1]
        V = fit.complement(
            torch.cat([Z[:, :, 1:] * (s * gain), Z[:, :, :1] * (s * self.echo[:, None, None, None])], dim=2)
        )
        return _kaufman(fit, torch.cat([V, 1j * V[:, :, 3:]], dim=2))


def _kaufman(fit: Projection, V: Complex[Tensor, "batch snap par ant"]) -> Model:
    """Return the quadratic model of the cost by the derivatives V of what is fitted, outside the span of the responses."""
    J = torch.view_as_real(V.transpose(1, 2).contiguous()).flatten(2)  # of -residual: [batch, par, snap ant 2]
    r = torch.view_as_real(fit.residual).flatten(1)
    return Model(value=fit.cost, gradient=-(J @ r[..., None])[..., 0], curvature=J @ J.mT)


def wave_responses(sensing: Sensing, waves: Waves) -> Complex[Tensor, "batch snap src ant"]:
    """Compute the response G_l at_k of every source with its echoes.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves.

    Returns
    -------
    [batch, snap, src, ant]
        The responses, as rows.
    """
    Z = sensing.responses(steering_matrix(sensing.array, waves.polar))
    return waves.composition.mT[:, None] @ Z


def project_waves(sensing: Sensing, waves: Waves) -> Projection:
    """Fit the snapshots by the responses of all sources with their echoes.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves.

    Returns
    -------
    Projection
        The least-squares fit.
    """
    return project(wave_responses(sensing, waves), sensing.y, waves.sources)


def cancelling(sensing: Sensing, waves: Waves) -> Bool[Tensor, "batch src"]:
    """Find the sources whose waves nearly cancel each other: the sign of a wave that none of the model's explains.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves, fitted.

    Returns
    -------
    [batch, src]
        Which sources those are.
    """
    Z = sensing.responses(steering_matrix(sensing.array, waves.polar))
    apart = (waves.composition.abs().square().mT[:, None] @ Z.abs().square().sum(-1, keepdim=True))[..., 0]
    together = (waves.composition.mT[:, None] @ Z).abs().square().sum(-1)
    power = project_waves(sensing, waves).s.abs().square().nan_to_num()
    return waves.sources & ((power * apart).sum(1) > _CANCEL * (power * together).sum(1))
