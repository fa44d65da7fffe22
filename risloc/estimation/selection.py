"""From more candidates than sources to estimates: forward selection by likelihood, a joint fit after each pick, BIC.

Axes: batch B, cand C, src K, snap L, ant M.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.estimation.ambiguity import Doubt, doubt
from risloc.estimation.conditional import Projection, Sensing, fit_conditional, likelihood_gain, project
from risloc.estimation.exchange import Exchange
from risloc.estimation.information_criteria import bic
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.misfit import degrees_of_freedom, fits, misfit, widening
from risloc.estimation.reliability import AMBIGUOUS, ONE_SNAPSHOT, in_one_snapshot, reasons, with_reason
from risloc.estimation.spectrum import Peaks, peaks
from risloc.estimation.stochastic import fit_powers, fit_stochastic, information
from risloc.performance.crb import bound_of, position_jacobian
from risloc.physics.geometry import location_of
from risloc.physics.steering import steering_matrix

__all__ = [
    "Estimates",
    "MatchingPursuit",
    "OrderRule",
    "PeakCandidates",
    "SelectionPath",
    "Sought",
    "Source",
    "assess",
    "bic_noise_order",
    "bic_order",
    "fit_and_assess",
    "forward_selection",
    "refit_stochastic",
    "select_and_fit",
]

LOOSE, TIGHT = 1.0, 1e-3  # tolerance of a fit between picks, and of the last one, in units of sigma^2


class Source(ABC):
    """Where the next source of a scene may come from."""

    @abstractmethod
    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """Locations (u, v, w) [row, cand, 3] and gains [row, cand] for these scenes; -inf: not on offer."""

    @abstractmethod
    def take(self, rows: Tensor, pick: Tensor) -> None:
        """The candidates that were picked from the last offer."""


class PeakCandidates(Source):
    """A fixed list of candidates, each picked once."""

    def __init__(self, sensing: Sensing, candidates: Peaks) -> None:
        self.polar = sensing.domain.clamp(candidates.polar)
        self.free = candidates.valid.clone()
        self.Z = sensing.responses(steering_matrix(sensing.array, self.polar))

    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """The candidates that are left."""
        return self.polar[rows], likelihood_gain(self.Z[rows], fit).masked_fill(~self.free[rows], -torch.inf)

    def take(self, rows: Tensor, pick: Tensor) -> None:
        """Strike them off."""
        self.free[rows, pick] = False


class MatchingPursuit(Source):
    """Orthogonal matching pursuit: the point of the grid with the greatest likelihood gain, searched anew for each source.

    With the joint fit after each pick this is Newtonised OMP (Mamandipoor et al. 2016), by the exact gain in place of the
    energy of the back-projected residual (orthogonal least squares, Chen et al. 1989).
    """

    def __init__(self, sensing: Sensing, gains: GainMap) -> None:
        self.sensing, self.gains = sensing, gains

    def offer(self, rows: Tensor, fit: Projection) -> tuple[Tensor, Tensor]:
        """The highest peak of the gain."""
        found = peaks(self.gains.further(rows, fit), self.gains.grid, 1, 0.0)
        return self.sensing.domain.clamp(found.polar), found.value.masked_fill(~found.valid, -torch.inf)

    def take(self, rows: Tensor, pick: Tensor) -> None:
        """Nothing to strike off: the next residual is another one."""


@dataclass(frozen=True)
class SelectionPath:
    """The fits of growing order of each scene, from no source to as many as were asked for.

    polar : (u, v, w) of the fit of `order` sources, in its first slots.  cost : its conditional cost.
    value : its stochastic negative log-likelihood and `power` the powers, where BIC or a rule was to look at them.
    reached : the highest order fitted; beyond it everything is that order's, and cost and value are infinite.
    """

    polar: Float[Tensor, "batch order src 3"]
    cost: Float[Tensor, "batch order"]
    value: Float[Tensor, "batch order"]
    power: Float[Tensor, "batch order src"]
    reached: Int[Tensor, " batch"]

    def at(self, order: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch src 3"], Bool[Tensor, "batch src"]]:
        """The fit of that order, or of the highest reached, and which of its slots hold a source."""
        order = torch.minimum(order, self.reached)
        slots = torch.arange(self.polar.shape[2], device=order.device)
        return self.polar[torch.arange(len(order), device=order.device), order], slots < order[:, None]

    def scenes(self, rows: Tensor) -> "SelectionPath":
        """The paths of the scenes of these rows."""
        return SelectionPath(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def valued(self, sensing: Sensing) -> "SelectionPath":
        """The same fits with the values and powers of all orders for the noise variance of `sensing`."""
        value, power = torch.full_like(self.value, torch.inf), torch.zeros_like(self.power)
        noise_var = sensing.noise_var.double()
        value[:, 0] = sensing.y[0].numel() * noise_var.log() + self.cost[:, 0].double() / noise_var
        for k in range(1, value.shape[1]):
            rows = (self.reached >= k).nonzero()[:, 0]
            if len(rows):
                present = torch.ones(len(rows), k, dtype=torch.bool, device=rows.device)
                power[rows, k, :k], value[rows, k] = fit_powers(sensing.scenes(rows), self.polar[rows, k, :k], present)
        return dataclasses.replace(self, value=value, power=power)


OrderRule = Callable[[Sensing, SelectionPath], Int[Tensor, " batch"]]
"""Finds K from the fits of all orders 0..K_MAX."""


@dataclass(frozen=True)
class Sought:
    """A rule that is content with the orders at which BIC stops growing, which spares the fits of all others."""

    rule: OrderRule

    def __call__(self, sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
        """What the rule says."""
        return self.rule(sensing, path)


def bic_order(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
    """The order at which BIC of the stochastic likelihood stops falling, sigma^2 known."""
    each, samples = sum(sensing.domain.free) + 1, sensing.y[0].numel()  # a source's free coordinates and its power
    value = bic(path.value, each * torch.arange(path.value.shape[1], device=path.value.device), samples)
    return (value[:, 1:] < value[:, :-1]).cumprod(1).sum(1)


def bic_noise_order(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
    """The order of least BIC where sigma^2 is unknown too: n ln(cost), n = L M, the conditional likelihood at its best.

    A source has its free coordinates and, in each snapshot, an unknown complex symbol. What the model does not explain
    raises the noise level instead of calling for sources: the classical answer to a model that is wrong.
    """
    snap, samples = sensing.y.shape[1], sensing.y[0].numel()
    each = sum(sensing.domain.free) + 2 * snap
    orders = torch.arange(path.cost.shape[1], device=path.cost.device)
    return bic(samples * path.cost.double().clamp_min(1e-300).log(), each * orders, samples).argmin(1)


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
    counts: Sequence[Int[Tensor, " batch"] | OrderRule | None],
    slots: int,
    *,
    steps_between: int,
    iterations: int,
    exchange: Exchange | None = None,
    gains: GainMap | None = None,
) -> list[Estimates]:
    """Forward selection from the source of candidates, then the tight joint fit, powers and standard deviations.

    counts : one answer for each; the number of sources of each scene where it is known, or None: BIC finds it, or another
    rule, which looks at the fits of all orders. All answers come from one selection.
    steps_between, iterations : most steps of a fit after each pick, and of the last.  exchange : see `forward_selection`.
    gains : see `assess`.
    """
    known = [count for count in counts if isinstance(count, Tensor)]
    whole = any(count is not None and not isinstance(count, Tensor | Sought) for count in counts)
    none = torch.full((len(sensing),), slots if whole else 0, dtype=torch.int64, device=sensing.y.device)
    least = torch.stack([none, *known]).amax(0)
    seek = len(known) < len(counts)
    path = forward_selection(
        sensing, source, slots, least=least, seek=seek, steps_between=steps_between, exchange=exchange
    )
    found = []
    for count in counts:
        rule = bic_order if count is None else count
        polar, present = path.at(rule if isinstance(rule, Tensor) else rule(sensing, path))
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
