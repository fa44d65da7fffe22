"""Which wave of a source is its direct wave, and whether the symbols can tell echoes from sources.

An image is farther than its source, so that the direct wave is the shortest, and it is the strongest unless it is obstructed. Here it
is the shortest of the waves with at least half the power of the strongest one. This is unsure if there are several such waves, or if
the echoes together have more power than the direct wave. The latter is also how waves of another kind than the model's are
explained, such as those of the other sign of the phase.

The direct path of a source with echoes is not found if its first wave lies at a border of the region of the sources, and fits
much better outside or is weaker than an echo: its line of sight is blocked.

Axes: batch B, wave W, src K, snap L.
"""

import torch
from jaxtyping import Bool
from scipy.special import gammainccinv
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.projection import project
from risloc.estimation.reliability import at_border
from risloc.estimation.wave_fit import fit_waves, project_waves, wave_responses
from risloc.estimation.waves import Waves

__all__ = ["constant_symbols", "direct_first", "direct_lost"]

_STRONG = 0.5**0.5  # amplitude, of that of the strongest wave
_SURE = 10.0  # by how much the cost over sigma^2 falls outside the region of the sources
_TIGHT, _STEPS = 1e-2, 20  # of that fit
_ALARM = 1e-3  # the share of constant symbols that are taken for varying ones


def direct_first(sensing: Sensing, waves: Waves) -> tuple[Waves, Bool[Tensor, "batch src"]]:
    """Make the direct wave of each source its reference.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves.

    Returns
    -------
    Waves
        The waves of each source, the direct one first and the echoes by strength.
    [batch, src]
        The sources whose direct wave is unsure.
    """
    strength = waves.ordered()
    relative = strength.gain.abs()  # of the strongest wave of its source
    inside = sensing.domain.contains(strength.polar.double())
    strong = strength.present & (relative >= _STRONG)
    nearness = strength.polar[..., 2] / strength.polar[..., 2].amax().clamp_min(1e-30)
    preference = relative + torch.where(strong & inside, 10 + nearness, 0.0)
    several = (strength.own & strong[..., None]).sum(1) > 1
    waves = strength.ordered(preference)
    echoes = waves.own * (waves.echo * waves.gain.abs().square())[..., None]
    power = echoes.sum(1)  # relative to the direct wave
    return waves, several | (power > 1)


def direct_lost(sensing: Sensing, waves: Waves) -> Bool[Tensor, "batch src"]:
    """Find the sources with echoes whose first wave is that of an image.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves, fitted; the first of each source is at a border of the region of the sources if it is that of an image.

    Returns
    -------
    [batch, src]
        Which sources those are.
    """
    outside = at_border(sensing.domain, waves.polar).any(-1) & waves.reference
    several = (waves.own.sum(1) > 1).gather(1, waves.source)
    lost = torch.zeros_like(waves.sources)
    rows = (outside & several).any(1).nonzero()[:, 0]
    if len(rows) == 0:
        return lost
    scenes, some = sensing.scenes(rows), waves[rows]
    free = fit_waves(scenes, some, tolerance=_TIGHT, iterations=_STEPS, anywhere=True)
    fall = (project_waves(scenes, some).cost - free.value) / scenes.noise_var
    beyond = ~scenes.domain.contains(free.waves.polar.double()) & (fall > _SURE)[:, None]
    stronger = some.own & (some.echo & (some.gain.abs() > 1))[..., None]
    left = (outside & several)[rows] & (beyond | stronger.any(1).gather(1, some.source))
    lost[rows] = (some.own & left[..., None]).any(1)
    return lost


def constant_symbols(sensing: Sensing, waves: Waves) -> Bool[Tensor, "batch src"]:
    """Find the sources whose symbols are constant over the snapshots, as far as the noise allows to say.

    The symbols are estimates of variance sigma^2 [(B_l^H B_l)^-1]_kk, so that their weighted squares about their weighted mean
    are chi-square distributed if they are constant. A single snapshot is constant.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves.

    Returns
    -------
    [batch, src]
        Which sources those are; False in empty slots.
    """
    B = wave_responses(sensing, waves)
    fit = project(B, sensing.y, waves.sources)
    W = fit.inverse_factor(B).abs().square().sum(-2).double() * sensing.noise_var.double()[:, None, None]
    weight = torch.where(waves.sources[:, None], 1 / W.clamp_min(1e-300), 0.0)
    s = fit.s.to(torch.complex128)
    mean = (weight * s).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1e-300)
    spread = (weight * (s - mean).abs().square()).sum(1)
    varying = s.shape[1] - 1
    limit = float(gammainccinv(varying, _ALARM)) if varying else 0.0
    return waves.sources & (spread <= limit)
