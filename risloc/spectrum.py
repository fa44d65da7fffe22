"""Spectra as pure functions of steering vectors and factors, and the one grid and peak engine that serves them all.

Three spectra are increasing functions of an energy |F^H a|^2, since |a|^2 = N: beamforming F F^H itself, MUSIC
N / (N - |U^H a|^2), and MVDR through a transformed factor. On the grid we keep that energy, one matrix product for the
whole batch, because the order of the points is all that a search needs. Near a peak of MUSIC the difference N - |U^H a|^2
cancels, so there the residual |a - U U^H a|^2 is formed instead.

Axes: elem N, rank r, src K, grid G = P V U.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.grid import PolarGrid

__all__ = ["Peaks", "beamforming_spectrum", "grid_energy", "music_residual", "music_spectrum", "mvdr_factor", "peaks"]


@dataclass(frozen=True)
class Peaks:
    """Local maxima, strongest first; where `valid` is False there was no further one and the entry is a filler.

    polar : (u, v, w).  value : what was searched.
    """

    polar: Float[Tensor, "batch peak 3"]
    value: Float[Tensor, "batch peak"]
    valid: Bool[Tensor, "batch peak"]

    def joined(self, polar: Float[Tensor, "batch extra 3"]) -> "Peaks":
        """These, and behind them further locations that come from elsewhere; their value is 0."""
        extra = torch.zeros_like(polar[..., 0])
        return Peaks(
            polar=torch.cat([self.polar, polar], dim=1),
            value=torch.cat([self.value, extra], dim=1),
            valid=torch.cat([self.valid, torch.ones_like(extra, dtype=torch.bool)], dim=1),
        )


def beamforming_spectrum(
    a: Complex[Tensor, "*batch elem src"], F: Complex[Tensor, "*batch elem rank"]
) -> Float[Tensor, "*batch src"]:
    """a^H R a = |F^H a|^2 with R = F F^H, one value a column of a."""
    return _energy(F.mH @ a, -2)


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


def mvdr_factor(F: Complex[Tensor, "*batch elem rank"], loading: float) -> Complex[Tensor, "*batch elem rank"]:
    """T such that a^H (F F^H + e I)^-1 a = (N - |T^H a|^2) / e, e = loading tr(R) / N: MVDR as an energy.

    By Woodbury, T = F C^-H with C C^H = e I + F^H F. The Capon spectrum 1 / (a^H R^-1 a) increases with |T^H a|^2.
    """
    n, rank = F.shape[-2:]
    e = loading * _energy(F, (-2, -1)) / n
    eye = torch.eye(rank, dtype=F.dtype, device=F.device)
    C = torch.linalg.cholesky(e[..., None, None] * eye + F.mH @ F)
    return torch.linalg.solve_triangular(C, F.mH, upper=False).mH


def grid_energy(grid: PolarGrid, F: Complex[Tensor, "batch elem rank"]) -> Float[Tensor, "batch grid"]:
    """|F^H a|^2 at every point of the grid, one matrix product for the batch; memory is batch x rank x G."""
    batch, n, rank = F.shape
    rows = F.mH.reshape(batch * rank, n)
    return _energy((rows @ grid.steering.to(F.dtype)).view(batch, rank, -1), 1)


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
    return x.abs().square().sum(dim)
