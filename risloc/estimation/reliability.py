"""Why an estimate is not to be relied on, one reason a source: the first of `REASONS` that holds.

An estimate at a border of the domain is where the domain ends, not where a source is. What its source leaves
unexplained there calls for phantoms: in the same beam, or weaker than what they come from. Neither is relied on beside an
estimate at a border.

Axes: batch B, src K.
"""

import math

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from risloc.physics.box_coordinates import to_box
from risloc.physics.geometry import Array, Domain

__all__ = [
    "AMBIGUOUS",
    "BORDERS",
    "NOT_WHITE",
    "REASONS",
    "UNKNOWN",
    "at_border",
    "known_coordinates",
    "reasons",
    "with_reason",
]

BORDERS = ("azimuth at a border", "elevation at a border", "distance at a border")
UNKNOWN = ("azimuth unknown", "elevation unknown", "distance unknown")
NOT_WHITE = "residual not white"
AMBIGUOUS = "place ambiguous"
ONE_SNAPSHOT = "one snapshot alone"

REASONS = ("", *BORDERS, "misfit", NOT_WHITE, "not converged", "beside a border", AMBIGUOUS, ONE_SNAPSHOT, *UNKNOWN)
"""What a reason's number means; 0: none, the source is resolved."""

ALARM = 1e-4  # the share of sources of Gaussian symbols that seem to lie in one snapshot
MARGIN = 1e-4  # of a span: nearer to its end than that is at the end


def at_border(domain: Domain, polar: Float[Tensor, "batch src 3"]) -> Bool[Tensor, "batch src 3"]:
    """Which of azimuth, elevation and distance stand at an end of their span; a coordinate that is fixed does not."""
    spans = (*(tuple(map(math.sin, span)) for span in (domain.azimuth, domain.elevation)), domain.inverse_distance)
    low, high = torch.tensor(spans, dtype=torch.float64, device=polar.device).unbind(-1)
    margin = MARGIN * (high - low)
    place = to_box(polar.double())
    free = torch.tensor(domain.free, device=polar.device)
    return ((place <= low + margin) | (place >= high - margin)) & free


def known_coordinates(domain: Domain, location_std: Float[Tensor, "batch src 3"]) -> Bool[Tensor, "batch src 3"]:
    """Which of (azimuth, elevation, distance) are known better than a uniform prior over their span knows them, or fixed."""
    spans = (domain.azimuth, domain.elevation, domain.distance)
    prior = torch.tensor([(high - low) / math.sqrt(12) for low, high in spans], dtype=torch.float64)
    return (location_std < prior.to(location_std)) | ~torch.tensor(domain.free, device=location_std.device)


def reasons(
    array: Array,
    domain: Domain,
    polar: Float[Tensor, "batch src 3"],
    power: Float[Tensor, "batch src"],
    present: Bool[Tensor, "batch src"],
    location_std: Float[Tensor, "batch src 3"],
    fits: Bool[Tensor, " batch"],
    converged: Bool[Tensor, " batch"],
) -> Int[Tensor, "batch src"]:
    """The number of the first reason that holds for each source that is present; 0 elsewhere.

    location_std : of azimuth, elevation [rad] and distance [m].  fits : whether the scene's misfit lies within its limits.
    """
    border = at_border(domain, polar) & present[..., None]
    unknown = ~known_coordinates(domain, location_std)
    scene = {"misfit": ~fits, "not converged": ~converged}
    holds = dict(zip(BORDERS, border.unbind(-1), strict=True)) | dict(zip(UNKNOWN, unknown.unbind(-1), strict=True))
    holds |= {name: which[:, None].expand_as(present) for name, which in scene.items()}
    holds["beside a border"] = _beside(array, polar, power, border.any(-1))
    number = torch.zeros_like(present, dtype=torch.int64)
    for name in reversed(REASONS):
        if name in holds:
            number = torch.where(present & holds[name], REASONS.index(name), number)
    return number


def _beside(array: Array, polar: Tensor, power: Tensor, border: Tensor) -> Tensor:
    """Which sources are weaker than the strongest at a border, or in the beam of one."""
    weaker = power < torch.where(border, power, -torch.inf).amax(1, keepdim=True)
    apart = (polar[:, :, None, :2] - polar[:, None, :, :2]).abs() / torch.tensor(array.beams).to(polar)
    return weaker | ((apart < 1).all(-1) & border[:, None, :]).any(-1)


def in_one_snapshot(s: Complex[Tensor, "batch snap src"]) -> Bool[Tensor, "batch src"]:
    """Which sources have nearly all of their energy in one snapshot: a wrong sample, more likely than a source.

    Of L Gaussian symbols the largest has more than a share x of their energy with probability of at most L (1 - x)^(L - 1).
    Three snapshots and fewer tell nothing.
    """
    snapshots = s.shape[1]
    if snapshots < 4:
        return torch.zeros_like(s[:, 0].real, dtype=torch.bool)
    energy = s.abs().square()
    limit = 1 - (ALARM / snapshots) ** (1 / (snapshots - 1))
    return energy.amax(1) > limit * energy.sum(1)


def with_reason(
    reason: Int[Tensor, "batch src"], present: Bool[Tensor, "batch src"], name: str, holds: Bool[Tensor, "batch src"]
) -> Int[Tensor, "batch src"]:
    """The reasons where `name` holds, too; a reason that comes before it stays."""
    number = REASONS.index(name)
    replaced = (reason == 0) | (reason > number)
    return torch.where(present & holds & replaced, number, reason)
