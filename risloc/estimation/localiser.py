"""From a covariance or raw snapshots to located sources, with the same steps for every method.

Axes: batch B, elem N, rank r, src K_MAX.
"""

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance
from risloc.covariance.snapshots import score_snapshots
from risloc.estimation.assessment import Estimates
from risloc.estimation.candidates import MatchingPursuit, PeakCandidates, Source
from risloc.estimation.conditional import Sensing
from risloc.estimation.estimates import fit_and_assess, refit_stochastic
from risloc.estimation.exchange import Exchange
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.order_rules import Count, Rule, SelectionPath
from risloc.estimation.selection import LOOSE, forward_selection, select_and_fit
from risloc.estimation.sparse_bayes import sparse_covariance, sparse_powers
from risloc.estimation.spectral_methods import SpectralMethods, first
from risloc.estimation.spectrum import Peaks
from risloc.scenes.batch import Observation

__all__ = ["Localiser"]


class Localiser(SpectralMethods):
    """What every method knows of a surface (the array, the domain, the grids, K_MAX, the search), and the methods.

    A method is a spectrum whose strongest peaks are the answer (`music`, `mvdr`, `beamforming`), or a source of candidates
    from which the likelihood selects (`refined`, `pursuit`, `sparse`). The arguments are those of `SpectralMethods`.
    """

    def sensing(self, observation: Observation) -> Sensing:
        """Prepare what the likelihood needs of a batch; methods that run on the same batch share it.

        Parameters
        ----------
        observation
            The scenes.

        Returns
        -------
        Sensing
            The scenes with their sensing matrices.
        """
        return Sensing.of(observation, self.surface)

    def refined(self, sensing: Sensing, R: FactoredCovariance, *counts: Rule) -> list[Estimates]:
        """Select among the peaks of MUSIC on R by likelihood and fit jointly.

        Parameters
        ----------
        sensing
            The scenes.
        R
            A covariance of each scene.
        *counts
            The number of sources of each scene, or a rule that estimates it.

        Returns
        -------
        list of Estimates
            The estimates for each of `counts`.
        """
        return self.select(sensing, self.candidates(self.subspace(R), self.search.peaks), counts)

    def back_projection(self, sensing: Sensing, R_samp: FactoredCovariance, *counts: Rule) -> list[Estimates]:
        """Select among the peaks of the power map a^H R_samp a (beamforming) by likelihood and fit jointly.

        Parameters
        ----------
        sensing, R_samp, *counts
            As in `refined`, with the sample covariance for R.

        Returns
        -------
        list of Estimates
            The estimates for each of `counts`.
        """
        return self.select(sensing, self.candidates(R_samp.factor, self.search.peaks), counts)

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
        """Collect the candidates of a network and of the snapshots, `search.peaks` in all, on the coarse grid.

        A part that is left out leaves its slots to MUSIC or, without MUSIC, empty.

        Parameters
        ----------
        observation
            The scenes.
        R_pred
            The covariance that the network predicts.
        R_blend
            Its blend with R_samp.
        polar : [batch, src, 3]
            The locations that the network predicts.
        spectrum
            Whether to take peaks of MUSIC on R_blend, with K_MAX eigenvectors.
        score
            Whether to take peaks of `covariance.snapshots.score_snapshots`, which shows sources that the network missed.
        slots
            Whether to take the locations of the network.

        Returns
        -------
        Peaks
            The candidates.
        """
        parts = []
        if slots:
            parts.append(Peaks.of(polar))
        if score:
            X = score_snapshots(observation, R_pred)
            parts.append(self.candidates(X, self.search.score_peaks, coarse=True))
        if spectrum:
            rest = self.search.peaks - sum(part.valid.shape[1] for part in parts)
            parts.append(self.candidates(R_blend.subspace(self.slots), rest, coarse=True))
        return functools.reduce(Peaks.joined, reversed(parts))

    def pursuit(self, sensing: Sensing, *counts: Rule, fit: bool = True) -> list[Estimates]:
        """Run Newtonised orthogonal matching pursuit with the same fit and exchanges, the strong classical baseline.

        Parameters
        ----------
        sensing, *counts
            As in `refined`.
        fit
            Whether to fit; False is plain OMP, which leaves the sources on the finer grid.

        Returns
        -------
        list of Estimates
            The estimates for each of `counts`.
        """
        gains = GainMap(sensing, self.coarse if fit else self.grid)
        return self._run(sensing, MatchingPursuit(sensing, gains), counts, gains, fit=fit)

    def sparse(self, sensing: Sensing) -> FactoredCovariance:
        """Return the covariance of the powers of sparse Bayesian learning, which MUSIC refines off the grid.

        Parameters
        ----------
        sensing
            As in `select`.

        Returns
        -------
        FactoredCovariance
            A covariance of each scene.
        """
        return sparse_covariance(sparse_powers(sensing, self.coarse, self.search.sparse_iterations), self.coarse)

    def select(
        self, sensing: Sensing, candidates: Peaks, counts: Sequence[Rule], *, joint: bool = True, fit: bool = True
    ) -> list[Estimates]:
        """Select among candidates by likelihood and fit jointly.

        Parameters
        ----------
        sensing
            The scenes.
        candidates
            The candidates.
        counts
            The number of sources of each scene, or a rule that estimates it.
        joint
            Whether to fit jointly, with exchanges, after each pick.
        fit
            Whether to fit at all; False leaves the candidates where they are.

        Returns
        -------
        list of Estimates
            The estimates for each of `counts`.
        """
        gains = GainMap(sensing, self.coarse)
        return self._run(sensing, PeakCandidates(sensing, candidates), counts, gains, joint=joint, fit=fit)

    def path(self, sensing: Sensing, candidates: Peaks) -> SelectionPath:
        """Select among candidates up to K_MAX and return the fits of all orders.

        Parameters
        ----------
        sensing, candidates
            As in `select`.

        Returns
        -------
        SelectionPath
            The fits of the orders 0..K_MAX.
        """
        most = torch.full((len(sensing),), self.slots, device=sensing.y.device)
        source, between = PeakCandidates(sensing, candidates), self.search.steps_between
        exchange = self.exchange(GainMap(sensing, self.coarse))
        return forward_selection(
            sensing, source, self.slots, least=most, seek=True, steps_between=between, exchange=exchange
        )

    def exchange(self, gains: GainMap) -> Exchange | None:
        """Return how sources are exchanged after each pick.

        Parameters
        ----------
        gains
            The map of gains.

        Returns
        -------
        Exchange or None
            The exchange; None if there is none.
        """
        s = self.search
        return (
            Exchange(gains, s.exchange_rounds, s.exchange_tries, s.steps_between, LOOSE) if s.exchange_rounds else None
        )

    def strongest(self, sensing: Sensing, candidates: Peaks, count: Count) -> Estimates:
        """Fit the strongest candidates, which come first, jointly and without selection.

        Parameters
        ----------
        sensing, candidates
            As in `select`.
        count : [batch]
            The number of sources of each scene.

        Returns
        -------
        Estimates
            The estimates.
        """
        chosen = first(candidates.polar, candidates.valid, count, self.slots)
        return fit_and_assess(
            sensing, self.domain.clamp(chosen.polar), chosen.present, iterations=self.search.iterations
        )

    def efficient(self, sensing: Sensing, estimates: Estimates) -> Estimates:
        """Fit the estimates again by the stochastic likelihood, for sources with independent waveforms.

        Parameters
        ----------
        sensing
            The scenes.
        estimates
            The estimates.

        Returns
        -------
        Estimates
            The new estimates.
        """
        return refit_stochastic(
            sensing, estimates, iterations=self.search.iterations, gains=GainMap(sensing, self.coarse)
        )

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
        return select_and_fit(
            sensing,
            source,
            counts,
            self.slots,
            steps_between=between,
            iterations=self.search.iterations if fit else 0,
            exchange=self.exchange(gains) if between else None,
            gains=gains if fit else None,
        )
