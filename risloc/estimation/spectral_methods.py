"""What every method knows of a surface, and the methods whose answer is the strongest peaks of a spectrum.

Axes: batch B, elem N, rank r, cand C, src K_MAX.
"""

import dataclasses
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.config import ParamError
from risloc.covariance.factored import FactoredCovariance
from risloc.estimation.music import music_peaks, signal_subspace
from risloc.estimation.mvdr import mvdr_factor, shrinkage_loading
from risloc.estimation.order_rules import Count
from risloc.estimation.refine import RefinedPeaks, energy_peaks
from risloc.estimation.search_config import SearchConfig, default_search
from risloc.estimation.spectrum import Peaks, grid_energy, peaks
from risloc.physics.geometry import Surface
from risloc.physics.grid import PolarGrid, polar_grid
from risloc.scenes.scenario import Scenario
from risloc.utils.argument_checks import whole

__all__ = ["Located", "SpectralMethods", "first"]

MOST = 5  # the largest number of sources on a surface without a scenario


@dataclass(frozen=True)
class Located:
    """Locations without a fit.

    Parameters
    ----------
    polar : [batch, src, 3]
        (u, v, w) of each slot.
    present : [batch, src]
        Which slots hold a source.
    """

    polar: Float[Tensor, "batch src 3"]
    present: Bool[Tensor, "batch src"]


def first(polar: Float[Tensor, "batch cand 3"], valid: Bool[Tensor, "batch cand"], count: Count, slots: int) -> Located:
    """Return the first `count` candidates, as far as they are valid, in at most `slots` slots.

    Parameters
    ----------
    polar : [batch, cand, 3]
        The candidates.
    valid : [batch, cand]
        Which of them are valid.
    count : [batch]
        How many to take.
    slots
        The largest number of sources.

    Returns
    -------
    Located
        The locations.
    """
    requested = torch.arange(min(slots, polar.shape[1]), device=count.device) < count[:, None]
    return Located(polar[:, :slots], valid[:, :slots] & requested)


class SpectralMethods:
    """The part of `risloc.estimation.localiser.Localiser` that needs no likelihood: surface, grids, spectra and peaks.

    Parameters
    ----------
    surface
        A scenario; or the surface of one, or of the setup of measurements.
    search
        The search parameters; None: `default_search`, with as many candidates as K_MAX needs.
    most
        K_MAX; None: that of the scenario, or 5 without one.
    snapshots
        The number of snapshots L, which only `mvdr` needs; None: that of the scenario.

    Raises
    ------
    ParamError
        There are no more candidates than sources.
    TypeError
        The first argument is neither of the two.
    """

    def __init__(
        self,
        surface: Surface | Scenario,
        search: SearchConfig | None = None,
        *,
        most: SupportsIndex | None = None,
        snapshots: SupportsIndex | None = None,
    ) -> None:
        if not isinstance(surface, Surface | Scenario):
            came = type(surface).__name__
            raise TypeError(f"surface: expected a Scenario or a Surface, got {came}; measurements have setup.surface")
        scenario = surface if isinstance(surface, Scenario) else None
        defaults = (MOST, None) if scenario is None else (scenario.K_MAX, scenario.snapshots)
        self.slots = defaults[0] if most is None else whole("most", most, 1)
        self.snapshots = defaults[1] if snapshots is None else whole("snapshots", snapshots, 1)
        search = _wide_enough(default_search(), self.slots) if search is None else search
        least = self.slots + search.score_peaks
        if search.peaks <= least:
            raise ParamError(
                f"search.peaks: expected more than K_MAX + score_peaks = {least} candidates, got {search.peaks}"
            )
        self._scenario, self.search = scenario, search
        self.surface = surface.surface if isinstance(surface, Scenario) else surface
        self.array, self.domain = self.surface.array, self.surface.domain
        self.grid: PolarGrid = polar_grid(self.surface, search.grid)
        self.coarse: PolarGrid = polar_grid(self.surface, search.coarse)

    @property
    def scenario(self) -> Scenario:
        """The scenario of the localiser.

        Raises
        ------
        ValueError
            The localiser was made for a surface alone.
        """
        if self._scenario is None:
            raise ValueError("scenario: this localiser was made for a surface, which has none")
        return self._scenario

    def music(self, R: FactoredCovariance, count: Count) -> Located:
        """Take the strongest peaks of the MUSIC spectrum of R after Newton refinement.

        Parameters
        ----------
        R
            A covariance of each scene.
        count : [batch]
            The number of sources of each scene.

        Returns
        -------
        Located
            The peaks.
        """
        U = signal_subspace(R, count, self.slots)
        s = self.search
        return self._strongest(music_peaks(U, self.surface, self.grid, s.peaks, s.separation), count)

    def mvdr(self, R: FactoredCovariance, count: Count) -> Located:
        """Take the strongest peaks of Capon's spectrum of R, with the loading of `shrinkage_loading`, after refinement.

        Parameters
        ----------
        R
            A covariance of each scene.
        count : [batch]
            The number of sources of each scene.

        Returns
        -------
        Located
            The peaks.

        Raises
        ------
        ValueError
            The number of snapshots is not known.
        """
        if self.snapshots is None:
            raise ValueError("snapshots: mvdr needs the number of snapshots; pass it: Localiser(surface, snapshots=L)")
        return self._energy(mvdr_factor(R.factor, shrinkage_loading(R, self.snapshots)), count)

    def beamforming(self, R: FactoredCovariance, count: Count) -> Located:
        """Take the strongest peaks of the conventional spectrum a^H R a after refinement.

        Parameters
        ----------
        R
            A covariance of each scene.
        count : [batch]
            The number of sources of each scene.

        Returns
        -------
        Located
            The peaks.
        """
        return self._energy(R.factor, count)

    def candidates(self, factor: Complex[Tensor, "batch elem rank"], count: int, *, coarse: bool = False) -> Peaks:
        """Return the highest peaks of |F^H a|^2 on the grid.

        Parameters
        ----------
        factor : [batch, elem, rank]
            The factor F.
        count
            The number of peaks.
        coarse
            Whether to use the coarse grid.

        Returns
        -------
        Peaks
            The peaks, without refinement.
        """
        grid = self.coarse if coarse else self.grid
        return peaks(grid_energy(grid, factor), grid, count, self.search.separation)

    def subspace(self, R: FactoredCovariance) -> Complex[Tensor, "batch elem rank"]:
        """Return the subspace of R whose spectrum gives candidates.

        Parameters
        ----------
        R
            A covariance of each scene.

        Returns
        -------
        [batch, elem, rank]
            An orthonormal basis.
        """
        return R.subspace(min(self.search.rank, self.array.size))

    def _energy(self, T: Complex[Tensor, "batch elem rank"], count: Count) -> Located:
        s = self.search
        return self._strongest(energy_peaks(T, self.surface, self.grid, s.peaks, s.separation), count)

    def _strongest(self, refined: RefinedPeaks, count: Count) -> Located:
        return first(refined.polar, refined.valid, count, self.slots)


def _wide_enough(search: SearchConfig, most: int) -> SearchConfig:
    """Return search parameters with more candidates than `most` sources."""
    return dataclasses.replace(search, peaks=max(search.peaks, most + search.score_peaks + 1))
