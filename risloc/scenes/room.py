"""A room for ray tracing: a shoebox around the surface, the materials of its faces, and the base station.

Positions are in the frame of the surface: x and y lie in its plane, z points away from its front; y is up. The room may be
turned about y.
"""

import importlib.resources
import math
import os
import re
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.config import ParamError, build, param, shown
from risloc.utils.yaml_reader import read_yaml

__all__ = ["FACES", "MOST_REFLECTIONS", "Room", "read_room", "room_names", "shoebox"]

FACES = {"left": (0, 0), "right": (0, 1), "floor": (1, 0), "ceiling": (1, 1), "behind": (2, 0), "front": (2, 1)}
"""The faces of the room: the axis to which each is normal, and 0 for the low or 1 for the high end of its span."""

MOST_REFLECTIONS = 10
"""Upper limit of max_depth: an empty room has some 1500 paths of so many reflections between two points."""

_MOST_ANTENNAS = 1024
_FAR = 1e4  # metres
_MATERIAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Room:
    """A shoebox with the surface at its origin and a base station of columns x rows antennas (see `risloc/scenes/rooms`)."""

    x_span_m: Span = param("positions of the left and right wall", unit="m", ge=-_FAR, le=_FAR)
    y_span_m: Span = param("positions of the floor and the ceiling", unit="m", ge=-_FAR, le=_FAR)
    z_span_m: Span = param(
        "positions of the wall behind the surface and the wall in front of it", unit="m", ge=-_FAR, le=_FAR
    )
    yaw_deg: float = param(
        "rotation of the room about y; 0: its walls are parallel to the surface", unit="deg", ge=-360.0, le=360.0
    )
    faces: dict[str, str] = param("ITU-R P.2040 material of each existing face, such as 'concrete' or 'metal'")
    thickness_m: float = param("thickness of every face", unit="m", ge=1e-4, le=100.0)
    max_depth: int = param("maximum number of reflections of a path; 0: line of sight only", ge=0, le=MOST_REFLECTIONS)
    bs_position_m: tuple[float, float, float] = param("centre of the base station", unit="m", ge=-_FAR, le=_FAR)
    bs_yaw_deg: float = param(
        "rotation of the base station's rows about y; 0: along x", unit="deg", ge=-360.0, le=360.0
    )
    bs_columns: int = param("antennas in a row of the base station", ge=1, le=_MOST_ANTENNAS)
    bs_rows: int = param("rows of the base station, one above the other", ge=1, le=_MOST_ANTENNAS)
    bs_spacing: float = param("distance between neighbouring antennas", unit="wavelengths", ge=1e-3, le=1e3)

    def __post_init__(self) -> None:
        for name in ("x_span_m", "y_span_m", "z_span_m"):
            low, high = getattr(self, name)
            if not low < 0 < high:
                raise ParamError(
                    f"{name}: expected [low, high] with low < 0 < high (the surface is at 0), got {[low, high]}"
                )
        if unknown := sorted(set(self.faces) - set(FACES)):
            raise ParamError(f"faces: expected some of {', '.join(FACES)}, got {shown(unknown[0])}; correct the name")
        for face, material in self.faces.items():
            if not _MATERIAL.fullmatch(material):
                raise ParamError(
                    f"faces.{face}: expected the name of a material, at most 64 letters, digits, - and _, got {shown(material)}"
                )
        if self.antennas > _MOST_ANTENNAS:
            raise ParamError(
                f"bs_columns, bs_rows: expected at most {_MOST_ANTENNAS} antennas, got {self.bs_columns} x {self.bs_rows}; "
                "reduce the number of rows or columns"
            )
        if not self.contains(torch.tensor(self.bs_position_m)).all():
            raise ParamError(
                f"bs_position_m: expected a position in the room, got {list(self.bs_position_m)}; correct it"
            )

    @property
    def antennas(self) -> int:
        """The number of antennas M."""
        return self.bs_columns * self.bs_rows

    def contains(self, position: Float[Tensor, "*batch 3"]) -> Bool[Tensor, "*batch"]:
        """Test whether positions lie between the walls.

        Parameters
        ----------
        position : [*batch, 3]
            Positions in the frame of the surface, in metres.

        Returns
        -------
        [*batch]
            True inside the room.
        """
        at = position @ _turn(self.yaw_deg).to(position)  # the inverse rotation, applied to rows
        low, high = torch.tensor([self.x_span_m, self.y_span_m, self.z_span_m]).to(position).unbind(-1)
        return ((at > low) & (at < high)).all(-1)

    def antenna_positions(self, wavelength: float) -> Float[Tensor, "ant 3"]:
        """Compute the positions of the antennas, row-major from the bottom row.

        Parameters
        ----------
        wavelength
            The wavelength in metres.

        Returns
        -------
        [ant, 3]
            Positions in the frame of the surface, in metres.
        """
        step = self.bs_spacing * wavelength
        along = (torch.arange(self.bs_columns, dtype=torch.float64) - (self.bs_columns - 1) / 2) * step
        up = (torch.arange(self.bs_rows, dtype=torch.float64) - (self.bs_rows - 1) / 2) * step
        flat = [along.repeat(self.bs_rows), up.repeat_interleave(self.bs_columns), torch.zeros(self.antennas).double()]
        return torch.stack(flat, -1) @ _turn(self.bs_yaw_deg).T + torch.tensor(self.bs_position_m, dtype=torch.float64)


def shoebox(room: Room) -> list[tuple[str, Float[Tensor, "4 3"]]]:
    """List the existing faces of a room.

    Parameters
    ----------
    room
        The room.

    Returns
    -------
    list of (str, [4, 3])
        The material and the corners, in the frame of the surface and in order around the face.
    """
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
    """Read a room of the package by its name, or a room from a YAML file.

    Parameters
    ----------
    name
        The name of a room, or the path of a file.

    Returns
    -------
    Room
        The room.

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
    """List the rooms of the package.

    Returns
    -------
    list of str
        Their names, sorted.
    """
    files = (importlib.resources.files("risloc.scenes") / "rooms").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _turn(yaw_deg: float) -> Float[Tensor, "3 3"]:
    """Return the rotation about y that takes z towards x."""
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    return torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]], dtype=torch.float64)
