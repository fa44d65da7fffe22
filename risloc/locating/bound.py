"""The Cramer-Rao bound of measurements whose truth is known."""

import dataclasses

import torch
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.projection import project
from risloc.io.measurement_checks import (
    MeasurementError,
    array_faults,
    echo_faults,
    root_mean_square,
    truth_faults,
)
from risloc.io.measurements import Measurements
from risloc.io.true_sources import Sources
from risloc.locating.arranged import arranged, arranged_faults
from risloc.locating.measurement_match import not_measurements
from risloc.performance.crb import Bound, deterministic_bound, stochastic_bound
from risloc.scenes.batch import Truth

__all__ = ["bound"]


@torch.no_grad()
def bound(measurements: Measurements) -> Bound:
    """Compute the stochastic Cramer-Rao bound of the true sources, with sigma^2 and the powers unknown.

    No unbiased estimate is better if the symbols of the sources are independent and Gaussian. If the truth has echoes, the places
    of their images and their gains are unknown, too. A span of zero width fixes its coordinate.

    With known pilots it is the deterministic bound of the amplitudes, and of the unknown gains, that fit y best at the true places;
    amplitudes have the true powers if no gain is unknown.

    Parameters
    ----------
    measurements
        The scenes, with truth and noise_var.

    Returns
    -------
    Bound
        The bound, in the slots of the truth.

    Raises
    ------
    MeasurementError
        The truth or noise_var is missing, or a value is invalid.
    TypeError
        The argument is not `Measurements`.
    """
    m = measurements
    if not isinstance(m, Measurements):
        raise TypeError(not_measurements(m))
    if m.truth is None:
        raise MeasurementError("truth: the bound needs the true locations and powers, got none")
    if m.noise_var is None:
        raise MeasurementError("noise_var: the bound needs sigma^2, got none; set it, or an estimate of it")
    faults = array_faults(m.y, m.codebook, m.H, m.noise_var) or arranged_faults(m)
    faults += truth_faults(m.truth.location, m.truth.power, m.truth.count)
    if (echoes := m.truth.echoes) is not None:
        faults += echo_faults(echoes.location, echoes.gain)
    for fault in faults:
        raise MeasurementError(fault.words())
    power = _present_power(m.truth)
    size, unit = root_mean_square(m.H), power.amax(1).clamp_min(torch.finfo(torch.float64).tiny)
    measured = dataclasses.replace(
        m,
        y=m.y.to(torch.complex128) / (size * unit.sqrt())[:, None, None],
        H=m.H.to(torch.complex128) / size[:, None, None],
        noise_var=m.noise_var.double() / size / size / unit,
    )
    if m.pilots is not None:
        return _bound_of_pilots(measured, m.truth, power / unit[:, None])
    return stochastic_bound(m.setup.surface, arranged(measured), m.truth.location, power / unit[:, None], echoes)


def _bound_of_pilots(m: Measurements, truth: Sources, power: Tensor) -> Bound:
    """Return the deterministic bound of the rearranged observation at the symbols that fit it best."""
    surface, observation, present = m.setup.surface, arranged(m), power > 0
    nothing = torch.zeros_like(power)
    sources = Truth(
        location=truth.location.double(), power=power, symbols=nothing[..., None].to(torch.complex128), count=truth.count,
        snr_db=nothing[:, 0], echoes=truth.echoes,
    )  # fmt: skip
    sensing = Sensing.of(observation, surface)
    s = project(sensing.responses(sources.arriving(sensing.array)), observation.y, present).s.mT
    if not m.reception.gains_unknown:
        s = s * (power.sqrt() / s.abs().square().mean(-1).sqrt().clamp_min(torch.finfo(torch.float64).tiny))[..., None]
    return deterministic_bound(surface, observation, truth.location, s, truth.echoes)


def _present_power(truth: Sources) -> Tensor:
    """Return the powers with 0 in empty slots; raise a `MeasurementError` if that of a source is not above 0."""
    present = torch.arange(truth.power.shape[1]) < truth.count[:, None]
    if bad := torch.nonzero(present & (truth.power <= 0)).tolist():
        scene, source = bad[0]
        raise MeasurementError(
            f"truth.power: scene {scene}: expected powers above 0, got {truth.power[scene, source]:g}"
        )
    return torch.where(present, truth.power.double(), 0.0)
