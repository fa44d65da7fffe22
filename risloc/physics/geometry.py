"""Geometry: the surface, which is the elements of the array and the domain of the estimates, and the coordinates of sources.

A source has a `location` (azimuth, elevation, distance) and, equivalently, polar coordinates (u, v, w): the direction
cosines u = sin az cos el, v = sin el, and the inverse distance w = 1 / r. Estimation works in (u, v, w), in which
the phase of the steering vector is close to linear; w = 0 is the far field.

Axes: elem N.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from risloc.utils.argument_checks import check_tensor

__all__ = ["SPEED_OF_LIGHT", "Array", "Domain", "Surface", "location_of", "planar_array", "polar_of", "position_of"]

SPEED_OF_LIGHT = 299_792_458.0


@dataclass(frozen=True, kw_only=True)
class Array:
    """A planar array in the x-y plane, with its boresight along +z.

    Parameters
    ----------
    elements : [elem, 2]
        x and y in metres, row by row, x fastest. The origin is the phase reference.
    wavelength
        The wavelength in metres.
    """

    elements: Float[Tensor, "elem 2"]
    wavelength: float

    @property
    def size(self) -> int:
        """The number of elements N."""
        return self.elements.shape[0]

    @property
    def wavenumber(self) -> float:
        """k = 2 pi / wavelength, in rad/m."""
        return 2 * math.pi / self.wavelength

    @property
    def beams(self) -> tuple[float, float]:
        """The beam width lambda / aperture in u and v, where each element adds half a wavelength to the aperture."""
        extent = self.elements.amax(0) - self.elements.amin(0) + self.wavelength / 2
        return self.wavelength / float(extent[0]), self.wavelength / float(extent[1])

    def to(self, like: Tensor) -> "Array":
        """Return this array in the real precision and on the device of a tensor.

        Parameters
        ----------
        like
            The tensor to match.

        Returns
        -------
        Array
            The converted array.
        """
        real = torch.empty((), dtype=like.dtype).real.dtype
        return Array(elements=self.elements.to(like.device, real), wavelength=self.wavelength)


def planar_array(
    n_h: int, n_v: int, wavelength: float, reference: str = "centre", spacing: float | None = None
) -> Array:
    """Make a uniform planar array of n_h x n_v elements, float64.

    Parameters
    ----------
    n_h
        The number of elements in a row.
    n_v
        The number of rows.
    wavelength
        The wavelength in metres.
    reference
        "centre" puts the origin at the centre of the array, "first" at element 0.
    spacing
        The distance between neighbouring elements in metres; None: half a wavelength.

    Returns
    -------
    Array
        The array.

    Raises
    ------
    ValueError
        The reference is neither of the two.
    """
    if reference not in ("centre", "first"):
        raise ValueError(f"reference: expected 'centre' or 'first', got {reference!r}")
    origin = (0, 0) if reference == "first" else ((n_h - 1) / 2, (n_v - 1) / 2)
    step = wavelength / 2 if spacing is None else spacing
    x, y = ((torch.arange(n, dtype=torch.float64) - o) * step for n, o in zip((n_h, n_v), origin, strict=True))
    elements = torch.stack([x.repeat(n_v), y.repeat_interleave(n_h)], dim=-1)
    return Array(elements=elements, wavelength=wavelength)


def polar_of(location: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert (azimuth, elevation, distance) to (u, v, w).

    Parameters
    ----------
    location : [*batch, 3]
        Azimuth and elevation in radians, distance in metres.

    Returns
    -------
    [*batch, 3]
        (u, v, w), w in 1/m.
    """
    check_tensor("location", location, 3, complex_=False)
    azimuth, elevation, distance = location.unbind(-1)
    return torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), 1 / distance], dim=-1)


