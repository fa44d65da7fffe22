"""The refinement of the peaks of every spectrum that increases with an energy |T^H a|^2.

Beamforming (T = F with R = F F^H), MVDR (T = `mvdr.mvdr_factor`) and MUSIC (T = U) differ in T alone. With s the
largest eigenvalue of T^H T, the distance of the energy from its upper bound N s is a squared length,

    1 - |T^H a|^2 / (N s) = |P a|^2 / N,   P = (I - T T^H / s)^(1/2) = I - B B^H,

so that damped Newton steps on the residual P a refine all of them, without cancellation near 0, where a peak of MUSIC lies.
The P of MUSIC is the projector on the noise subspace, and its B is U.

Axes: batch B, elem N, rank r, peak.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.estimation.newton import Model, Problem, minimise
from risloc.estimation.spectrum import Peaks, grid_energy, peaks
from risloc.physics.box_coordinates import box_clamp, box_derivatives, from_box, to_box
from risloc.physics.geometry import Array, Domain, Surface
from risloc.physics.grid import PolarGrid
from risloc.physics.steering import steering_derivatives

__all__ = ["RefinedPeaks", "apart", "energy_peaks", "refine_energy", "refine_root", "root_factor"]

TOLERANCE = 1e-7  # of N, on the residual: far below a thousandth of a beam


@dataclass(frozen=True)
class RefinedPeaks:
    """Refined peaks of an energy |T^H a|^2, strongest (smallest residual) first.

    Parameters
    ----------
    polar : [batch, peak, 3]
        (u, v, w).
    residual : [batch, peak]
        1 - |T^H a|^2 / (N s) in 0..1; for MUSIC |a - U U^H a|^2 / N.
    valid : [batch, peak]
        Which entries are peaks; the others are fillers.
    converged : [batch, peak]
        Whether the refinement converged.
    """

    polar: Float[Tensor, "batch peak 3"]
    residual: Float[Tensor, "batch peak"]
    valid: Bool[Tensor, "batch peak"]
    converged: Bool[Tensor, "batch peak"]

    def ordered(self, order: Int[Tensor, "batch peak"]) -> "RefinedPeaks":
        """Reorder the peaks of each scene.

        Parameters
        ----------
        order : [batch, peak]
            Their new order.

        Returns
        -------
        RefinedPeaks
            The peaks in that order.
        """
        return RefinedPeaks(
            polar=self.polar.gather(1, order[..., None].expand(-1, -1, 3)),
            residual=self.residual.gather(1, order),
            valid=self.valid.gather(1, order),
            converged=self.converged.gather(1, order),
        )


def energy_peaks(
    T: Complex[Tensor, "batch elem rank"], surface: Surface, grid: PolarGrid, count: int, separation: float
) -> RefinedPeaks:
    """Find refined peaks of |T^H a|^2.

    Parameters
    ----------
    T : [batch, elem, rank]
        The factor T.
    surface
        The array, and the region where sources may be.
    grid
        The grid.
    count
        The largest number of peaks.
    separation
        The least distance of two peaks in (u, v), on the grid and after refinement.

    Returns
    -------
    RefinedPeaks
        The peaks.
    """
    return apart(refine_energy(T, surface, peaks(grid_energy(grid, T), grid, count, separation)), separation)


def apart(refined: RefinedPeaks, separation: float) -> RefinedPeaks:
    """Keep only the strongest of peaks that are closer than `separation`; the valid peaks come first.

    A source is a ridge in (u, 1/r): different coarse peaks climb to the same summit, which is one answer.

    Parameters
    ----------
    refined
        The peaks.
    separation
        The least distance of two peaks in (u, v).

    Returns
    -------
    RefinedPeaks
        The peaks, of which the others are not valid.
    """
    close = torch.cdist(refined.polar[..., :2], refined.polar[..., :2]) < separation
    valid = refined.valid.clone()
    for peak in range(1, valid.shape[1]):
        valid[:, peak] &= ~(close[:, peak, :peak] & valid[:, :peak]).any(1)
    residual = refined.residual.masked_fill(~valid, torch.inf)
    separate = RefinedPeaks(refined.polar, residual, valid, refined.converged & valid)
    return separate.ordered((~valid).to(torch.uint8).argsort(dim=1, stable=True))


def refine_energy(
    T: Complex[Tensor, "batch elem rank"], surface: Surface, coarse: Peaks, iterations: int = 30
) -> RefinedPeaks:
    """Refine the peaks of |T^H a|^2 by Newton steps, each on its own, inside the domain, monotonically.

    The result depends neither on the scale of T nor on a unitary matrix on its right.

    Parameters
    ----------
    T : [batch, elem, rank]
        The factor T.
    surface
        The array, and the region where sources may be.
    coarse
        The peaks on the grid.
    iterations
        The largest number of steps.

    Returns
    -------
    RefinedPeaks
        The peaks.
    """
    return refine_root(root_factor(T), surface, coarse, iterations)


def root_factor(T: Complex[Tensor, "batch elem rank"]) -> Complex[Tensor, "batch elem rank"]:
    """Compute B such that (I - B B^H)^2 = I - T T^H / s, with s the largest eigenvalue of T^H T; zero if T is zero.

    With T^H T = V diag(lam) V^H, B = T V diag(g)^(1/2) and g = (1 - (1 - lam/s)^(1/2)) / lam, written without the
    difference. It is computed in double precision, because the root magnifies the error of an eigenvalue close to s.

    Parameters
    ----------
    T : [batch, elem, rank]
        The factor T.

    Returns
    -------
    [batch, elem, rank]
        The factor B.
    """
    D = T.to(torch.complex128)
    lam, V = torch.linalg.eigh(D.mH @ D)
    s = lam[..., -1:].clamp_min(torch.finfo(lam.dtype).tiny)
    g = 1 / (s * (1 + (1 - lam / s).clamp_min(0).sqrt()))
    return (D @ (V * g.sqrt()[..., None, :])).to(T.dtype)


def refine_root(
    B: Complex[Tensor, "batch elem rank"], surface: Surface, coarse: Peaks, iterations: int = 30
) -> RefinedPeaks:
    """Refine as `refine_energy` does for a known B: minimises |a - B B^H a|^2 / N. For MUSIC B is U, orthonormal.

    Parameters
    ----------
    B : [batch, elem, rank]
        The factor B of `root_factor`.
    surface
        The array, and the region where sources may be.
    coarse
        The peaks on the grid.
    iterations
        The largest number of steps.

    Returns
    -------
    RefinedPeaks
        The peaks.
    """
    batch, count = coarse.valid.shape
    scene = torch.arange(batch, device=B.device).repeat_interleave(count)
    problem = _Residual(surface.array.to(B), surface.domain, B, scene)
    start = to_box(coarse.polar.to(B.real.dtype).reshape(-1, 3))
    tolerance = torch.full_like(start[:, 0], TOLERANCE)
    end = minimise(problem, start, tolerance, iterations)
    residual = torch.where(coarse.valid, end.value.view(batch, count), torch.inf)
    converged = end.converged.view(batch, count) & coarse.valid
    refined = RefinedPeaks(from_box(end.point).view(batch, count, 3), residual, coarse.valid, converged)
    return refined.ordered(residual.argsort(dim=1))


class _Residual(Problem):
    """|P a|^2 / N with P = I - B B^H, for peaks that each belong to a scene.

    Curvature: the Gauss-Newton term Re(J^H J), J = P da, plus Re(a^H P^2 d2a) with the second derivative of the phase
    itself left out, d2a_ij ~ da_i da_j / a; negative eigenvalues change their sign. P^2 a = a - B (2 - B^H B) B^H a.
    """

    def __init__(self, array: Array, domain: Domain, B: Tensor, scene: Tensor) -> None:
        self.array, self.domain, self.B, self.scene = array, domain, B, scene
        twice = 2 * torch.eye(B.shape[-1], dtype=B.dtype, device=B.device) - B.mH @ B
        self.own_B, self.twice = B[scene], twice[scene]

    def __getitem__(self, rows: Tensor) -> "_Residual":
        return _Residual(self.array, self.domain, self.B, self.scene[rows])

    def project(self, point: Tensor) -> Tensor:
        return box_clamp(point, self.domain)

    def model(self, point: Tensor) -> Model:
        polar = from_box(point)[:, None]
        A, dA = steering_derivatives(self.array, polar)
        dA = box_derivatives(dA, polar)[:, :, 0]
        projection = self.own_B.mH @ torch.cat([A, dA], dim=-1)
        shadow = self.own_B @ torch.cat([projection, self.twice @ projection[..., :1]], dim=-1)
        r, J, PPa = A - shadow[..., :1], dA - shadow[..., 1:4], A - shadow[..., 4:]
        n = A.shape[-2]
        bend = (dA * (PPa * A).conj()).mT @ dA
        value, vectors = torch.linalg.eigh((J.mH @ J + bend).real.double() / n)
        curvature = (vectors * value.abs()[:, None]) @ vectors.mT
        return Model(
            value=r.abs().square().sum((-2, -1)) / n,
            gradient=(J.mH @ r).real[..., 0] / n,
            curvature=curvature.to(point.dtype),
        )
