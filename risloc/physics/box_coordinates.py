"""Coordinates in which the fits run: (sin azimuth, sin elevation, 1/r), in which the domain is a box.

With t = sin azimuth and v = sin elevation, u = t sqrt(1 - v^2); in (u, v, 1/r) the limits of the domain in u depend on v.

Axes: elem N, src K.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.physics.geometry import Domain

__all__ = ["box_clamp", "box_derivatives", "from_box", "to_box"]


def to_box(polar: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert (u, v, w) to (t, v, w).

    Parameters
    ----------
    polar : [*batch, 3]
        (u, v, w), w in 1/m.

    Returns
    -------
    [*batch, 3]
        (t, v, w).
    """
    u, v, w = polar.unbind(-1)
    return torch.stack([u / (1 - v.square()).sqrt(), v, w], dim=-1)


def from_box(point: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert (t, v, w) to (u, v, w).

    Parameters
    ----------
    point : [*batch, 3]
        (t, v, w), w in 1/m.

    Returns
    -------
    [*batch, 3]
        (u, v, w).
    """
    t, v, w = point.unbind(-1)
    return torch.stack([t * (1 - v.square()).sqrt(), v, w], dim=-1)


def box_derivatives(
    dA: Complex[Tensor, "*batch elem src 3"], polar: Float[Tensor, "*batch src 3"]
) -> Complex[Tensor, "*batch elem src 3"]:
    """Convert dA/d(u, v, w) to dA/d(t, v, w): du/dt = sqrt(1 - v^2) and du/dv = -u v / (1 - v^2).

    Parameters
    ----------
    dA : [*batch, elem, src, 3]
        Derivatives with respect to (u, v, w).
    polar : [*batch, src, 3]
        (u, v, w) at which they were taken.

    Returns
    -------
    [*batch, elem, src, 3]
        Derivatives with respect to (t, v, w).
    """
    u, v = polar[..., None, :, 0], polar[..., None, :, 1]
    cosine2 = 1 - v.square()
    d_t, d_v, d_w = dA.unbind(-1)
    return torch.stack([d_t * cosine2.sqrt(), d_v - d_t * (u * v / cosine2), d_w], dim=-1)


def box_clamp(point: Float[Tensor, "*batch 3"], domain: Domain) -> Float[Tensor, "*batch 3"]:
    """Clamp each coordinate to the domain; a fixed coordinate takes its fixed value.

    Parameters
    ----------
    point : [*batch, 3]
        (t, v, w).
    domain
        The region that the result stays in.

    Returns
    -------
    [*batch, 3]
        The nearest point of the domain, as (t, v, w).
    """
    spans = (*(tuple(map(math.sin, span)) for span in (domain.azimuth, domain.elevation)), domain.inverse_distance)
    columns = [x.clamp(low, high) for x, (low, high) in zip(point.unbind(-1), spans, strict=True)]
    return torch.stack(columns, dim=-1)
