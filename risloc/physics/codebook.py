"""Codebooks: the phase that each element of the surface applies in each snapshot, as integer codes and as phasors.

A code q of b bits stands for exp(+j 2 pi q / 2^b).

Axes: batch B, snap L, elem N.
"""

import math
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Complex, UInt8
from torch import Tensor

from risloc.physics.portable_arithmetic import phasor
from risloc.utils.argument_checks import whole

__all__ = ["codebook", "codes_of", "dft_codes"]

BEAMS = 8  # the DFT codebook has BEAMS x BEAMS beams


def dft_codes(n_h: int, n_v: int, snapshots: int, bits: int) -> UInt8[Tensor, "snap elem"]:
    """Compute two-dimensional DFT beams: element (ix, iy) has code round(2^bits (p ix + q iy) / 8) mod 2^bits in beam (p, q).

    The beams (p, q), p, q = 0..7, follow one another with q fastest. After all 64 the codebook starts again, so that
    snapshot l has beam l mod 64. With 3 or more bits the phasors are exactly exp(+j 2 pi (p ix + q iy) / 8), and the 64
    beams are orthogonal on 8 x 8 elements. With fewer bits each phase is rounded to the nearest state, and a tie to the
    larger one.

    Parameters
    ----------
    n_h
        The number of elements in a row.
    n_v
        The number of rows.
    snapshots
        The number of snapshots L.
    bits
        The number of phase bits, 1..8.

    Returns
    -------
    [snap, elem]
        The codes.
    """
    beam = torch.arange(snapshots) % BEAMS**2
    p, q = beam // BEAMS, beam % BEAMS
    element = torch.arange(n_h * n_v)
    ix, iy = element % n_h, element // n_h
    turns = p[:, None] * ix + q[:, None] * iy  # in 1 / BEAMS
    codes = (2**bits * turns + BEAMS // 2) // BEAMS % 2**bits  # in integers, to round alike on every processor
    return codes.to(torch.uint8)


def codebook(codes: "Tensor | np.ndarray", bits: SupportsIndex) -> Complex[Tensor, "*shape"]:
    """Look up the phasors exp(+j 2 pi q / 2^bits) of codes q in 0..2^bits - 1.

    Parameters
    ----------
    codes : any shape
        Integers of any type, from torch or numpy.
    bits
        The number of phase bits, 1..8.

    Returns
    -------
    the shape of codes
        The phasors, complex64.

    Raises
    ------
    ValueError
        The bits are outside 1..8, or the codes are not integers or need more bits.
    """
    b, array = whole("bits", bits, 1, 8), torch.as_tensor(codes)
    if array.is_complex() or array.is_floating_point() or array.dtype == torch.bool:
        raise ValueError(f"codes: expected integers in 0..{2**b - 1} ({b} bits), got {array.dtype}")
    array = array.long()
    if array.numel():
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= 2**b:
            raise ValueError(f"codes: expected integers in 0..{2**b - 1} ({b} bits), got {low if low < 0 else high}")
    return _table(b)[array]


def codes_of(book: Complex[Tensor, "*shape"], bits: int) -> UInt8[Tensor, "*shape"]:
    """Find the codes whose phasors are nearest in phase: the inverse of `codebook`.

    Parameters
    ----------
    book : any shape
        The phasors.
    bits
        The number of phase bits, 1..8.

    Returns
    -------
    the shape of book
        The codes.
    """
    step = 2 * math.pi / 2**bits
    return ((book.angle() / step).round().int() % 2**bits).to(torch.uint8)


def _table(bits: int) -> Complex[Tensor, " code"]:
    return phasor(torch.arange(2**bits, dtype=torch.float64) / 2**bits).to(torch.complex64)
