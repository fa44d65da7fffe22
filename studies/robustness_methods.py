"""What every method of `studies.robustness` makes of a batch of scenes."""

from collections.abc import Mapping

import torch

from risloc.estimation.localiser import Localiser, Rule
from risloc.estimation.selection import bic_noise_order
from risloc.learning.network import HybridNetwork
from risloc.learning.order_rule import learnt_order
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Scenes

__all__ = ["CUTOFF", "METHODS", "Cell", "located"]

CUTOFF = 2.0
"""Of GOSPA, metres."""

METHODS = {
    "hybrid `default`, K learnt": "#D55E00",
    "hybrid `robust`, K learnt": "#CC79A7",
    "hybrid `default`, K by BIC": "#E69F00",
    "NOMP, K by BIC": "#000000",
    "NOMP, K by BIC, noise level unknown": "#0072B2",
    "NOMP, K known": "#7F7F7F",
}
"""Words and colours."""

Cell = dict[str, list[float]]
"""GOSPA by method, scene by scene."""


def located(scenes: Scenes, localiser: Localiser, networks: Mapping[str, HybridNetwork]) -> Cell:
    """GOSPA of each method in each scene."""
    o, truth, found = scenes.observation, scenes.truth, dict[str, list[float]]()
    sensing = localiser.sensing(o)
    for name, network in networks.items():
        seen, _, R_blend = network.blend(o)
        candidates = localiser.hybrid_candidates(o, seen.R_pred, R_blend, seen.polar)
        rules: dict[str, Rule] = {"K learnt": learnt_order(network, seen), "K by BIC": None}
        for rule, estimates in zip(rules, localiser.select(sensing, candidates, list(rules.values())), strict=True):
            found[f"hybrid `{name}`, {rule}"] = _gospa(estimates.polar, estimates.present, scenes)
    pursued = localiser.pursuit(sensing, None, bic_noise_order, truth.count)
    names = ("NOMP, K by BIC", "NOMP, K by BIC, noise level unknown", "NOMP, K known")
    for name, estimates in zip(names, pursued, strict=True):
        found[name] = _gospa(estimates.polar, estimates.present, scenes)
    return {name: found[name] for name in METHODS}


def _gospa(polar: torch.Tensor, present: torch.Tensor, scenes: Scenes) -> list[float]:
    truth = scenes.truth
    true = position_of(truth.location)
    return [float(x) for x in gospa(position_of(location_of(polar)), present, true, truth.present, CUTOFF)]
