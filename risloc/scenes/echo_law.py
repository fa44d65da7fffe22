"""The law of the echoes: how many each source has, where their images lie, and how strong they are."""

import math
from dataclasses import dataclass

from risloc.config import ParamError, param
from risloc.physics.echo_domain import FARTHER
from risloc.physics.geometry import Domain
from risloc.physics.image_sources import IMAGES
from risloc.physics.reflection import CARRIERS_HZ, MATERIALS

__all__ = ["EchoLaw"]

_FAR = 1e4  # metres
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class EchoLaw:
    """Echoes of the sources: waves from images that carry the symbols of their source, with gains that stay over the block."""

    law: str = param(
        "'none'; 'farther': images in any direction, farther than their source; 'room': mirror images in a room that is drawn "
        "for each scene",
        choices=("none", "farther", "room"),
    )
    paths: int = param(
        f"maximum number of echoes of a source; 'room': the strongest are kept, of at most {IMAGES}", ge=1, le=64
    )
    power_db: float = param(
        "farther: mean total power of the echoes of a source, relative to its direct wave; gains are complex Gaussian",
        unit="dB", ge=-200.0, le=200.0,
    )  # fmt: skip
    farther_span: Span = param(
        "farther: range of the distance of an image over that of its source, which is drawn uniformly",
        ge=1.0,
        le=FARTHER,
    )
    side_span_m: Span = param(
        "room: range of the distances of the left and the right wall from the surface", unit="m", ge=1e-3, le=_FAR
    )
    height_span_m: Span = param(
        "room: range of the distances of the floor and the ceiling from the surface", unit="m", ge=1e-3, le=_FAR
    )
    front_span_m: Span = param(
        "room: range of the distance of the wall in front of the surface", unit="m", ge=1e-3, le=_FAR
    )
    behind_span_m: Span = param(
        "room: range of the distance of the wall behind the surface", unit="m", ge=1e-3, le=_FAR
    )
    yaw_span_deg: Span = param(
        "room: range of the rotation of the room about the vertical axis; 0: walls parallel to the surface",
        unit="deg", ge=-90.0, le=90.0,
    )  # fmt: skip
    materials: tuple[str, ...] = param(
        "room: materials, from which that of each wall is drawn; all are equally likely", choices=tuple(MATERIALS)
    )

    def __post_init__(self) -> None:
        if self.law == "room" and self.paths > IMAGES:
            raise ParamError(f"paths: expected at most {IMAGES} in a room, got {self.paths}; reduce it")
        if not self.materials:
            raise ParamError(f"materials: expected at least one of {', '.join(MATERIALS)}, got none; add one")

    @property
    def on(self) -> bool:
        """Whether sources have echoes."""
        return self.law != "none"

    @property
    def most(self) -> int:
        """The number of echoes for which a source has slots, 0 without a law."""
        return self.paths if self.on else 0

    def check_room(self, domain: Domain, carrier_hz: float) -> None:
        """Check that the room of every scene encloses all sources, and that its materials are specified at the carrier.

        Parameters
        ----------
        domain
            The region of the sources.
        carrier_hz
            The carrier frequency in Hz.

        Raises
        ------
        ParamError
            A source may lie outside the room, or the carrier is outside `CARRIERS_HZ`.
        """
        if self.law != "room":
            return
        if not CARRIERS_HZ[0] <= carrier_hz <= CARRIERS_HZ[1]:
            raise ParamError(
                f"echoes.law: expected a carrier of 1 to 40 GHz with 'room', for which the materials are specified, got "
                f"{carrier_hz:g} Hz; change carrier_hz"
            )
        for name, reach in _reaches(domain, self.yaw_span_deg).items():
            nearest = getattr(self, name)[0]
            if nearest < reach:
                raise ParamError(
                    f"echoes.{name}: expected at least {reach:.3f}, so that the room encloses all sources, got {nearest:g}; "
                    "increase it, or reduce distance_span_m, the angular spans or echoes.yaw_span_deg"
                )


def _reaches(domain: Domain, yaw_span_deg: Span) -> dict[str, float]:
    """Return how far sources lie from the surface along the normals of the walls."""
    low = domain.azimuth[0] - math.radians(yaw_span_deg[1])
    high = domain.azimuth[1] - math.radians(yaw_span_deg[0])
    azimuths = [low, high, *(turn for turn in (-math.pi / 2, 0.0, math.pi / 2) if low < turn < high)]
    level = 1.0 if domain.elevation[0] < 0 < domain.elevation[1] else max(map(math.cos, domain.elevation))
    farthest = domain.distance[1]
    return {
        "side_span_m": farthest * level * max(abs(math.sin(azimuth)) for azimuth in azimuths),
        "height_span_m": farthest * max(abs(math.sin(elevation)) for elevation in domain.elevation),
        "front_span_m": farthest * level * max(math.cos(azimuth) for azimuth in azimuths),
        "behind_span_m": farthest * level * max(-math.cos(azimuth) for azimuth in azimuths),
    }
