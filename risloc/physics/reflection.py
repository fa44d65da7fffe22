"""Reflection of a plane wave by a wall: the permittivity of building materials and Fresnel's coefficients.

A wall is a half-space of one material: what passes into it does not come back. All computation is in portable arithmetic.

Axes: any shape of bounces.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.physics.portable_arithmetic import power_of_ten, times

__all__ = ["CARRIERS_HZ", "MATERIALS", "permittivity", "reflection"]

MATERIALS = {
    "concrete": (5.24, 0.0462, 0.7822),
    "brick": (3.91, 0.0238, 0.16),
    "plasterboard": (2.73, 0.0085, 0.9395),
    "wood": (1.99, 0.0047, 1.0718),
    "glass": (6.31, 0.0036, 1.3394),
    "metal": (1.0, 1e7, 0.0),
}
"""a, c and d of ITU-R P.2040: the relative permittivity is a, and the conductivity c f^d in S/m with f in GHz."""

CARRIERS_HZ = (1e9, 4e10)
"""The carrier frequencies for which all of `MATERIALS` are specified."""

_VACUUM_PERMITTIVITY = 8.8541878128e-12  # F/m
_TERMS = 20  # of the logarithm's series, whose remainder is then below 1e-17


def permittivity(material: str, carrier_hz: float) -> complex:
    """Compute the complex relative permittivity a - j sigma / (2 pi f epsilon_0), for a time factor exp(+j 2 pi f t).

    Parameters
    ----------
    material
        One of `MATERIALS`.
    carrier_hz
        The carrier frequency f in Hz.

    Returns
    -------
    complex
        The permittivity.

    References
    ----------
    ITU-R P.2040, "Effects of building materials and structures on radiowave propagation".
    """
    real, c, d = MATERIALS[material]
    decades = torch.tensor(d * (_log(carrier_hz / 1e9) / _log(10.0)), dtype=torch.float64)
    conductivity = c * float(power_of_ten(decades))
    return complex(real, -(conductivity / (2 * math.pi * carrier_hz * _VACUUM_PERMITTIVITY)))


def reflection(
    permittivity: Complex[Tensor, "*#shape"], cosine: Float[Tensor, "*#shape"], upright: bool
) -> Complex[Tensor, "*shape"]:
    """Compute Fresnel's reflection coefficient of a vertically polarised wave, at an upright wall or at a floor.

    With root = sqrt(epsilon - sin^2), it is (cos - root) / (cos + root) at an upright wall, where the field is parallel to the
    wall (TE), and (epsilon cos - root) / (epsilon cos + root) at a floor or a ceiling (TM, of the field's normal part). Both are
    exact for a path in a plane normal to the wall; the rotation of the polarisation on other paths is neglected.

    Parameters
    ----------
    permittivity : any shape
        The complex relative permittivity epsilon.
    cosine : a shape that broadcasts with it
        The cosine of the angle of incidence from the wall's normal.
    upright
        Whether the wall is upright.

    Returns
    -------
    the broadcast shape
        The coefficients, complex128.
    """
    cosine = cosine.double()
    root = _root(permittivity - (1 - cosine.square()))
    own = torch.complex(cosine, torch.zeros_like(cosine))
    own = own if upright else times(permittivity, own)
    return _quotient(own - root, own + root)


def _root(z: Tensor) -> Tensor:
    """Return the square root with a real part that is not negative; z has a positive real part, or an imaginary part."""
    modulus = (z.real.square() + z.imag.square()).sqrt()
    real = ((modulus + z.real) / 2).sqrt()
    return torch.complex(real, z.imag / (2 * real))


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    energy = b.real.square() + b.imag.square()
    product = times(a, torch.complex(b.real, -b.imag))
    return torch.complex(product.real / energy, product.imag / energy)


def _log(x: float) -> float:
    """Return log(x) = e log(2) + 2 artanh((m - 1) / (m + 1)) for x = m 2^e, by the series of artanh."""
    mantissa, exponent = math.frexp(x)
    ratio = (mantissa - 1) / (mantissa + 1)
    square, total = ratio * ratio, 0.0
    for n in reversed(range(_TERMS)):
        total = total * square + 1 / (2 * n + 1)
    return 2 * ratio * total + exponent * 0.6931471805599453
