"""Exchange: removes each source, searches for it again by the exact gain and refits, as long as this helps.

Forward selection moves its picks by the joint fit, which only descends from where it is, but never drops one and searches for
it elsewhere (Ziskind and Wax 1988 alternate over the sources for the same reason). This matters where the snapshots observe few
dimensions of the field at the surface (H of low rank, few codes): there the first pick often lies between two sources. It also
matters where two sources are within a beam. Exchanges are attempted in a scene if

    (tr S)^2 / tr(S^2) < N / 3   and   cost > sigma^2 (n + 3 n^(1/2)),   or
    two of its sources are within a beam   and   cost > sigma^2 n,

with S = sum_l G_l^H G_l. The fraction (tr S)^2 / tr(S^2) is the effective number of dimensions that the snapshots observe, and
n = L (M - K) - F K / 2, for F free coordinates, is the mean and the variance of cost / sigma^2 under a true model. In trials
exchanges changed nothing in other scenes, whether the model was true or wrong.

Axes: batch B, snap L, ant M, src K, grid G.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.estimation.conditional import Fit, Sensing, fit_conditional
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.projection import project
from risloc.estimation.spectrum import Peaks, peaks
from risloc.physics.steering import steering_matrix

__all__ = ["Exchange", "sees_little", "surprising"]

_DEVIATIONS = 3.0  # by how many standard deviations the cost must exceed its mean
_FEW = 1 / 3  # of the N dimensions of the field at the surface
_PROMISING = 0.8  # a place is tried if its gain exceeds this fraction of the best gain near the source
_WORTH = 0.02  # an exchange is accepted if it lowers the cost by this fraction
_BEAM = 2  # in steps of the grid in u and v: nearer places are the source itself


def surprising(
    sensing: Sensing, cost: Float[Tensor, " batch"], sources: int, deviations: float = _DEVIATIONS
) -> Bool[Tensor, " batch"]:
    """Find the scenes whose cost is more than noise of variance sigma^2 explains.

    Parameters
    ----------
    sensing
        The scenes.
    cost : [batch]
        The conditional cost of the fit.
    sources
        The number of sources of the fit.
    deviations
        How many standard deviations above its mean the cost must be.

    Returns
    -------
    [batch]
        Which scenes those are.
    """
    _, snap, ant = sensing.y.shape
    free = max(1.0, snap * (ant - sources) - sources * sum(sensing.domain.free) / 2)
    return cost > sensing.noise_var * (free + deviations * free**0.5)


def sees_little(sensing: Sensing) -> Bool[Tensor, " batch"]:
    """Find the scenes whose snapshots observe less than a third of the N dimensions of the field at the surface.

    In these, several positions explain the snapshots almost equally well.

    Parameters
    ----------
    sensing
        The scenes.

    Returns
    -------
    [batch]
        Which scenes those are.
    """
    return sensing.directions < _FEW * sensing.array.size


@dataclass(frozen=True)
class Exchange:
    """How sources are exchanged.

    Parameters
    ----------
    gains
        The map of gains in which places are searched for.
    rounds
        The largest number of passes over all sources.
    tries
        The number of places to try for each source, the best first.
    iterations
        The largest number of Gauss-Newton steps of a fit.
    tolerance
        The tolerance of a fit, in units of sigma^2.
    """

    gains: GainMap
    rounds: int
    tries: int
    iterations: int
    tolerance: float

    def improved(self, sensing: Sensing, rows: Tensor, fit: Fit) -> Fit:
        """Improve the fit of some scenes.

        Parameters
        ----------
        sensing
            All scenes.
        rows
            The numbers of the scenes of the fit.
        fit
            The fit, in which every slot holds a source.

        Returns
        -------
        Fit
            The same fit, or a better one.
        """
        scenes = sensing.scenes(rows)
        for _ in range(self.rounds if fit.polar.shape[1] > 1 else 0):
            active = self._doubtful(scenes, fit).nonzero()[:, 0]
            if len(active) == 0:
                break
            better = self._round(scenes[active], rows[active], _part(fit, active))
            if not (better.value < fit.value[active]).any():
                break
            fit = _put(fit, active, better)
        return fit

    def _doubtful(self, sensing: Sensing, fit: Fit) -> Bool[Tensor, " batch"]:
        """Find the scenes that are worth trying."""
        sources = fit.polar.shape[1]
        away = (fit.polar[:, :, None, :2] - fit.polar[:, None, :, :2]).abs() < _BEAM * self._steps(fit.polar)
        pairs = torch.ones(sources, sources, dtype=torch.bool, device=away.device).triu(1)
        together = (away.all(-1) & pairs).any(-1).any(-1)
        few = sees_little(sensing) & surprising(sensing, fit.value, sources)
        return few | (together & surprising(sensing, fit.value, sources, 0.0))

    def _steps(self, like: Tensor) -> Tensor:
        """Return the steps of the grid in u and v; along an axis of one point all places share a beam."""
        return torch.tensor([each or 1.0 for each in self.gains.grid.step[:2]]).to(like)

    def _round(self, sensing: Sensing, rows: Tensor, fit: Fit) -> Fit:
        """Run one pass: places for every source from one map, tried one after another."""
        polar = fit.polar
        B = sensing.responses(steering_matrix(sensing.array, polar))
        present = torch.ones(polar.shape[:2], dtype=torch.bool, device=polar.device)
        projection = project(B, sensing.y, present)
        maps = self.gains.elsewhere(rows, projection, projection.inverse_factor(B))
        for k in range(polar.shape[1]):
            places, best_near = self._places(maps[:, k], polar[:, k])
            for place in range(places.valid.shape[1]):
                promising = places.valid[:, place] & (places.value[:, place] > _PROMISING * best_near)
                fit = self._tried(sensing, fit, k, places.polar[:, place], promising)
        return fit

    def _places(self, gain: Tensor, polar: Tensor) -> tuple[Peaks, Tensor]:
        """Return the best places at least a beam away from the source, and the best gain within that beam."""
        grid = self.gains.grid
        away = (grid.polar.to(polar)[None, :, :2] - polar[:, None, :2]).abs()
        near = (away < _BEAM * self._steps(polar)).all(-1)
        return peaks(gain.masked_fill(near, 0.0), grid, self.tries, 0.0), gain.masked_fill(~near, 0.0).amax(1)

    def _tried(self, sensing: Sensing, fit: Fit, k: int, place: Tensor, promising: Tensor) -> Fit:
        """Return the fits with source k at `place`, if that is promising and turns out better."""
        rows = promising.nonzero()[:, 0]
        if len(rows) == 0:
            return fit
        start = fit.polar[rows].clone()
        start[:, k] = sensing.domain.clamp(place[rows])
        present = torch.ones(start.shape[:2], dtype=torch.bool, device=start.device)
        scenes = sensing[rows]
        end = fit_conditional(scenes, start, present, tolerance=self.tolerance, iterations=self.iterations)
        better = end.value < fit.value[rows] * (1 - _WORTH) - self.tolerance * scenes.noise_var
        return _put(fit, rows[better], _part(end, better))


def _part(fit: Fit, rows: Tensor) -> Fit:
    return Fit(fit.polar[rows], fit.value[rows], fit.converged[rows])


def _put(fit: Fit, rows: Tensor, part: Fit) -> Fit:
    polar, value, converged = fit.polar.clone(), fit.value.clone(), fit.converged.clone()
    polar[rows], value[rows], converged[rows] = part.polar, part.value, part.converged
    return Fit(polar, value, converged)
