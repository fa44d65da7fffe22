"""Does an answer explain its data? The misfit: what the sources leave unexplained over what sigma^2 says they leave.

Of the M L complex samples of a scene, a fit of K sources takes L symbols a source and half of its free coordinates, q of
them (each is real). In a model that is true, what is left is chi-square distributed, so that

    misfit = sum_l |P_perp(B_l) y_l|^2 / (sigma^2 n),   n = L (M - K) - K q / 2

has mean 1 and variance 1 / n. Above 1 there is more in the data than sources and noise: a convention, the codes, the
elements, echoes, or a noise variance that is too small. Below 1 the noise variance is too large.

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
"""The factor by which a noise variance may be wrong (0.6 dB) before more samples than a few call it so."""

ROUNDING = 1e-11
"""Of the mean |y|^2: what single precision leaves of a sample that is explained."""


def degrees_of_freedom(
    count: Int[Tensor, " batch"], snapshots: int, antennas: int, free: tuple[bool, bool, bool]
) -> Float[Tensor, " batch"]:
    """n = L (M - K) - K q / 2, the complex samples that `count` = K sources leave; q free coordinates a source."""
    return snapshots * antennas - count.double() * (snapshots + sum(free) / 2)


def misfit(
    cost: Float[Tensor, " batch"],
    noise_var: Float[Tensor, " batch"],
    freedom: Float[Tensor, " batch"],
    energy: Float[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """cost / (sigma^2 n); NaN where the sources leave no samples to tell it from.

    cost : sum_l |P_perp(B_l) y_l|^2.  freedom : n.  energy : the mean |y|^2, whose rounding counts as noise.
    """
    level = noise_var.double() + ROUNDING * energy.double()
    return torch.where(freedom > 0, cost.double() / (level * freedom.clamp_min(1e-30)), torch.nan)


def misfit_limits(freedom: Float[Tensor, " batch"]) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Between which a misfit says nothing against the model: chi-square limits at `ALARM`, both widened by `TOLERANCE`.

    NaN where there are no degrees of freedom.
    """
    n = freedom.clamp_min(1e-30).cpu().numpy()
    low, high = gammaincinv(n, ALARM / 2) / n / TOLERANCE, gammainccinv(n, ALARM / 2) / n * TOLERANCE
    nothing = torch.full_like(freedom, torch.nan)
    return tuple(torch.where(freedom > 0, torch.from_numpy(x).to(freedom), nothing) for x in (low, high))  # type: ignore[return-value]


def fits(misfit: Float[Tensor, " batch"], freedom: Float[Tensor, " batch"]) -> Bool[Tensor, " batch"]:
    """Whether the misfit lies within the limits, or cannot be told."""
    low, high = misfit_limits(freedom)
    return misfit.isnan() | ((misfit >= low) & (misfit <= high))


def widening(misfit: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """max(1, misfit): the factor on variances, as if sigma^2 were what the residual says. They are never reduced."""
    return misfit.nan_to_num(1.0, posinf=torch.inf).clamp_min(1.0)
