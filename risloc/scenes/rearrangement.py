"""Observations with known pilots, rearranged so that their nuisances take the place of the unknown symbols.

With pilots p(l) that are known up to one complex amplitude alpha_k of each source and block, antenna m receives

    y_l = diag(g) H diag(c_l) sum_k a(p_k) alpha_k p(l) + d p(l) + n_l

with gains g_m that are 1 or unknown and a static path d_m that is 0 or unknown. Each case is the model of
`risloc.scenes.batch.Observation` again, with other snapshots, antennas and codes, so that every likelihood and bound of free
symbols holds for it:

- gains of 1: one snapshot of L M antennas, whose rows of H are p(l) times those of H diag(c_l). Its free symbol is alpha_k;
- unknown gains: the antennas become the snapshots, with the rows of H as codes and g_m alpha_k as symbols, and the codes, times
  p(l), become the rows of H. Sources are not held to common gains: the model has more parameters than needed;
- a static path: L - 1 orthonormal combinations of the snapshots to which it does not contribute. The noise stays white.

Axes: batch B, snap L, ant M, elem N.
"""

import torch
from jaxtyping import Complex
from torch import Tensor

from risloc.scenes.batch import Observation

__all__ = ["rearranged", "without_static_path"]


def rearranged(
    observation: Observation, pilots: Complex[Tensor, "batch snap"], *, unknown_gains: bool, static_path: bool
) -> Observation:
    """Rearrange the observation of known pilots to one of free symbols.

    Parameters
    ----------
    observation
        The scenes.
    pilots : [batch, snap]
        The pilots p(l).
    unknown_gains
        Whether each antenna has an unknown complex gain.
    static_path
        Whether a part of the signal does not pass the surface.

    Returns
    -------
    Observation
        The scenes with one snapshot, or with M if gains are unknown. Its codes have unit mean square, not unit modulus.
    """
    y, H = observation.y, observation.H
    codes = pilots.to(observation.codebook.dtype)[..., None] * observation.codebook
    if static_path:
        y, codes = without_static_path(y, pilots), without_static_path(codes, pilots)
    if unknown_gains:
        size = H.abs().square().mean((1, 2), keepdim=True).sqrt()
        return Observation(y=y.mT, codebook=H / size, H=codes * size, noise_var=observation.noise_var)
    rows = (codes[:, :, None] * H[:, None]).flatten(1, 2)
    return Observation(
        y=y.flatten(1)[:, None],
        codebook=torch.ones_like(observation.codebook[:, :1]),
        H=rows,
        noise_var=observation.noise_var,
    )


def without_static_path(
    x: Complex[Tensor, "batch snap col"], pilots: Complex[Tensor, "batch snap"]
) -> Complex[Tensor, "batch rest col"]:
    """Multiply by L - 1 orthonormal rows that are orthogonal to the pilots: the last rows of a Householder reflection.

    Parameters
    ----------
    x : [batch, snap, col]
        Snapshots or codes.
    pilots : [batch, snap]
        The pilots, not all zero.

    Returns
    -------
    [batch, rest, col]
        The L - 1 combinations.
    """
    wide = torch.promote_types(x.dtype, pilots.dtype)
    p, x = pilots.to(wide), x.to(wide)
    first = p[:, :1]
    turn = torch.where(first == 0, torch.ones_like(first), first / first.abs().clamp_min(torch.finfo(wide).tiny))
    v = torch.cat([first + turn * torch.linalg.vector_norm(p, dim=1, keepdim=True), p[:, 1:]], dim=1)
    v = (v / torch.linalg.vector_norm(v, dim=1, keepdim=True))[..., None]
    return (x - 2 * v * (v.mH @ x))[:, 1:]
