"""MUSIC by its parts: the signal subspace of a covariance and the peaks of its spectrum, without a localiser."""

import dataclasses

import torch
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.music import music_peaks, signal_subspace
from risloc.estimation.refine import RefinedPeaks
from risloc.physics.geometry import Surface
from risloc.physics.grid import PolarGrid


def music(
    R: FactoredCovariance,
    count: Tensor,
    surface: Surface,
    grid: PolarGrid,
    *,
    widest: int,
    separation: float,
) -> RefinedPeaks:
    """Return the `count` strongest refined peaks of each scene in `widest` slots, of which the others are not valid."""
    found = music_peaks(signal_subspace(R, count, widest), surface, grid, widest, separation)
    wanted = torch.arange(found.valid.shape[1]) < count[:, None]
    return dataclasses.replace(found, valid=found.valid & wanted, converged=found.converged & wanted)
