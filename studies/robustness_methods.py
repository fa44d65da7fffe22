"""What every method of `studies.robustness` makes of a batch of scenes."""

from collections.abc import Mapping
from typing import TypedDict

from risloc.estimation.assessment import Estimates
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.learning.hybrid import hybrid
from risloc.learning.k_rules import BY_BIC, KNOWN, LEARNT, NOISE_UNKNOWN, order_rules
from risloc.learning.network import HybridNetwork
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.plotting.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY_BLUE, VERMILION
from risloc.scenes.batch import Scenes
from stages.evaluation.method import ECHOES, HYBRID, NOMP
from stages.reporting.looks import phrase

__all__ = ["CUTOFF", "METHODS", "RIVALS", "Cell", "empty_cell", "located"]

CUTOFF = 2.0
"""Of GOSPA, metres."""

OWN, CLASSICAL = (LEARNT, BY_BIC), (BY_BIC, NOISE_UNKNOWN)  # K rules of a network, and of NOMP with and without echoes

METHODS = {
    phrase(HYBRID.by(LEARNT), "default"): VERMILION,
    phrase(HYBRID.by(LEARNT), "robust"): PURPLE,
    phrase(HYBRID.by(BY_BIC), "default"): ORANGE,
    phrase(NOMP.by(BY_BIC)): BLACK,
    phrase(NOMP.by(NOISE_UNKNOWN)): BLUE,
    phrase(ECHOES.by(BY_BIC)): GREEN,
    phrase(ECHOES.by(NOISE_UNKNOWN)): SKY_BLUE,
    phrase(NOMP): GREY,
}
"""The phrase of each method, and its colour."""


RIVALS = {
    "noise level given": (phrase(ECHOES.by(BY_BIC)), [*METHODS][:5]),
    "noise level unknown": (phrase(ECHOES.by(NOISE_UNKNOWN)), [phrase(NOMP.by(NOISE_UNKNOWN))]),
}
"""The default method with and without the noise level, and the others that find K and know no more of the noise."""


class Cell(TypedDict):
    """Scene by scene, by the phrase of each method: GOSPA in metres, and 1 where the number of sources is right, else 0."""

    gospa: dict[str, list[float]]
    right: dict[str, list[int]]


def empty_cell() -> Cell:
    """A cell without scenes."""
    return Cell(gospa={name: [] for name in METHODS}, right={name: [] for name in METHODS})


def located(scenes: Scenes, localiser: EchoLocaliser, networks: Mapping[str, HybridNetwork]) -> Cell:
    """GOSPA of each method in each scene, and whether it finds the right number of sources."""
    found, cell = _estimates(scenes, localiser, networks), empty_cell()
    for name in METHODS:
        cell["gospa"][name] = _gospa(found[name], scenes)
        cell["right"][name] = (found[name].present.sum(1) == scenes.truth.count).int().tolist()
    return cell


def _estimates(
    scenes: Scenes, echo_localiser: EchoLocaliser, networks: Mapping[str, HybridNetwork]
) -> dict[str, Estimates]:
    o, localiser, found = scenes.observation, echo_localiser.localiser, dict[str, Estimates]()
    sensing = localiser.sensing(o)
    for name, network in networks.items():
        for rule, estimates in zip(OWN, hybrid(network, localiser, o, OWN), strict=True):
            found[phrase(HYBRID.by(rule), name)] = estimates
    pursued = localiser.pursuit(sensing, *order_rules(CLASSICAL), scenes.truth.count)
    for rule, estimates in zip((*CLASSICAL, KNOWN), pursued, strict=True):
        found[phrase(NOMP.by(rule))] = estimates
    search = echo_localiser.search(sensing)
    for rule in CLASSICAL:
        found[phrase(ECHOES.by(rule))] = search.answer(given=rule == BY_BIC).estimates
    return found


def _gospa(found: Estimates, scenes: Scenes) -> list[float]:
    truth = scenes.truth
    places = position_of(location_of(found.polar)), position_of(truth.location)
    return [float(x) for x in gospa(places[0], found.present, places[1], truth.present, CUTOFF)]
