"""What a search for sources with echoes may try next: another source, another echo, two sources as one, or an echo elsewhere.

Axes: row, wave W, src K, snap L, ant M.
"""

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.echo_place import best_echo, echo_gain
from risloc.estimation.exchange import sees_little
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.projection import Projection, likelihood_gain
from risloc.estimation.spectrum import peaks
from risloc.estimation.wave_fit import project_waves
from risloc.estimation.waves import Waves
from risloc.physics.box_coordinates import from_box, to_box
from risloc.physics.grid import PolarGrid
from risloc.physics.steering import steering_matrix

__all__ = ["another_echo", "another_source", "at_opposite_angle", "grazing_echoes", "proportional", "weakest_first"]

_TRIES = 8  # places of a new source whose exact gain is computed
_GRAZING = 0.9  # the sine of an angle beyond which an echo is tried at the opposite angle
_INSIDE = 0.97  # the largest sine of the opposite angle


def another_source(
    gains: GainMap, rows: Tensor, scenes: Sensing, waves: Waves, fit: Projection
) -> tuple[Waves, Bool[Tensor, " row"]]:
    """Add a source at the best of the strongest peaks of the gain map, by the exact gain.

    The peaks are those of a lower bound of the gain, unless the snapshots see little of the surface.

    Parameters
    ----------
    gains
        The map of gains of all scenes.
    rows
        The numbers of these scenes in it.
    scenes
        These scenes.
    waves
        Their waves.
    fit
        The projection of the waves.

    Returns
    -------
    Waves
        The waves with the source, which comes last.
    [row]
        In which scenes there is such a source.
    """
    gain_map = gains.further if bool(sees_little(scenes).any()) else gains.further_at_least
    found = peaks(gain_map(rows, fit), gains.grid, _TRIES, 0.0)
    polar = scenes.domain.clamp(found.polar)
    Z = scenes.responses(steering_matrix(scenes.array, polar))
    gain = torch.where(found.valid, likelihood_gain(Z, fit).nan_to_num(0.0), 0.0)
    value, best = gain.max(dim=1)
    place = polar[torch.arange(len(rows), device=rows.device), best]
    number = waves.count.clamp_max(waves.most - 1)
    proposal = waves.joined_by(place, number, torch.ones_like(waves.gain[:, 0]))
    return proposal, (value > 0) & (waves.count < waves.most)


def another_echo(grid: PolarGrid, scenes: Sensing, waves: Waves, fit: Projection) -> tuple[Waves, Bool[Tensor, " row"]]:
    """Add the echo that lowers the cost most with the symbols as fitted so far.

    Parameters
    ----------
    grid
        The grid of the region of the echoes.
    scenes, waves, fit
        As in `another_source`.

    Returns
    -------
    Waves
        The waves with the echo, which comes last.
    [row]
        In which scenes there is such an echo.
    """
    echo = best_echo(scenes, waves, fit, grid)
    return waves.joined_by(echo.polar, echo.source, echo.gain), echo.value > 0


def proportional(scenes: Sensing, waves: Waves) -> tuple[Float[Tensor, "row pair"], Complex[Tensor, "row src src"]]:
    """Compute how nearly the symbols of each pair of sources are proportional.

    Parameters
    ----------
    scenes
        The scenes.
    waves
        Their waves.

    Returns
    -------
    [row, src * src]
        The modulus of the correlation of the symbols of the stronger source (row) and a weaker one (column), pair by pair;
        0 elsewhere.
    [row, src, src]
        The symbols of the second source over those of the first, by least squares.
    """
    s = project_waves(scenes, waves).s.nan_to_num()
    inner = s.mH @ s  # s_i^H s_j
    energy = inner.diagonal(dim1=-2, dim2=-1).real
    alike = inner.abs() / (energy[:, :, None] * energy[:, None]).sqrt().clamp_min(1e-30)
    stronger = energy[:, :, None] >= energy[:, None]
    off = ~torch.eye(waves.most, dtype=torch.bool, device=alike.device)
    ratio = inner / energy[..., None].clamp_min(1e-30)
    return torch.where(stronger & off, alike, 0.0).flatten(1), ratio.to(waves.gain.dtype)


def weakest_first(scenes: Sensing, waves: Waves) -> Int[Tensor, "row wave"]:
    """Sort the waves of each scene by power.

    Parameters
    ----------
    scenes
        The scenes.
    waves
        Their waves.

    Returns
    -------
    [row, wave]
        The numbers of the waves, the weakest first and empty slots last.
    """
    power = project_waves(scenes, waves).s.abs().square().mean(1).nan_to_num()
    strength = power.gather(1, waves.source) * waves.gain.abs().square()
    return torch.where(waves.present, strength, torch.inf).argsort(dim=1)


def grazing_echoes(waves: Waves) -> Bool[Tensor, "row wave"]:
    """Find the echoes at grazing angles, whose phases half-wavelength elements hardly tell from those at the opposite angle.

    Parameters
    ----------
    waves
        The waves.

    Returns
    -------
    [row, wave]
        Which waves those are.
    """
    return waves.echo & (to_box(waves.polar)[..., :2].abs().amax(-1) > _GRAZING)


def at_opposite_angle(scenes: Sensing, waves: Waves, wave: Int[Tensor, " row"]) -> Waves:
    """Move an echo of each scene to the opposite angle, with the gain that suits it.

    Parameters
    ----------
    scenes
        The scenes.
    waves
        Their waves.
    wave : [row]
        The number of the echo.

    Returns
    -------
    Waves
        The waves; the echo comes last.
    """
    at = torch.arange(len(wave), device=wave.device), wave
    box, source, rest = to_box(waves.polar[at]), waves.source[at], waves.without(wave)
    steeper = torch.nn.functional.one_hot(box[..., :2].abs().argmax(-1), 3).bool()
    place = from_box(torch.where(steeper, -box.clamp(-_INSIDE, _INSIDE), box))
    fit = project_waves(scenes, rest)
    symbols = fit.s.gather(2, source[:, None, None].expand(-1, fit.s.shape[1], 1))
    gain, _ = echo_gain(scenes, fit, place[:, None], symbols)
    return rest.joined_by(place, source, gain[:, 0])
