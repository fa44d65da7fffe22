"""Slices of a spectrum through a point, as numbers: drawing them needs neither the covariance nor the array.

Axes: elem N, point, row and column of a slice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.physics.geometry import Domain

__all__ = ["Slice", "spectrum_slices"]

_MARGIN = 0.1
"""How far a slice reaches to both sides of a coordinate that is not a parameter."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A spectrum over u and one other polar coordinate, with the third one fixed.

    Parameters
    ----------
    level : [row, column]
        The spectrum in dB, u along the columns. NaN where no direction has such u and v.
    extent
        The first and last u, then the first and last value of the coordinate along the rows.
    row
        Index of the coordinate along the rows: 1 for v, 2 for 1/r in 1/m.
    fixed
        Value of the third coordinate.
    """

    level: Float[Tensor, "row column"]
    extent: tuple[float, float, float, float]
    row: int
    fixed: float


def spectrum_slices(
    spectrum: Callable[[Float[Tensor, "point 3"]], Float[Tensor, " point"]],
    domain: Domain,
    through: Float[Tensor, " 3"],
    pixels: int = 160,
) -> tuple[Slice, Slice]:
    """Cut a spectrum in two slices through a point: over (u, v) at its 1/r, and over (u, 1/r) at its v.

    Parameters
    ----------
    spectrum
        Maps points (u, v, 1/r) to positive values, such as ``lambda polar: music_spectrum(steering_matrix(array, polar),
        U)``.
    domain
        The region that the slices cover.
    through
        The point (u, v, 1/r).
    pixels
        The number of rows and of columns.

    Returns
    -------
    Slice
        The slice over (u, v).
    Slice
        The slice over (u, 1/r).
    """
    over_v, over_w = (_slice(spectrum, domain, through.cpu(), row, pixels) for row in (1, 2))
    return over_v, over_w


def _slice(spectrum: Callable[[Tensor], Tensor], domain: Domain, through: Tensor, row: int, pixels: int) -> Slice:
    (left, right), (low, high) = (_span(domain.polar_box[i]) for i in (0, row))
    y, x = torch.meshgrid(torch.linspace(low, high, pixels), torch.linspace(left, right, pixels), indexing="ij")
    polar = through.float().expand(pixels * pixels, 3).clone()
    polar[:, 0], polar[:, row] = x.flatten(), y.flatten()
    with torch.no_grad():
        level = 10 * spectrum(polar).log10().view(pixels, pixels).cpu()
    outside = (polar[:, :2].square().sum(1) > 1).view(pixels, pixels)
    return Slice(
        level=level.masked_fill(outside, torch.nan),
        extent=(left, right, low, high),
        row=row,
        fixed=float(through[3 - row]),
    )


def _span(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    return (low, high) if high > low else (low - _MARGIN, high + _MARGIN)
