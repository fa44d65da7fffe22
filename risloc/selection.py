"""From more candidates than sources to estimates: forward selection by likelihood, a joint fit after each pick, BIC.

Axes: batch B, cand C, src K, snap L, ant M.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.crb import bound_of
from risloc.geometry import location_of
from risloc.likelihood import Projection, Sensing, fit_conditional, project
from risloc.spectrum import Peaks
from risloc.steering import steering_matrix
from risloc.stochastic import bic, fit_powers, information

__all__ = ["Estimates", "forward_selection", "likelihood_gain", "select_and_fit"]

LOOSE, TIGHT = 0.1, 1e-3  # tolerance of a fit between picks, and of the last one, in units of sigma^2
INDEPENDENT = 1e-2  # least share of a candidate's response outside the span of the sources already picked


def likelihood_gain(Z: Complex[Tensor, "batch snap cand ant"], fit: Projection) -> Float[Tensor, "batch cand"]:
    """The decrease of the cost when one more source with responses Z_l joins: sum_l |z^H r_l|^2 / |P_perp(B_l) z|^2."""
    energy = Z.abs().square().sum(-1)
    outside = energy - (Z @ fit.Qh.mT).abs().square().sum(-1)
    match = (Z.conj() @ fit.residual[..., None])[..., 0].abs().square()
    return (match / torch.maximum(outside, INDEPENDENT * energy).clamp_min(1e-30)).sum(1)


def forward_selection(
    sensing: Sensing, candidates: Peaks, count: Int[Tensor, " batch"] | None, slots: int, *, iterations: int
) -> tuple[Float[Tensor, "batch {slots} 3"], Int[Tensor, " batch"]]:
    """(u, v, w) in `slots` slots, and how many of them hold a source.

    Greedy: the candidate of the greatest likelihood gain joins, all sources so far are fitted jointly, and so on, up to
    `count` sources, or, where it is None, until BIC rises. A scene that runs out of candidates stops there.
    """
    batch = len(sensing)
    polar = sensing.domain.clamp(candidates.polar[:, :1].expand(-1, slots, -1)).clone()
    order = torch.zeros(batch, dtype=torch.int64, device=polar.device)
    free = candidates.valid.clone()
    Z = sensing.responses(steering_matrix(sensing.array, candidates.polar))
    samples = sensing.y[0].numel()
    noise_var = sensing.noise_var.double()
    lowest = samples * noise_var.log() + sensing.y.abs().square().sum((-2, -1)).double() / noise_var
    lowest = bic(lowest, 0, samples)
    going = torch.ones_like(order, dtype=torch.bool)
    for k in range(slots):
        going = going & free.any(1) & (True if count is None else count > k)
        rows = going.nonzero()[:, 0]
        if len(rows) == 0:
            break
        here, now = sensing[rows], polar[rows, : k + 1]
        present = torch.ones(now.shape[:2], dtype=torch.bool, device=now.device)
        B = here.responses(steering_matrix(sensing.array, now[:, :k]))
        gain = likelihood_gain(Z[rows], project(B, here.y, present[:, :k])).masked_fill(~free[rows], -torch.inf)
        pick = gain.argmax(dim=1)
        free[rows, pick] = False
        now[:, k] = candidates.polar[rows, pick]
        fitted = fit_conditional(here, now, present, tolerance=LOOSE, iterations=iterations)
        now = fitted.point.view_as(now)
        if count is None:
            value = bic(fit_powers(here, now, present)[1], k + 1, samples)
            better = value < lowest[rows]
            going[rows] = better
            rows, now, value = rows[better], now[better], value[better]
            lowest[rows] = value
        polar[rows, : k + 1] = now
        order[rows] = k + 1
    return polar, order


@dataclass(frozen=True)
class Estimates:
    """What was found; sources stand in the first slots, `present` says in how many.

    polar : (u, v, w).  power : linear.  position_std, distance_std : metres, from the Fisher information at the
    estimate, NaN where absent.  resolved : the fit converged and the range is known better than the prior knows it.
    log_likelihood : ln p(y), stochastic.  converged : the joint fit of the scene did.
    """

    polar: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    present: Bool[Tensor, "batch src"]
    resolved: Bool[Tensor, "batch src"]
    position_std: Float[Tensor, "batch src"]
    distance_std: Float[Tensor, "batch src"]
    log_likelihood: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def select_and_fit(
    sensing: Sensing, candidates: Peaks, count: Int[Tensor, " batch"] | None, slots: int, *, iterations: int
) -> Estimates:
    """Forward selection among the candidates, then the tight joint fit, powers and standard deviations.

    count : the number of sources of each scene where it is known, or None: BIC finds it.
    """
    polar, order = forward_selection(sensing, candidates, count, slots, iterations=iterations)
    present = torch.arange(slots, device=polar.device) < order[:, None]
    end = fit_conditional(sensing, polar, present, tolerance=TIGHT, iterations=iterations)
    return assess(sensing, end.point.view_as(polar), present, end.converged)


def assess(
    sensing: Sensing,
    polar: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    converged: Bool[Tensor, " batch"],
) -> Estimates:
    """Powers, log-likelihood and standard deviations at given locations."""
    power, value = fit_powers(sensing, polar, present)
    location = location_of(polar.double())
    std = bound_of(information(sensing, location, power), location, present, sensing.domain.free)
    nearest, farthest = sensing.domain.distance
    known = (std.distance < (farthest - nearest) / math.sqrt(12)) | (not sensing.domain.free[2])
    return Estimates(
        polar=polar,
        power=power.to(polar.dtype),
        present=present,
        resolved=present & converged[:, None] & known,
        position_std=std.position.to(polar.dtype),
        distance_std=std.distance.to(polar.dtype),
        log_likelihood=(-value - sensing.y[0].numel() * math.log(math.pi)).to(polar.dtype),
        converged=converged,
    )
