"""Where the images lie from which echoes arrive: at steeper angles than the sources, and farther away."""

import math

from risloc.physics.geometry import Domain

__all__ = ["FARTHER", "echo_domain"]

STEEPEST = math.radians(87.0)
FARTHER = 8.0
"""The distance of the farthest image over that of the farthest source."""


def echo_domain(domain: Domain) -> Domain:
    """Return the region of the images: up to 87 degrees in both angles, and up to eight times as far as the sources.

    An image lies behind a wall. It is farther than its source, but it may be nearer than another source. Angles that are fixed
    stay fixed.

    Parameters
    ----------
    domain
        The region of the sources.

    Returns
    -------
    Domain
        The region of the images, which contains that of the sources.
    """
    azimuth, elevation = (
        (min(low, -STEEPEST), max(high, STEEPEST)) if high > low else (low, high)
        for low, high in (domain.azimuth, domain.elevation)
    )
    nearest, farthest = domain.distance
    return Domain(azimuth=azimuth, elevation=elevation, distance=(nearest, FARTHER * farthest))
