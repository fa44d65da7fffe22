"""Arithmetic with the same bits on every processor, with which scenes are computed.

IEEE 754 fixes the result of a single +, -, *, / or square root. Processors and libraries differ in sines and powers, in
the order of a sum, and in whether a product and a sum are rounded once or twice. Therefore everything here is float64,
one operation at a time and in a fixed order, and matrix products are of integers small enough that nothing is rounded,
so that the order of their sums does not matter.

Axes: batch B, row I, col J, elem N, src K.
"""

import math

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from risloc.physics.geometry import Array
from risloc.physics.steering import path_difference

__all__ = [
    "CHANNEL_STEP",
    "coded_product",
    "exact_location_of",
    "exact_matmul",
    "exact_polar_of",
    "exact_steering_matrix",
    "exact_sum",
    "on_grid",
    "phasor",
    "power_of_ten",
    "times",
    "units",
]

_TURN = 2 * math.pi
_SINE = [
    (-1) ** n / math.factorial(2 * n + 1) for n in range(8)
]  # for angles up to pi / 4, where the remainder is below 1e-16
_COSINE = [(-1) ** n / math.factorial(2 * n) for n in range(9)]
_EXPONENTIAL = [1 / math.factorial(n) for n in range(15)]  # for exponents up to log(2) / 2
_LOG2_10 = 3.321928094887362
_LOG_2 = 0.6931471805599453
_ARC = [(-1) ** n / (2 * n + 1) for n in range(12)]  # of the arc tangent, for angles up to pi / 16
_MANTISSA = 53
CHANNEL_STEP = 2.0**-20
"""The step of the entries of H; complex64 holds its multiples exactly up to 16."""


