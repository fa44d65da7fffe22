"""Arithmetic with the same bits on every processor: what scenes are computed with.

IEEE 754 leaves no choice in a single +, -, *, / or square root. Processors and libraries differ in sines and powers, in the
order of a sum, and in whether a product and a sum are rounded once or twice. Here everything is float64, one operation at a
time and in a fixed order; and a matrix product is of integers that it cannot round, so that its order is of no account.

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
_SINE = [(-1) ** n / math.factorial(2 * n + 1) for n in range(8)]  # of angles up to pi / 4: the rest is below 1e-16
_COSINE = [(-1) ** n / math.factorial(2 * n) for n in range(9)]
_EXPONENTIAL = [1 / math.factorial(n) for n in range(15)]  # of exponents up to log(2) / 2
_LOG2_10 = 3.321928094887362
_LOG_2 = 0.6931471805599453
_MANTISSA = 53
CHANNEL_STEP = 2.0**-20
"""Of the entries of H, which a complex64 holds as they are up to 16."""


def phasor(turns: Float[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
    """exp(j 2 pi turns), complex128; exact at every quarter of a turn.

    turns : float64, any number of them.
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
    """10^exponent, float64, for exponents within +-300."""
    twos = exponent.double() * _LOG2_10
    whole = twos.round()
    return _polynomial(_EXPONENTIAL, (twos - whole) * _LOG_2) * _power_of_two(whole.long())


def exact_sum(x: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    """The sum of each scene, by halves."""
    x = x.flatten(1)
    while (n := x.shape[1]) > 1:
        halved = x[:, : n // 2] + x[:, n // 2 : n - n % 2]
        x = torch.cat([halved, x[:, n - 1 :]], 1) if n % 2 else halved
    return x[:, 0]


def times(a: Complex[Tensor, "*#shape"], b: Complex[Tensor, "*#shape"]) -> Complex[Tensor, "*#shape"]:
    """The product of complex numbers, each by four real products; complex128."""
    x, y = a.to(torch.complex128), b.to(torch.complex128)
    return torch.complex(x.real * y.real - x.imag * y.imag, x.real * y.imag + x.imag * y.real)


def on_grid(x: Complex[Tensor, "*shape"], step: float | Tensor) -> Complex[Tensor, "*shape"]:
    """Both parts rounded to multiples of `step`, a power of two, one or one a scene; complex128."""
    step = torch.as_tensor(step, dtype=torch.float64).reshape(-1, *[1] * x.dim())
    parts = torch.view_as_real(x.to(torch.complex128).resolve_conj())
    return torch.view_as_complex(parts.div(step).round_().mul_(step))


def step_for(x: Complex[Tensor, "*shape"], bits: int) -> Float[Tensor, " batch"]:
    """For each scene the step of which its largest part is below 2^bits."""
    parts = torch.view_as_real(x.resolve_conj()).abs().flatten(1)
    return _power_of_two(torch.frexp(parts.amax(1)).exponent - bits)


def exact_matmul(
    a: Complex[Tensor, "batch row inner"], b: Complex[Tensor, "batch inner col"]
) -> Complex[Tensor, "batch row col"]:
    """The product of a and b, after each is rounded to as many bits of a scene's largest number as leave no other rounding."""
    bits = (_MANTISSA - 2 - math.ceil(math.log2(a.shape[-1]))) // 2
    return on_grid(a, step_for(a, bits)) @ on_grid(b, step_for(b, bits))


def coded_product(
    book: Complex[Tensor, "batch snap elem"],
    waves: Complex[Tensor, "batch elem src"],
    H: Complex[Tensor, "batch ant elem"],
) -> Complex[Tensor, "batch snap src ant"]:
    """H diag(c_l) waves for every l, complex128, each diag(c_l) waves rounded to 30 - log2(elem) bits of a scene's largest.

    book : phasors of at most 8 bits as complex64, which are multiples of 2^-29.  H : multiples of `CHANNEL_STEP`, around 1.
    """
    batch, L, N = book.shape
    step = step_for(waves, _MANTISSA - 23 - math.ceil(math.log2(N)))
    waves, book = (on_grid(waves, step) / step[:, None, None]).mT.contiguous(), book.to(torch.complex128)
    product = torch.empty(batch, L * waves.shape[1], H.shape[1], dtype=torch.complex128)
    for i in range(batch):  # one scene after another: it stays in the cache
        fields = (book[i, :, None] * waves[i]).view(-1, N)
        torch.view_as_real(fields).round_()
        torch.mm(fields, H[i].mT, out=product[i])
    torch.view_as_real(product).mul_(step[:, None, None, None])
    return product.view(batch, L, -1, H.shape[1])


def units(location: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """(azimuth [rad], elevation [rad], distance) to the direction (sin az cos el, sin el, cos az cos el)."""
    azimuth, elevation, _ = phasor(location / _TURN).unbind(-1)
    return torch.stack([azimuth.imag * elevation.real, elevation.imag, azimuth.real * elevation.real], -1)


def exact_polar_of(location: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """As `risloc.physics.geometry.polar_of`: (azimuth [rad], elevation [rad], distance [m]) to (u, v, w)."""
    return torch.cat([units(location)[..., :2], 1 / location[..., 2:]], -1)


def exact_steering_matrix(array: Array, polar: Float[Tensor, "*batch src 3"]) -> Complex[Tensor, "*batch elem src"]:
    """As `risloc.physics.steering.steering_matrix`, of float64 (u, v, w): the exact spherical wave."""
    return phasor(path_difference(array, polar) / -array.wavelength)


def _polynomial(coefficients: list[float], x: Tensor) -> Tensor:
    """sum_n c_n x^n, by Horner's rule."""
    result = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result.mul_(x).add_(c)
    return result


def _power_of_two(n: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """2^n, float64, by its bits."""
    return ((n.long() + 1023) << 52).view(torch.float64)
