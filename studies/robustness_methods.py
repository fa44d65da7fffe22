"""What every method of `studies.robustness` makes of a batch of scenes."""

from collections.abc import Mapping

import torch

from risloc.estimation.localiser import Localiser
from risloc.learning.hybrid import hybrid
from risloc.learning.k_rules import K_RULES, order_rules
from risloc.learning.network import HybridNetwork
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.plotting.palette import BLACK, BLUE, GREY, ORANGE, PURPLE, VERMILION
from risloc.scenes.batch import Scenes

__all__ = ["CUTOFF", "METHODS", "Cell", "located"]

CUTOFF = 2.0
"""Of GOSPA, metres."""

OWN, CLASSICAL = ("learnt", "bic"), ("bic", "bic_noise")  # K rules of a network, and of NOMP

METHODS = {
    "hybrid `default`, K learnt": VERMILION,
    "hybrid `robust`, K learnt": PURPLE,
    "hybrid `default`, K by BIC": ORANGE,
    "NOMP, K by BIC": BLACK,
    "NOMP, K by BIC, noise level unknown": BLUE,
    "NOMP, K known": GREY,
}
"""Words and colours."""

Cell = dict[str, list[float]]
"""GOSPA by method, scene by scene."""


def located(scenes: Scenes, localiser: Localiser, networks: Mapping[str, HybridNetwork]) -> Cell:
    """GOSPA of each method in each scene."""
    o, truth, found = scenes.observation, scenes.truth, dict[str, list[float]]()
    sensing = localiser.sensing(o)
    for name, network in networks.items():
        for rule, estimates in zip(OWN, hybrid(network, localiser, o, OWN), strict=True):
            found[f"hybrid `{name}`, {K_RULES[rule].words}"] = _gospa(estimates.polar, estimates.present, scenes)
    pursued = localiser.pursuit(sensing, *order_rules(CLASSICAL), truth.count)
    for rule, estimates in zip((*CLASSICAL, "known"), pursued, strict=True):
        found[f"NOMP, {K_RULES[rule].words}"] = _gospa(estimates.polar, estimates.present, scenes)
    return {name: found[name] for name in METHODS}


def _gospa(polar: torch.Tensor, present: torch.Tensor, scenes: Scenes) -> list[float]:
    truth = scenes.truth
    true = position_of(truth.location)
    return [float(x) for x in gospa(position_of(location_of(polar)), present, true, truth.present, CUTOFF)]