def location_of(polar: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert (u, v, w) to (azimuth, elevation, distance); the inverse of `polar_of` for z > 0.

    Parameters
    ----------
    polar : [*batch, 3]
        (u, v, w), w in 1/m.

    Returns
    -------
    [*batch, 3]
        Azimuth and elevation in radians, distance in metres.
    """
    check_tensor("polar", polar, 3, complex_=False)
    u, v, w = polar.unbind(-1)
    return torch.stack([torch.atan2(u, _cosine_z(u, v)), v.clamp(-1, 1).asin(), 1 / w], dim=-1)


def position_of(location: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Compute the position p = r (sin az cos el, sin el, cos az cos el).

    Parameters
    ----------
    location : [*batch, 3]
        Azimuth and elevation in radians, distance in metres.

    Returns
    -------
    [*batch, 3]
        (x, y, z) in metres.
    """
    check_tensor("location", location, 3, complex_=False)
    azimuth, elevation, distance = location.unbind(-1)
    unit = [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()]
    return distance[..., None] * torch.stack(unit, dim=-1)


def _cosine_z(u: Tensor, v: Tensor) -> Tensor:
    return (1 - u.square() - v.square()).clamp_min(0).sqrt()


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The closed region that contains the sources and all estimates.

    A span of zero width fixes its coordinate, which is then no longer estimated.

    Parameters
    ----------
    azimuth
        (lowest, highest) in radians, inside (-pi/2, pi/2).
    elevation
        (lowest, highest) in radians, inside (-pi/2, pi/2).
    distance
        (nearest, farthest) in metres, positive.
    """

    azimuth: tuple[float, float]
    elevation: tuple[float, float]
    distance: tuple[float, float]

    @classmethod
    def of_degrees(
        cls, azimuth: tuple[float, float], elevation: tuple[float, float], distance: tuple[float, float]
    ) -> "Domain":
        """Make a domain from spans of azimuth and elevation in degrees.

        Parameters
        ----------
        azimuth
            (lowest, highest) in degrees.
        elevation
            (lowest, highest) in degrees.
        distance
            (nearest, farthest) in metres.

        Returns
        -------
        Domain
            The domain.
        """
        angles = ((math.radians(low), math.radians(high)) for low, high in (azimuth, elevation))
        return cls(azimuth=next(angles), elevation=next(angles), distance=distance)

    @property
    def free(self) -> tuple[bool, bool, bool]:
        """Which of (u, v, w) are estimated."""
        return tuple(high > low for low, high in (self.azimuth, self.elevation, self.distance))  # type: ignore[return-value]

    @property
    def inverse_distance(self) -> tuple[float, float]:
        """The (lowest, highest) w = 1 / r, in 1/m."""
        return 1 / self.distance[1], 1 / self.distance[0]

    @property
    def polar_box(self) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
        """The smallest box in (u, v, w) that contains the domain: ((u_lo, u_hi), (v_lo, v_hi), (w_lo, w_hi))."""
        low, high = self.elevation
        cosines = [math.cos(low), math.cos(high)] + ([1.0] if low <= 0 <= high else [])
        u = [math.sin(a) * c for a in self.azimuth for c in (min(cosines), max(cosines))]
        return (min(u), max(u)), (math.sin(low), math.sin(high)), self.inverse_distance

    def contains(self, polar: Float[Tensor, "*batch 3"], margin: float = 1e-5) -> Bool[Tensor, "*batch"]:
        """Test whether points lie in the domain.

        Parameters
        ----------
        polar : [*batch, 3]
            (u, v, w).
        margin
            The tolerance, in radians and relative in w.

        Returns
        -------
        [*batch]
            True for points inside.
        """
        u, v, w = polar.unbind(-1)
        azimuth, elevation = torch.atan2(u, _cosine_z(u, v)), v.clamp(-1, 1).asin()
        low, high = self.inverse_distance
        inside = (u.square() + v.square() <= 1) & (w >= low * (1 - margin)) & (w <= high * (1 + margin))
        for angle, (lowest, highest) in ((azimuth, self.azimuth), (elevation, self.elevation)):
            inside = inside & (angle >= lowest - margin) & (angle <= highest + margin)
        return inside

    def clamp(self, polar: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Clamp elevation, then azimuth, then inverse distance to the domain.

        Parameters
        ----------
        polar : [*batch, 3]
            (u, v, w).

        Returns
        -------
        [*batch, 3]
            The clamped (u, v, w).
        """
        u, v, w = polar.unbind(-1)
        v = v.clamp(math.sin(self.elevation[0]), math.sin(self.elevation[1]))
        cosine = (1 - v.square()).clamp_min(1e-12).sqrt()
        u = torch.maximum(torch.minimum(u, math.sin(self.azimuth[1]) * cosine), math.sin(self.azimuth[0]) * cosine)
        return torch.stack([u, v, w.clamp(*self.inverse_distance)], dim=-1)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """An array and the domain of its sources: what grids, likelihoods and bounds need of a scenario or a setup.

    Parameters
    ----------
    array
        The elements.
    domain
        The region of the sources and of all estimates.
    """

    array: Array
    domain: Domain
