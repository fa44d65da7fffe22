"""Search for sources with echoes: growth by two moves, and merging.

Growth adds one wave at a time: a new source, at the place of the largest likelihood gain, or an echo of a source, at that of
`risloc.estimation.echo_place`. Both are fitted jointly with all other waves, and the smaller BIC wins. Greedy growth takes a
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
from risloc.estimation.echo_place import best_echo, echo_gain
from risloc.estimation.exchange import sees_little
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.projection import Projection, likelihood_gain
from risloc.estimation.spectrum import peaks
from risloc.estimation.wave_criterion import Criterion
from risloc.estimation.wave_fit import fit_newest, fit_waves, project_waves
from risloc.estimation.waves import Waves
from risloc.physics.box_coordinates import from_box, to_box
from risloc.physics.grid import PolarGrid
from risloc.physics.steering import steering_matrix

__all__ = ["WaveSearch"]

_TRIES = 8  # places of a new source whose exact gain is computed
_PROPORTIONAL = 0.5  # the least correlation of the symbols of two sources that are tried as one
_WEAKEST = 2  # waves of a scene that are tried without
_SURELY = 1e-3  # by how much BIC must fall
_LOOSE = 1.0  # tolerance of a fit, in units of the level of the residual
_STEPS = 8  # of a fit
_GRAZING, _INSIDE = (
    0.9,
    0.97,
)  # sines of angles: beyond the first an echo is tried at the opposite angle, at most at the second
_TURNED = 6  # echoes of a scene that are tried at the opposite angle
_PROMISING = 20.0  # by how much the criterion may rise if one wave alone is fitted, for all to be fitted jointly
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
        self._moves = (self._with_source, self._with_echo) if echoes else (self._with_source,)

    def settled(self, start: Waves, criterion: Criterion, among: Bool[Tensor, " batch"] | None = None) -> Waves:
        """Grow; merge and turn, if sources may have echoes; and prune.

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
        self._echoing = start.total > start.count
        among = torch.ones_like(self._echoing) if among is None else among
        waves = self._repeated(self._best_move, _has_room, start, criterion, among)
        if self._echoes:
            waves = self._repeated(self._merge_once, _has_sources, waves, criterion, among)
            waves = self._repeated(self._turn_once, _has_echoes, waves, criterion, among)
        return self._repeated(self._prune_once, _has_waves, waves, criterion, among)

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
        step: _Step,
        possible: Callable[[Waves], Bool[Tensor, " batch"]],
        start: Waves,
        criterion: Criterion,
        among: Bool[Tensor, " batch"],
    ) -> Waves:
        """Repeat a step in every scene where it is possible and lowered the criterion the last time."""
        waves, value = start, self._rated(torch.arange(len(start)), start, criterion)
        active = possible(waves) & among
        while active.any():
            rows = active.nonzero()[:, 0]
            before = value[rows]
            waves, value = step(rows, waves, value, criterion)
            active[rows] = value[rows] < before
            active &= possible(waves)
        return waves

    def _turn_once(self, rows: Tensor, waves: Waves, value: Tensor, criterion: Criterion) -> tuple[Waves, Tensor]:
        """Try the strongest echo of each scene at a grazing angle at the opposite one or, where that does not help, the next."""
        before, start = value[rows], waves[rows]
        grazing = start.echo & (to_box(start.polar)[..., :2].abs().amax(-1) > _GRAZING)
        order = torch.where(grazing, start.gain.abs(), -1.0).argsort(dim=1, descending=True)
        for wave in order[:, :_TURNED].unbind(1):
            chosen = grazing.gather(1, wave[:, None])[:, 0]
            still = ((value[rows] == before) & chosen).nonzero()[:, 0]
            if len(still):
                turned = _turned(self.sensing.scenes(rows[still]), start[still], wave[still])
                waves, value = self._tried_alone(rows[still], waves, value, turned, criterion)
        return waves, value

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

    def _tried_alone(
        self, rows: Tensor, waves: Waves, value: Tensor, proposal: Waves, criterion: Criterion
    ) -> tuple[Waves, Tensor]:
        """Fit the newest wave of a proposal alone, and try the proposal where this is promising."""
        scenes = self.sensing.scenes(rows)
        alone = fit_newest(scenes, proposal, tolerance=_LOOSE, iterations=_STEPS).waves
        hopeful = (self._rated(rows, alone, criterion) < value[rows] + _PROMISING).nonzero()[:, 0]
        return self._tried(rows[hopeful], waves, value, alone[hopeful], criterion)

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


def _by_strength(sensing: Sensing, waves: Waves) -> Tensor:
    """Return the numbers of the waves of each scene, the weakest first and empty slots last."""
    power = project_waves(sensing, waves).s.abs().square().mean(1).nan_to_num()
    strength = power.gather(1, waves.source) * waves.gain.abs().square()
    return torch.where(waves.present, strength, torch.inf).argsort(dim=1)


def _turned(sensing: Sensing, waves: Waves, wave: Tensor) -> Waves:
    """Move an echo of each scene to the opposite angle, with the gain that suits it; it comes last."""
    at = torch.arange(len(wave), device=wave.device), wave
    box, source, rest = to_box(waves.polar[at]), waves.source[at], waves.without(wave)
    steeper = torch.nn.functional.one_hot(box[..., :2].abs().argmax(-1), 3).bool()
    place = from_box(torch.where(steeper, -box.clamp(-_INSIDE, _INSIDE), box))
    fit = project_waves(sensing, rest)
    symbols = fit.s.gather(2, source[:, None, None].expand(-1, fit.s.shape[1], 1))
    gain, _ = echo_gain(sensing, fit, place[:, None], symbols)
    return rest.joined_by(place, source, gain[:, 0])


def _has_room(waves: Waves) -> Bool[Tensor, " batch"]:
    return waves.total < waves.present.shape[1]


def _has_sources(waves: Waves) -> Bool[Tensor, " batch"]:
    return waves.count > 1


def _has_echoes(waves: Waves) -> Bool[Tensor, " batch"]:
    return waves.total > waves.count


def _has_waves(waves: Waves) -> Bool[Tensor, " batch"]:
    return waves.total > 0
