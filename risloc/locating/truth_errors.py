"""The errors of located sources beside their bound, for measurements whose truth is known.

Axes: batch B, src K (slots of the estimates).
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
"""In metres. An estimate farther than this from every true source has no error: it is a false alarm."""


@dataclass(frozen=True, kw_only=True)
class TruthErrors:
    """The errors of each slot; NaN if no true source is assigned to it.

    Parameters
    ----------
    error : [batch, src]
        The distance in metres to the true source.
    bound : [batch, src]
        The root-CRB of that source in metres; also NaN if it cannot be computed.
    missed : [batch]
        The number of true sources without an estimate.
    present : [batch, src]
        Which slots hold an estimate.
    """

    error: Float[Tensor, "batch src"]
    bound: Float[Tensor, "batch src"]
    missed: Int[Tensor, " batch"]
    present: Bool[Tensor, "batch src"]


@torch.no_grad()
def truth_errors(found: Found, measurements: Measurements) -> TruthErrors | None:
    """Compute the errors of located sources by the assignment of `match`.

    Parameters
    ----------
    found
        The located sources.
    measurements
        The scenes. If they have no noise_var, the bound takes that of `found`.

    Returns
    -------
    TruthErrors or None
        The errors; None if the truth is not known.
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
    error, root_crb = (torch.full((batch, slots), torch.nan, dtype=torch.float64) for _ in range(2))
    scene, source = torch.nonzero(result.estimate >= 0, as_tuple=True)
    slot = result.estimate[scene, source]
    error[scene, slot] = result.position[scene, source]
    root_crb[scene, slot] = least[scene, source]
    return TruthErrors(error=error, bound=root_crb, missed=result.missed, present=found.present)


def _polar(location: Tensor, present: Tensor) -> Tensor:
    """Convert to (u, v, w), with the absent sources a metre in front of the surface."""
    return polar_of(torch.where(present[..., None], location.double(), location.new_tensor([0.0, 0.0, 1.0]).double()))


def _bound(measurements: Measurements, found: Found, present: Tensor) -> Tensor:
    try:
        noise_var = found.noise_var if measurements.noise_var is None else measurements.noise_var
        return bound(dataclasses.replace(measurements, noise_var=noise_var)).position
    except MeasurementError:  # for example, the truth has no powers
        return torch.full(present.shape, torch.nan, dtype=torch.float64)
