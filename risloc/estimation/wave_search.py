"""Search for sources with echoes: growth by two moves, and merging.

Growth adds one wave at a time: a new source, at the place of the largest likelihood gain, or an echo of a source, at that of
`risloc.estimation.echo_place`. Each is fitted alone, and the one with the smaller BIC jointly with all other waves. Greedy growth takes a
strong echo for a source, because free symbols explain a part of all that is still missing. Therefore sources whose symbols are
proportional are merged afterwards where this lowers BIC: the evidence is that of the likelihood, that their ratio is constant
over the snapshots. Where elements lie half a wavelength apart, u = 1 and u = -1 are the same phase, so that an echo at a grazing
angle is often found on the wrong side first; it is tried at the opposite angle.

Axes: row, wave W, src K, snap L.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.wave_criterion import Criterion
from risloc.estimation.wave_fit import fit_newest, fit_waves, project_waves
from risloc.estimation.wave_moves import (
    another_echo,
    another_source,
    at_opposite_angle,
    grazing_echoes,
    proportional,
    weakest_first,
)
from risloc.estimation.waves import Waves
from risloc.physics.grid import PolarGrid

__all__ = ["WaveSearch"]

_PROPORTIONAL = 0.5  # the least correlation of the symbols of two sources that are tried as one
_WEAKEST = 2  # waves of a scene that are tried without
_SURELY = 1e-3  # by how much BIC must fall
_LOOSE = 1.0  # tolerance of a fit, in units of the level of the residual
_STEPS = 8  # of a fit
_TURNED = 6  # echoes of a scene that are tried at the opposite angle
_PROMISING = 20.0  # by how much the criterion may rise before all waves are fitted jointly
_MISSING = 1e9  # what the criterion of a source costs that is known to exist and is missing

_Step = Callable[[Tensor, Waves, Tensor, Criterion], tuple[Waves, Tensor]]
"""Takes the numbers of scenes, all waves and their values, and the criterion; returns better waves and their values."""

_Possible = Callable[[Waves], Bool[Tensor, " batch"]]
"""Tells in which scenes a step is possible."""


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
        least: int = 0,
        echoes: bool = True,
    ) -> None:
        self.sensing, self.gains, self.grid, self.least = sensing, gains, grid, least
        self._echoes, self._echoing = echoes, torch.zeros(len(sensing), dtype=torch.bool, device=sensing.y.device)

    def settled(self, start: Waves, criterion: Criterion, among: Bool[Tensor, " batch"] | None = None) -> Waves:
        """Grow; merge, if sources may have echoes; and prune.

        Where a scene has echoes at the start, a source costs 2 ln N more, for the choice among N places: echoes
        that are too weak to be found one by one otherwise pass for a source together.

        Parameters
        ----------
        start
            The waves so far.
        criterion
            The criterion.
        among : [batch]
            The scenes to search in; None: all. The others keep their waves.

        Returns
        -------
        Waves
            The waves.

        References
        ----------
        Chen and Chen 2008, "Extended Bayesian information criteria for model selection with large model spaces".
        """
        merge: list[tuple[_Step, _Possible]] = [(self._merge_once, _has_sources)] if self._echoes else []
        steps = [(self._best_move, _has_room), *merge, (self._prune_once, _has_waves)]
        among = torch.ones_like(self._echoing) if among is None else among
        return self._after(steps, start, criterion, among)

    def turned(self, start: Waves, criterion: Criterion, among: Bool[Tensor, " batch"]) -> Waves:
        """Try echoes at grazing angles at the opposite angle.

        Parameters
        ----------
        start, criterion, among
            As in `settled`.

        Returns
        -------
        Waves
            The waves.
        """
        return self._after([(self._turn_once, _has_echoes)], start, criterion, among)

    def _after(
        self, steps: "list[tuple[_Step, _Possible]]", start: Waves, criterion: Criterion, among: Bool[Tensor, " batch"]
    ) -> Waves:
        """Repeat each step in turn."""
        self._echoing = start.total > start.count
        if len(rows := among.nonzero()[:, 0]) == 0:
            return start
        waves, value = start, torch.full((len(start),), torch.inf, dtype=torch.float64, device=among.device)
        value[rows] = self._rated(rows, start[rows], criterion)
        for step, possible in steps:
            waves, value = self._repeated(step, possible, waves, value, criterion, among)
        return waves

    def better(self, first: Waves, second: Waves, criterion: Criterion) -> Waves:
        """Choose the better waves of each scene.

        Parameters
        ----------
        first
            Waves of each scene.
        second
            Others, which are chosen where the criterion is smaller.
        criterion
            The criterion. A source costs 2 ln N more in scenes in which either has echoes.

        Returns
        -------
        Waves
            The waves.
        """
        self._echoing = (first.total > first.count) | (second.total > second.count)
        every = torch.arange(len(first), device=first.present.device)
        rows = (self._rated(every, second, criterion) < self._rated(every, first, criterion)).nonzero()[:, 0]
        return first.put(rows, second[rows])

    def _repeated(
        self,
        step: "_Step",
        possible: "_Possible",
        waves: Waves,
        value: Tensor,
        criterion: Criterion,
        among: Bool[Tensor, " batch"],
    ) -> tuple[Waves, Tensor]:
        """Repeat a step in every scene where it is possible and lowered the criterion the last time."""
        active = possible(waves) & among
        while active.any():
            rows = active.nonzero()[:, 0]
            before = value[rows]
            waves, value = step(rows, waves, value, criterion)
            active[rows] = value[rows] < before
            active &= possible(waves)
        return waves, value

    def _turn_once(self, rows: Tensor, waves: Waves, value: Tensor, criterion: Criterion) -> tuple[Waves, Tensor]:
        """Try the strongest echo of each scene at a grazing angle at the opposite one or, where that does not help, the next."""
        before, start = value[rows], waves[rows]
        grazing = grazing_echoes(start)
        order = torch.where(grazing, start.gain.abs(), -1.0).argsort(dim=1, descending=True)
        for wave in order[:, :_TURNED].unbind(1):
            chosen = grazing.gather(1, wave[:, None])[:, 0]
            still = ((value[rows] == before) & chosen).nonzero()[:, 0]
            if len(still):
                proposal = at_opposite_angle(self.sensing.scenes(rows[still]), start[still], wave[still])
                waves, value = self._tried_alone(rows[still], waves, value, proposal, criterion)
        return waves, value

    def _prune_once(self, rows: Tensor, waves: Waves, value: Tensor, criterion: Criterion) -> tuple[Waves, Tensor]:
        """Try to remove the weakest wave of each scene or, where that does not help, the next."""
        before = value[rows]
        for rank in range(_WEAKEST):
            still = rows[(value[rows] == before) & (waves.total[rows] > rank)]
            if len(still):
                weak = weakest_first(self.sensing.scenes(still), waves[still])[:, rank]
                without = waves[still].without(weak)
                hopeful = self._rated(still, without, criterion) < value[still] + _PROMISING
                waves, value = self._tried(still[hopeful], waves, value, without[hopeful], criterion)
        return waves, value

    def _best_move(self, rows: Tensor, waves: Waves, value: Tensor, criterion: Criterion) -> tuple[Waves, Tensor]:
        scenes, start = self.sensing.scenes(rows), waves[rows]
        fit = project_waves(scenes, start)
        moves = [another_source(self.gains, rows, scenes, start, fit)]
        if self._echoes:
            moves.append(another_echo(self.grid, scenes, start, fit))
        best, least = start, torch.full_like(value[rows], torch.inf)
        for proposal, possible in moves:
            at = possible.nonzero()[:, 0]
            if len(at) == 0:
                continue
            alone, rated = self._fitted_alone(rows[at], proposal[at], criterion)
            better = rated < least[at]
            best, least[at[better]] = best.put(at[better], alone[better]), rated[better]
        hopeful = least < value[rows] + _PROMISING
        return self._tried(rows[hopeful], waves, value, best[hopeful], criterion)

    def _merge_once(self, rows: Tensor, waves: Waves, value: Tensor, criterion: Criterion) -> tuple[Waves, Tensor]:
        """Try to merge the pair of the most correlated symbols that has not been refused, then the next."""
        start = waves[rows]
        alike, ratio = proportional(self.sensing.scenes(rows), start)
        open_rows = torch.arange(len(rows), device=rows.device)
        while len(open_rows):
            likeness, pair = alike[open_rows].max(dim=1)
            open_rows, pair = open_rows[likeness > _PROPORTIONAL], pair[likeness > _PROPORTIONAL]
            if len(open_rows) == 0:
                break
            source, other = pair // start.most, pair % start.most
            before = value[rows[open_rows]]
            proposal = start[open_rows].merged(source, other, ratio[open_rows, source, other])
            waves, value = self._tried(rows[open_rows], waves, value, proposal, criterion)
            alike[open_rows, pair] = 0.0
            open_rows = open_rows[value[rows[open_rows]] >= before]
        return waves, value

    def _rated(self, rows: Tensor, waves: Waves, criterion: Criterion) -> Float[Tensor, " row"]:
        """Return the criterion with the price of missing sources and, where there are echoes, that of the choice of a place."""
        missing = (self.least - waves.count).clamp_min(0)
        choice = torch.where(self._echoing[rows], 2 * math.log(self.sensing.array.size), 0.0)
        return criterion(self.sensing.scenes(rows), waves) + _MISSING * missing + choice * waves.count

    def _tried_alone(
        self, rows: Tensor, waves: Waves, value: Tensor, proposal: Waves, criterion: Criterion
    ) -> tuple[Waves, Tensor]:
        """Fit the newest wave of a proposal alone, and try the proposal where this is promising."""
        alone, rated = self._fitted_alone(rows, proposal, criterion)
        hopeful = (rated < value[rows] + _PROMISING).nonzero()[:, 0]
        return self._tried(rows[hopeful], waves, value, alone[hopeful], criterion)

    def _fitted_alone(self, rows: Tensor, proposal: Waves, criterion: Criterion) -> tuple[Waves, Tensor]:
        """Fit the newest wave of a proposal alone, and rate the proposal."""
        fit = fit_newest(self.sensing.scenes(rows), proposal, tolerance=_LOOSE, iterations=_STEPS)
        return fit.waves, self._rated(rows, fit.waves, criterion)

    def _tried(
        self, rows: Tensor, waves: Waves, value: Tensor, proposal: Waves, criterion: Criterion
    ) -> tuple[Waves, Tensor]:
        """Fit a proposal for some scenes and keep it where it is better."""
        if len(rows) == 0:
            return waves, value
        scenes = self.sensing.scenes(rows)
        fitted = fit_waves(scenes, proposal, tolerance=_LOOSE, iterations=_STEPS).waves
        rated = self._rated(rows, fitted, criterion)
        better = rated < value[rows] - _SURELY
        value = value.clone()
        value[rows[better]] = rated[better]
        return waves.put(rows[better], fitted[better]), value


def _has_room(waves: Waves) -> Bool[Tensor, " batch"]:
    return waves.total < waves.present.shape[1]


def _has_sources(waves: Waves) -> Bool[Tensor, " batch"]:
    return waves.count > 1


def _has_echoes(waves: Waves) -> Bool[Tensor, " batch"]:
    return waves.total > waves.count


def _has_waves(waves: Waves) -> Bool[Tensor, " batch"]:
    return waves.total > 0
