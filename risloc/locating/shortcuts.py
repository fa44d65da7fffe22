"""What one writes at a prompt: a scenario by its preset, covariances and the bound of measurements."""

import os
from dataclasses import dataclass

import torch

from risloc.config import build
from risloc.covariance.factored import FactoredCovariance
from risloc.covariance.snapshots import least_squares_snapshots, sample_covariance
from risloc.io.measurement_checks import MeasurementError, array_faults, root_mean_square, truth_faults
from risloc.io.measurements import Measurements, Sources
from risloc.learning.network import HybridNetwork
from risloc.locating.locator import Locator, load_model, not_measurements
from risloc.performance.crb import Bound, stochastic_bound
from risloc.scenes.batch import Observation
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario

__all__ = ["Covariances", "bound", "covariances", "scenario"]


@dataclass(frozen=True)
class Covariances:
    """R_samp, and with a network R_pred and R_blend, each of trace N."""

    R_samp: FactoredCovariance
    R_pred: FactoredCovariance | None
    R_blend: FactoredCovariance | None


def scenario(name: str = "default", **changes: object) -> Scenario:
    """The preset of that name, with some of its values changed.

    >>> scenario("default", snapshots=64).snapshots
    64

    Raises
    ------
    risloc.config.ParamError
        No such preset, no such parameter, or a value outside its domain.
    """
    return build(Scenario, preset(name) | changes, "scenario")


def covariances(
    observation: Observation | Measurements, network: "HybridNetwork | str | os.PathLike[str] | None" = None
) -> Covariances:
    """R_samp of the snapshots, and what a network makes of them.

    observation : of simulated scenes, or measurements in any units; where those have no noise_var it is estimated.
    network : one, the name of one that comes with the package, its folder, or None.

    Raises
    ------
    risloc.locating.locator.LocateError
        Of measurements what `Locator.observed` says of them.
    TypeError
        Neither of the two.
    """
    if isinstance(network, str | os.PathLike):
        network = load_model(network)
    if isinstance(observation, Measurements):
        _, snapshots, antennas = observation.y.shape
        most = None if network is not None or observation.noise_var is None else 1
        observation = Locator(observation.setup, snapshots, antennas, network, most=most).observed(observation)
    if not isinstance(observation, Observation):
        raise TypeError(not_measurements(observation).replace("expected", "expected an Observation or", 1))
    o = observation
    with torch.autocast(o.y.device.type, enabled=False):
        if network is None:
            x = least_squares_snapshots(o.y, o.codebook, o.H, o.noise_var)
            return Covariances(sample_covariance(x), None, None)
        prediction, R_samp, R_blend = network.blend(o)
        return Covariances(R_samp, prediction.R_pred, R_blend)


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
