"""How many sources: information criteria, on the eigenvalues of a covariance or on a fitted likelihood.

Axes: elem N, rank r, order 0..widest.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance

__all__ = ["aic_order", "bic", "mdl_order"]


def bic(value: Float[Tensor, "*batch"], parameters: "int | Tensor", samples: int) -> Float[Tensor, "*batch"]:
    """Compute BIC = 2 f + q ln(L M); smaller is better.

    A source has its free coordinates and its power: q = 4 K, or 3 K if the domain fixes a coordinate.

    Parameters
    ----------
    value
        The negative log-likelihood f at its minimum.
    parameters
        The number of parameters q.
    samples
        The number of samples L M.

    Returns
    -------
    [*batch]
        The criterion.
    """
    count = parameters.to(value.dtype) if isinstance(parameters, Tensor) else parameters
    return 2 * value + count * math.log(samples)


def aic_order(R: FactoredCovariance, widest: int) -> Int[Tensor, "*batch"]:
    """Find the order 0..widest that minimises AIC = 2 (-ln likelihood + q), q = k (2p - k).

    AIC is not consistent: it overestimates with a probability that does not vanish with the number of snapshots. `mdl_order`
    describes the likelihood.

    Parameters
    ----------
    R
        The covariance.
    widest
        The largest order.

    Returns
    -------
    [*batch]
        The order.

    References
    ----------
    Wax & Kailath 1985, "Detection of signals by information theoretic criteria".
    """
    return _least(R, widest, 1.0)


def mdl_order(R: FactoredCovariance, widest: int) -> Int[Tensor, "*batch"]:
    """Find the order 0..widest that minimises MDL = -ln likelihood + q ln(n) / 2, q = k (2p - k).

    -ln likelihood = n (p - k) ln(arithmetic mean / geometric mean) of the p - k least eigenvalues of R: their distance from
    white noise. The factor of R is N x L, snapshots over sqrt(L) up to a common scale. p = min(N, L) eigenvalues come from
    the smaller Gram matrix, and n = max(N, L) counts its samples; with fewer snapshots than elements the two change places.
    MDL is consistent for snapshots of one distribution in white noise. Least-squares snapshots of a RIS are not of that
    kind, because their subspace changes with the code: there MDL is a baseline, and `bic` on the raw snapshots the rule.

    Parameters
    ----------
    R
        The covariance.
    widest
        The largest order.

    Returns
    -------
    [*batch]
        The order.

    Raises
    ------
    ValueError
        The order `widest` is not below p, so that no eigenvalue is left for the noise.

    References
    ----------
    Wax & Kailath 1985, "Detection of signals by information theoretic criteria".
    """
    return _least(R, widest, math.log(max(R.factor.shape[-2:])) / 2)


def _least(R: FactoredCovariance, widest: int, price: float) -> Tensor:
    """Return argmin_k of -ln likelihood + price q: the criteria above, up to a factor."""
    F = R.factor.detach().to(torch.complex128)
    p, n = sorted(F.shape[-2:])
    if not 0 <= widest < p:
        raise ValueError(f"widest: expected 0..{p - 1}, below min(elements, snapshots) = {p}, got {widest}")
    value = torch.linalg.eigvalsh(F.mH @ F if F.shape[-1] == p else F @ F.mH)
    value = value.clamp_min(0) + _floor(value, R.factor.dtype)
    criteria = []
    for k in range(widest + 1):
        noise = value[..., : p - k]
        misfit = n * (p - k) * (noise.mean(-1).log() - noise.log().mean(-1))
        criteria.append(misfit + price * k * (2 * p - k))
    return torch.stack(criteria, dim=-1).argmin(-1)


def _floor(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what rounding of the factor leaves of an eigenvalue that is zero; all are equal if R is zero."""
    return torch.finfo(dtype).eps * value[..., -1:].clamp_min(torch.finfo(value.dtype).tiny)
