"""From more candidates than sources to estimates: forward selection by likelihood, a joint fit after each pick, BIC.

Axes: batch B, cand C, src K, snap L, ant M.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from risloc.estimation.assessment import Estimates
from risloc.estimation.candidates import Source
from risloc.estimation.conditional import Sensing, fit_conditional
from risloc.estimation.estimates import fit_and_assess
from risloc.estimation.exchange import Exchange
from risloc.estimation.information_criteria import bic
from risloc.estimation.likelihood_gain import GainMap
from risloc.estimation.order_rules import EarlyRule, Rule, SelectionPath
from risloc.estimation.projection import project
from risloc.estimation.stochastic import fit_powers
from risloc.physics.steering import steering_matrix

__all__ = ["LOOSE", "forward_selection", "select_and_fit"]

LOOSE = 1.0  # tolerance of a fit between picks, in units of sigma^2


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
    """Add sources one at a time: the candidate with the largest likelihood gain, then a joint fit of all sources so far.

    In each scene this goes on up to `least` sources and, with `seek`, beyond them while BIC falls. It ends at `slots` sources,
    or if no candidate is left.

    Parameters
    ----------
    sensing
        The scenes.
    source
        What supplies the candidates of each pick.
    slots
        The largest number of sources.
    least : [batch]
        The number of sources up to which BIC does not stop the selection.
    seek
        Whether to continue while BIC falls.
    steps_between
        The largest number of Gauss-Newton steps after each pick; 0 leaves the candidates where they are.
    exchange
        How sources are exchanged after each fit; None: each pick stays.

    Returns
    -------
    SelectionPath
        The fits of all orders.
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
        scenes, start = sensing.scenes(rows), polar[rows, k, : k + 1]
        present = torch.ones(start.shape[:2], dtype=torch.bool, device=start.device)
        B = scenes.responses(steering_matrix(sensing.array, start[:, :k]))
        candidates, gain = source.offer(rows, project(B, scenes.y, present[:, :k]))
        pick = gain.argmax(dim=1)
        source.take(rows, pick)
        start[:, k] = candidates[torch.arange(len(rows), device=pick.device), pick]
        fit = fit_conditional(scenes, start, present, tolerance=LOOSE, iterations=steps_between)
        if exchange is not None:
            fit = exchange.improved(sensing, rows, fit)
        available = gain.amax(dim=1) > -torch.inf
        polar[rows, k + 1, : k + 1] = fit.polar
        cost[rows, k + 1] = torch.where(available, fit.value, torch.inf)
        reached[rows] += available
        if seek:
            power[rows, k + 1, : k + 1], joint = fit_powers(scenes, fit.polar, present)
            value[rows, k + 1] = torch.where(available, joint, torch.inf)
            falling[rows] &= bic(value[rows, k + 1], each, samples) < value[rows, k] * 2
    return SelectionPath(polar, cost, value, power, reached)


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
    """Run forward selection, then the tight joint fit, and compute powers and standard deviations.

    All results come from one selection. If there are only known numbers and `EarlyRule`s, it stops in each scene at the largest
    known number, or when BIC no longer falls; otherwise it goes to K_MAX.

    Parameters
    ----------
    sensing
        The scenes.
    source
        What supplies the candidates of each pick.
    counts
        The number of sources of each scene, or a rule that estimates it.
    slots
        The largest number of sources K_MAX.
    steps_between
        The largest number of steps of a fit after each pick.
    iterations
        The largest number of steps of the last fit.
    exchange
        As in `forward_selection`.
    gains
        As in `assess`.

    Returns
    -------
    list of Estimates
        The estimates for each of `counts`.
    """
    given = [count for count in counts if isinstance(count, Tensor)]
    whole = any(not isinstance(count, Tensor | EarlyRule) for count in counts)
    none = torch.full((len(sensing),), slots if whole else 0, dtype=torch.int64, device=sensing.y.device)
    least = torch.stack([none, *given]).amax(0)
    seek = len(given) < len(counts)
    path = forward_selection(
        sensing, source, slots, least=least, seek=seek, steps_between=steps_between, exchange=exchange
    )
    results = []
    for count in counts:
        polar, present = path.at(count if isinstance(count, Tensor) else count(sensing, path))
        results.append(fit_and_assess(sensing, polar, present, iterations=iterations, gains=gains))
    return results
