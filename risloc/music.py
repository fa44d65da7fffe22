"""MUSIC over (u, v, 1/r): signal subspace, coarse grid, peaks, and damped Newton refinement of the residual.

Axes: batch B, elem N, rank r, peak.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.coordinates import box_clamp, box_derivatives, from_box, to_box
from risloc.covariance import FactoredCovariance
from risloc.geometry import Array, Domain
from risloc.grid import PolarGrid
from risloc.newton import Model, Problem, minimise
from risloc.spectrum import Peaks, grid_energy, peaks
from risloc.steering import steering_derivatives

__all__ = ["MusicPeaks", "music", "music_peaks", "refine_peaks", "signal_subspace"]

TOLERANCE = 1e-7  # of N, on the residual: far below a thousandth of a beam


@dataclass(frozen=True)
class MusicPeaks:
    """Refined peaks of the MUSIC spectrum, strongest (smallest residual) first.

    polar : (u, v, w).  residual : |a - U U^H a|^2 / N in 0..1.  converged : the refinement did.
    """

    polar: Float[Tensor, "batch peak 3"]
    residual: Float[Tensor, "batch peak"]
    valid: Bool[Tensor, "batch peak"]
    converged: Bool[Tensor, "batch peak"]


def signal_subspace(
    R: FactoredCovariance, rank: "int | Int[Tensor, ' batch']", widest: int
) -> Complex[Tensor, "batch elem {widest}"]:
    """The leading `rank` eigenvectors of each scene's R, in `widest` columns of which the others are zero."""
    U = R.subspace(widest)
    keep = torch.arange(widest, device=U.device) < torch.as_tensor(rank, device=U.device)[..., None]
    return U * keep[..., None, :]


def music_peaks(
    U: Complex[Tensor, "batch elem rank"], array: Array, domain: Domain, grid: PolarGrid, count: int, separation: float
) -> MusicPeaks:
    """`count` refined peaks of N / |a - U U^H a|^2, at least `separation` apart in (u, v) on the grid."""
    return refine_peaks(U, array, domain, peaks(grid_energy(grid, U), grid, count, separation))


def refine_peaks(
    U: Complex[Tensor, "batch elem rank"], array: Array, domain: Domain, coarse: Peaks, iterations: int = 30
) -> MusicPeaks:
    """Newton refinement of |a - U U^H a|^2 from the coarse peaks, each on its own, inside the domain, monotone."""
    batch, count = coarse.valid.shape
    scene = torch.arange(batch, device=U.device).repeat_interleave(count)
    problem = _Residual(array.to(U), domain, U, scene)
    start = to_box(coarse.polar.to(U.real.dtype).reshape(-1, 3))
    tolerance = torch.full_like(start[:, 0], TOLERANCE)
    end = minimise(problem, start, tolerance, iterations)
    residual = torch.where(coarse.valid, end.value.view(batch, count), torch.inf)
    order = residual.argsort(dim=1)
    return MusicPeaks(
        polar=from_box(end.point).view(batch, count, 3).gather(1, order[..., None].expand(-1, -1, 3)),
        residual=residual.gather(1, order),
        valid=coarse.valid.gather(1, order),
        converged=(end.converged.view(batch, count) & coarse.valid).gather(1, order),
    )


def music(
    R: FactoredCovariance,
    count: Int[Tensor, " batch"],
    array: Array,
    domain: Domain,
    grid: PolarGrid,
    *,
    widest: int,
    separation: float,
) -> MusicPeaks:
    """Plain MUSIC: the `count` strongest refined peaks of each scene, out of `widest` slots; the others not valid."""
    found = music_peaks(signal_subspace(R, count, widest), array, domain, grid, widest, separation)
    asked = torch.arange(found.valid.shape[1], device=count.device) < count[:, None]
    return MusicPeaks(found.polar, found.residual, found.valid & asked, found.converged & asked)


class _Residual(Problem):
    """|a - U U^H a|^2 / N for peaks that each belong to a scene.

    Curvature: the Gauss-Newton term Re(J^H J), J = P_perp da, plus Re(r^H d2a) with the second derivative of the
    phase itself left out, d2a_ij ~ da_i da_j / a; negative eigenvalues are turned over.
    """

    def __init__(self, array: Array, domain: Domain, U: Tensor, scene: Tensor) -> None:
        self.array, self.domain, self.U, self.scene = array, domain, U, scene
        self.own = U[scene]

    def __getitem__(self, rows: Tensor) -> "_Residual":
        return _Residual(self.array, self.domain, self.U, self.scene[rows])

    def project(self, point: Tensor) -> Tensor:
        return box_clamp(point, self.domain)

    def model(self, point: Tensor) -> Model:
        polar = from_box(point)[:, None]
        A, dA = steering_derivatives(self.array, polar)
        dA = box_derivatives(dA, polar)[:, :, 0]
        Z = torch.cat([A, dA], dim=-1)
        Z = Z - self.own @ (self.own.mH @ Z)
        r, J = Z[..., :1], Z[..., 1:]
        n = A.shape[-2]
        bend = (dA * (r * A).conj()).mT @ dA
        value, vectors = torch.linalg.eigh((J.mH @ J + bend).real.double() / n)
        curvature = (vectors * value.abs()[:, None]) @ vectors.mT
        return Model(
            value=r.abs().square().sum((-2, -1)) / n,
            gradient=(J.mH @ r).real[..., 0] / n,
            curvature=curvature.to(point.dtype),
        )
