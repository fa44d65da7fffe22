"""The whole way from a covariance or from raw snapshots to located sources, the same for every method.

Axes: batch B, elem N, rank r, src K_MAX.
"""

import dataclasses
import functools
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, SupportsIndex, runtime_checkable

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.config import ParamError, build, param
from risloc.covariance.factored import FactoredCovariance
from risloc.covariance.snapshots import score_snapshots
from risloc.estimation.candidates import MatchingPursuit, PeakCandidates, Source
from risloc.estimation.conditional import Sensing
from risloc.estimation.exchange import Exchange
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.music import music_peaks, signal_subspace
from risloc.estimation.order_rules import Count, Rule, SelectionPath
from risloc.estimation.refine import RefinedPeaks, energy_peaks
from risloc.estimation.selection import (
    LOOSE,
    Estimates,
    fit_and_assess,
    forward_selection,
    refit_stochastic,
    select_and_fit,
)
from risloc.estimation.sparse_bayes import sparse_covariance, sparse_powers
from risloc.estimation.spectrum import Peaks, grid_energy, mvdr_factor, peaks, shrinkage_loading
from risloc.physics.geometry import Array, Domain
from risloc.physics.grid import GridConfig, PolarGrid, polar_grid
from risloc.scenes.batch import Observation
from risloc.scenes.scenario import Scenario
from risloc.utils.argument_checks import whole
from risloc.utils.yaml_reader import read_yaml

__all__ = ["Localiser", "Located", "SearchConfig", "Surface", "default_search"]

MOST = 5  # sources to look for on a surface of which no scenario is known


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How sources are searched for."""

    grid: GridConfig = param(
        "the grid of every spectrum but those below; fine enough to tell sources apart that MUSIC resolves"
    )
    rank: int = param("width of the subspace whose spectrum gives candidates: wider than K_MAX, to miss none", ge=1)
    peaks: int = param("candidates a scene: more peaks than sources", ge=1)
    separation: float = param("least distance of two candidates in (u, v)", ge=0.0)
    score_peaks: int = param(
        "how many of a network's candidates are peaks of what the snapshots say against R_pred", ge=1
    )
    exchange_rounds: int = param(
        "most rounds after each pick in which each source is taken out and searched for anew, where the residual is larger "
        "than noise explains; 0: none",
        ge=0,
    )
    exchange_tries: int = param("places that are tried for a source that was taken out", ge=1)
    steps_between: int = param("most Gauss-Newton steps of the joint fit after each pick", ge=0)
    iterations: int = param("most Gauss-Newton steps of the last joint fit", ge=1)
    coarse: GridConfig = param(
        "the grid of a network's candidates, of matching pursuit and of exchanges, which the fit refines, and of sparse Bayesian "
        "learning"
    )
    sparse_iterations: int = param("sparse Bayesian learning: updates of the powers", ge=1)


def default_search() -> SearchConfig:
    """The search that comes with the package: the section `search` of the repository's params.yaml."""
    with importlib.resources.as_file(importlib.resources.files("risloc.estimation") / "search.yaml") as path:
        return build(SearchConfig, read_yaml(path), "search")


@runtime_checkable
class Surface(Protocol):
    """Elements, and where sources may lie: a `Scenario`, or a `risloc.Setup` of measurements."""

    def array(self) -> Array:
        """The surface's elements."""

    def domain(self) -> Domain:
        """Where sources may lie."""


@dataclass(frozen=True)
class Located:
    """Locations alone: (u, v, w) in slots, and which slots hold a source."""

    polar: Float[Tensor, "batch src 3"]
    present: Bool[Tensor, "batch src"]


