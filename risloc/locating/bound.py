"""The bound of measurements whose truth is known."""

import torch

from risloc.io.measurement_checks import MeasurementError, array_faults, root_mean_square, truth_faults
from risloc.io.measurements import Measurements, Sources
from risloc.locating.locator import not_measurements
from risloc.performance.crb import Bound, stochastic_bound

__all__ = ["bound"]


@torch.no_grad()
def bound(measurements: Measurements) -> Bound:
    """The stochastic Cramer-Rao bound of the scenes' true sources, as if sigma^2 and the powers were unknown.

    What no unbiased estimate can better, where the sources' symbols are independent and Gaussian. A span of no width fixes its
    coordinate. Slots are the truth's.

    Raises
    ------
    risloc.io.measurement_checks.MeasurementError
        No truth, no noise_var, or values that are not what they must be.
    TypeError
        No measurements.
    """
    m = measurements
    if not isinstance(m, Measurements):
        raise TypeError(not_measurements(m))
    if m.truth is None:
        raise MeasurementError("truth: expected the true locations and powers, at which the bound is taken, got none")
    if m.noise_var is None:
        raise MeasurementError(
            "noise_var: expected sigma^2, without which there is no bound, got none; give it, or an estimate"
        )
    faults = array_faults(m.y, m.codebook, m.H, m.noise_var)
    for fault in faults + truth_faults(m.truth.location, m.truth.power, m.truth.count):
        raise MeasurementError(fault.words())
    power = _present_power(m.truth)
    size, unit = root_mean_square(m.H), power.amax(1).clamp_min(torch.finfo(torch.float64).tiny)
    scaled = m.H.to(torch.complex128) / size[:, None, None]
    noise_var = m.noise_var.double() / size / size / unit
    free = m.setup.domain().free
    return stochastic_bound(
        m.setup.array(), free, m.codebook, scaled, m.truth.location, power / unit[:, None], noise_var
    )


def _present_power(truth: Sources) -> torch.Tensor:
    """Zero where no source is; above zero where one is, or a `MeasurementError`."""
    there = torch.arange(truth.power.shape[1]) < truth.count[:, None]
    if bad := torch.nonzero(there & (truth.power <= 0)).tolist():
        scene, source = bad[0]
        raise MeasurementError(
            f"truth.power: scene {scene}: expected powers above 0, got {truth.power[scene, source]:g}"
        )
    return torch.where(there, truth.power.double(), 0.0)
