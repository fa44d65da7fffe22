"""A room to trace waves in: a shoebox around the surface, what its faces are made of, and the base station in it.

Positions are in the surface's own frame, x and y along it and z in front; y is up, and the room may be turned about it.
"""

import importlib.resources
import math
import os
import re
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.config import ParamError, build, param, read_yaml, shown

__all__ = ["FACES", "MOST_REFLECTIONS", "Room", "read_room", "room_names", "shoebox"]

FACES = {"left": (0, 0), "right": (0, 1), "floor": (1, 0), "ceiling": (1, 1), "behind": (2, 0), "front": (2, 1)}
"""The room's faces: the axis that each is normal to, and whether it is at the low or the high end of its span."""

MOST_REFLECTIONS = 10
"""Of a path: an empty room has some 1500 such paths between two points."""

_MOST_ANTENNAS = 1024
_FAR = 1e4  # metres
_MATERIAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Room:
    """A shoebox, the surface at the origin, and a base station of columns x rows antennas (YAML files in `risloc/scenes/rooms`)."""

    x_span_m: Span = param("left and right wall", unit="m", ge=-_FAR, le=_FAR)
    y_span_m: Span = param("floor and ceiling", unit="m", ge=-_FAR, le=_FAR)
    z_span_m: Span = param("the wall behind the surface and the one in front", unit="m", ge=-_FAR, le=_FAR)
    yaw_deg: float = param(
        "turn of the room about y; 0: its walls are parallel to the surface", unit="deg", ge=-360.0, le=360.0
    )
    faces: dict[str, str] = param("ITU-R P.2040 material of each face that is there, such as 'concrete' or 'metal'")
    thickness_m: float = param("of every face", unit="m", ge=1e-4, le=100.0)
    max_depth: int = param("most reflections of a path; 0: line of sight only", ge=0, le=MOST_REFLECTIONS)
    bs_position_m: tuple[float, float, float] = param("centre of the base station", unit="m", ge=-_FAR, le=_FAR)
    bs_yaw_deg: float = param("turn of its rows about y; 0: along x", unit="deg", ge=-360.0, le=360.0)
    bs_columns: int = param("its antennas in a row", ge=1, le=_MOST_ANTENNAS)
    bs_rows: int = param("its rows, one above the other", ge=1, le=_MOST_ANTENNAS)
    bs_spacing: float = param("distance of neighbouring antennas", unit="wavelengths", ge=1e-3, le=1e3)

    def __post_init__(self) -> None:
        for name in ("x_span_m", "y_span_m", "z_span_m"):
            low, high = getattr(self, name)
            if not low < 0 < high:
                raise ParamError(
                    f"{name}: expected [low, high] with the surface's centre, 0, between them, got {[low, high]}"
                )
        if unknown := sorted(set(self.faces) - set(FACES)):
            raise ParamError(f"faces: expected some of {', '.join(FACES)}, got {shown(unknown[0])}; mend its name")
        for face, material in self.faces.items():
            if not _MATERIAL.fullmatch(material):
                raise ParamError(
                    f"faces.{face}: expected a material's name of letters, digits, - and _, at most 64, got {shown(material)}; mend it"
                )
        if self.antennas > _MOST_ANTENNAS:
            raise ParamError(
                f"bs_columns, bs_rows: expected at most {_MOST_ANTENNAS} antennas, got {self.bs_columns} x {self.bs_rows}; take fewer"
            )
        if not self.contains(torch.tensor(self.bs_position_m)).all():
            raise ParamError(f"bs_position_m: expected a place in the room, got {list(self.bs_position_m)}; move it")

    @property
    def antennas(self) -> int:
        """M."""
        return self.bs_columns * self.bs_rows

    def contains(self, position: Float[Tensor, "*batch 3"]) -> Bool[Tensor, "*batch"]:
        """Whether positions, in the surface's frame, lie between the walls."""
        at = position @ _turn(self.yaw_deg).to(position)  # the inverse turn, of rows
        low, high = torch.tensor([self.x_span_m, self.y_span_m, self.z_span_m]).to(position).unbind(-1)
        return ((at > low) & (at < high)).all(-1)

    def antenna_positions(self, wavelength: float) -> Float[Tensor, "ant 3"]:
        """Where the antennas are, metres; row-major, the bottom row first."""
        step = self.bs_spacing * wavelength
        along = (torch.arange(self.bs_columns, dtype=torch.float64) - (self.bs_columns - 1) / 2) * step
        up = (torch.arange(self.bs_rows, dtype=torch.float64) - (self.bs_rows - 1) / 2) * step
        flat = [along.repeat(self.bs_rows), up.repeat_interleave(self.bs_columns), torch.zeros(self.antennas).double()]
        return torch.stack(flat, -1) @ _turn(self.bs_yaw_deg).T + torch.tensor(self.bs_position_m, dtype=torch.float64)


def shoebox(room: Room) -> list[tuple[str, Float[Tensor, "4 3"]]]:
    """The faces that are there: the material, and the corners in the surface's frame, in turn about the face."""
    spans = torch.tensor([room.x_span_m, room.y_span_m, room.z_span_m], dtype=torch.float64)
    found = []
    for name, material in room.faces.items():
        axis, end = FACES[name]
        first, second = (i for i in range(3) if i != axis)
        corners = spans[:, end].repeat(4, 1)
        corners[:, first] = spans[first][[0, 1, 1, 0]]
        corners[:, second] = spans[second][[0, 0, 1, 1]]
        found.append((material, corners @ _turn(room.yaw_deg).T))
    return found


def read_room(name: "str | os.PathLike[str]") -> Room:
    """A room that comes with the package, by its name, or one in a YAML file of one's own.

    Raises
    ------
    risloc.config.ParamError
        A value is missing, unknown or outside its domain.
    """
    name = os.fspath(name)
    if name in room_names():
        with importlib.resources.as_file(importlib.resources.files("risloc.scenes") / "rooms" / f"{name}.yaml") as path:
            return build(Room, read_yaml(path), name)
    return build(Room, read_yaml(name), name)


def room_names() -> list[str]:
    """The rooms that come with the package."""
    files = (importlib.resources.files("risloc.scenes") / "rooms").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _turn(yaw_deg: float) -> Float[Tensor, "3 3"]:
    """The rotation about y that takes z towards x."""
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]], dtype=torch.float64)
