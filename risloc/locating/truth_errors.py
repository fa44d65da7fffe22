"""How far sources that were found are from the true ones, and how near they can be: for measurements that hold the truth.

Axes: batch B, src K (slots of what was found).
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurements import Measurements
from risloc.locating.bound import bound
from risloc.locating.found import Found
from risloc.performance.metrics import match
from risloc.physics.geometry import polar_of

__all__ = ["MATCHED_WITHIN", "TruthErrors", "truth_errors"]

MATCHED_WITHIN = 2.0
"""Metres: an estimate farther than that from every true source has no error, it is false."""


@dataclass(frozen=True, kw_only=True)
class TruthErrors:
    """Of each slot of what was found; NaN where no true source is assigned to it.

    error : distance [m] to the true source assigned.  bound : that source's root-CRB [m], NaN too where it cannot be computed.
    missed : how many true sources nothing was assigned to.  present : which slots hold a source.
    """

    error: Float[Tensor, "batch src"]
    bound: Float[Tensor, "batch src"]
    missed: Int[Tensor, " batch"]
    present: Bool[Tensor, "batch src"]


@torch.no_grad()
def truth_errors(found: Found, measurements: Measurements) -> TruthErrors | None:
    """The errors of the sources found in these measurements, by the assignment of `match`; None where the truth is not known.

    The bound is of the noise variance that is given, or of the one that was found.
    """
    truth = measurements.truth
    if truth is None:
        return None
    present = torch.arange(truth.location.shape[1]) < truth.count[:, None]
    result = match(
        _polar(found.location, found.present), found.present, _polar(truth.location, present), present, MATCHED_WITHIN
    )
    least = _bound(measurements, found, present)
    batch, slots = found.present.shape
    error, near = (torch.full((batch, slots), torch.nan, dtype=torch.float64) for _ in range(2))
    scene, source = torch.nonzero(result.estimate >= 0, as_tuple=True)
    slot = result.estimate[scene, source]
    error[scene, slot] = result.position[scene, source]
    near[scene, slot] = least[scene, source]
    return TruthErrors(error=error, bound=near, missed=result.missed, present=found.present)


def _polar(location: Tensor, present: Tensor) -> Tensor:
    """Absent sources in front, a metre away."""
    return polar_of(torch.where(present[..., None], location.double(), location.new_tensor([0.0, 0.0, 1.0]).double()))


def _bound(measurements: Measurements, found: Found, present: Tensor) -> Tensor:
    try:
        given = found.noise_var if measurements.noise_var is None else measurements.noise_var
        return bound(dataclasses.replace(measurements, noise_var=given)).position
    except MeasurementError:  # a truth without powers, say
        return torch.full(present.shape, torch.nan, dtype=torch.float64)
