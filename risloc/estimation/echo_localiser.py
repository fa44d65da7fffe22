"""Locates sources with their echoes: one answer whether there are echoes or none, and whether sigma^2 is given or not.

Axes: batch B, src K, snap L, ant M.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from risloc.estimation.assessment import Estimates
from risloc.estimation.conditional import Sensing
from risloc.estimation.direct_path import constant_symbols
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.localiser import Localiser
from risloc.estimation.wave_estimates import assess_waves
from risloc.estimation.wave_fit import wave_responses
from risloc.estimation.wave_order import OrderedWaves, ordered_waves, waves_of_unknown_noise
from risloc.estimation.wave_search import WaveSearch
from risloc.estimation.waves import Waves
from risloc.physics.echo_domain import echo_domain
from risloc.physics.geometry import Surface
from risloc.physics.grid import PolarGrid, polar_grid

__all__ = ["ECHOES", "EchoAnswer", "EchoLocaliser", "EchoSearch", "most_waves"]

ECHOES = ("auto", "never", "always")
"""Whether waves of the same symbols count as echoes: where symbols vary and can tell, never, or always."""

_MOST_WAVES = 24


def most_waves(sources: int, snapshots: int, antennas: int) -> int:
    """Compute the largest number of waves that a search may use.

    Each source has 2 L + 4 real unknowns and each echo 5, of 2 M L real samples. Half of the samples are left for the noise.

    Parameters
    ----------
    sources
        The largest number of sources.
    snapshots
        The number of snapshots L.
    antennas
        The number of antennas M.

    Returns
    -------
    int
        The number of waves, at least that of the sources.
    """
    carried = (snapshots * antennas - (2 * snapshots + 4)) // 5
    return max(sources, min(_MOST_WAVES, carried))


@dataclass(frozen=True)
class EchoAnswer:
    """Located sources with their echoes.

    Parameters
    ----------
    estimates
        The estimates; their echoes are set.
    responses : [batch, snap, src, ant]
        The responses of the sources with their echoes, as rows.
    noise_var : [batch]
        sigma^2: the given one, or that of the residual if none is given.
    believed : [batch]
        Whether a given sigma^2 agrees with the data.
    """

    estimates: Estimates
    responses: Complex[Tensor, "batch snap src ant"]
    noise_var: Float[Tensor, " batch"]
    believed: Bool[Tensor, " batch"]


class EchoLocaliser:
    """The search for sources with echoes on a surface.

    Parameters
    ----------
    localiser
        The localiser of the surface.
    echoes
        One of `ECHOES`, but not "never".
    """

    def __init__(self, localiser: Localiser, echoes: str = "auto") -> None:
        self.localiser, self.echoes = localiser, echoes
        surface = Surface(array=localiser.surface.array, domain=echo_domain(localiser.surface.domain))
        self.grid: PolarGrid = polar_grid(surface, localiser.search.coarse)

    def locate(self, sensing: Sensing, *, count: int | None = None, given: bool, checked: bool = True) -> EchoAnswer:
        """Locate the sources of a batch of scenes.

        Parameters
        ----------
        sensing
            The scenes; without a given sigma^2 their noise_var is not used.
        count
            The number of sources if it is known.
        given
            Whether sigma^2 is given.
        checked
            Whether the search ignores a given sigma^2 where the data contradict it.

        Returns
        -------
        EchoAnswer
            The sources with their echoes.
        """
        return self.search(sensing, count=count).answer(given=given, checked=checked)

    def search(self, sensing: Sensing, *, count: int | None = None) -> "EchoSearch":
        """Search without sigma^2, which then answers with a given one as well as without.

        Parameters
        ----------
        sensing
            The scenes.
        count
            The number of sources if it is known.

        Returns
        -------
        EchoSearch
            The search.
        """
        one = sensing.y.shape[1] == 1 and self.echoes == "auto"
        return EchoSearch(self, sensing, count, echoes=not one)


class EchoSearch:
    """What a search without sigma^2 finds in a batch of scenes.

    Parameters
    ----------
    localiser
        The localiser.
    sensing
        The scenes.
    count
        The number of sources if it is known.
    echoes
        Whether sources may have echoes.
    """

    def __init__(self, localiser: EchoLocaliser, sensing: Sensing, count: int | None, *, echoes: bool) -> None:
        self._localiser, self._sensing, self._count, self._echoes = localiser, sensing, count, echoes
        self._gains = GainMap(sensing, localiser.localiser.coarse)
        _, snapshots, antennas = sensing.y.shape
        most = localiser.localiser.slots if count is None else count
        slots = most_waves(most, snapshots, antennas) if echoes else max(1, most)
        start = Waves.none(len(sensing), slots, max(1, most), sensing.domain, sensing.y)
        self._search = WaveSearch(sensing, self._gains, localiser.grid, least=count or 0, echoes=echoes)
        self._waves = waves_of_unknown_noise(self._search, start)

    def answer(self, *, given: bool, checked: bool = True) -> EchoAnswer:
        """Answer with sigma^2 given or unknown.

        Parameters
        ----------
        given
            Whether sigma^2 is given.
        checked
            Whether a given sigma^2 is ignored where the data contradict it.

        Returns
        -------
        EchoAnswer
            The sources with their echoes.
        """
        sensing, found = self._sensing, self._ordered(given=given, checked=checked)
        ambiguous = torch.full_like(found.believed, not self._echoes)
        if self._echoes:
            ambiguous = _ambiguous(sensing, found)
            rows = ambiguous.nonzero()[:, 0]
            if self._localiser.echoes == "auto" and len(rows):
                apart = EchoSearch(self._localiser, sensing[rows], self._count, echoes=False)
                found = _put(found, rows, apart._ordered(given=given, checked=checked))
        noise_var = sensing.noise_var if given else found.noise_var.to(sensing.noise_var)
        level = dataclasses.replace(sensing, noise_var=noise_var)
        estimates = assess_waves(level, found.waves, found.converged, ambiguous, self._gains)
        return EchoAnswer(estimates, wave_responses(sensing, found.waves), noise_var, found.believed)

    def _ordered(self, *, given: bool, checked: bool) -> OrderedWaves:
        iterations = self._localiser.localiser.search.iterations
        return ordered_waves(self._search, self._waves, given=given, checked=checked, iterations=iterations)


def _ambiguous(sensing: Sensing, found: OrderedWaves) -> Bool[Tensor, " batch"]:
    """Find the scenes in which a source with echoes has symbols that do not vary."""
    level = dataclasses.replace(sensing, noise_var=found.noise_var.to(sensing.noise_var))
    return (constant_symbols(level, found.waves) & (found.waves.own.sum(1) > 1)).any(1)


def _put(found: OrderedWaves, rows: Tensor, again: OrderedWaves) -> OrderedWaves:
    """Return the answers with those of some scenes replaced."""
    blank = found.waves[rows]
    empty = dataclasses.replace(blank, present=torch.zeros_like(blank.present))
    noise_var, believed, converged = found.noise_var.clone(), found.believed.clone(), found.converged.clone()
    noise_var[rows], believed[rows], converged[rows] = again.noise_var, again.believed, again.converged
    return OrderedWaves(found.waves.put(rows, again.waves.in_slots_of(empty)), noise_var, believed, converged)
