"""What echoes that are too weak to be found add to the covariance of an estimate.

An echo counts as found where it lowers BIC: where the likelihood ratio exceeds its price T = (c' + 2) ln(L M). The energies of the
echoes of a room spread over many decibels, with a density of rho echoes per neper near T. In units of sigma^2 the echoes below T
then have the energy rho T / 2 together, and rho follows from the n echoes that were found between T and 4 T: rho = n / ln 4.

They come from all sides. What source k sends them over is e_k on the elements, with E[e_k e_k^H] = tau_k^2 I, where tau_k^2 gives
them their energy. It moves the estimate by F^-1 (2 / sigma^2) sum_k Re(W_k^H e_k), so that the covariance grows by

    F^-1 (2 / sigma^4) sum_k tau_k^2 Re(W_k^H W_k) F^-1,    W_k = sum_l conj(s_k(l)) G_l^H V_l,    V_l = P_perp(B_l) D_l M_l,

the sandwich of a model that is not quite true (White 1982), with the columns of V_l as in `risloc.estimation.wave_information`.

Axes: batch B, wave W, src K, snap L, ant M, elem N, par = 5 W.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.projection import project
from risloc.estimation.waves import Waves
from risloc.performance.fisher_information import diagonal_blocks
from risloc.physics.echo_domain import echo_domain

__all__ = ["missing_echo_covariance"]

_NEAR = 4.0  # times T: what is still near it


def missing_echo_covariance(
    sensing: Sensing,
    waves: Waves,
    Z: Complex[Tensor, "batch snap col ant"],
    s: Complex[Tensor, "batch snap src"],
    covariance: Float[Tensor, "batch par par"],
) -> Float[Tensor, "batch par par"]:
    """Compute the covariance that missing echoes add; zero where no echo was found.

    Parameters
    ----------
    sensing
        The scenes.
    waves
        Their waves, fitted.
    Z : [batch, snap, col, ant]
        The responses of the K sources, then the derivatives by the places and gains of all waves, as rows.
    s : [batch, snap, src]
        The symbols.
    covariance : [batch, par, par]
        F^-1 without missing echoes.

    Returns
    -------
    [batch, par, par]
        What they add; zero where F is singular.

    References
    ----------
    White 1982, "Maximum likelihood estimation of misspecified models".
    """
    missing = _missing_energy(sensing, waves, covariance)
    added = torch.zeros_like(covariance)
    rows = ((missing > 0) & covariance.isfinite().flatten(1).all(1)).nonzero()[:, 0]
    if len(rows):
        spread = _spread(sensing[rows], waves[rows], Z[rows], s[rows], missing[rows])
        added[rows] = covariance[rows] @ spread @ covariance[rows]
    return added


def _missing_energy(sensing: Sensing, waves: Waves, covariance: Tensor) -> Float[Tensor, " batch"]:
    """Compute the energy of the missing echoes of each source in units of sigma^2; the sources of a scene share it equally."""
    width = waves.present.shape[1]
    gain = torch.view_as_real(waves.gain.to(torch.complex128))[..., None]
    blocks = diagonal_blocks(covariance[:, 3 * width :, 3 * width :], 2, waves.echo)
    known = waves.echo & blocks.isfinite().flatten(2).all(-1)
    eye = torch.eye(2, dtype=blocks.dtype, device=blocks.device)
    ratio = (gain.mT @ torch.linalg.solve(torch.where(known[..., None, None], blocks, eye), gain))[..., 0, 0]
    price = (sum(echo_domain(sensing.domain).free) + 2) * math.log(sensing.y[0].numel())
    near = (known & (ratio < _NEAR * price)).sum(1)
    return near / waves.count.clamp_min(1) * price / (2 * math.log(_NEAR))


def _spread(sensing: Sensing, waves: Waves, Z: Tensor, s: Tensor, missing: Tensor) -> Float[Tensor, "batch par par"]:
    """Return (2 / sigma^4) sum_k tau_k^2 Re(W_k^H W_k)."""
    batch, snap, ant = sensing.y.shape
    K, noise_var = s.shape[-1], sensing.noise_var.double()
    owner = torch.cat([waves.source.repeat_interleave(size, dim=1) for size in (3, 2)], dim=1)
    fit = project(Z[:, :, :K], sensing.y.to(Z.dtype), waves.sources)
    V = fit.complement(Z[:, :, K:]) * s.gather(2, owner[:, None].expand(-1, snap, -1))[..., None]
    share = 1 - waves.count / ant  # of the energy, outside the span of the responses
    energy = sensing.G.abs().square().sum(-1).view(batch, snap, ant).sum(-1).double() * share[:, None]
    tau2 = noise_var * missing / (s.abs().square() * energy[..., None]).sum(1).clamp_min(1e-300).mT
    spread = torch.zeros(batch, V.shape[2], V.shape[2], dtype=noise_var.dtype, device=V.device)
    for k in range(K):
        rows = (V.conj() * s[:, :, k, None, None]).transpose(1, 2).flatten(2)
        W = (rows.to(sensing.G.dtype) @ sensing.G).to(V.dtype)  # conj(W_k), as rows
        spread += tau2[k, :, None, None] * (W @ W.mH).real
    return 2 / noise_var.square()[:, None, None] * spread
