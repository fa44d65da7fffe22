"""What is varied in studies/room.py: walls, depth of reflections, and where the base station stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from risloc.scenes.room import FACES

__all__ = ["COUNTS", "PLACEMENTS", "SNRS", "WORLDS", "World"]

COUNTS, SNRS = (1, 2, 3), (10.0, 20.0)


@dataclass(frozen=True)
class World:
    """A depth in the room `hall` with some changes; `spreading`: free space's loss differs from element to element."""

    depth: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    spreading: bool = False


_PLASTER = {"faces": dict.fromkeys(FACES, "plasterboard"), "thickness_m": 0.0125}

WORLDS = {
    "line of sight": World(0),
    "line of sight, spreading loss over the surface kept": World(0, spreading=True),
    "concrete, 1 reflection": World(1),
    "concrete, 2 reflections": World(2),
    "concrete, 3 reflections": World(3),
    "plasterboard, 3 reflections": World(3, _PLASTER),
}

_STATIONS: Mapping[str, Mapping[str, Any]] = {
    "4 x 4, 2 wavelengths apart, 4 m in front (`hall`)": {},
    "4 x 4, half a wavelength apart, 4 m in front": {"bs_spacing": 0.5},
    "16 in a row, half a wavelength apart, 4 m in front": {"bs_spacing": 0.5, "bs_columns": 16, "bs_rows": 1},
    "4 x 4, half a wavelength apart, 7.7 m in front": {"bs_spacing": 0.5, "bs_position_m": (0.0, 1.0, 7.7)},
}

PLACEMENTS = {
    f"{name}; {words}": World(depth, changes)
    for name, changes in _STATIONS.items()
    for depth, words in ((0, "line of sight"), (3, "concrete, 3 reflections"))
}