class Localiser:
    """What every method knows of a surface: the array, the domain, the grid, K_MAX, and how to search.

    surface : a scenario, or the setup of measurements.  search : how; None: `default_search`, with as many candidates as K_MAX
    takes.  most : K_MAX; None: the scenario's, or 5 with a setup.  snapshots : L, which `mvdr` alone asks for; None: the
    scenario's.

    A method is a spectrum whose strongest peaks are the answer (`music`, `mvdr`, `beamforming`), or a source of candidates
    from which the likelihood selects (`refined`, `pursuit`, `sparse`).

    Raises
    ------
    ParamError
        No more candidates than sources.
    TypeError
        No surface.
    """

    def __init__(
        self,
        surface: Surface,
        search: SearchConfig | None = None,
        *,
        most: SupportsIndex | None = None,
        snapshots: SupportsIndex | None = None,
    ) -> None:
        if not isinstance(surface, Surface):
            came = type(surface).__name__
            raise TypeError(f"surface: expected a Scenario, or the setup of measurements, got {came}")
        world = surface if isinstance(surface, Scenario) else None
        known = (MOST, None) if world is None else (world.K_MAX, world.snapshots)
        self.slots = known[0] if most is None else whole("most", most, 1)
        self.snapshots = known[1] if snapshots is None else whole("snapshots", snapshots, 1)
        search = _wide_enough(default_search(), self.slots) if search is None else search
        least = self.slots + search.score_peaks
        if search.peaks <= least:
            raise ParamError(
                f"search.peaks: expected more than K_MAX + score_peaks = {least} candidates, got {search.peaks}"
            )
        self._scenario, self.search = world, search
        self.array, self.domain = surface.array(), surface.domain()
        self.grid: PolarGrid = polar_grid(self.array, self.domain, search.grid)
        self.coarse: PolarGrid = polar_grid(self.array, self.domain, search.coarse)

    @property
    def scenario(self) -> Scenario:
        """The scenario that it was made for; ValueError where it was made for a setup."""
        if self._scenario is None:
            raise ValueError("scenario: this localiser was made for a setup of measurements, which has none")
        return self._scenario

    def sensing(self, observation: Observation) -> Sensing:
        """What the likelihood needs of a batch, to be shared by the methods that run on it."""
        return Sensing.of(observation, self.array, self.domain)

    def music(self, R: FactoredCovariance, count: Count) -> Located:
        """MUSIC on R: the `count` strongest peaks of the spectrum after Newton refinement, no likelihood."""
        U = signal_subspace(R, count, self.slots)
        s = self.search
        return self._strongest(music_peaks(U, self.array, self.domain, self.grid, s.peaks, s.separation), count)

    def mvdr(self, R: FactoredCovariance, count: Count) -> Located:
        """Capon's spectrum of R, loaded as `shrinkage_loading` says: its `count` strongest refined peaks."""
        if self.snapshots is None:
            raise ValueError("snapshots: expected how many there are, got None; give it: Localiser(setup, snapshots=L)")
        return self._energy(mvdr_factor(R.factor, shrinkage_loading(R, self.snapshots)), count)

    def beamforming(self, R: FactoredCovariance, count: Count) -> Located:
        """The conventional spectrum a^H R a: its `count` strongest refined peaks."""
        return self._energy(R.factor, count)

    def candidates(self, factor: Complex[Tensor, "batch elem rank"], count: int, *, coarse: bool = False) -> Peaks:
        """The `count` highest peaks of |F^H a|^2 on the grid, or on the coarse one."""
        grid = self.coarse if coarse else self.grid
        return peaks(grid_energy(grid, factor), grid, count, self.search.separation)

    def refined(self, sensing: Sensing, R: FactoredCovariance, *counts: Rule) -> list[Estimates]:
        """Peaks of MUSIC on R, forward selection by likelihood, joint fit; `counts`: see `Rule`."""
        return self.select(sensing, self.candidates(self.subspace(R), self.search.peaks), counts)

    def hybrid_candidates(
        self,
        observation: Observation,
        R_pred: FactoredCovariance,
        R_blend: FactoredCovariance,
        polar: Float[Tensor, "batch src 3"],
        *,
        spectrum: bool = True,
        score: bool = True,
        slots: bool = True,
    ) -> Peaks:
        """What a network and the snapshots offer together, `search.peaks` in all; both spectra on the coarse grid.

        spectrum : peaks of MUSIC on R_blend, K_MAX wide; what that misses is left to the score.
        score : peaks of what the snapshots say against R_pred, see `covariance.score_snapshots`: sources that the
        network missed.  slots : the network's own locations `polar`, two for two sources in one peak.
        What is left out leaves its places to MUSIC, or, without MUSIC, empty.
        """
        parts = []
        if slots:
            parts.append(Peaks.of(polar))
        if score:
            o = observation
            X = score_snapshots(o.y, o.codebook, o.H, o.noise_var, R_pred)
            parts.append(self.candidates(X, self.search.score_peaks, coarse=True))
        if spectrum:
            left = self.search.peaks - sum(part.valid.shape[1] for part in parts)
            parts.append(self.candidates(R_blend.subspace(self.slots), left, coarse=True))
        return functools.reduce(Peaks.joined, reversed(parts))

    def subspace(self, R: FactoredCovariance) -> Complex[Tensor, "batch elem rank"]:
        """The subspace of R whose spectrum gives candidates."""
        return R.subspace(min(self.search.rank, self.array.size))

    def back_projection(self, sensing: Sensing, R_samp: FactoredCovariance, *counts: Rule) -> list[Estimates]:
        """The same from the peaks of the snapshots' power map a^H R_samp a (beamforming), no subspace at all."""
        return self.select(sensing, self.candidates(R_samp.factor, self.search.peaks), counts)

    def pursuit(self, sensing: Sensing, *counts: Rule, fit: bool = True) -> list[Estimates]:
        """Newtonised orthogonal matching pursuit with the same fit and exchanges: the strong classical baseline.

        fit : False leaves the sources on the (then finer) grid: plain OMP.
        """
        gains = GainMap(sensing, self.coarse if fit else self.grid)
        return self._run(sensing, MatchingPursuit(sensing, gains), counts, gains, fit=fit)

    def sparse(self, sensing: Sensing) -> FactoredCovariance:
        """The covariance of sparse Bayesian learning's powers on its own grid, for MUSIC to leave the grid with."""
        power = sparse_powers(sensing, self.coarse, self.search.sparse_iterations)
        return sparse_covariance(power, self.coarse)

    def select(
        self,
        sensing: Sensing,
        candidates: Peaks,
        counts: Sequence[Rule],
        *,
        joint: bool = True,
        fit: bool = True,
    ) -> list[Estimates]:
        """Forward selection among the candidates by likelihood, and the joint fit; `counts`: see `Rule`.

        joint : with the joint fit, and exchanges, after each pick.  fit : with any fit; False leaves the candidates where they
        are.
        """
        gains = GainMap(sensing, self.coarse)
        return self._run(sensing, PeakCandidates(sensing, candidates), counts, gains, joint=joint, fit=fit)

    def path(self, sensing: Sensing, candidates: Peaks) -> SelectionPath:
        """The selection among the candidates to its end: the fits of all orders 0..K_MAX."""
        most = torch.full((len(sensing),), self.slots, device=sensing.y.device)
        source, between = PeakCandidates(sensing, candidates), self.search.steps_between
        exchange = self.exchange(GainMap(sensing, self.coarse))
        return forward_selection(
            sensing, source, self.slots, least=most, seek=True, steps_between=between, exchange=exchange
        )

    def exchange(self, gains: GainMap) -> Exchange | None:
        """How sources are exchanged after each pick; None: not at all."""
        s = self.search
        if s.exchange_rounds == 0:
            return None
        return Exchange(gains, s.exchange_rounds, s.exchange_tries, s.steps_between, LOOSE)

    def strongest(self, sensing: Sensing, candidates: Peaks, count: Count) -> Estimates:
        """The `count` strongest candidates, fitted jointly: no selection."""
        chosen = first(candidates.polar, candidates.valid, count, self.slots)
        polar = self.domain.clamp(chosen.polar)
        return fit_and_assess(sensing, polar, chosen.present, iterations=self.search.iterations)

    def efficient(self, sensing: Sensing, found: Estimates) -> Estimates:
        """The estimates fitted once more by the stochastic likelihood, for sources with waveforms of their own."""
        gains = GainMap(sensing, self.coarse)
        return refit_stochastic(sensing, found, iterations=self.search.iterations, gains=gains)

    def _run(
        self,
        sensing: Sensing,
        source: Source,
        counts: Sequence[Rule],
        gains: GainMap,
        *,
        joint: bool = True,
        fit: bool = True,
    ) -> list[Estimates]:
        between = self.search.steps_between if joint and fit else 0
        last = self.search.iterations if fit else 0
        exchange = self.exchange(gains) if between else None
        return select_and_fit(
            sensing,
            source,
            counts,
            self.slots,
            steps_between=between,
            iterations=last,
            exchange=exchange,
            gains=gains if fit else None,
        )

    def _energy(self, T: Complex[Tensor, "batch elem rank"], count: Count) -> Located:
        s = self.search
        return self._strongest(energy_peaks(T, self.array, self.domain, self.grid, s.peaks, s.separation), count)

    def _strongest(self, found: RefinedPeaks, count: Count) -> Located:
        return first(found.polar, found.valid, count, self.slots)


def _wide_enough(search: SearchConfig, most: int) -> SearchConfig:
    """With more candidates than `most` sources."""
    return dataclasses.replace(search, peaks=max(search.peaks, most + search.score_peaks + 1))


def first(polar: Float[Tensor, "batch cand 3"], valid: Bool[Tensor, "batch cand"], count: Count, slots: int) -> Located:
    """The first `count` of the candidates, valid ones only, in at most `slots` slots."""
    asked = torch.arange(min(slots, polar.shape[1]), device=count.device) < count[:, None]
    return Located(polar[:, :slots], valid[:, :slots] & asked)
