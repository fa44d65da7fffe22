"""MVDR (Capon) as an increasing function of an energy, and its loading.

Axes: elem N, rank r.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance

__all__ = ["mvdr_factor", "shrinkage_loading"]

LEAST_LOADING = 1e-20  # if R is zero, and so is its spectrum
MOST_SHRINKAGE = 0.999  # a loading of 999 mean eigenvalues, at which MVDR is beamforming


def mvdr_factor(
    F: Complex[Tensor, "*batch elem rank"], loading: float | Float[Tensor, "*batch"]
) -> Complex[Tensor, "*batch elem rank"]:
    """Compute T such that a^H (F F^H + e I)^-1 a = (N - |T^H a|^2) / e, e = loading tr(R) / N: MVDR as an energy.

    By Woodbury, T = F C^-H with C C^H = e I + F^H F. The Capon spectrum 1 / (a^H R^-1 a) increases with |T^H a|^2.

    Parameters
    ----------
    F : [*batch, elem, rank]
        The factor of R.
    loading : number or [*batch]
        The loading in units of the mean eigenvalue of R, above 0 (see `shrinkage_loading`).

    Returns
    -------
    [*batch, elem, rank]
        The factor T.
    """
    n, rank = F.shape[-2:]
    e = (loading * (F.real.square() + F.imag.square()).sum((-2, -1)) / n).clamp_min(LEAST_LOADING)
    eye = torch.eye(rank, dtype=F.dtype, device=F.device)
    C = torch.linalg.cholesky(e[..., None, None] * eye + F.mH @ F)
    return torch.linalg.solve_triangular(C, F.mH, upper=False).mH


def shrinkage_loading(R: FactoredCovariance, snapshots: int) -> Float[Tensor, "*batch"]:
    """Compute alpha / (1 - alpha), alpha the oracle-approximating shrinkage of R: a loading from the data.

    Shrinking, (1 - alpha) R + alpha tr(R)/N I, is up to scale the loading R + e I with e = alpha / (1 - alpha) tr(R)/N.
    Neither changes an eigenvector, so that MUSIC is the same with and without it; of the spectra in this module it affects
    only MVDR. OAS iterates between the oracle of Gaussian snapshots and its estimate up to a fixed point; for circular
    complex snapshots the steps, with E tr(R^2) = tr(S^2) + tr(S)^2 / L, end in

        alpha = min(1, (tr(R)^2 - tr(R^2)/N) / ((L - 1/N) (tr(R^2) - tr(R)^2/N)))

    (for real ones, as printed: tr(R)^2 + (1 - 2/N) tr(R^2) above and L + 1 - 2/N below). The scale of R cancels. Least-
    squares snapshots through different codes are not of one distribution, as OAS assumes: there alpha is a rule without a
    parameter, not an optimum. It is limited to 0.999, so that the loading of a white R stays finite and its MVDR is
    beamforming.

    Parameters
    ----------
    R
        The covariances.
    snapshots
        The number of snapshots L.

    Returns
    -------
    [*batch]
        The loading.

    References
    ----------
    Chen, Wiesel, Eldar & Hero 2010, "Shrinkage algorithms for MMSE covariance estimation" (OAS).
    """
    n = R.factor.shape[-2]
    square, inner = R.trace.square(), R.inner(R)
    spread = (snapshots - 1 / n) * (inner - square / n)
    alpha = (square - inner / n) / spread.clamp_min(torch.finfo(spread.dtype).tiny)
    alpha = alpha.clamp(max=MOST_SHRINKAGE)
    return alpha / (1 - alpha)
