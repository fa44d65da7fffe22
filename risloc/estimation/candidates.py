"""Where the next source of a selection may come from: a fixed list of candidates, or the grid, searched anew.

Axes: row, cand C, src K.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.projection import Projection, likelihood_gain
from risloc.estimation.spectrum import Peaks, peaks
from risloc.physics.steering import steering_matrix

__all__ = ["MatchingPursuit", "PeakCandidates", "Source"]


class Source(ABC):
    """Where the next source of a scene may come from."""

    @abstractmethod
    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """Locations (u, v, w) [row, cand, 3] and gains [row, cand] for these scenes; -inf: not on offer."""

    @abstractmethod
    def take(self, rows: Tensor, pick: Tensor) -> None:
        """The candidates that were picked from the last offer."""


class PeakCandidates(Source):
    """A fixed list of candidates, each picked once."""

    def __init__(self, sensing: Sensing, candidates: Peaks) -> None:
        self.polar = sensing.domain.clamp(candidates.polar)
        self.free = candidates.valid.clone()
        self.Z = sensing.responses(steering_matrix(sensing.array, self.polar))

    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """The candidates that are left."""
        return self.polar[rows], likelihood_gain(self.Z[rows], fit).masked_fill(~self.free[rows], -torch.inf)

    def take(self, rows: Tensor, pick: Tensor) -> None:
        """Strike them off."""
        self.free[rows, pick] = False


class MatchingPursuit(Source):
    """Orthogonal matching pursuit: the point of the grid with the greatest likelihood gain, searched anew for each source.

    With the joint fit after each pick this is Newtonised OMP (Mamandipoor et al. 2016), by the exact gain in place of the
    energy of the back-projected residual (orthogonal least squares, Chen et al. 1989).
    """

    def __init__(self, sensing: Sensing, gains: GainMap) -> None:
        self.sensing, self.gains = sensing, gains

    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """The highest peak of the gain."""
        found = peaks(self.gains.further(rows, fit), self.gains.grid, 1, 0.0)
        return self.sensing.domain.clamp(found.polar), found.value.masked_fill(~found.valid, -torch.inf)

    def take(self, rows: Tensor, pick: Tensor) -> None:
        """Nothing to strike off: the next residual is another one."""
