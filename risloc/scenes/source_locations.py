"""Locations of the sources of a scene: uniform in the domain, and separated from each other.

Axes: batch B, src K_MAX.
"""

import numpy as np
import torch

from risloc.physics.portable_arithmetic import phasor, units
from risloc.scenes.random_draws import Draws, Key, stream
from risloc.scenes.scenario import Scenario

__all__ = ["in_domain", "source_locations"]

_MOST_SETS = 10_000


def source_locations(scenario: Scenario, draws: Draws) -> np.ndarray:
    """Choose for each scene the first set of locations whose sources are all separated as the scenario requires.

    Parameters
    ----------
    scenario
        The scenario.
    draws
        The random numbers of the scenes.

    Returns
    -------
    [batch, src, 3]
        Azimuth and elevation in radians, distance in metres, float64.

    Raises
    ------
    ValueError
        None of 10 000 sets of a scene has the required separation.
    """
    location = in_domain(scenario, draws.sets)
    good = _separated(scenario, location, draws.count)
    chosen = location[np.arange(len(good)), good.argmax(1)]
    for row in np.flatnonzero(~good.any(1)):
        chosen[row] = _search(scenario, draws.keys[row], draws.count[row : row + 1])
    return chosen


def in_domain(scenario: Scenario, unit: np.ndarray) -> np.ndarray:
    """Scale numbers from the unit cube to the domain of the scenario.

    Parameters
    ----------
    scenario
        The scenario.
    unit : [..., 3]
        Numbers in [0, 1).

    Returns
    -------
    [..., 3]
        Azimuth and elevation in radians, distance in metres.
    """
    domain = scenario.surface.domain
    low, high = np.array([domain.azimuth, domain.elevation, domain.distance]).T
    return low + (high - low) * unit


def _search(s: Scenario, key: Key, count: np.ndarray) -> np.ndarray:
    """Draw more sets for one scene, from its second stream, until one has the required separation."""
    rng = stream(*key, 1)
    for _ in range(_MOST_SETS // 100):
        location = in_domain(s, rng.random((1, 100, s.K_MAX, 3)))
        good = _separated(s, location, count)[0]
        if good.any():
            return location[0, good.argmax()]
    raise ValueError(
        f"min_separation_uv = {s.min_separation_uv}, min_separation_deg = {s.min_separation_deg}: none of {_MOST_SETS} "
        f"random sets of {int(count[0])} sources has this separation in the angular spans; lower the separation or K_span"
    )


def _separated(s: Scenario, location: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Bool [batch, sets]: whether all pairs of the first `count` sources are separated, in (u, v) and in angle."""
    unit = np.moveaxis(units(torch.from_numpy(location)).numpy(), -1, 0)  # [3, batch, sets, src]
    i, j = np.triu_indices(s.K_MAX, 1)
    separate = np.square(unit[:2, ..., i] - unit[:2, ..., j]).sum(0) >= s.min_separation_uv * s.min_separation_uv
    chord = 2 * float(phasor(torch.tensor(s.min_separation_deg / 720, dtype=torch.float64)).imag)
    separate &= np.square(unit[..., i] - unit[..., j]).sum(0) >= chord * chord
    return (separate | (j >= count[:, None, None])).all(-1)
