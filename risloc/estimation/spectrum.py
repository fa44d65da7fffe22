"""Spectra as pure functions of steering vectors and factors, and the grid and peak search that all of them share.

Three spectra are increasing functions of an energy |F^H a|^2, since |a|^2 = N: beamforming F F^H itself, MUSIC
N / (N - |U^H a|^2), and MVDR through a transformed factor. On the grid this energy is computed, by one matrix product for the
whole batch, because a search needs only the order of the points. Near a peak of MUSIC the difference N - |U^H a|^2
cancels, so that the residual |a - U U^H a|^2 is computed instead. `refine` refines the peaks of all of them.

Axes: elem N, rank r, src K, grid G = P V U.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.physics.grid import PolarGrid

__all__ = [
    "Peaks",
    "grid_energy",
    "grid_products",
    "music_residual",
    "music_spectrum",
    "peaks",
]

PRODUCTS_AT_ONCE = 2**19  # products of columns with points of the grid, which stay in the cache of the processor


@dataclass(frozen=True)
class Peaks:
    """Local maxima, strongest first.

    Parameters
    ----------
    polar : [batch, peak, 3]
        (u, v, w).
    value : [batch, peak]
        The values at the peaks.
    valid : [batch, peak]
        Which entries are peaks; the others are fillers.
    """

    polar: Float[Tensor, "batch peak 3"]
    value: Float[Tensor, "batch peak"]
    valid: Bool[Tensor, "batch peak"]

    @classmethod
    def of(cls, polar: Float[Tensor, "batch peak 3"]) -> "Peaks":
        """Make peaks of given locations, all valid and with value 0.

        Parameters
        ----------
        polar : [batch, peak, 3]
            (u, v, w).

        Returns
        -------
        Peaks
            The peaks.
        """
        value = torch.zeros_like(polar[..., 0])
        return cls(polar=polar, value=value, valid=torch.ones_like(value, dtype=torch.bool))

    def joined(self, other: "Peaks") -> "Peaks":
        """Append other peaks.

        Parameters
        ----------
        other
            The other peaks.

        Returns
        -------
        Peaks
            These peaks, then the others.
        """
        names = [field.name for field in dataclasses.fields(self)]
        return Peaks(**{name: torch.cat([getattr(self, name), getattr(other, name)], dim=1) for name in names})


def music_residual(
    a: Complex[Tensor, "*batch elem src"], U: Complex[Tensor, "*batch elem rank"]
) -> Float[Tensor, "*batch src"]:
    """Compute |a - U U^H a|^2, the part of a outside the signal subspace, without cancellation.

    Parameters
    ----------
    a : [*batch, elem, src]
        Steering vectors, as columns.
    U : [*batch, elem, rank]
        An orthonormal basis of the signal subspace.

    Returns
    -------
    [*batch, src]
        The residual.
    """
    return _energy(a - U @ (U.mH @ a), -2)


def music_spectrum(
    a: Complex[Tensor, "*batch elem src"], U: Complex[Tensor, "*batch elem rank"]
) -> Float[Tensor, "*batch src"]:
    """Compute N / |a - U U^H a|^2 >= 1, with the noise subspace as the complement of U.

    Parameters
    ----------
    a : [*batch, elem, src]
        Steering vectors, as columns.
    U : [*batch, elem, rank]
        An orthonormal basis of the signal subspace.

    Returns
    -------
    [*batch, src]
        The spectrum.

    References
    ----------
    Schmidt 1986, "Multiple emitter location and signal parameter estimation".
    """
    residual = music_residual(a, U)
    return a.shape[-2] / residual.clamp_min(torch.finfo(residual.dtype).tiny)


def grid_energy(grid: PolarGrid, F: Complex[Tensor, "batch elem rank"]) -> Float[Tensor, "batch grid"]:
    """Compute |F^H a|^2 at every point of the grid; apart from the result and a copy of F, memory does not grow.

    Parameters
    ----------
    grid
        The grid.
    F : [batch, elem, rank]
        The factor F.

    Returns
    -------
    [batch, grid]
        The energies.
    """
    return torch.cat([real.square_().addcmul_(imag, imag).sum(1) for real, imag in _products(grid, F)], dim=1)


def grid_products(
    grid: PolarGrid, F: Complex[Tensor, "batch elem rank"]
) -> Iterator[Complex[Tensor, "batch rank part"]]:
    """Compute f^H a for every column f of F, for one part of the points of the grid after another.

    Parameters
    ----------
    grid
        The grid.
    F : [batch, elem, rank]
        The factor F.

    Returns
    -------
    [batch, rank, part]
        An iterator of the products.
    """
    return (torch.complex(real, imag.neg_()) for real, imag in _products(grid, F))


def _products(grid: PolarGrid, F: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the real and imaginary parts of a^H f."""
    batch, _, rank = F.shape
    columns = torch.cat([F.real, F.imag], dim=1).mT.reshape(batch * rank, -1)  # [batch rank, 2 elem]
    projection = grid.projection.to(columns.dtype).view(2, -1, columns.shape[1])  # real, imaginary
    at_once = max(1, PRODUCTS_AT_ONCE // max(1, len(columns)))
    for start in range(0, projection.shape[1], at_once):
        parts = (columns @ part.mT for part in projection[:, start : start + at_once])
        real, imag = (part.view(batch, rank, -1) for part in parts)
        yield real, imag


def peaks(values: Float[Tensor, "batch grid"], grid: PolarGrid, count: int, separation: float) -> Peaks:
    """Find the highest local maxima (over the 26 neighbours) inside the domain.

    Of several maxima closer than `separation` in (u, v), whatever their distance, the highest stays. A value of 0 or less is
    no peak. The choice is greedy, in lockstep over the batch.

    Parameters
    ----------
    values : [batch, grid]
        The values.
    grid
        The grid.
    count
        The largest number of peaks.
    separation
        The least distance of two peaks in (u, v).

    Returns
    -------
    Peaks
        The peaks.
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
