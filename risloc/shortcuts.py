"""What one writes at a prompt: a scenario by its preset, and the covariances of an observation."""

from dataclasses import dataclass

from risloc.covariance import FactoredCovariance, least_squares_snapshots, sample_covariance
from risloc.network import HybridNetwork
from risloc.params import build
from risloc.preset_files import preset
from risloc.scene import Observation, Scenario

__all__ = ["Covariances", "covariances", "scenario"]


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
    risloc.params.ParamError
        No such preset, no such parameter, or a value outside its domain.
    """
    return build(Scenario, preset(name) | changes, "scenario")


def covariances(observation: Observation, network: HybridNetwork | None = None) -> Covariances:
    """R_samp of the snapshots, and what a network makes of them."""
    if network is None:
        o = observation
        return Covariances(sample_covariance(least_squares_snapshots(o.y, o.codebook, o.H, o.noise_var)), None, None)
    prediction, R_samp, R_blend = network.blend(observation)
    return Covariances(R_samp, prediction.R_pred, R_blend)
