"""The posterior probability that a source lies elsewhere, and how far from its estimate.

The Fisher information describes the peak of the likelihood at an estimate. Below threshold there are other peaks. With a
uniform prior over the domain and all other sources as fitted, the posterior of source k is

    p(q | y) ~ exp(e(q)),    e(q) the log-likelihood ratio of a source of the same power at q against no source,

which is integrated by Laplace's method about the estimate, exp(e(p)) (2 pi)^(d/2) (det V)^(1/2), and by sums over the grid
everywhere else. By the law of total variance, the second moment about the estimate adds to V.

If the evidence of a source is strong and the snapshots see much of the surface, no other place is nearly as likely, and nothing
is computed.

Axes: batch B, snap L, src K, grid G.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.exchange import sees_little
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.projection import project
from risloc.physics.geometry import location_of
from risloc.physics.grid import PolarGrid

__all__ = ["Doubt", "doubt"]

_SURE = 100.0  # nats of evidence
_WITHIN = 16.0  # squared standard deviations within which Laplace's method has counted


@dataclass(frozen=True)
class Doubt:
    """For each source the probability that it lies elsewhere, and its second moment about the estimate, weighted with it.

    Parameters
    ----------
    elsewhere : [batch, src]
        The probability; 0 for absent sources.
    moment : [batch, src, 3, 3]
        The second moment of (azimuth [rad], elevation [rad], -(r - r0) / r0^2 [1/m]); the last is the deviation of 1/r that
        corresponds to that of r. 0 for absent sources.
    """

    elsewhere: Float[Tensor, "batch src"]
    moment: Float[Tensor, "batch src 3 3"]

    @classmethod
    def none(cls, like: Float[Tensor, "batch src 3"]) -> "Doubt":
        """Return no doubt.

        Parameters
        ----------
        like : [batch, src, 3]
            Has the shape of the locations.

        Returns
        -------
        Doubt
            Zeros.
        """
        batch, src, _ = like.shape
        return cls(
            like.new_zeros(batch, src, dtype=torch.float64), like.new_zeros(batch, src, 3, 3, dtype=torch.float64)
        )


def doubt(
    sensing: Sensing,
    gains: GainMap,
    responses: Complex[Tensor, "batch snap src ant"],
    polar: Float[Tensor, "batch src 3"],
    power: Float[Tensor, "batch src"],
    present: Bool[Tensor, "batch src"],
    covariance: Float[Tensor, "batch src 3 3"],
) -> Doubt:
    """Compute the doubt about the sources of a fit.

    Parameters
    ----------
    sensing
        The scenes.
    gains
        The map of gains.
    responses : [batch, snap, src, ant]
        The responses of the sources of the fit, as rows.
    polar : [batch, src, 3]
        (u, v, w) of the fit.
    power : [batch, src]
        Its powers.
    present : [batch, src]
        Which slots hold a source.
    covariance : [batch, src, 3, 3]
        The covariance of (azimuth, elevation, 1/r) from the Fisher information.

    Returns
    -------
    Doubt
        The doubt.
    """
    result = Doubt.none(polar)
    fit = project(responses, sensing.y, present)
    inverse = fit.inverse_factor(responses)
    own = _own_evidence(sensing, fit.s, inverse, power)
    weak = ((own < _SURE) & present).any(1) | (present.any(1) & sees_little(sensing))
    rows = (weak & fit.cost.isfinite()).nonzero()[:, 0]
    if len(rows) == 0:
        return result
    weak_fit = fit.rows(rows)
    evidence = gains.evidence_elsewhere(
        rows, weak_fit, inverse[rows], power[rows].to(sensing.noise_var), sensing.noise_var[rows]
    )
    grid = _Cells.of(gains.grid, sensing)
    for row, scene in enumerate(rows.tolist()):
        for k in present[scene].nonzero()[:, 0].tolist():
            relative = evidence[row, k].double() - own[scene, k]
            share, moment = grid.doubt(relative, location_of(polar[scene, k].double()), covariance[scene, k])
            result.elsewhere[scene, k], result.moment[scene, k] = share, moment
    return result


def _own_evidence(sensing: Sensing, s: Tensor, inverse: Tensor, power: Tensor) -> Tensor:
    """Return the evidence of each source at its place [batch, src]: |P_perp b_k|^2 = 1 / W_kk and |b_k^H r|^2 = |s_k|^2 /
    W_kk^2.
    """
    W = inverse.abs().square().sum(-2).double()
    q, noise = (power / sensing.noise_var[:, None]).double()[:, None], sensing.noise_var.double()[:, None, None]
    match = s.abs().square().double() / W.square()
    return (q * match / (noise * (1 + q / W)) - (q / W).log1p()).sum(1)


@dataclass(frozen=True)
class _Cells:
    """The points of the grid inside the domain as cells of (azimuth, elevation, 1/r): their places, and the log of their
    volume.
    """

    inside: Tensor
    location: Tensor
    volume: Tensor
    step: Tensor
    free: Tensor

    @classmethod
    def of(cls, grid: PolarGrid, sensing: Sensing) -> "_Cells":
        planes = grid.shape[0]
        location = location_of(sensing.domain.clamp(grid.polar).double())
        slope = location[:, 0].cos() * location[:, 1].cos().square()  # du dv = slope d(azimuth) d(elevation)
        steps = [step for step, free in zip(grid.step, sensing.domain.free, strict=True) if free]
        return cls(
            inside=grid.inside.flatten().repeat(planes),
            location=location,
            volume=math.log(math.prod(steps)) - slope.clamp_min(1e-6).log(),
            step=torch.tensor([step or math.inf for step in grid.step], dtype=torch.float64),
            free=torch.tensor(sensing.domain.free),
        )

    def doubt(self, evidence: Tensor, at: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability that the source lies elsewhere, and the second moment; evidence [grid] minus that at the
        estimate.
        """
        V = covariance[self.free][:, self.free]
        chol, info = torch.linalg.cholesky_ex(V)
        if int(info) != 0 or not V.isfinite().all():
            return torch.zeros((), dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
        away = torch.stack(
            [self.location[:, 0] - at[0], self.location[:, 1] - at[1], 1 / self.location[:, 2] - 1 / at[2]], -1
        )
        scaled = torch.linalg.solve_triangular(chol, away[:, self.free].T, upper=False).square().sum(0)
        other = self.inside & (scaled > _WITHIN) & (away.abs() > self.step).any(-1)
        if not other.any():
            return torch.zeros((), dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
        weight = (evidence + self.volume)[other]
        peak = len(V) / 2 * math.log(2 * math.pi) + chol.diagonal().log().sum()
        share = torch.sigmoid(weight.logsumexp(0) - peak)
        away[:, 2] = -(self.location[:, 2] - at[2]) / at[2].square()
        weighted = away[other] * (share * weight.softmax(0)).sqrt()[:, None]
        return share, weighted.T @ weighted
