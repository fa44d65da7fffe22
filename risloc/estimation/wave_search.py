"""Search for sources with echoes: growth by two moves, and merging.

Growth adds one wave at a time: a new source, at the place of the largest likelihood gain, or an echo of a source, at that of
`risloc.estimation.echo_place`. Both are fitted jointly with all other waves, and the smaller BIC wins. Greedy growth takes a
strong echo for a source, because free symbols explain a part of all that is still missing. Therefore sources whose symbols are
proportional are merged afterwards where this lowers BIC: the evidence is that of the likelihood, that their ratio is constant
over the snapshots.

Axes: row, wave W, src K, snap L.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.echo_place import best_echo
from risloc.estimation.exchange import sees_little
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.projection import Projection, likelihood_gain
from risloc.estimation.spectrum import peaks
from risloc.estimation.wave_criterion import Criterion
from risloc.estimation.wave_fit import fit_waves, project_waves
from risloc.estimation.waves import Waves
from risloc.physics.grid import PolarGrid
from risloc.physics.steering import steering_matrix

__all__ = ["WaveSearch"]

_TRIES = 8  # places of a new source whose exact gain is computed
_PROPORTIONAL = 0.5  # the least correlation of the symbols of two sources that are tried as one
_WEAKEST = 2  # waves of a scene that are tried without
_SURELY = 1e-3  # by how much BIC must fall
_LOOSE = 1.0  # tolerance of a fit, in units of the level of the residual
_MISSING = 1e9  # what the criterion of a source costs that is known to exist and is missing

_Step = Callable[[Tensor, Waves, Tensor, Criterion], tuple[Waves, Tensor]]
"""Takes the numbers of scenes, all waves and their values, and the criterion; returns better waves and their values."""


class WaveSearch:
    """The search in a batch of scenes.

    Parameters
    ----------
    sensing
        The scenes.
    gains
        The map of gains in which sources are searched for.
    grid
        The grid of the region of the echoes.
    steps
        The largest number of Gauss-Newton steps of a fit.
    least
        The number of sources that are known to exist: a model with fewer is worse than any with as many.
    echoes
        Whether sources may have echoes.
    """

    def __init__(
        self,
        sensing: Sensing,
        gains: GainMap,
        grid: PolarGrid,
        *,
        steps: int,
        least: int = 0,
        echoes: bool = True,
    ) -> None:
        self.sensing, self.gains, self.grid, self.steps, self.least = sensing, gains, grid, steps, least
        self._echoes, self._echoing = echoes, torch.zeros(len(sensing), dtype=torch.bool, device=sensing.y.device)
        self._moves = (self._with_source, self._with_echo) if echoes else (self._with_source,)

    def settled(self, start: Waves, criterion: Criterion) -> Waves:
        """Grow, merge if sources may have echoes, and prune.

        Where a scene has echoes at the start, a source costs 2 ln N more, for the choice among N places: echoes
        that are too weak to be found one by one otherwise pass for a source together.

        Parameters
        ----------
        start
            The waves so far.
        criterion
            The criterion.

        Returns
        -------
        Waves
            The waves.

        References
        ----------
        Chen and Chen 2008, "Extended Bayesian information criteria for model selection with large model spaces".
        """
        self._echoing = start.total > start.count
        waves = self.grown(start, criterion)
        return self.pruned(self.merged(waves, criterion) if self._echoes else waves, criterion)

    def grown(self, start: Waves, criterion: Criterion) -> Waves:
        """Add waves to each scene as long as the criterion falls.

        Parameters
        ----------
        start
            The waves so far.
        criterion
            The criterion.

        Returns
        -------
        Waves
            The waves.
        """
        return self._repeated(self._best_move, lambda waves: waves.total < waves.present.shape[1], start, criterion)

    def merged(self, start: Waves, criterion: Criterion) -> Waves:
        """Merge sources of proportional symbols where this lowers the criterion, until no pair is left that does.

        Parameters
        ----------
        start
            The waves.
        criterion
            The criterion.

        Returns
        -------
        Waves
            The waves.
        """
        return self._repeated(self._merge_once, lambda waves: waves.count > 1, start, criterion)

    def pruned(self, start: Waves, criterion: Criterion) -> Waves:
        """Remove the weakest waves where this lowers the criterion, until none is left whose removal does.

        A source that growth added while much was missing may explain nothing that is left.

        Parameters
        ----------
        start
            The waves.
        criterion
            The criterion.

        Returns
        -------
        Waves
            The waves.
        """
        return self._repeated(self._prune_once, lambda waves: waves.total > 0, start, criterion)

    def _repeated(
        self, step: _Step, possible: Callable[[Waves], Bool[Tensor, " batch"]], start: Waves, criterion: Criterion
    ) -> Waves:
        """Repeat a step in every scene where it is possible and lowered the criterion the last time."""
        waves, value = start, self._rated(torch.arange(len(start)), start, criterion)
        active = possible(waves)
        while active.any():
            rows = active.nonzero()[:, 0]
            before = value[rows]
            waves, value = step(rows, waves, value, criterion)
            active[rows] = value[rows] < before
            active &= possible(waves)
        return waves

    def _prune_once(self, rows: Tensor, waves: Waves, value: Tensor, criterion: Criterion) -> tuple[Waves, Tensor]:
        """Try to remove the weakest wave of each scene or, where that does not help, the next."""
        before = value[rows]
        for rank in range(_WEAKEST):
            still = rows[(value[rows] == before) & (waves.total[rows] > rank)]
            if len(still):
                weak = _by_strength(self.sensing.scenes(still), waves[still])[:, rank]
                waves, value = self._tried(still, waves, value, waves[still].without(weak), criterion)
        return waves, value

    def _best_move(self, rows: Tensor, waves: Waves, value: Tensor, criterion: Criterion) -> tuple[Waves, Tensor]:
        scenes, start = self.sensing.scenes(rows), waves[rows]
        fit = project_waves(scenes, start)
        for move in self._moves:
            proposal, possible = move(rows, scenes, start, fit)
            waves, value = self._tried(rows[possible], waves, value, proposal[possible], criterion)
        return waves, value

    def _with_source(
        self, rows: Tensor, scenes: Sensing, waves: Waves, fit: Projection
    ) -> tuple[Waves, Bool[Tensor, " row"]]:
        """Return the waves with a source at the best of the strongest peaks, by the exact gain.

        The peaks are those of a lower bound of the gain, unless the snapshots see little of the surface.
        """
        gain_map = self.gains.further if bool(sees_little(scenes).any()) else self.gains.further_at_least
        found = peaks(gain_map(rows, fit), self.gains.grid, _TRIES, 0.0)
        polar = scenes.domain.clamp(found.polar)
        Z = scenes.responses(steering_matrix(scenes.array, polar))
        gain = torch.where(found.valid, likelihood_gain(Z, fit).nan_to_num(0.0), 0.0)
        value, best = gain.max(dim=1)
        place = polar[torch.arange(len(rows), device=rows.device), best]
        number = waves.count.clamp_max(waves.most - 1)
        proposal = waves.joined_by(place, number, torch.ones_like(waves.gain[:, 0]))
        return proposal, (value > 0) & (waves.count < waves.most)

    def _with_echo(
        self, rows: Tensor, scenes: Sensing, waves: Waves, fit: Projection
    ) -> tuple[Waves, Bool[Tensor, " row"]]:
        echo = best_echo(scenes, waves, fit, self.grid)
        return waves.joined_by(echo.polar, echo.source, echo.gain), echo.value > 0

    def _merge_once(self, rows: Tensor, waves: Waves, value: Tensor, criterion: Criterion) -> tuple[Waves, Tensor]:
        """Try to merge the pair of the most correlated symbols that has not been refused, then the next."""
        scenes, start = self.sensing.scenes(rows), waves[rows]
        s = project_waves(scenes, start).s.nan_to_num()
        inner = s.mH @ s  # [row, src, src]: s_i^H s_j
        energy = inner.diagonal(dim1=-2, dim2=-1).real
        alike = inner.abs() / (energy[:, :, None] * energy[:, None]).sqrt().clamp_min(1e-30)
        stronger = energy[:, :, None] >= energy[:, None]
        off = ~torch.eye(start.most, dtype=torch.bool, device=alike.device)
        alike = torch.where(stronger & off, alike, 0.0).flatten(1)
        open_rows = torch.arange(len(rows), device=rows.device)
        while len(open_rows):
            likeness, pair = alike[open_rows].max(dim=1)
            open_rows, pair = open_rows[likeness > _PROPORTIONAL], pair[likeness > _PROPORTIONAL]
            if len(open_rows) == 0:
                break
            source, other = pair // start.most, pair % start.most
            ratio = (inner[open_rows, source, other] / energy[open_rows, source]).to(start.gain.dtype)
            before = value[rows[open_rows]]
            proposal = start[open_rows].merged(source, other, ratio)
            waves, value = self._tried(rows[open_rows], waves, value, proposal, criterion)
            alike[open_rows, pair] = 0.0
            open_rows = open_rows[value[rows[open_rows]] >= before]
        return waves, value

    def _rated(self, rows: Tensor, waves: Waves, criterion: Criterion) -> Float[Tensor, " row"]:
        """Return the criterion with the price of missing sources and, where there are echoes, that of the choice of a place."""
        missing = (self.least - waves.count).clamp_min(0)
        choice = torch.where(self._echoing[rows], 2 * math.log(self.sensing.array.size), 0.0)
        return criterion(self.sensing.scenes(rows), waves) + _MISSING * missing + choice * waves.count

    def _tried(
        self, rows: Tensor, waves: Waves, value: Tensor, proposal: Waves, criterion: Criterion
    ) -> tuple[Waves, Tensor]:
        """Fit a proposal for some scenes and keep it where it is better."""
        if len(rows) == 0:
            return waves, value
        scenes = self.sensing.scenes(rows)
        fitted = fit_waves(scenes, proposal, tolerance=_LOOSE, iterations=self.steps).waves
        rated = self._rated(rows, fitted, criterion)
        better = rated < value[rows] - _SURELY
        value = value.clone()
        value[rows[better]] = rated[better]
        return waves.put(rows[better], fitted[better]), value


def _by_strength(sensing: Sensing, waves: Waves) -> Tensor:
    """Return the numbers of the waves of each scene, the weakest first and empty slots last."""
    power = project_waves(sensing, waves).s.abs().square().mean(1).nan_to_num()
    strength = power.gather(1, waves.source) * waves.gain.abs().square()
    return torch.where(waves.present, strength, torch.inf).argsort(dim=1)
