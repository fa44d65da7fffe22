"""Candidates for the next source of a selection: a fixed list, or the grid, which is searched again for each source.

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
    """Offers candidates for the next source of a scene."""

    @abstractmethod
    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """Offer candidates.

        Parameters
        ----------
        rows
            The numbers of the scenes.
        fit
            The fit of the sources so far.

        Returns
        -------
        [row, cand, 3]
            Locations (u, v, w).
        [row, cand]
            Gains; -inf for a candidate that is not available.
        """

    @abstractmethod
    def take(self, rows: Tensor, pick: Tensor) -> None:
        """Record the candidates that were picked from the last offer.

        Parameters
        ----------
        rows
            The numbers of the scenes.
        pick
            The candidate picked in each.
        """


class PeakCandidates(Source):
    """A fixed list of candidates, each of which is picked once.

    Parameters
    ----------
    sensing
        The scenes.
    candidates
        The candidates.
    """

    def __init__(self, sensing: Sensing, candidates: Peaks) -> None:
        self.polar = sensing.domain.clamp(candidates.polar)
        self.free = candidates.valid.clone()
        self.Z = sensing.responses(steering_matrix(sensing.array, self.polar))

    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """Offer the candidates that have not been picked.

        Parameters
        ----------
        rows, fit
            As in `Source.offer`.

        Returns
        -------
        [row, cand, 3]
            Locations (u, v, w).
        [row, cand]
            Gains; -inf for a candidate that is not available.
        """
        return self.polar[rows], likelihood_gain(self.Z[rows], fit).masked_fill(~self.free[rows], -torch.inf)

    def take(self, rows: Tensor, pick: Tensor) -> None:
        """Remove the candidates that were picked.

        Parameters
        ----------
        rows, pick
            As in `Source.take`.
        """
        self.free[rows, pick] = False


class MatchingPursuit(Source):
    """Orthogonal matching pursuit: offers the grid point with the largest likelihood gain, searched again for each source.

    With the joint fit after each pick this is Newtonised OMP; it uses the exact gain (orthogonal least squares) instead of
    the energy of the back-projected residual.

    Parameters
    ----------
    sensing
        The scenes.
    gains
        The map of gains.

    References
    ----------
    Mamandipoor et al. 2016 (Newtonised OMP); Chen et al. 1989 (orthogonal least squares).
    """

    def __init__(self, sensing: Sensing, gains: GainMap) -> None:
        self.sensing, self.gains = sensing, gains

    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """Offer the highest peak of the gain.

        Parameters
        ----------
        rows, fit
            As in `Source.offer`.

        Returns
        -------
        [row, 1, 3]
            Locations (u, v, w).
        [row, 1]
            Gains; -inf for a candidate that is not available.
        """
        peak = peaks(self.gains.further(rows, fit), self.gains.grid, 1, 0.0)
        return self.sensing.domain.clamp(peak.polar), peak.value.masked_fill(~peak.valid, -torch.inf)

    def take(self, rows: Tensor, pick: Tensor) -> None:
        """Do nothing: the next residual is a different one.

        Parameters
        ----------
        rows, pick
            As in `Source.take`.
        """
