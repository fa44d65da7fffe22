"""What every method of `studies.robustness` makes of a batch of scenes."""

from collections.abc import Mapping

import torch

from risloc.estimation.localiser import Localiser
from risloc.learning.hybrid import hybrid
from risloc.learning.k_rules import BY_BIC, KNOWN, LEARNT, NOISE_UNKNOWN, order_rules
from risloc.learning.network import HybridNetwork
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.plotting.palette import BLACK, BLUE, GREY, ORANGE, PURPLE, VERMILION
from risloc.scenes.batch import Scenes
from stages.evaluation.method import HYBRID, NOMP
from stages.reporting.looks import phrase

__all__ = ["CUTOFF", "METHODS", "Cell", "located"]

CUTOFF = 2.0
"""Of GOSPA, metres."""

OWN, CLASSICAL = (LEARNT, BY_BIC), (BY_BIC, NOISE_UNKNOWN)  # K rules of a network, and of NOMP

METHODS = {
    phrase(HYBRID.by(LEARNT), "default"): VERMILION,
    phrase(HYBRID.by(LEARNT), "robust"): PURPLE,
    phrase(HYBRID.by(BY_BIC), "default"): ORANGE,
    phrase(NOMP.by(BY_BIC)): BLACK,
    phrase(NOMP.by(NOISE_UNKNOWN)): BLUE,
    phrase(NOMP): GREY,
}
"""The phrase of each method, and its colour."""

Cell = dict[str, list[float]]
"""GOSPA by method, scene by scene."""


def located(scenes: Scenes, localiser: Localiser, networks: Mapping[str, HybridNetwork]) -> Cell:
    """GOSPA of each method in each scene."""
    o, truth, found = scenes.observation, scenes.truth, dict[str, list[float]]()
    sensing = localiser.sensing(o)
    for name, network in networks.items():
        for rule, estimates in zip(OWN, hybrid(network, localiser, o, OWN), strict=True):
            found[phrase(HYBRID.by(rule), name)] = _gospa(estimates.polar, estimates.present, scenes)
    pursued = localiser.pursuit(sensing, *order_rules(CLASSICAL), truth.count)
    for rule, estimates in zip((*CLASSICAL, KNOWN), pursued, strict=True):
        found[phrase(NOMP.by(rule))] = _gospa(estimates.polar, estimates.present, scenes)
    return {name: found[name] for name in METHODS}


def _gospa(polar: torch.Tensor, present: torch.Tensor, scenes: Scenes) -> list[float]:
    truth = scenes.truth
    true = position_of(truth.location)
    return [float(x) for x in gospa(position_of(location_of(polar)), present, true, truth.present, CUTOFF)]
