"""The channel H from the surface to the base station, and how many degrees of freedom it carries.

Axes: batch B, ant M, elem N.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.geometry import Array
from risloc.steering import plane_wave_steering_matrix

__all__ = ["direct_channel", "effective_rank", "rician_channel"]

_AZIMUTH = math.radians(60)
_ELEVATION = math.radians(30)


def rician_channel(
    array: Array,
    scattered: Complex[Tensor, "batch ant elem"],
    direction: Float[Tensor, "batch 3"],
    k: Float[Tensor, " batch"],
) -> Complex[Tensor, "batch ant elem"]:
    """H = sqrt(k / (1 + k)) H_los + sqrt(1 / (1 + k)) H_iid, entries of unit variance.

    scattered : H_iid, entries CN(0, 1).  k : the Rician factor, linear.
    direction : three numbers, uniform in [0, 1), that choose the line of sight H_los = a_bs a_ris^H, a far-field wave
    (rank one, unit-modulus entries): the angle from the normal of the base station's half-wavelength linear array in
    +-60 deg, and the azimuth in +-60 deg and elevation in +-30 deg at which the wave leaves the surface.
    """
    m = scattered.shape[-2]
    psi, azimuth, elevation = ((2 * direction - 1) * direction.new_tensor([_AZIMUTH, _AZIMUTH, _ELEVATION])).unbind(-1)
    polar = torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), torch.zeros_like(azimuth)], dim=-1)
    a_ris = plane_wave_steering_matrix(array, polar[:, None])
    phase = -math.pi * psi.sin()[:, None] * torch.arange(m, dtype=psi.dtype)
    a_bs = torch.complex(phase.cos(), phase.sin())[:, :, None]
    sight, scatter = (k / (1 + k)).sqrt(), (1 / (1 + k)).sqrt()
    return (sight[:, None, None] * a_bs) * a_ris.mH + scatter[:, None, None] * scattered


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
