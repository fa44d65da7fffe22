"""Spectra as pure functions of steering vectors and factors, and the one grid and peak search that serves them all.

Three spectra are increasing functions of an energy |F^H a|^2, since |a|^2 = N: beamforming F F^H itself, MUSIC
N / (N - |U^H a|^2), and MVDR through a transformed factor. On the grid we keep that energy, one matrix product for the
whole batch, because the order of the points is all that a search needs. Near a peak of MUSIC the difference N - |U^H a|^2
cancels, so there the residual |a - U U^H a|^2 is formed instead. `refine` polishes the peaks of any of them.

Axes: elem N, rank r, src K, grid G = P V U.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance
from risloc.physics.grid import PolarGrid

__all__ = [
    "Peaks",
    "grid_energy",
    "grid_products",
    "music_residual",
    "music_spectrum",
    "mvdr_factor",
    "peaks",
    "shrinkage_loading",
]

PRODUCTS_AT_ONCE = 2**19  # of a batch's columns with points of the grid: they stay in the processor's cache
LEAST_LOADING = 1e-20  # where R is zero, and its spectrum then is
MOST_SHRINKAGE = 0.999  # of intensity: a loading of 999 mean eigenvalues, at which MVDR is beamforming


@dataclass(frozen=True)
class Peaks:
    """Local maxima, strongest first; where `valid` is False there was no further one and the entry is a filler.

    polar : (u, v, w).  value : what was searched.
    """

    polar: Float[Tensor, "batch peak 3"]
    value: Float[Tensor, "batch peak"]
    valid: Bool[Tensor, "batch peak"]

    @classmethod
    def of(cls, polar: Float[Tensor, "batch peak 3"]) -> "Peaks":
        """Locations that come from elsewhere, all valid; their value is 0."""
        value = torch.zeros_like(polar[..., 0])
        return cls(polar=polar, value=value, valid=torch.ones_like(value, dtype=torch.bool))

    def joined(self, other: "Peaks") -> "Peaks":
        """These, and the others behind them."""
        names = [field.name for field in dataclasses.fields(self)]
        return Peaks(**{name: torch.cat([getattr(self, name), getattr(other, name)], dim=1) for name in names})


def music_residual(
    a: Complex[Tensor, "*batch elem src"], U: Complex[Tensor, "*batch elem rank"]
) -> Float[Tensor, "*batch src"]:
    """|a - U U^H a|^2: the part of a outside the signal subspace, with no cancellation. U is orthonormal."""
    return _energy(a - U @ (U.mH @ a), -2)


def music_spectrum(
    a: Complex[Tensor, "*batch elem src"], U: Complex[Tensor, "*batch elem rank"]
) -> Float[Tensor, "*batch src"]:
    """N / |a - U U^H a|^2 >= 1 (Schmidt 1986, with the noise subspace as the complement of U)."""
    residual = music_residual(a, U)
    return a.shape[-2] / residual.clamp_min(torch.finfo(residual.dtype).tiny)


def mvdr_factor(
    F: Complex[Tensor, "*batch elem rank"], loading: float | Float[Tensor, "*batch"]
) -> Complex[Tensor, "*batch elem rank"]:
    """T such that a^H (F F^H + e I)^-1 a = (N - |T^H a|^2) / e, e = loading tr(R) / N: MVDR as an energy.

    By Woodbury, T = F C^-H with C C^H = e I + F^H F. The Capon spectrum 1 / (a^H R^-1 a) increases with |T^H a|^2.

    loading : in units of the mean eigenvalue of R, above 0; one number, or one a scene (see `shrinkage_loading`).
    """
    n, rank = F.shape[-2:]
    e = (loading * _energy(F, (-2, -1)) / n).clamp_min(LEAST_LOADING)
    eye = torch.eye(rank, dtype=F.dtype, device=F.device)
    C = torch.linalg.cholesky(e[..., None, None] * eye + F.mH @ F)
    return torch.linalg.solve_triangular(C, F.mH, upper=False).mH


def shrinkage_loading(R: FactoredCovariance, snapshots: int) -> Float[Tensor, "*batch"]:
    """alpha / (1 - alpha), alpha the oracle-approximating shrinkage of R from that many snapshots: data-driven loading.

    Shrinking, (1 - alpha) R + alpha tr(R)/N I, is up to scale the loading R + e I with e = alpha / (1 - alpha) tr(R)/N.
    Neither changes an eigenvector, so MUSIC is the same with and without; of the spectra here it matters to MVDR alone.
    Chen, Wiesel, Eldar and Hero (2010, OAS) let the oracle of Gaussian snapshots and its estimate chase each other to a
    fixed point; for circular complex ones their steps, with E tr(R^2) = tr(S^2) + tr(S)^2 / L, end in

        alpha = min(1, (tr(R)^2 - tr(R^2)/N) / ((L - 1/N) (tr(R^2) - tr(R)^2/N)))

    (for real ones, as printed: tr(R)^2 + (1 - 2/N) tr(R^2) above and L + 1 - 2/N below). The scale of R cancels. Least-
    squares snapshots through different codes are not of one distribution, as OAS has it: there alpha is a rule without
    a knob, not an optimum. It is held at 0.999, so that the loading of a white R stays finite, its MVDR beamforming.
    """
    n = R.factor.shape[-2]
    square, inner = R.trace.square(), R.inner(R)
    spread = (snapshots - 1 / n) * (inner - square / n)
    alpha = (square - inner / n) / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    alpha = alpha.clamp(max=MOST_SHRINKAGE)
    return alpha / (1 - alpha)


def grid_energy(grid: PolarGrid, F: Complex[Tensor, "batch elem rank"]) -> Float[Tensor, "batch grid"]:
    """|F^H a|^2 at every point of the grid; beside the result and a copy of F, memory does not grow with its sizes."""
    return torch.cat([real.square_().addcmul_(imag, imag).sum(1) for real, imag in _products(grid, F)], dim=1)


def grid_products(
    grid: PolarGrid, F: Complex[Tensor, "batch elem rank"]
) -> Iterator[Complex[Tensor, "batch rank part"]]:
    """f^H a for every column f of F, for one part of the grid's points after another."""
    return (torch.complex(real, imag.neg_()) for real, imag in _products(grid, F))


