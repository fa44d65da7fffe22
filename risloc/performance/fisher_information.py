"""The Fisher information about locations, powers and noise variance, from snapshot-varying sensing.

Snapshots are independent but not identically distributed: C_l = G_l A diag(p) A^H G_l^H + sigma^2 I, so that

    F_ij = sum_l tr(C_l^-1 d_i C_l C_l^-1 d_j C_l)    (Slepian 1954, Bangs 1971).

Every parameter of the responses B_l = G_l A has one source, its owner, whose column b it changes by d. Without echoes these are
(azimuth, elevation, 1/r) of source 0, of source 1, ...; `wave_columns` gives those of sources with echoes. The parameters are, in
this order: the der parameters of the responses; the powers p_k; sigma^2.

Axes: batch B, snap L, ant M, elem N, src K, wave W, der = 3 K or 5 W, col = K + der, par = der, der + K or der + K + 1.
"""

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.physics.geometry import Array, polar_of
from risloc.physics.steering import steering_derivatives

__all__ = [
    "deterministic_information",
    "diagonal_blocks",
    "inverse_information",
    "known_noise_information",
    "location_derivatives",
    "stochastic_information",
    "wave_columns",
]


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


def wave_columns(
    array: Array, location: Float[Tensor, "batch wave 3"], composition: Complex[Tensor, "batch wave src"]
) -> Complex[Tensor, "batch elem col"]:
    """Compute at_k = sum_p g_p a(q_p) over the waves p of source k, and its derivatives.

    Parameters
    ----------
    array
        The surface.
    location : [batch, wave, 3]
        Azimuth and elevation of each wave in radians, distance in metres.
    composition : [batch, wave, src]
        The gain g of each wave in the column of its source, 0 elsewhere.

    Returns
    -------
    [batch, elem, col]
        The K columns at_k; then g da for (azimuth, elevation, 1/r) of each wave; then a and j a for the real and the imaginary
        part of each gain.
    """
    A, dA = location_derivatives(array, location)
    dA = dA * composition.sum(-1)[:, None, :, None]
    by_gain = torch.stack([A, 1j * A], dim=-1)
    return torch.cat([A.to(composition) @ composition, dA.flatten(-2), by_gain.flatten(-2)], dim=-1)


def stochastic_information(
    Z: Complex[Tensor, "batch snap col ant"],
    power: Float[Tensor, "batch src"],
    noise_var: Float[Tensor, " batch"],
    owner: Int[Tensor, "*rows der"] | None = None,
) -> Float[Tensor, "batch par par"]:
    """Compute the information F over (der parameters of the responses, K powers, sigma^2).

    dC = p (d b^H + b d^H) for a parameter of the responses, b b^H for a power, I for sigma^2.

    Parameters
    ----------
    Z : [batch, snap, col, ant]
        The rows b_k, then the derivatives d.
    power : [batch, src]
        The linear powers.
    noise_var : [batch]
        The noise variance sigma^2.
    owner : [der] or [batch, der]
        The source of each derivative; None: three of each source in turn.

    Returns
    -------
    [batch, par, par]
        F, with par = der + K + 1.
    """
    K = power.shape[-1]
    inverse = torch.linalg.inv(_covariance(Z[:, :, :K], power, noise_var))
    E = inverse @ Z.mT
    F = torch.nn.functional.pad(known_noise_information(Z.conj() @ E, power, owner), (0, 1, 0, 1))
    own = _three_each(K, Z.device) if owner is None else owner
    bE, dE = E[..., :K], E[..., K:]
    with_responses = 2 * _total((_columns_of(bE, own).conj() * dE).sum(-2)) * _columns_of(power, own)
    with_powers = _total((bE.conj() * bE).sum(-2))
    F[:, -1, :-1] = F[:, :-1, -1] = torch.cat([with_responses, with_powers], dim=-1)
    F[:, -1, -1] = inverse.abs().square().sum((-3, -2, -1))
    return F


def known_noise_information(
    X: Complex[Tensor, "batch snap col col"],
    power: Float[Tensor, "batch src"],
    owner: Int[Tensor, "*rows der"] | None = None,
) -> Float[Tensor, "batch col col"]:
    """Compute the information F over (der parameters of the responses, K powers) for a known sigma^2.

    Every trace is a product of entries of X: two derivatives give
    2 p p' Re(b^H C^-1 d' b'^H C^-1 d + b^H C^-1 b' d'^H C^-1 d), a power and a derivative 2 p Re(b'^H C^-1 d b^H C^-1 b').

    Parameters
    ----------
    X : [batch, snap, col, col]
        X_l = Z_l^H C_l^-1 Z_l, where Z holds the responses b and then d.
    power : [batch, src]
        The linear powers.
    owner : [der] or [batch, der]
        The source of each derivative; None: three of each source in turn.

    Returns
    -------
    [batch, par, par]
        F, with par = der + K.
    """
    K = power.shape[-1]
    own = _three_each(K, X.device) if owner is None else owner
    p = _columns_of(power, own)
    bb, bd, dd = X[..., :K, :K], X[..., :K, K:], X[..., K:, K:]
    b_own = _rows_of(bb, own)
    cross = _rows_of(bd, own)
    responses = 2 * _total(cross * cross.mT + _columns_of(b_own, own) * dd.mT) * p[:, :, None] * p[:, None, :]
    mixed = 2 * _total(bd * b_own.mT) * p[:, None, :]
    powers = _total(bb * bb.mT)
    return torch.cat([torch.cat([responses, mixed.mT], -1), torch.cat([mixed, powers], -1)], dim=-2)


