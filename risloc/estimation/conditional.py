"""The conditional likelihood of the raw snapshots, concentrated over the symbols, and its Gauss-Newton fit.

With B_l = H diag(c_l) A and every symbol unknown, the negative log-likelihood is, up to a constant,

    f(u, v, w) / sigma^2,   f = sum_l |P_perp(B_l) y_l|^2

(Stoica and Nehorai 1989, deterministic maximum likelihood; the snapshots differ in their codes, so that each has its own
projector). Its Jacobian by variable projection in Kaufman's form is -P_perp(B_l) D_l S_l, whose Gram matrix is
sigma^2 / 2 times the deterministic Fisher information: Gauss-Newton here is Fisher scoring.

Axes: batch B, snap L, ant M, elem N, src K.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.estimation.newton import Model, Problem, minimise
from risloc.physics.box_coordinates import box_clamp, box_derivatives, from_box, to_box
from risloc.physics.geometry import Array, Domain
from risloc.physics.steering import steering_derivatives
from risloc.scenes.batch import Observation

__all__ = [
    "INDEPENDENT",
    "Fit",
    "Projection",
    "Sensing",
    "fit_conditional",
    "likelihood_gain",
    "project",
]

INDEPENDENT = 1e-2  # least share of a candidate's response outside the span of the sources already picked


@dataclass(frozen=True)
class Sensing:
    """What a likelihood needs to know of B scenes.

    G : the rows H diag(c_l) of all snapshots, one below the other.  y, noise_var : as observed.
    directions : how many of the N directions on the surface the snapshots see, (tr S)^2 / tr(S^2) with S = sum_l G_l^H G_l.
    """

    array: Array
    domain: Domain
    G: Complex[Tensor, "batch row elem"]
    y: Complex[Tensor, "batch snap ant"]
    noise_var: Float[Tensor, " batch"]
    directions: Float[Tensor, " batch"]

    @classmethod
    def of(cls, observation: Observation, array: Array, domain: Domain) -> "Sensing":
        """The sensing of an observation; G takes B x L x M x N numbers, which bounds the batch.

        Raises
        ------
        ValueError
            A snapshot that is not finite.
        """
        if not (good := torch.isfinite(observation.y).flatten(1).all(1)).all():
            bad = torch.nonzero(~good).flatten().tolist()
            raise ValueError(
                f"y: expected finite snapshots, got others in the scenes {bad} of the batch; leave them out"
            )
        G = (observation.H[:, None] * observation.codebook[:, :, None]).flatten(1, 2)
        directions = torch.stack([_directions(H, c) for H, c in zip(observation.H, observation.codebook, strict=True)])
        return cls(array.to(observation.y), domain, G, observation.y, observation.noise_var, directions)

    def __getitem__(self, rows: "slice | Tensor") -> "Sensing":
        parts = (x[rows] for x in (self.G, self.y, self.noise_var, self.directions))
        return Sensing(self.array, self.domain, *parts)

    def __len__(self) -> int:
        return len(self.y)

    def scenes(self, rows: Tensor) -> "Sensing":
        """The scenes of these rows, each once and in order: if they are all, this itself, which spares a copy of G."""
        return self if len(rows) == len(self) else self[rows]

    def responses(self, A: Complex[Tensor, "batch elem col"]) -> Complex[Tensor, "batch snap col ant"]:
        """H diag(c_l) a for every column a, as rows."""
        batch, snap, ant = self.y.shape
        return (A.mT @ self.G.mT.to(A.dtype)).view(batch, -1, snap, ant).transpose(1, 2).contiguous()


def _directions(H: Complex[Tensor, "ant elem"], codebook: Complex[Tensor, "snap elem"]) -> Float[Tensor, ""]:
    """(tr S)^2 / tr(S^2) of one scene; S is the product, entry by entry, of H^H H and C^H C, the codes being the rows of C."""
    S = (H.mH @ H) * (codebook.mH @ codebook)
    return S.diagonal().real.sum().square() / S.abs().square().sum().clamp_min(1e-30)


@dataclass(frozen=True)
class Projection:
    """The least-squares fit of B_l to y_l.

    Qh : rows of an orthonormal basis of B_l, conjugated; zero rows for absent sources.  s : the symbols.
    residual : P_perp(B_l) y_l.
    """

    Qh: Complex[Tensor, "batch snap src ant"]
    s: Complex[Tensor, "batch snap src"]
    residual: Complex[Tensor, "batch snap ant"]

    @property
    def cost(self) -> Float[Tensor, " batch"]:
        """sum_l |P_perp(B_l) y_l|^2."""
        return self.residual.abs().square().sum((-2, -1))

    def inverse_factor(self, B: Complex[Tensor, "batch snap src ant"]) -> Complex[Tensor, "batch snap src src"]:
        """Return C_l^-1, lower triangular, where the responses are B_l = Q_l C_l^H; identity rows for absent sources."""
        C = B.conj() @ self.Qh.mH
        absent = self.Qh.abs().amax(-1) == 0
        C = C.masked_fill(absent[..., None], 0) + torch.diag_embed(absent.to(C.dtype))
        eye = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device).expand_as(C)
        return torch.linalg.solve_triangular(C, eye, upper=False)

    def rows(self, rows: Tensor) -> "Projection":
        """Of the scenes of these rows."""
        return Projection(Qh=self.Qh[rows], s=self.s[rows], residual=self.residual[rows])

    def complement(self, Z: Complex[Tensor, "batch snap col ant"]) -> Complex[Tensor, "batch snap col ant"]:
        """P_perp(B_l) z for every row z."""
        return Z - (Z @ self.Qh.mT) @ self.Qh.conj()


@dataclass(frozen=True)
class Fit:
    """A joint fit of all sources of each scene: (u, v, w), the cost there, and whether it converged."""

    polar: Float[Tensor, "batch src 3"]
    value: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def project(
    B: Complex[Tensor, "batch snap src ant"], y: Complex[Tensor, "batch snap ant"], present: Bool[Tensor, "batch src"]
) -> Projection:
    """Fit y_l by the responses B_l (rows) of the sources that are present.

    Where the sources of a scene are linearly dependent in float precision, its residual is NaN: no fit, no decrease.
    """
    B = B * present[:, None, :, None]
    gram = B.conj() @ B.mT + torch.diag_embed((~present).to(B.dtype))[:, None]
    C, info = torch.linalg.cholesky_ex(gram)
    Qh = torch.linalg.solve_triangular(C, B.conj(), upper=False)
    z = (Qh @ y[..., None]) * torch.where(info == 0, 1.0, torch.nan).to(y.real.dtype)[..., None, None]
    s = torch.linalg.solve_triangular(C.mH, z, upper=True)
    return Projection(Qh=Qh, s=s[..., 0], residual=y - (z.mT @ Qh.conj())[..., 0, :])


def likelihood_gain(Z: Complex[Tensor, "batch snap cand ant"], fit: Projection) -> Float[Tensor, "batch cand"]:
    """The decrease of the cost when one more source with responses Z_l joins: sum_l |z^H r_l|^2 / |P_perp(B_l) z|^2."""
    energy = Z.abs().square().sum(-1)
    outside = energy - (Z @ fit.Qh.mT).abs().square().sum(-1)
    match = (Z.conj() @ fit.residual[..., None])[..., 0].abs().square()
    return (match / torch.maximum(outside, INDEPENDENT * energy).clamp_min(1e-30)).sum(1)


def fit_conditional(
    sensing: Sensing,
    start: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    *,
    tolerance: float,
    iterations: int,
) -> Fit:
    """All present sources jointly in (u, v, w), from `start`, inside the domain; the cost never rises.

    tolerance : the promised decrease of the cost at which to stop, in units of sigma^2 (1e-3 is a fortieth of a standard
    deviation). Absent sources stay where they are.
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
