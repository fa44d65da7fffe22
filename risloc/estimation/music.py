"""MUSIC over (u, v, 1/r): signal subspace, coarse grid, peaks, and their refinement by the engine of all spectra.

Axes: batch B, elem N, rank r, peak.
"""

import torch
from jaxtyping import Complex, Int
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.refine import RefinedPeaks, apart, refine_root
from risloc.estimation.spectrum import Peaks, grid_energy, peaks
from risloc.physics.geometry import Array, Domain
from risloc.physics.grid import PolarGrid

__all__ = ["music_peaks", "refine_peaks", "signal_subspace"]


def signal_subspace(
    R: FactoredCovariance, rank: "int | Int[Tensor, ' batch']", widest: int
) -> Complex[Tensor, "batch elem {widest}"]:
    """The leading `rank` eigenvectors of each scene's R, in `widest` columns of which the others are zero."""
    U = R.subspace(widest)
    keep = torch.arange(widest, device=U.device) < torch.as_tensor(rank, device=U.device)[..., None]
    return U * keep[..., None, :]


def music_peaks(
    U: Complex[Tensor, "batch elem rank"], array: Array, domain: Domain, grid: PolarGrid, count: int, separation: float
) -> RefinedPeaks:
    """Refined peaks of N / |a - U U^H a|^2, at most `count`, `separation` apart in (u, v) on the grid and refined."""
    return apart(refine_peaks(U, array, domain, peaks(grid_energy(grid, U), grid, count, separation)), separation)


def refine_peaks(
    U: Complex[Tensor, "batch elem rank"], array: Array, domain: Domain, coarse: Peaks, iterations: int = 30
) -> RefinedPeaks:
    """Newton refinement of |a - U U^H a|^2 from the coarse peaks, each on its own, inside the domain, monotone.

    U is orthonormal up to zero columns; that is not checked, and another one refines another spectrum.
    """
    return refine_root(U, array, domain, coarse, iterations)
