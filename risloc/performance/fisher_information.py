"""The Fisher information about locations, powers and noise variance, from snapshot-varying sensing.

Snapshots are independent but not identically distributed: C_l = G_l A diag(p) A^H G_l^H + sigma^2 I, so that

    F_ij = sum_l tr(C_l^-1 d_i C_l C_l^-1 d_j C_l)    (Slepian 1954, Bangs 1971).

The parameters are, in this order: (azimuth, elevation, 1/r) of source 0, of source 1, ...; the powers p_k; sigma^2.

Axes: batch B, snap L, ant M, elem N, src K, col = 4 K, par = 3 K, 4 K or 4 K + 1.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.physics.geometry import Array, polar_of
from risloc.physics.steering import steering_derivatives

__all__ = ["deterministic_information", "known_noise_information", "location_derivatives", "stochastic_information"]


def location_derivatives(
    array: Array, location: Float[Tensor, "*batch src 3"]
) -> tuple[Complex[Tensor, "*batch elem src"], Complex[Tensor, "*batch elem src 3"]]:
    """Compute A and dA/d(azimuth, elevation, 1/r) by the chain rule through u = sin az cos el, v = sin el.

    Parameters
    ----------
    array
        The surface.
    location : [*batch, src, 3]
        Azimuth and elevation in radians, distance in metres.

    Returns
    -------
    [*batch, elem, src] and [*batch, elem, src, 3]
        The steering matrix and its derivatives.
    """
    A, dA = steering_derivatives(array, polar_of(location))
    azimuth, elevation = location[..., None, :, 0], location[..., None, :, 1]
    d_az = dA[..., 0] * (azimuth.cos() * elevation.cos())
    d_el = dA[..., 1] * elevation.cos() - dA[..., 0] * (azimuth.sin() * elevation.sin())
    return A, torch.stack([d_az, d_el, dA[..., 2]], dim=-1)


def stochastic_information(
    Z: Complex[Tensor, "batch snap col ant"], power: Float[Tensor, "batch src"], noise_var: Float[Tensor, " batch"]
) -> Float[Tensor, "batch par par"]:
    """Compute the information F over (3 K coordinates, K powers, sigma^2).

    dC = p (d b^H + b d^H) for a coordinate, b b^H for a power, I for sigma^2.

    Parameters
    ----------
    Z : [batch, snap, col, ant]
        The rows b_k, then their derivatives d_(k, i); col = 4 K.
    power : [batch, src]
        The linear powers.
    noise_var : [batch]
        The noise variance sigma^2.

    Returns
    -------
    [batch, par, par]
        F, with par = 4 K + 1.
    """
    K = power.shape[-1]
    inverse = torch.linalg.inv(_covariance(Z[:, :, :K], power, noise_var))
    E = inverse @ Z.mT
    F = torch.nn.functional.pad(known_noise_information(Z.conj() @ E, power), (0, 1, 0, 1))
    own = _owner(K, Z.device)
    bE, dE = E[..., :K], E[..., K:]
    with_coordinates = 2 * _total((bE[..., own].conj() * dE).sum(-2)) * power[:, own]
    with_powers = _total((bE.conj() * bE).sum(-2))
    F[:, -1, :-1] = F[:, :-1, -1] = torch.cat([with_coordinates, with_powers], dim=-1)
    F[:, -1, -1] = inverse.abs().square().sum((-3, -2, -1))
    return F


def known_noise_information(
    X: Complex[Tensor, "batch snap col col"], power: Float[Tensor, "batch src"]
) -> Float[Tensor, "batch col col"]:
    """Compute the information F over (3 K coordinates, K powers) for a known sigma^2.

    Every trace is a product of entries of X: two coordinates give
    2 p p' Re(b^H C^-1 d' b'^H C^-1 d + b^H C^-1 b' d'^H C^-1 d), a power and a coordinate 2 p Re(b'^H C^-1 d b^H C^-1 b').

    Parameters
    ----------
    X : [batch, snap, col, col]
        X_l = Z_l^H C_l^-1 Z_l, where Z holds the responses b and then d.
    power : [batch, src]
        The linear powers.

    Returns
    -------
    [batch, par, par]
        F, with par = 4 K.
    """
    K = power.shape[-1]
    own = _owner(K, X.device)
    p = power[:, own]
    bb, bd, dd = X[..., :K, :K], X[..., :K, K:], X[..., K:, K:]
    b_own = bb[..., own, :]
    cross = bd[..., own, :]
    coordinates = 2 * _total(cross * cross.mT + b_own[..., own] * dd.mT) * p[:, :, None] * p[:, None, :]
    mixed = 2 * _total(bd * b_own.mT) * p[:, None, :]
    powers = _total(bb * bb.mT)
    return torch.cat([torch.cat([coordinates, mixed.mT], -1), torch.cat([mixed, powers], -1)], dim=-2)


def deterministic_information(
    Z: Complex[Tensor, "batch snap col ant"],
    ss: Complex[Tensor, "batch snap src src"],
    noise_var: Float[Tensor, " batch"],
) -> Float[Tensor, "batch par par"]:
    """Compute F = (2 / sigma^2) sum_l Re(S_l^H D_l^H P_perp(B_l) D_l S_l) over the 3 K coordinates.

    Sources whose symbols are all zero do not contribute.

    Parameters
    ----------
    Z : [batch, snap, col, ant]
        The rows b_k, then their derivatives, as in `stochastic_information`.
    ss : [batch, snap, src, src]
        s_l s_l^H; its expectation P gives the bound that the stochastic one tends to at high SNR.
    noise_var : [batch]
        The noise variance sigma^2.

    Returns
    -------
    [batch, par, par]
        F, with par = 3 K.
    """
    K = ss.shape[-1]
    present = ss.diagonal(dim1=-2, dim2=-1).abs().amax(1) > 0
    B, D = Z[:, :, :K] * present[:, None, :, None], Z[:, :, K:]
    gram = B.conj() @ B.mT + torch.diag_embed((~present).to(B.dtype))[:, None]
    outside = D - (D @ B.mH) @ torch.linalg.solve(gram.mT, B)
    own = _owner(K, Z.device)
    DPD = D.conj() @ outside.mT
    return 2 / noise_var[:, None, None] * _total(DPD * ss[..., own, :][..., own].mT)


def _covariance(B: Tensor, power: Tensor, noise_var: Tensor) -> Tensor:
    C = (B * power[:, None, :, None]).mT @ B.conj()
    return C + noise_var[:, None, None, None] * torch.eye(B.shape[-1], dtype=C.dtype, device=C.device)


def _owner(K: int, device: torch.device) -> Tensor:
    return torch.arange(K, device=device).repeat_interleave(3)  # the source of each coordinate


def _total(x: Tensor) -> Tensor:
    return x.real.sum(1)
