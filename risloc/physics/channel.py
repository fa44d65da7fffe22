"""The channel H from the surface to the base station, and its effective rank.

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
    """Compute H = sqrt(k / (1 + k)) H_los + sqrt(1 / (1 + k)) H_iid, with entries of unit variance.

    The line of sight H_los = a_bs a_ris^H is a far-field wave (rank one, unit-modulus entries). The result is the same bit
    for bit on every processor.

    Parameters
    ----------
    array
        The surface.
    scattered : [batch, ant, elem]
        H_iid, with entries CN(0, 1).
    direction : [batch, 3]
        Numbers uniform in [0, 1) that choose the line of sight: the angle within +-60 deg from the normal of the base
        station's half-wavelength linear array, and the azimuth within +-60 deg and elevation within +-30 deg at which
        the wave leaves the surface.
    k : [batch]
        The Rician factor, linear.

    Returns
    -------
    [batch, ant, elem]
        The channel, complex128.
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
    """Return H = I, with which the array itself is observed.

    Parameters
    ----------
    batch
        The number of scenes B.
    size
        The number of elements N.

    Returns
    -------
    [batch, size, size]
        The identity for each scene, complex64.
    """
    return torch.eye(size, dtype=torch.complex64).repeat(batch, 1, 1)


def effective_rank(H: Complex[Tensor, "*batch ant elem"]) -> Float[Tensor, "*batch"]:
    """Compute exp(entropy of the normalised squared singular values): min(M, N) if all are equal, 1 for a rank-one H.

    The squared singular values (the energy of each mode) take the place of the singular values of the reference.

    Parameters
    ----------
    H : [*batch, ant, elem]
        The channel.

    Returns
    -------
    [*batch]
        The effective rank.

    References
    ----------
    Roy & Vetterli 2007, "The effective rank".
    """
    gram = H @ H.mH if H.shape[-2] <= H.shape[-1] else H.mH @ H
    energy = torch.linalg.eigvalsh(gram).clamp_min(0)
    share = energy / energy.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1).exp()
