"""The misfit, which says whether sources explain the data: the energy of the residual over that expected for sigma^2.

Of the M L complex samples of a scene, a fit of K sources takes L symbols a source and half of its free coordinates, q of
them (each is real). In a model that is true, what is left is chi-square distributed, so that

    misfit = sum_l |P_perp(B_l) y_l|^2 / (sigma^2 n),   n = L (M - K) - K q / 2

has mean 1 and variance 1 / n. A misfit above 1 means that the data contain more than sources and noise: another convention,
wrong codes or elements, echoes, or a noise variance that is too small. Below 1 the noise variance is too large.

Axes: batch B.
"""

import torch
from jaxtyping import Bool, Float, Int
from scipy.special import gammainccinv, gammaincinv
from torch import Tensor

__all__ = ["ALARM", "TOLERANCE", "degrees_of_freedom", "fits", "misfit", "misfit_limits", "widening"]

ALARM = 1e-3
"""The share of scenes of a true model whose misfit lies outside the limits without tolerance."""

TOLERANCE = 1.15
"""The factor (0.6 dB) by which a noise variance may be wrong without an alarm, however many samples there are."""

ROUNDING = 1e-11
"""The residual of an explained sample in single precision, as a share of the mean |y|^2."""


def degrees_of_freedom(
    count: Int[Tensor, " batch"], snapshots: int, antennas: int, free: tuple[bool, bool, bool]
) -> Float[Tensor, " batch"]:
    """Compute n = L (M - K) - K q / 2, the complex samples that K sources with q free coordinates each leave.

    Parameters
    ----------
    count : [batch]
        The number of sources K.
    snapshots
        The number of snapshots L.
    antennas
        The number of antennas M.
    free
        Which of the three coordinates are not fixed.

    Returns
    -------
    [batch]
        n.
    """
    return snapshots * antennas - count.double() * (snapshots + sum(free) / 2)


def misfit(
    cost: Float[Tensor, " batch"],
    noise_var: Float[Tensor, " batch"],
    freedom: Float[Tensor, " batch"],
    energy: Float[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """Compute cost / (sigma^2 n).

    Parameters
    ----------
    cost : [batch]
        sum_l |P_perp(B_l) y_l|^2.
    noise_var : [batch]
        The noise variance sigma^2.
    freedom : [batch]
        The degrees of freedom n.
    energy : [batch]
        The mean |y|^2, whose rounding counts as noise.

    Returns
    -------
    [batch]
        The misfit; NaN if the sources leave no samples.
    """
    level = noise_var.double() + ROUNDING * energy.double()
    return torch.where(freedom > 0, cost.double() / (level * freedom.clamp_min(1e-30)), torch.nan)


def misfit_limits(freedom: Float[Tensor, " batch"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Compute the limits between which a misfit is not significant: chi-square limits at `ALARM`, widened by `TOLERANCE`.

    Parameters
    ----------
    freedom : [batch]
        The degrees of freedom n.

    Returns
    -------
    [batch]
        The lower limit; NaN without degrees of freedom.
    [batch]
        The upper limit.
    """
    n = freedom.clamp_min(1e-30).cpu().numpy()
    low, high = gammaincinv(n, ALARM / 2) / n / TOLERANCE, gammainccinv(n, ALARM / 2) / n * TOLERANCE
    nothing = torch.full_like(freedom, torch.nan)
    return tuple(torch.where(freedom > 0, torch.from_numpy(x).to(freedom), nothing) for x in (low, high))  # type: ignore[return-value]


def fits(misfit: Float[Tensor, " batch"], freedom: Float[Tensor, " batch"]) -> Bool[Tensor, " batch"]:
    """Check whether the misfit lies within the limits or is undefined.

    Parameters
    ----------
    misfit : [batch]
        The misfit.
    freedom : [batch]
        The degrees of freedom n.

    Returns
    -------
    [batch]
        Whether it does.
    """
    low, high = misfit_limits(freedom)
    return misfit.isnan() | ((misfit >= low) & (misfit <= high))


def widening(misfit: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Compute max(1, misfit), the factor on variances that replaces sigma^2 by the level of the residual, never by a smaller
    one.

    Parameters
    ----------
    misfit : [batch]
        The misfit.

    Returns
    -------
    [batch]
        The factor.
    """
    return misfit.nan_to_num(1.0, posinf=torch.inf).clamp_min(1.0)
