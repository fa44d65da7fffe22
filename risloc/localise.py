"""The whole way from a covariance or from raw snapshots to located sources, the same for every method.

Axes: batch B, src K_MAX.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.covariance import FactoredCovariance
from risloc.grid import GridConfig, PolarGrid, polar_grid
from risloc.likelihood import Sensing
from risloc.music import music_peaks, signal_subspace
from risloc.params import ParamError, param
from risloc.scene import Observation, Scenario
from risloc.selection import Estimates, MatchingPursuit, PeakCandidates, select_and_fit
from risloc.spectrum import grid_energy, peaks

__all__ = ["Localiser", "Located", "SearchConfig"]

Count = Int[Tensor, " batch"]


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How sources are searched for, by every method alike."""

    grid: GridConfig = param("the grid of every spectrum; fine enough to tell sources apart that MUSIC resolves")
    rank: int = param("width of the subspace whose spectrum gives candidates: wider than K_MAX, to miss none", ge=1)
    peaks: int = param("candidates a scene: more peaks than sources", ge=1)
    separation: float = param("least distance of two candidates in (u, v)", ge=0.0)
    pursuit_peaks: int = param("peaks of a residual from which matching pursuit takes the best", ge=1)
    iterations: int = param("most Gauss-Newton steps of a joint fit", ge=1)


@dataclass(frozen=True)
class Located:
    """Locations alone: (u, v, w) in slots, and which slots hold a source."""

    polar: Float[Tensor, "batch src 3"]
    present: Bool[Tensor, "batch src"]


class Localiser:
    """What every method knows of a scenario: the array, the domain, the grid, K_MAX, and how to search.

    Raises
    ------
    ParamError
        No more candidates than sources.
    """

    def __init__(self, scenario: Scenario, search: SearchConfig) -> None:
        if search.peaks <= scenario.K_MAX:
            raise ParamError(
                f"search.peaks: expected more candidates than K_MAX = {scenario.K_MAX}, got {search.peaks}"
            )
        self.array, self.domain = scenario.array(), scenario.domain()
        self.grid: PolarGrid = polar_grid(self.array, self.domain, search.grid)
        self.slots, self.search = scenario.K_MAX, search

    def sensing(self, observation: Observation) -> Sensing:
        """What the likelihood needs of a batch, to be shared by the methods that run on it."""
        return Sensing.of(observation, self.array, self.domain)

    def plain(self, R: FactoredCovariance, count: Count) -> Located:
        """MUSIC on R: the `count` strongest peaks of the spectrum after Newton refinement, no likelihood."""
        U = signal_subspace(R, count, self.slots)
        found = music_peaks(U, self.array, self.domain, self.grid, self.search.peaks, self.search.separation)
        asked = torch.arange(self.slots, device=count.device) < count[:, None]
        polar, valid = found.polar[:, : self.slots], found.valid[:, : self.slots]
        return Located(polar, valid & asked)

    def refined(
        self,
        sensing: Sensing,
        R: FactoredCovariance,
        *counts: Count | None,
        slots: Float[Tensor, "batch src 3"] | None = None,
    ) -> list[Estimates]:
        """Peaks of MUSIC on R, forward selection by likelihood, joint fit; for a count of None, BIC finds K.

        slots : (u, v, w) that a network offers in place of the weakest peaks: two sources in one peak are two slots.
        """
        rank = min(self.search.rank, self.array.size)
        return self._select(sensing, R.subspace(rank), counts, slots)

    def back_projection(self, sensing: Sensing, snapshots: Tensor, *counts: Count | None) -> list[Estimates]:
        """The same from the peaks of the snapshots' power map sum_l |a^H x_l|^2 (beamforming), no subspace at all."""
        return self._select(sensing, snapshots, counts)

    def pursuit(self, sensing: Sensing, observation: Observation, *counts: Count | None) -> list[Estimates]:
        """Newtonised orthogonal matching pursuit on the same grid with the same fit: the strong classical baseline."""
        source = MatchingPursuit(sensing, observation, self.grid, self.search.pursuit_peaks)
        return select_and_fit(sensing, source, counts, self.slots, iterations=self.search.iterations)

    def _select(
        self, sensing: Sensing, factor: Tensor, counts: Sequence[Count | None], slots: Tensor | None = None
    ) -> list[Estimates]:
        count = self.search.peaks - (0 if slots is None else slots.shape[1])
        candidates = peaks(grid_energy(self.grid, factor), self.grid, count, self.search.separation)
        if slots is not None:
            candidates = candidates.joined(slots)
        source = PeakCandidates(sensing, candidates)
        return select_and_fit(sensing, source, counts, self.slots, iterations=self.search.iterations)
