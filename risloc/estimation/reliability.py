"""Why an estimate is unreliable: one reason per source, the first of `REASONS` that holds.

An estimate at a border of the domain shows where the domain ends, not where a source is. The residual of its source causes
false sources in the same beam, or weaker than the source. Sources of both kinds beside an estimate at a border are unreliable.

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
    "DIRECT_LOST",
    "DIRECT_UNSURE",
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
DIRECT_LOST = "direct path not found"
DIRECT_UNSURE = "direct path unsure"

REASONS = (
    "",
    DIRECT_LOST,
    *BORDERS,
    "misfit",
    NOT_WHITE,
    "not converged",
    "beside a border",
    AMBIGUOUS,
    ONE_SNAPSHOT,
    *UNKNOWN,
    DIRECT_UNSURE,
)
"""The reasons by their numbers; 0: none, the source is resolved."""

ALARM = 1e-4  # the share of sources with Gaussian symbols that seem to be in one snapshot
MARGIN = 1e-4  # of a span: coordinates nearer to its end count as at the end


def at_border(domain: Domain, polar: Float[Tensor, "batch src 3"]) -> Bool[Tensor, "batch src 3"]:
    """Find which of azimuth, elevation and distance lie at an end of their span; a fixed coordinate does not.

    Parameters
    ----------
    domain
        The region where sources may be.
    polar : [batch, src, 3]
        (u, v, w).

    Returns
    -------
    [batch, src, 3]
        Which coordinates do.
    """
    spans = (*(tuple(map(math.sin, span)) for span in (domain.azimuth, domain.elevation)), domain.inverse_distance)
    low, high = torch.tensor(spans, dtype=torch.float64, device=polar.device).unbind(-1)
    margin = MARGIN * (high - low)
    place = to_box(polar.double())
    free = torch.tensor(domain.free, device=polar.device)
    return ((place <= low + margin) | (place >= high - margin)) & free


def known_coordinates(domain: Domain, location_std: Float[Tensor, "batch src 3"]) -> Bool[Tensor, "batch src 3"]:
    """Find which of azimuth, elevation and distance are known better than a uniform prior over their span, or are fixed.

    Parameters
    ----------
    domain
        The region where sources may be.
    location_std : [batch, src, 3]
        Standard deviations of azimuth and elevation in radians and of the distance in metres.

    Returns
    -------
    [batch, src, 3]
        Which coordinates are.
    """
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
    """Find the first reason that holds for each source.

    Parameters
    ----------
    array
        The surface.
    domain
        The region where sources may be.
    polar : [batch, src, 3]
        (u, v, w).
    power : [batch, src]
        The powers.
    present : [batch, src]
        Which slots hold a source.
    location_std : [batch, src, 3]
        Standard deviations of azimuth and elevation in radians and of the distance in metres.
    fits : [batch]
        Whether the misfit of the scene lies within its limits.
    converged : [batch]
        Whether the fit of the scene converged.

    Returns
    -------
    [batch, src]
        The number of the reason; 0 if none holds, or in empty slots.
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
    """Find the sources that are weaker than the strongest source at a border, or in the beam of such a source."""
    weaker = power < torch.where(border, power, -torch.inf).amax(1, keepdim=True)
    offset = (polar[:, :, None, :2] - polar[:, None, :, :2]).abs() / torch.tensor(array.beams).to(polar)
    return weaker | ((offset < 1).all(-1) & border[:, None, :]).any(-1)


def in_one_snapshot(s: Complex[Tensor, "batch snap src"]) -> Bool[Tensor, "batch src"]:
    """Find the sources that have nearly all of their energy in one snapshot: more likely a wrong sample than a source.

    Of L Gaussian symbols, the largest has more than a share x of their energy with a probability of at most L (1 - x)^(L -
    1). Three or fewer snapshots do not suffice for the test.

    Parameters
    ----------
    s : [batch, snap, src]
        The symbols.

    Returns
    -------
    [batch, src]
        Which sources those are.
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
    """Add a reason; a reason that comes before it stays.

    Parameters
    ----------
    reason : [batch, src]
        The numbers of the reasons so far.
    present : [batch, src]
        Which slots hold a source.
    name
        The reason, one of `REASONS`.
    holds : [batch, src]
        Where it holds.

    Returns
    -------
    [batch, src]
        The numbers of the reasons.
    """
    number = REASONS.index(name)
    replaced = (reason == 0) | (reason > number)
    return torch.where(present & holds & replaced, number, reason)