def _products(grid: PolarGrid, F: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The real and imaginary part of a^H f."""
    batch, _, rank = F.shape
    columns = torch.cat([F.real, F.imag], dim=1).mT.reshape(batch * rank, -1)  # [batch rank, 2 elem]
    projection = grid.projection.to(columns.dtype).view(2, -1, columns.shape[1])  # real, imaginary
    at_once = max(1, PRODUCTS_AT_ONCE // max(1, len(columns)))
    for start in range(0, projection.shape[1], at_once):
        parts = (columns @ part.mT for part in projection[:, start : start + at_once])
        real, imag = (part.view(batch, rank, -1) for part in parts)
        yield real, imag


def peaks(values: Float[Tensor, "batch grid"], grid: PolarGrid, count: int, separation: float) -> Peaks:
    """The `count` highest local maxima (over the 26 neighbours) inside the domain, `separation` apart in (u, v).

    Of several maxima closer than `separation` in (u, v), whatever their distance, the highest stays. A value of 0 or
    less is no peak. Greedy, in lockstep over the batch.
    """
    batch = values.shape[0]
    volume = values.view(batch, *grid.shape)
    summit = (volume >= _neighbourhood_maximum(volume)) & grid.inside & (volume > 0)
    height = torch.where(summit, volume, -torch.inf).view(batch, -1)
    pool = min(8 * count, height.shape[1])
    height, index = height.topk(pool, dim=1)
    polar = grid.polar.to(values.dtype)[index]
    close = torch.cdist(polar[..., :2], polar[..., :2]) < separation
    picks = []
    for _ in range(min(count, pool)):
        pick = height.argmax(dim=1, keepdim=True)
        picks.append(torch.cat([pick, height.gather(1, pick).isfinite()], dim=1))
        row = close.gather(1, pick[..., None].expand(-1, -1, pool))[:, 0]
        height = height.masked_fill(row.scatter(1, pick, value=True), -torch.inf)
    chosen, valid = torch.stack(picks, dim=1).unbind(-1)
    return Peaks(
        polar=polar.gather(1, chosen[..., None].expand(-1, -1, 3)),
        value=values.gather(1, index.gather(1, chosen)),
        valid=valid.bool(),
    )


def _neighbourhood_maximum(volume: Tensor) -> Tensor:
    for dim in (1, 2, 3):  # the maximum over a 3 x 3 x 3 box, one axis after another
        high = volume.clone()
        n = volume.shape[dim]
        torch.maximum(high.narrow(dim, 1, n - 1), volume.narrow(dim, 0, n - 1), out=high.narrow(dim, 1, n - 1))
        torch.maximum(high.narrow(dim, 0, n - 1), volume.narrow(dim, 1, n - 1), out=high.narrow(dim, 0, n - 1))
        volume = high
    return volume


def _energy(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    return (x.real.square() + x.imag.square()).sum(dim)
