"""The conditional likelihood of the raw snapshots, concentrated over the symbols, and its Gauss-Newton fit.

With B_l = H diag(c_l) A and every symbol unknown, the negative log-likelihood is, up to a constant,

    f(u, v, w) / sigma^2,   f = sum_l |P_perp(B_l) y_l|^2

(Stoica and Nehorai 1989, deterministic maximum likelihood; the snapshots differ in their codes, so that each has its own
projector). Its Jacobian by variable projection in Kaufman's form is -P_perp(B_l) D_l S_l, whose Gram matrix is
sigma^2 / 2 times the deterministic Fisher information: this Gauss-Newton method is Fisher scoring.

Axes: batch B, snap L, ant M, elem N, src K.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.estimation.newton import Model, Problem, minimise
from risloc.estimation.projection import project
from risloc.physics.box_coordinates import box_clamp, box_derivatives, from_box, to_box
from risloc.physics.geometry import Array, Domain, Surface
from risloc.physics.steering import steering_derivatives
from risloc.scenes.batch import Observation

__all__ = [
    "Fit",
    "Sensing",
    "fit_conditional",
]


@dataclass(frozen=True)
class Sensing:
    """What a likelihood needs to know of B scenes.

    Parameters
    ----------
    array
        The surface.
    domain
        The region where sources may be.
    G : [batch, row, elem]
        The rows of H diag(c_l) of all snapshots, one below the other.
    y : [batch, snap, ant]
        The snapshots.
    noise_var : [batch]
        The noise variance sigma^2.
    directions : [batch]
        The effective number of the N directions on the surface that the snapshots see, (tr S)^2 / tr(S^2) with S = sum_l
        G_l^H G_l.
    """

    array: Array
    domain: Domain
    G: Complex[Tensor, "batch row elem"]
    y: Complex[Tensor, "batch snap ant"]
    noise_var: Float[Tensor, " batch"]
    directions: Float[Tensor, " batch"]

    @classmethod
    def of(cls, observation: Observation, surface: Surface) -> "Sensing":
        """Make the sensing of an observation; G takes B x L x M x N numbers, which limits the batch.

        Parameters
        ----------
        observation
            The scenes.
        surface
            The array, and the region where sources may be.

        Returns
        -------
        Sensing
            The scenes with G.

        Raises
        ------
        ValueError
            A snapshot is not finite.
        """
        if not (good := torch.isfinite(observation.y).flatten(1).all(1)).all():
            bad = torch.nonzero(~good).flatten().tolist()
            raise ValueError(
                f"y: expected finite snapshots, got non-finite ones in the scenes {bad} of the batch; leave these scenes out"
            )
        G = (observation.H[:, None] * observation.codebook[:, :, None]).flatten(1, 2)
        directions = torch.stack([_directions(H, c) for H, c in zip(observation.H, observation.codebook, strict=True)])
        array = surface.array.to(observation.y)
        return cls(array, surface.domain, G, observation.y, observation.noise_var, directions)

    def __getitem__(self, rows: "slice | Tensor") -> "Sensing":
        parts = (x[rows] for x in (self.G, self.y, self.noise_var, self.directions))
        return Sensing(self.array, self.domain, *parts)

    def __len__(self) -> int:
        return len(self.y)

    def scenes(self, rows: Tensor) -> "Sensing":
        """Return the scenes of these rows; returns self when all rows are selected, to avoid copying G.

        Parameters
        ----------
        rows
            Numbers of scenes, each once and in order.

        Returns
        -------
        Sensing
            The scenes.
        """
        return self if len(rows) == len(self) else self[rows]

    def responses(self, A: Complex[Tensor, "batch elem col"]) -> Complex[Tensor, "batch snap col ant"]:
        """Compute H diag(c_l) a for every column a.

        Parameters
        ----------
        A : [batch, elem, col]
            The columns.

        Returns
        -------
        [batch, snap, col, ant]
            The responses, as rows.
        """
        batch, snap, ant = self.y.shape
        return (A.mT @ self.G.mT.to(A.dtype)).view(batch, -1, snap, ant).transpose(1, 2).contiguous()


def _directions(H: Complex[Tensor, "ant elem"], codebook: Complex[Tensor, "snap elem"]) -> Float[Tensor, ""]:
    """Return (tr S)^2 / tr(S^2) of one scene; S is the elementwise product of H^H H and C^H C, with the codes as the rows of C."""
    S = (H.mH @ H) * (codebook.mH @ codebook)
    return S.diagonal().real.sum().square() / S.abs().square().sum().clamp_min(1e-30)


@dataclass(frozen=True)
class Fit:
    """A joint fit of all sources of each scene.

    Parameters
    ----------
    polar : [batch, src, 3]
        (u, v, w).
    value : [batch]
        The cost at the fit.
    converged : [batch]
        Whether the fit converged.
    """

    polar: Float[Tensor, "batch src 3"]
    value: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def fit_conditional(
    sensing: Sensing,
    start: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    *,
    tolerance: float,
    iterations: int,
) -> Fit:
    """Fit all present sources jointly in (u, v, w), inside the domain; the cost never rises.

    Parameters
    ----------
    sensing
        The scenes.
    start : [batch, src, 3]
        The start; absent sources stay there.
    present : [batch, src]
        Which slots hold a source.
    tolerance
        The predicted decrease of the cost at which to stop, in units of sigma^2 (1e-3 is a fortieth of a standard
        deviation).
    iterations
        The largest number of steps.

    Returns
    -------
    Fit
        The fit.
    """
    eps = torch.finfo(start.dtype).eps
    limit = tolerance * sensing.noise_var + eps * sensing.y.abs().square().sum((-2, -1))
    end = minimise(_Conditional(sensing, present), to_box(start).flatten(1), limit, iterations)
    return Fit(from_box(end.point.view_as(start)), end.value, end.converged)


@dataclass(frozen=True)
class _Conditional(Problem):
    sensing: Sensing
    present: Tensor

    def __getitem__(self, rows: Tensor) -> "_Conditional":
        return _Conditional(self.sensing[rows], self.present[rows])

    def project(self, point: Tensor) -> Tensor:
        return box_clamp(point.view(len(point), -1, 3), self.sensing.domain).flatten(1)

    def model(self, point: Tensor) -> Model:
        polar = from_box(point.view(len(point), -1, 3))
        count = polar.shape[1]
        A, dA = steering_derivatives(self.sensing.array, polar)
        Z = self.sensing.responses(torch.cat([A, box_derivatives(dA, polar).flatten(-2)], dim=-1))
        fit = project(Z[:, :, :count], self.sensing.y, self.present)
        V = fit.complement(Z[:, :, count:] * fit.s.repeat_interleave(3, dim=-1)[..., None])
        J = torch.view_as_real(V.transpose(1, 2)).flatten(2)  # of -residual: [batch, par, snap ant 2]
        r = torch.view_as_real(fit.residual).flatten(1)
        return Model(value=fit.cost, gradient=-(J @ r[..., None])[..., 0], curvature=J @ J.mT)