def phasor(turns: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
    """Compute exp(j 2 pi turns); exact at every quarter of a turn.

    Parameters
    ----------
    turns : any shape
        The phase in turns, float64.

    Returns
    -------
    the shape of turns
        The phasors, complex128.
    """
    quarter = (4 * turns).round()
    angle = (turns - quarter / 4) * _TURN
    square = angle * angle
    sine, cosine = angle * _polynomial(_SINE, square), _polynomial(_COSINE, square)
    quarter = quarter - 4 * (quarter / 4).floor()
    odd, real_down, imag_down = quarter % 2 == 1, (quarter == 1) | (quarter == 2), quarter >= 2
    real, imag = torch.where(odd, sine, cosine), torch.where(odd, cosine, sine)
    return torch.complex(torch.where(real_down, -real, real), torch.where(imag_down, -imag, imag))


def power_of_ten(exponent: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute 10^exponent for exponents within +-300.

    Parameters
    ----------
    exponent : any shape
        The exponents.

    Returns
    -------
    the shape of exponent
        The powers, float64.
    """
    twos = exponent.double() * _LOG2_10
    whole = twos.round()
    return _polynomial(_EXPONENTIAL, (twos - whole) * _LOG_2) * _power_of_two(whole.long())


def exact_sum(x: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """Sum the numbers of each scene, pairwise by halves.

    Parameters
    ----------
    x : [batch, ...]
        The numbers.

    Returns
    -------
    [batch]
        The sums.
    """
    x = x.flatten(1)
    while (n := x.shape[1]) > 1:
        halved = x[:, : n // 2] + x[:, n // 2 : n - n % 2]
        x = torch.cat([halved, x[:, n - 1 :]], 1) if n % 2 else halved
    return x[:, 0]


def times(a: Complex[Tensor, "*#shape"], b: Complex[Tensor, "*#shape"]) -> Complex[Tensor, "*#shape"]:
    """Multiply complex numbers, each product by four real ones.

    Parameters
    ----------
    a : any shape
        The first factors.
    b : a shape that broadcasts with a
        The second factors.

    Returns
    -------
    the broadcast shape
        The products, complex128.
    """
    x, y = a.to(torch.complex128), b.to(torch.complex128)
    return torch.complex(x.real * y.real - x.imag * y.imag, x.real * y.imag + x.imag * y.real)


def on_grid(x: Complex[Tensor, "*shape"], step: float | Tensor) -> Complex[Tensor, "*shape"]:
    """Round the real and the imaginary part to multiples of a step.

    Parameters
    ----------
    x : any shape
        The numbers.
    step
        A power of two, one for all scenes or one for each.

    Returns
    -------
    the shape of x
        The rounded numbers, complex128.
    """
    step = torch.as_tensor(step, dtype=torch.float64).reshape(-1, *[1] * x.dim())
    parts = torch.view_as_real(x.to(torch.complex128).resolve_conj())
    return torch.view_as_complex(parts.div(step).round_().mul_(step))


def step_for(x: Complex[Tensor, "*shape"], bits: int) -> Float[Tensor, " batch"]:
    """Return for each scene the step of which its largest part is below 2^bits."""
    parts = torch.view_as_real(x.resolve_conj()).abs().flatten(1)
    return _power_of_two(torch.frexp(parts.amax(1)).exponent - bits)


def exact_matmul(
    a: Complex[Tensor, "batch row inner"], b: Complex[Tensor, "batch inner col"]
) -> Complex[Tensor, "batch row col"]:
    """Multiply two matrices, each rounded first to as many bits of its largest number as leave no other rounding.

    Parameters
    ----------
    a : [batch, row, inner]
        The first matrix of each scene.
    b : [batch, inner, col]
        The second matrix of each scene.

    Returns
    -------
    [batch, row, col]
        The product, complex128.
    """
    bits = (_MANTISSA - 2 - math.ceil(math.log2(a.shape[-1]))) // 2
    return on_grid(a, step_for(a, bits)) @ on_grid(b, step_for(b, bits))


def coded_product(
    book: Complex[Tensor, "batch snap elem"],
    waves: Complex[Tensor, "batch elem src"],
    H: Complex[Tensor, "batch ant elem"],
) -> Complex[Tensor, "batch snap src ant"]:
    """Compute H diag(c_l) waves for every l, with diag(c_l) waves rounded to 30 - log2(elem) bits of its largest number.

    Parameters
    ----------
    book : [batch, snap, elem]
        Phasors c_l of at most 8 bits as complex64, which are multiples of 2^-29.
    waves : [batch, elem, src]
        The waves at the surface.
    H : [batch, ant, elem]
        The channel, in multiples of `CHANNEL_STEP`, of order one.

    Returns
    -------
    [batch, snap, src, ant]
        The product, complex128.
    """
    batch, L, N = book.shape
    step = step_for(waves, _MANTISSA - 23 - math.ceil(math.log2(N)))
    waves, book = (on_grid(waves, step) / step[:, None, None]).mT.contiguous(), book.to(torch.complex128)
    product = torch.empty(batch, L * waves.shape[1], H.shape[1], dtype=torch.complex128)
    for i in range(batch):  # scene by scene, so that each stays in the cache
        fields = (book[i, :, None] * waves[i]).view(-1, N)
        torch.view_as_real(fields).round_()
        torch.mm(fields, H[i].mT, out=product[i])
    torch.view_as_real(product).mul_(step[:, None, None, None])
    return product.view(batch, L, -1, H.shape[1])


def units(location: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Compute the directions (sin az cos el, sin el, cos az cos el).

    Parameters
    ----------
    location : [*batch, 3]
        Azimuth and elevation in radians, and the distance, which is ignored.

    Returns
    -------
    [*batch, 3]
        Unit vectors.
    """
    azimuth, elevation, _ = phasor(location / _TURN).unbind(-1)
    return torch.stack([azimuth.imag * elevation.real, elevation.imag, azimuth.real * elevation.real], -1)


def exact_location_of(position: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Compute (azimuth, elevation, distance) of positions in front of the surface, the inverse of `position_of` for z > 0.

    Parameters
    ----------
    position : [*batch, 3]
        (x, y, z) in metres, z > 0.

    Returns
    -------
    [*batch, 3]
        Azimuth and elevation in radians, distance in metres.
    """
    x, y, z = position.unbind(-1)
    level = (x * x + z * z).sqrt()
    return torch.stack([_arc(x, z), _arc(y, level), (level * level + y * y).sqrt()], -1)


def exact_polar_of(location: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert (azimuth, elevation, distance) to (u, v, w), as `risloc.physics.geometry.polar_of` does.

    Parameters
    ----------
    location : [*batch, 3]
        Azimuth and elevation in radians, distance in metres.

    Returns
    -------
    [*batch, 3]
        (u, v, w), w in 1/m.
    """
    return torch.cat([units(location)[..., :2], 1 / location[..., 2:]], -1)


def exact_steering_matrix(array: Array, polar: Float[Tensor, "*batch src 3"]) -> Complex[Tensor, "*batch elem src"]:
    """Compute the exact spherical wave, as `risloc.physics.steering.steering_matrix` does.

    Parameters
    ----------
    array
        The surface.
    polar : [*batch, src, 3]
        (u, v, w), float64.

    Returns
    -------
    [*batch, elem, src]
        The steering matrix, complex128.
    """
    return phasor(path_difference(array, polar) / -array.wavelength)


def _arc(opposite: Tensor, adjacent: Tensor) -> Tensor:
    """Return the angle of a right triangle: the tangent is that of half the angle, then of a quarter and of an eighth."""
    tangent = opposite / (adjacent + (adjacent * adjacent + opposite * opposite).sqrt())
    for _ in range(2):
        tangent = tangent / (1 + (1 + tangent * tangent).sqrt())
    return 8 * tangent * _polynomial(_ARC, tangent * tangent)


def _polynomial(coefficients: list[float], x: Tensor) -> Tensor:
    """Evaluate sum_n c_n x^n by Horner's rule."""
    result = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result.mul_(x).add_(c)
    return result


def _power_of_two(n: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute 2^n, float64, from its bits."""
    return ((n.long() + 1023) << 52).view(torch.float64)
