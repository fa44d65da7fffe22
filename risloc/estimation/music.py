"""MUSIC over (u, v, 1/r): signal subspace, coarse grid, peaks, and their refinement by the engine of all spectra.

Axes: batch B, elem N, rank r, peak.
"""

import torch
from jaxtyping import Complex, Int
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.refine import RefinedPeaks, apart, refine_root
from risloc.estimation.spectrum import Peaks, grid_energy, peaks
from risloc.physics.geometry import Surface
from risloc.physics.grid import PolarGrid

__all__ = ["music_peaks", "refine_peaks", "signal_subspace"]


def signal_subspace(
    R: FactoredCovariance, rank: "int | Int[Tensor, ' batch']", widest: int
) -> Complex[Tensor, "batch elem {widest}"]:
    """Return the leading eigenvectors of the R of each scene.

    Parameters
    ----------
    R
        The covariances.
    rank
        The number of eigenvectors, one for all scenes or one each.
    widest
        The number of columns of the result.

    Returns
    -------
    [batch, elem, widest]
        The eigenvectors; further columns are zero.
    """
    U = R.subspace(widest)
    keep = torch.arange(widest, device=U.device) < torch.as_tensor(rank, device=U.device)[..., None]
    return U * keep[..., None, :]


def music_peaks(
    U: Complex[Tensor, "batch elem rank"], surface: Surface, grid: PolarGrid, count: int, separation: float
) -> RefinedPeaks:
    """Find refined peaks of N / |a - U U^H a|^2.

    Parameters
    ----------
    U : [batch, elem, rank]
        An orthonormal basis of the signal subspace.
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
    return apart(refine_peaks(U, surface, peaks(grid_energy(grid, U), grid, count, separation)), separation)


def refine_peaks(
    U: Complex[Tensor, "batch elem rank"], surface: Surface, coarse: Peaks, iterations: int = 30
) -> RefinedPeaks:
    """Refine the peaks of N / |a - U U^H a|^2 by Newton steps, each on its own, inside the domain, monotonically.

    Parameters
    ----------
    U : [batch, elem, rank]
        An orthonormal basis, up to zero columns; this is not checked, and another U has another spectrum.
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
    return refine_root(U, surface, coarse, iterations)
