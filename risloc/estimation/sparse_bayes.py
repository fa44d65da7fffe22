"""Sparse Bayesian learning of the powers on a grid, from the raw snapshots, each with its own sensing.

Every point of the grid may hold a source: y_l ~ CN(0, C_l), C_l = Z_l diag(p) Z_l^H + sigma^2 I, Z_l = H diag(c_l) A with
the grid's steering matrix A, sigma^2 known. The powers lower the negative log-likelihood

    f(p) = sum_l ln det C_l + y_l^H C_l^-1 y_l

by the multiplicative update p_g <- p_g sqrt(sum_l |z_gl^H C_l^-1 y_l|^2 / sum_l z_gl^H C_l^-1 z_gl): ln det is concave in p
and below its tangent, the quadratic form convex in it and below a sum of c_g / p_g, and the update minimises the two
together, so that f never rises (M-SBL, Wipf and Rao 2007, with the convex bound of Wipf and Nagarajan 2010; LIKES of
Stoica and Babu 2012). Most powers die out; what is left is as sharp as the grid.

Axes: batch B, snap L, ant M, elem N, grid G.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.conditional import Sensing
from risloc.physics.grid import PolarGrid

__all__ = ["sparse_covariance", "sparse_powers"]

CHUNK = (
    1  # scenes together; Z takes 8 L M G bytes per scene in single precision, and that of one scene stays in the cache
)
FLOOR = 64.0  # the least noise, in machine precisions of the mean power of a snapshot: C_l stays positive definite
POINTS = 40  # points of the grid in the learnt covariance; 100 are no better, neither at 0 dB nor at 20 dB


@torch.no_grad()
def sparse_powers(sensing: Sensing, grid: PolarGrid, iterations: int) -> Float[Tensor, "batch grid"]:
    """Compute the powers p of the points of the grid, from equal ones.

    Their local maxima, `spectrum.peaks(p, grid, ...)`, are candidates for sources, as coarse as the grid; a source between
    points shares its power among them (see `sparse_covariance`). Scaling y and sigma scales p. Noise below 64 machine
    precisions of the mean power of the snapshots counts as that much. Time grows as L M^2 G per scene and update.

    Parameters
    ----------
    sensing
        The scenes.
    grid
        The grid.
    iterations
        The number of updates.

    Returns
    -------
    [batch, grid]
        The powers; 0 in cells outside the domain.
    """
    inside = grid.inside.expand(grid.shape).reshape(-1)
    A = grid.steering[:, inside].to(sensing.y.dtype)
    p = sensing.y.real.new_zeros(len(sensing), len(inside))
    for first in range(0, len(sensing), CHUNK):
        part = slice(first, first + CHUNK)
        p[part, inside] = _learn(sensing[part], A, iterations)
    return p


def sparse_covariance(p: Float[Tensor, "batch grid"], grid: PolarGrid) -> FactoredCovariance:
    """Compute A diag(p) A^H of the strongest points, with trace N: the learnt powers as a covariance for any spectrum.

    A source between points is spread over its neighbours, and the peak of a spectrum of their sum lies between them: this is
    how a sparse solution is refined off its grid. Without any power it is zero.

    Parameters
    ----------
    p : [batch, grid]
        The powers.
    grid
        The grid.

    Returns
    -------
    FactoredCovariance
        The covariance.
    """
    power, index = p.topk(min(POINTS, p.shape[1]), dim=1)
    A = grid.steering.T[index].mT.to(p.dtype.to_complex())
    return FactoredCovariance(A * power.sqrt()[:, None]).normalised()


def _learn(sensing: Sensing, A: Tensor, iterations: int) -> Tensor:
    batch, snap, ant = sensing.y.shape
    Z = (sensing.G @ A).view(batch, snap, ant, -1)
    Z = torch.cat([Z.real, Z.imag], dim=2)  # [batch, snap, 2 ant, grid], see _real
    energy = sensing.y.abs().square().sum((1, 2))
    least = FLOOR * torch.finfo(Z.dtype).eps * energy / (snap * ant)
    noise = torch.maximum(sensing.noise_var, least)
    p = (energy / Z.square().sum((1, 2, 3)))[:, None].repeat(1, A.shape[1])
    for _ in range(iterations):
        W = _whitened(Z, p, sensing.y, noise) @ Z
        squares = W.square_().sum(1)
        fit, spread = squares[:, -2:].sum(1), squares[:, :-2].sum(1)
        p = p * (fit / spread).sqrt()
    return p


def _whitened(Z: Tensor, p: Tensor, y: Tensor, noise: Tensor) -> Tensor:
    """Return the rows C_l^-1/2 and (C_l^-1 y_l)^H in real form: times Z they give all that the update needs.

    With C = K K^H, |K^-1 z|^2 = z^H C^-1 z.
    """
    ant = y.shape[-1]
    S = (Z * p[:, None, None]) @ Z.mT
    rr, ri, ir, ii = S[..., :ant, :ant], S[..., :ant, ant:], S[..., ant:, :ant], S[..., ant:, ant:]
    eye = torch.eye(ant, dtype=y.dtype, device=y.device)
    C = torch.complex(rr + ii, ir - ri) + noise[:, None, None, None] * eye
    root = torch.linalg.solve_triangular(torch.linalg.cholesky(C), eye.expand_as(C), upper=False)
    x = root.mH @ (root @ y[..., None])
    return torch.cat([_real(root), _real(x.mH)], dim=-2)


def _real(X: Tensor) -> Tensor:
    """Return the real matrix that maps (Re z, Im z) to (Re X z, Im X z), twice as fast as complex arithmetic."""
    upper, lower = torch.cat([X.real, -X.imag], dim=-1), torch.cat([X.imag, X.real], dim=-1)
    return torch.cat([upper, lower], dim=-2)