def deterministic_information(
    Z: Complex[Tensor, "batch snap col ant"],
    ss: Complex[Tensor, "batch snap src src"],
    noise_var: Float[Tensor, " batch"],
    owner: Int[Tensor, "*rows der"] | None = None,
) -> Float[Tensor, "batch par par"]:
    """Compute F = (2 / sigma^2) sum_l Re(S_l^H D_l^H P_perp(B_l) D_l S_l) over the der parameters of the responses.

    Sources whose symbols are all zero do not contribute.

    Parameters
    ----------
    Z : [batch, snap, col, ant]
        The rows b_k, then their derivatives, as in `stochastic_information`.
    ss : [batch, snap, src, src]
        s_l s_l^H; its expectation P gives the bound that the stochastic one tends to at high SNR.
    noise_var : [batch]
        The noise variance sigma^2.
    owner : [der] or [batch, der]
        The source of each derivative; None: three of each source in turn.

    Returns
    -------
    [batch, par, par]
        F, with par = der.
    """
    K = ss.shape[-1]
    present = ss.diagonal(dim1=-2, dim2=-1).abs().amax(1) > 0
    B, D = Z[:, :, :K] * present[:, None, :, None], Z[:, :, K:]
    gram = B.conj() @ B.mT + torch.diag_embed((~present).to(B.dtype))[:, None]
    outside = D - (D @ B.mH) @ torch.linalg.solve(gram.mT, B)
    own = _three_each(K, Z.device) if owner is None else owner
    DPD = D.conj() @ outside.mT
    return 2 / noise_var[:, None, None] * _total(DPD * _columns_of(_rows_of(ss, own), own).mT)


def inverse_information(
    F: Float[Tensor, "batch par par"], used: Bool[Tensor, "batch par"]
) -> Float[Tensor, "batch par par"]:
    """Compute the inverse of F over the parameters that are used.

    Parameters
    ----------
    F : [batch, par, par]
        The information.
    used : [batch, par]
        Which parameters are unknown; the others are absent or known.

    Returns
    -------
    [batch, par, par]
        The smallest covariance; 0 for parameters that are not used, and infinite on the diagonal where F is singular.
    """
    scale = torch.where(used, F.diagonal(dim1=-2, dim2=-1), 1.0)
    d = torch.where(scale > 0, scale, 1.0).rsqrt() * used
    scaled = d[:, :, None] * F * d[:, None, :] + torch.diag_embed((~used).to(F.dtype))
    chol, info = torch.linalg.cholesky_ex(scaled)
    eye = torch.eye(F.shape[-1], dtype=F.dtype, device=F.device)
    bad = (info != 0) | ~scaled.isfinite().all(-1).all(-1)
    inverse = torch.cholesky_inverse(torch.where(bad[:, None, None], eye, chol))
    inverse = torch.where(bad[:, None, None], torch.where(eye > 0, torch.inf, 0.0), inverse)
    return torch.where(used[:, :, None] & used[:, None, :], d[:, :, None] * inverse * d[:, None, :], 0.0)


def _covariance(B: Tensor, power: Tensor, noise_var: Tensor) -> Tensor:
    C = (B * power[:, None, :, None]).mT @ B.conj()
    return C + noise_var[:, None, None, None] * torch.eye(B.shape[-1], dtype=C.dtype, device=C.device)


def diagonal_blocks(
    covariance: Float[Tensor, "batch par par"], size: int, present: Bool[Tensor, "batch group"]
) -> Float[Tensor, "batch group size size"]:
    """Return the covariance of each group of parameters.

    Parameters
    ----------
    covariance : [batch, par, par]
        The covariance of all parameters, those of the groups first.
    size
        The number of parameters in a group.
    present : [batch, group]
        Which groups are there.

    Returns
    -------
    [batch, group, size, size]
        The blocks on the diagonal; NaN for groups that are absent.
    """
    count = present.shape[1]
    blocks = covariance[:, : size * count, : size * count].reshape(-1, count, size, count, size)
    return torch.where(present[:, :, None, None], blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2), torch.nan)


def _three_each(K: int, device: torch.device) -> Tensor:
    return torch.arange(K, device=device).repeat_interleave(3)  # the source of each coordinate


def _columns_of(x: Tensor, owner: Tensor) -> Tensor:
    """Return for every derivative the column of its source."""
    if owner.ndim == 1:
        return x[..., owner]
    return x.take_along_dim(owner.view(len(owner), *(1,) * (x.ndim - 2), -1), dim=-1)


def _rows_of(x: Tensor, owner: Tensor) -> Tensor:
    """Return for every derivative the row of its source."""
    return x[..., owner, :] if owner.ndim == 1 else x.take_along_dim(owner[:, None, :, None], dim=-2)


def _total(x: Tensor) -> Tensor:
    return x.real.sum(1)
