"""Covariances of simulated scenes or of measurements: R_samp, and those of a network."""

import os
from dataclasses import dataclass

import torch

from risloc.covariance.factored import FactoredCovariance
from risloc.covariance.snapshots import sample_covariance_of
from risloc.io.measurements import Measurements
from risloc.learning.network import HybridNetwork
from risloc.locating.locator import Locator
from risloc.locating.measurement_match import not_measurements
from risloc.locating.networks import load_model
from risloc.scenes.batch import Observation

__all__ = ["Covariances", "covariances"]


@dataclass(frozen=True)
class Covariances:
    """Covariances of trace N.

    Parameters
    ----------
    R_samp
        The sample covariance.
    R_pred
        The prediction of a network, or None.
    R_blend
        The blend of both, or None.
    """

    R_samp: FactoredCovariance
    R_pred: FactoredCovariance | None
    R_blend: FactoredCovariance | None


def covariances(
    observation: Observation | Measurements, network: "HybridNetwork | str | os.PathLike[str] | None" = None
) -> Covariances:
    """Compute R_samp of the snapshots and, with a network, R_pred and R_blend.

    Parameters
    ----------
    observation
        Simulated scenes, or measurements in any units; if those have no noise_var, it is estimated.
    network
        A network, the name of one of the package, its folder, or None.

    Returns
    -------
    Covariances
        The covariances.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        Measurements cannot be used, as in `Locator.observed`.
    TypeError
        The first argument is neither of the two.
    """
    if isinstance(network, str | os.PathLike):
        network = load_model(network)
    if isinstance(observation, Measurements):
        _, snapshots, antennas = observation.y.shape
        most = None if network is not None or observation.noise_var is None else 1
        reception = observation.reception
        locator = Locator(observation.setup, snapshots, antennas, network, most=most, reception=reception)
        observation = locator.observed(observation)
    if not isinstance(observation, Observation):
        raise TypeError(not_measurements(observation).replace("expected", "expected an Observation or", 1))
    o = observation
    with torch.autocast(o.y.device.type, enabled=False):
        if network is None:
            return Covariances(sample_covariance_of(o), None, None)
        prediction, R_samp, R_blend = network.blend(o)
        return Covariances(R_samp, prediction.R_pred, R_blend)
