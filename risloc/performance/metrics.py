"""The quality of estimates: GOSPA and matched errors, in which a miss or a false alarm always costs.

Axes: batch B, src (true slots), est (estimated slots).
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.physics.geometry import location_of, position_of
from risloc.utils.argument_checks import check_tensor

__all__ = [
    "Match",
    "gospa",
    "match",
    "resolved_scenes",
    "rmspe",
]

MOST_PERMUTED = 6  # slots up to which all permutations are tried at once


@dataclass(frozen=True)
class Match:
    """Estimates assigned to true sources by position.

    The errors of a true source are infinite if it was missed and NaN if its slot is empty.

    Parameters
    ----------
    position : [batch, src]
        Position errors in metres.
    distance : [batch, src]
        Distance errors in metres.
    angle : [batch, src]
        Angles between the true and the estimated direction, in radians.
    estimate : [batch, src]
        The assigned slot, -1 for a missed or absent source.
    missed : [batch]
        The number of missed sources of each scene.
    false : [batch]
        The number of false alarms of each scene.
    """

    position: Float[Tensor, "batch src"]
    distance: Float[Tensor, "batch src"]
    angle: Float[Tensor, "batch src"]
    estimate: Int[Tensor, "batch src"]
    missed: Int[Tensor, " batch"]
    false: Int[Tensor, " batch"]


def gospa(
    estimated: Float[Tensor, "batch est 3"],
    est_present: Bool[Tensor, "batch est"],
    true: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    cutoff: float,
) -> Float[Tensor, " batch"]:
    """Compute the generalised optimal sub-pattern assignment metric of two sets of positions, p = 2, alpha = 2.

    It is sqrt(min over assignments of sum d^2 + c^2 / 2 for every missed and every false source).

    Parameters
    ----------
    estimated : [batch, est, 3]
        Estimated positions in metres.
    est_present : [batch, est]
        Which slots hold an estimate.
    true : [batch, src, 3]
        True positions in metres.
    present : [batch, src]
        Which slots hold a source.
    cutoff
        The cut-off c in metres.

    Returns
    -------
    [batch]
        GOSPA in metres.

    Raises
    ------
    TypeError
        A set is not a tensor.
    ValueError
        The shapes do not fit, a mask is not boolean, or the cut-off is not positive.

    References
    ----------
    Rahmathullah, Garcia-Fernandez & Svensson 2017, "Generalized optimal sub-pattern assignment metric".
    """
    _check_sets(estimated, est_present, true, present)
    return _assignment(estimated, est_present, true, present, cutoff)[0].sqrt()


def match(
    estimated: Float[Tensor, "batch est 3"],
    est_present: Bool[Tensor, "batch est"],
    true: Float[Tensor, "batch src 3"],
    present: Bool[Tensor, "batch src"],
    cutoff: float,
) -> Match:
    """Assign estimates to true sources as GOSPA does with this cut-off.

    A true source farther than the cut-off from its estimate counts as missed, and that estimate as false.

    Parameters
    ----------
    estimated : [batch, est, 3]
        Estimated (u, v, w).
    est_present : [batch, est]
        Which slots hold an estimate.
    true : [batch, src, 3]
        True (u, v, w).
    present : [batch, src]
        Which slots hold a source.
    cutoff
        The cut-off in metres.

    Returns
    -------
    Match
        The assignment and its errors.

    Raises
    ------
    TypeError
        A set is not a tensor.
    ValueError
        The shapes do not fit, a mask is not boolean, or the cut-off is not positive.
    """
    _check_sets(estimated, est_present, true, present)
    found, real = location_of(estimated), location_of(true)
    p, q = position_of(found), position_of(real)
    _, estimate = _assignment(p, est_present, q, present, cutoff)
    index = estimate.clamp_min(0)[..., None].expand(-1, -1, 3)
    p, found, hit = p.gather(1, index), found.gather(1, index), estimate >= 0

    def error(value: Tensor) -> Tensor:
        return torch.where(present, torch.where(hit, value, torch.inf), torch.nan)

    chord = (p / found[..., 2:] - q / real[..., 2:]).norm(dim=-1)
    return Match(
        position=error((p - q).norm(dim=-1)),
        distance=error((found[..., 2] - real[..., 2]).abs()),
        angle=error(2 * (chord / 2).clamp(max=1).asin()),
        estimate=estimate,
        missed=(present & ~hit).sum(1),
        false=est_present.sum(1) - hit.sum(1),
    )


def resolved_scenes(
    error: Float[Tensor, "batch src"], true: Float[Tensor, "batch src 3"], present: Bool[Tensor, "batch src"]
) -> Bool[Tensor, " batch"]:
    """Test whether every source has a position error below half the distance to its nearest neighbour.

    A single source is always resolved if it is matched.

    Parameters
    ----------
    error : [batch, src]
        Position errors in metres, as in `Match`.
    true : [batch, src, 3]
        True positions in metres.
    present : [batch, src]
        Which slots hold a source.

    Returns
    -------
    [batch]
        True for resolved scenes.
    """
    others = present[:, :, None] & present[:, None, :] & ~torch.eye(true.shape[1], dtype=torch.bool, device=true.device)
    nearest = torch.where(others, torch.cdist(true, true), torch.inf).amin(-1)
    return ((error < nearest / 2) | ~present).all(1)


def rmspe(error: Float[Tensor, "*batch"]) -> float:
    """Compute the root mean squared error (of position, distance or angle) over matched sources.

    Parameters
    ----------
    error : any shape
        Errors; entries that are not finite are left out.

    Returns
    -------
    float
        The root mean square, NaN without a matched source.
    """
    matched = error[error.isfinite()]
    return float(matched.double().square().mean().sqrt())


def _assignment(
    estimated: Tensor, est_present: Tensor, true: Tensor, present: Tensor, cutoff: float
) -> tuple[Tensor, Tensor]:
    """Return the smallest GOSPA^2 of each scene and the slot assigned to each true source (-1 if none is within the cut-off)."""
    if not cutoff > 0:
        raise ValueError(f"cutoff: expected a distance above 0 metres, got {cutoff}")
    slots = max(estimated.shape[1], true.shape[1])
    p, p_on = _padded(estimated, est_present, slots)
    q, q_on = _padded(true, present, slots)
    d2 = (q[:, :, None] - p[:, None, :]).square().sum(-1)
    both = q_on[:, :, None] & p_on[:, None, :]
    one = q_on[:, :, None] ^ p_on[:, None, :]
    cost = torch.where(both, d2.clamp(max=cutoff**2), torch.where(one, cutoff**2 / 2, 0.0))
    order = _least_cost(cost)
    total = cost.gather(2, order[..., None])[..., 0].sum(1)
    hit = (both & (d2 < cutoff**2)).gather(2, order[..., None])[..., 0]
    return total, torch.where(hit, order, -1)[:, : true.shape[1]]


def _check_sets(estimated: Any, est_present: Any, true: Any, present: Any) -> None:
    """Check that both sets have the same number of scenes and that the masks fit their positions."""
    check_tensor("estimated", estimated, None, 3, batch=1, complex_=False)
    check_tensor("true", true, len(estimated), None, 3, batch=0, complex_=False)
    for name, mask, places in (("est_present", est_present, estimated), ("present", present, true)):
        check_tensor(name, mask, *places.shape[:2], batch=0)
        if mask.dtype != torch.bool:
            raise ValueError(f"{name}: expected booleans that mark the slots with a source, got {mask.dtype}")


def _least_cost(cost: Tensor) -> Tensor:
    """Find the permutation of least total cost for each [slots, slots] matrix."""
    slots = cost.shape[1]
    if slots > MOST_PERMUTED:
        from scipy.optimize import linear_sum_assignment

        rows = [linear_sum_assignment(c)[1] for c in cost.cpu().numpy()]
        return torch.as_tensor(np.array(rows), device=cost.device)
    orders = torch.tensor(list(itertools.permutations(range(slots))), device=cost.device)
    chosen = torch.nn.functional.one_hot(orders, slots).flatten(1).to(cost.dtype)
    return orders[(cost.flatten(1) @ chosen.mT).argmin(1)]


def _padded(points: Tensor, on: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    missing = slots - points.shape[1]
    pad = torch.nn.functional.pad
    return pad(torch.where(on[..., None], points, 0.0), (0, 0, 0, missing)), pad(on, (0, missing))
