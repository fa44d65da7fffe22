"""The channel H from the surface to the base station, and how many degrees of freedom it carries.

Axes: batch B, ant M, elem N.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.physics.geometry import Array
from risloc.physics.portable_arithmetic import exact_matmul, exact_steering_matrix, phasor, units

__all__ = ["direct_channel", "effective_rank", "rician_channel"]

_AZIMUTH = math.radians(60)
_ELEVATION = math.radians(30)


def rician_channel(
    array: Array,
    scattered: Complex[Tensor, "batch ant elem"],
    direction: Float[Tensor, "batch 3"],
    k: Float[Tensor, " batch"],
) -> Complex[Tensor, "batch ant elem"]:
    """H = sqrt(k / (1 + k)) H_los + sqrt(1 / (1 + k)) H_iid, entries of unit variance, complex128: the same bits anywhere.

    scattered : H_iid, entries CN(0, 1).  k : the Rician factor, linear.
    direction : three numbers, uniform in [0, 1), that choose the line of sight H_los = a_bs a_ris^H, a far-field wave
    (rank one, unit-modulus entries): the angle from the normal of the base station's half-wavelength linear array in
    +-60 deg, and the azimuth in +-60 deg and elevation in +-30 deg at which the wave leaves the surface.
    """
    spans = torch.tensor([_AZIMUTH, _AZIMUTH, _ELEVATION], dtype=torch.float64)
    psi, azimuth, elevation = ((2 * direction.double() - 1) * spans).unbind(-1)
    u_v = units(torch.stack([azimuth, elevation, torch.ones_like(azimuth)], -1))[:, :2]
    a_ris = exact_steering_matrix(array, torch.cat([u_v, torch.zeros_like(u_v[:, :1])], -1)[:, None])  # w = 0: plane
    sine = phasor(psi / (2 * math.pi)).imag
    a_bs = phasor(-sine[:, None] / 2 * torch.arange(scattered.shape[-2], dtype=torch.float64))
    sight, scatter = (k.double() / (1 + k.double())).sqrt(), (1 / (1 + k.double())).sqrt()
    H_los = exact_matmul((sight[:, None] * a_bs)[:, :, None], a_ris.mH)
    H_iid = scatter[:, None, None, None] * torch.view_as_real(scattered)
    return torch.view_as_complex(torch.view_as_real(H_los) + H_iid)


def direct_channel(batch: int, size: int) -> Complex[Tensor, "{batch} {size} {size}"]:
    """H = I: the array itself is observed."""
    return torch.eye(size, dtype=torch.complex64).repeat(batch, 1, 1)


def effective_rank(H: Complex[Tensor, "*batch ant elem"]) -> Float[Tensor, "*batch"]:
    """exp(entropy of the normalised squared singular values): min(M, N) for equal ones, 1 for a rank-one H.

    Source: Roy & Vetterli 2007, "The effective rank", with the squared singular values (the energy of each mode).
    """
    gram = H @ H.mH if H.shape[-2] <= H.shape[-1] else H.mH @ H
    energy = torch.linalg.eigvalsh(gram).clamp_min(0)
    share = energy / energy.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1).exp()
