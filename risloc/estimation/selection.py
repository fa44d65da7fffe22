"""From more candidates than sources to estimates: forward selection by likelihood, a joint fit after each pick, BIC.

Axes: batch B, cand C, src K, snap L, ant M.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.estimation.ambiguity import Doubt, doubt
from risloc.estimation.candidates import Source
from risloc.estimation.conditional import Sensing, fit_conditional
from risloc.estimation.exchange import Exchange
from risloc.estimation.information_criteria import bic
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.misfit import degrees_of_freedom, fits, misfit, widening
from risloc.estimation.order_rules import EarlyRule, Rule, SelectionPath
from risloc.estimation.projection import Projection, project
from risloc.estimation.reliability import AMBIGUOUS, ONE_SNAPSHOT, in_one_snapshot, reasons, with_reason
from risloc.estimation.stochastic import fit_powers, fit_stochastic, information
from risloc.performance.crb import bound_of, position_jacobian
from risloc.physics.geometry import location_of
from risloc.physics.steering import steering_matrix

__all__ = [
    "Estimates",
    "assess",
    "fit_and_assess",
    "forward_selection",
    "refit_stochastic",
    "select_and_fit",
]

LOOSE, TIGHT = 1.0, 1e-3  # tolerance of a fit between picks, and of the last one, in units of sigma^2


def forward_selection(
    sensing: Sensing,
    source: Source,
    slots: int,
    *,
    least: Int[Tensor, " batch"],
    seek: bool,
    steps_between: int,
    exchange: Exchange | None = None,
) -> SelectionPath:
    """Greedy growth: the candidate of the greatest likelihood gain joins, then all sources so far are fitted jointly.

    Every scene grows to `least` sources, and with `seek` on while BIC falls; at most to `slots`, and as long as there
    are candidates. steps_between : most Gauss-Newton steps after each pick; 0 leaves the candidates where they are.
    exchange : how sources are exchanged after each fit; None: each pick stays.
    """
    y, samples = sensing.y, sensing.y[0].numel()
    each = sum(sensing.domain.free) + 1  # parameters of a source: its free coordinates and its power
    polar = sensing.domain.clamp(torch.zeros(len(y), slots + 1, slots, 3, dtype=y.real.dtype, device=y.device))
    cost = torch.full((len(y), slots + 1), torch.inf, dtype=polar.dtype, device=y.device)
    cost[:, 0] = energy = y.abs().square().sum((-2, -1))
    value, noise_var = torch.full_like(cost, torch.inf, dtype=torch.float64), sensing.noise_var.double()
    value[:, 0] = samples * noise_var.log() + energy.double() / noise_var
    power = torch.zeros(len(y), slots + 1, slots, dtype=torch.float64, device=y.device)
    reached = torch.zeros_like(least)
    falling = torch.full_like(least, seek, dtype=torch.bool)
    for k in range(slots):
        rows = ((reached == k) & ((k < least) | falling)).nonzero()[:, 0]
        if len(rows) == 0:
            break
        here, now = sensing.scenes(rows), polar[rows, k, : k + 1]
        present = torch.ones(now.shape[:2], dtype=torch.bool, device=now.device)
        B = here.responses(steering_matrix(sensing.array, now[:, :k]))
        offered, gain = source.offer(rows, project(B, here.y, present[:, :k]))
        pick = gain.argmax(dim=1)
        source.take(rows, pick)
        now[:, k] = offered[torch.arange(len(rows), device=pick.device), pick]
        fit = fit_conditional(here, now, present, tolerance=LOOSE, iterations=steps_between)
        if exchange is not None:
            fit = exchange.improved(sensing, rows, fit)
        found = gain.amax(dim=1) > -torch.inf
        polar[rows, k + 1, : k + 1] = fit.polar
        cost[rows, k + 1] = torch.where(found, fit.value, torch.inf)
        reached[rows] += found
        if seek:
            power[rows, k + 1, : k + 1], joint = fit_powers(here, fit.polar, present)
            value[rows, k + 1] = torch.where(found, joint, torch.inf)
            falling[rows] &= bic(value[rows, k + 1], each, samples) < value[rows, k] * 2
    return SelectionPath(polar, cost, value, power, reached)


@dataclass(frozen=True)
class Estimates:
    """What was found; sources stand in the first slots, `present` says in how many.

    polar : (u, v, w).  power : linear.  covariance : of (azimuth [rad], elevation [rad], 1/r [1/m]), from the Fisher
    information at the estimate times max(1, misfit), and other places that are nearly as likely (`risloc.estimation.ambiguity`), NaN where absent.  position_std, distance_std : metres, from it.
    reason : why a source is not resolved, a number of `risloc.estimation.reliability.REASONS`; 0 where it is, or absent.
    misfit : of the scene, see `risloc.estimation.misfit`.  explained : the share of its energy.  log_likelihood : ln p(y), stochastic.  converged : the scene's joint fit did.
    """

    polar: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    present: Bool[Tensor, "batch src"]
    reason: Int[Tensor, "batch src"]
    covariance: Float[Tensor, "batch src 3 3"]
    position_std: Float[Tensor, "batch src"]
    distance_std: Float[Tensor, "batch src"]
    misfit: Float[Tensor, " batch"]
    explained: Float[Tensor, " batch"]
    log_likelihood: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]

    @property
    def resolved(self) -> Bool[Tensor, "batch src"]:
        """Which sources are to be relied on: present, and no reason speaks against them."""
        return self.present & (self.reason == 0)


def select_and_fit(
    sensing: Sensing,
    source: Source,
    counts: Sequence[Rule],
    slots: int,
    *,
    steps_between: int,
    iterations: int,
    exchange: Exchange | None = None,
    gains: GainMap | None = None,
) -> list[Estimates]:
    """Forward selection from the source of candidates, then the tight joint fit, powers and standard deviations.

    counts : the number of sources of each scene, or a rule that finds it; one answer for each. All answers come from one
    selection, which goes to K_MAX unless every rule is an `EarlyRule`.
    steps_between, iterations : most steps of a fit after each pick, and of the last.  exchange : see `forward_selection`.
    gains : see `assess`.
    """
    known = [count for count in counts if isinstance(count, Tensor)]
    whole = any(not isinstance(count, Tensor | EarlyRule) for count in counts)
    none = torch.full((len(sensing),), slots if whole else 0, dtype=torch.int64, device=sensing.y.device)
    least = torch.stack([none, *known]).amax(0)
    seek = len(known) < len(counts)
    path = forward_selection(
        sensing, source, slots, least=least, seek=seek, steps_between=steps_between, exchange=exchange
    )
    found = []
    for count in counts:
        polar, present = path.at(count if isinstance(count, Tensor) else count(sensing, path))
        found.append(fit_and_assess(sensing, polar, present, iterations=iterations, gains=gains))
    return found


def fit_and_assess(
    sensing: Sensing,
    start: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    *,
    iterations: int,
    gains: GainMap | None = None,
) -> Estimates:
    """The tight joint fit of the sources that are present (in the first slots) from `start`, and what is known of it.

    gains : see `assess`.
    """
    slots = start.shape[1]
    used = max(1, int(present.sum(1).amax()))  # the slots behind are empty in every scene of the batch
    end = fit_conditional(sensing, start[:, :used], present[:, :used], tolerance=TIGHT, iterations=iterations)
    found = assess(sensing, end.polar, present[:, :used], end.converged, gains)
    return _widened(found, start[:, used:], slots)


def refit_stochastic(sensing: Sensing, found: Estimates, *, iterations: int, gains: GainMap | None = None) -> Estimates:
    """The same sources fitted once more, by the stochastic likelihood, from where they are; see `fit_stochastic`.

    It knows that the symbols are Gaussian, where `fit_conditional` takes each as unknown: below threshold that is worth
    something, above it they agree. Not for sources that share a waveform.
    """
    slots = found.present.shape[1]
    used = max(1, int(found.present.sum(1).amax()))
    start, present = found.polar[:, :used], found.present[:, :used]
    end, _ = fit_stochastic(sensing, start, found.power[:, :used], tolerance=TIGHT, iterations=iterations)
    fitted = assess(sensing, end.polar.to(start.dtype), present, end.converged, gains)
    return _widened(fitted, found.polar[:, used:], slots)


def assess(
    sensing: Sensing,
    polar: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    converged: Bool[Tensor, " batch"],
    gains: GainMap | None = None,
) -> Estimates:
    """Powers, log-likelihood, misfit, and standard deviations that misfit and doubt widen, at given locations.

    gains : the map in which other places that are nearly as likely are searched for (`risloc.estimation.ambiguity`); None: nowhere.
    """
    power, value = fit_powers(sensing, polar, present)
    location = location_of(polar.double())
    bound = bound_of(information(sensing, location, power), location, present, sensing.domain.free)
    A = steering_matrix(sensing.array, polar.to(sensing.y.real.dtype))
    fit = project(sensing.responses(A), sensing.y, present)
    left, freedom, explained = _misfit(sensing, fit, present)
    wider = widening(left)
    covariance = bound.covariance * wider[:, None, None, None]
    elsewhere = Doubt.none(polar)
    if gains is not None:
        level = dataclasses.replace(sensing, noise_var=sensing.noise_var * wider.to(sensing.noise_var))
        elsewhere = doubt(level, gains, polar, power, present, covariance)
    covariance = covariance + elsewhere.moment
    J = position_jacobian(location)
    moved = (J @ elsewhere.moment @ J.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
    position_std = (bound.position.square() * wider[:, None] + moved).sqrt()
    location_std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    distance_std = location_std[..., 2] * location[..., 2].square()
    location_std = torch.cat([location_std[..., :2], distance_std[..., None]], dim=-1)
    why = reasons(sensing.array, sensing.domain, polar, power, present, location_std, fits(left, freedom), converged)
    why = with_reason(why, present, AMBIGUOUS, elsewhere.elsewhere > 0.5)
    why = with_reason(why, present, ONE_SNAPSHOT, in_one_snapshot(fit.s))
    return Estimates(
        polar=polar,
        power=power.to(polar.dtype),
        present=present,
        reason=why,
        covariance=covariance,
        position_std=position_std.to(polar.dtype),
        distance_std=distance_std.to(polar.dtype),
        misfit=left,
        explained=explained,
        log_likelihood=(-value - sensing.y[0].numel() * math.log(math.pi)).to(polar.dtype),
        converged=converged,
    )


def _misfit(sensing: Sensing, fit: Projection, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The misfit of the sources that are present, the degrees of freedom that they leave, the share that they explain."""
    cost = fit.cost.double()
    energy = sensing.y.abs().square().sum((1, 2)).double()
    _, snapshots, antennas = sensing.y.shape
    freedom = degrees_of_freedom(present.sum(1), snapshots, antennas, sensing.domain.free)
    left = misfit(cost, sensing.noise_var, freedom, energy / (snapshots * antennas))
    return left, freedom, 1 - cost / energy


def _widened(found: Estimates, rest: Tensor, slots: int) -> Estimates:
    """The same estimates in `slots` slots, those behind empty."""
    missing = slots - found.present.shape[1]

    def pad(x: Tensor, value: float | bool) -> Tensor:
        return torch.nn.functional.pad(x, (0, missing), value=value)

    return dataclasses.replace(
        found,
        polar=torch.cat([found.polar, rest], dim=1),
        power=pad(found.power, 0.0),
        present=pad(found.present, False),
        reason=pad(found.reason, 0.0),
        covariance=torch.nn.functional.pad(found.covariance, (0, 0, 0, 0, 0, missing), value=math.nan),
        position_std=pad(found.position_std, math.nan),
        distance_std=pad(found.distance_std, math.nan),
    )
