"""Steering vectors: the exact spherical wave, its derivatives, and two separately named approximations.

With s = u x + v y, rho^2 = x^2 + y^2 and w = 1 / r, the path difference of an element at (x, y) is

    delta = |p - x_n| - r = (w rho^2 - 2 s) / (1 + t),    t = |p - x_n| / r = sqrt(1 - 2 w s + w^2 rho^2),

which cancels nothing in float32 and is the plane wave -s at w = 0. Its derivatives are d delta/du = -x / t,
d delta/dv = -y / t and d delta/dw = (rho^2 + s delta) / (t (1 + t)).

Axes: elem N, src K.
"""

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.physics.geometry import Array
from risloc.utils.argument_checks import check_tensor

__all__ = [
    "fresnel_steering_matrix",
    "path_difference",
    "plane_wave_steering_matrix",
    "steering_derivatives",
    "steering_matrix",
]


def path_difference(array: Array, polar: Float[Tensor, "*batch src 3"]) -> Float[Tensor, "*batch elem src"]:
    """Compute delta = |p - x_n| - r, by which the path to element n is longer than that to the origin.

    Parameters
    ----------
    array
        The surface.
    polar : [*batch, src, 3]
        (u, v, w), w in 1/m.

    Returns
    -------
    [*batch, elem, src]
        The path differences in metres, one column a source.
    """
    s, rho2, _, _ = _projections(array, polar)
    w = polar[..., None, :, 2]
    return (w * rho2 - 2 * s) / (1 + _relative_distance(s, rho2, w))


def steering_matrix(array: Array, polar: Float[Tensor, "*batch src 3"]) -> Complex[Tensor, "*batch elem src"]:
    """Compute the exact spherical wave a_n = exp(-j k (|p - x_n| - r)), of unit modulus.

    Parameters
    ----------
    array
        The surface.
    polar : [*batch, src, 3]
        (u, v, w), w in 1/m.

    Returns
    -------
    [*batch, elem, src]
        The steering matrix in the matching complex precision, one column a source.
    """
    _check_waves(array, polar)
    return _phasor(array, path_difference(array, polar))


def steering_derivatives(
    array: Array, polar: Float[Tensor, "*batch src 3"]
) -> tuple[Complex[Tensor, "*batch elem src"], Complex[Tensor, "*batch elem src 3"]]:
    """Compute the steering matrix A and its derivatives dA/d(u, v, w).

    Parameters
    ----------
    array
        The surface.
    polar : [*batch, src, 3]
        (u, v, w), w in 1/m.

    Returns
    -------
    [*batch, elem, src] and [*batch, elem, src, 3]
        A and its derivatives, whose last axis is the coordinate.
    """
    s, rho2, x, y = _projections(array, polar)
    w = polar[..., None, :, 2]
    t = _relative_distance(s, rho2, w)
    delta = (w * rho2 - 2 * s) / (1 + t)
    A = _phasor(array, delta)
    slopes = torch.stack([(-x / t), (-y / t), (rho2 + s * delta) / (t * (1 + t))], dim=-1)
    return A, -1j * array.wavenumber * slopes * A[..., None]


def fresnel_steering_matrix(array: Array, polar: Float[Tensor, "*batch src 3"]) -> Complex[Tensor, "*batch elem src"]:
    """Compute the parabolic wavefront delta ~ -s + w (rho^2 - s^2) / 2, an approximation that is poor below a few apertures.

    Parameters
    ----------
    array
        The surface.
    polar : [*batch, src, 3]
        (u, v, w), w in 1/m.

    Returns
    -------
    [*batch, elem, src]
        The steering matrix, one column a source.
    """
    s, rho2, _, _ = _projections(array, polar)
    return _phasor(array, -s + polar[..., None, :, 2] * (rho2 - s.square()) / 2)


def plane_wave_steering_matrix(
    array: Array, polar: Float[Tensor, "*batch src 3"]
) -> Complex[Tensor, "*batch elem src"]:
    """Compute the far field delta = -s, the limit of `steering_matrix` as the distance grows.

    Parameters
    ----------
    array
        The surface.
    polar : [*batch, src, 3]
        (u, v, w); w is ignored.

    Returns
    -------
    [*batch, elem, src]
        The steering matrix, one column a source.
    """
    s, _, _, _ = _projections(array, polar)
    return _phasor(array, -s)


def _check_waves(array: Any, polar: Any) -> None:
    if not isinstance(array, Array):
        raise TypeError(
            f"array: expected an Array, got {type(array).__name__}; pass scenario.surface.array or setup.surface.array"
        )
    check_tensor("polar", polar, None, 3, complex_=False)


def _projections(array: Array, polar: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    elements = array.to(polar).elements
    x, y = elements[:, :1], elements[:, 1:]
    s = polar[..., None, :, 0] * x + polar[..., None, :, 1] * y
    return s, x.square() + y.square(), x, y


def _relative_distance(s: Tensor, rho2: Tensor, w: Tensor) -> Tensor:
    # u^2 + v^2 > 1 is not a direction; the floor keeps an iterate that strays there finite.
    return (1 - 2 * w * s + w.square() * rho2).clamp_min(1e-12).sqrt()


def _phasor(array: Array, delta: Tensor) -> Tensor:
    phase = -array.wavenumber * delta
    return torch.complex(phase.cos(), phase.sin())
