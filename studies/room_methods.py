"""The methods of studies/room.py on one cell's scenes, and what is kept of them."""

from collections.abc import Iterator, Mapping
from typing import TypedDict

import torch

from risloc.covariance.snapshots import sample_covariance_of
from risloc.estimation.estimates import Estimates
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import BIC, Rule, bic_noise_order
from risloc.learning.hybrid import NetworkView
from risloc.learning.k_rules import order_rule
from risloc.learning.network import HybridNetwork
from risloc.performance.crb import prior_deviation, stochastic_bound
from risloc.performance.metrics import gospa, match
from risloc.physics.channel import effective_rank
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Scenes

__all__ = ["CUTOFF", "Cell", "measured"]

CUTOFF, BATCH = 2.0, 40


class Method(TypedDict):
    """GOSPA of each scene, sources within 3 root-CRB, scenes whose K is right."""

    gospa: list[float]
    near: int
    right: int


class Cell(TypedDict):
    """Effective rank of H, root-CRBs of the position of each source [m], and the methods."""

    rank: float
    bounds: list[float]
    methods: dict[str, Method]


def measured(scenes: Scenes, localiser: Localiser, networks: Mapping[str, HybridNetwork]) -> Cell:
    """Every method on the scenes, against the bound of the line-of-sight model with the H that is given."""
    bounds, methods = list[float](), dict[str, Method]()
    for start in range(0, len(scenes), BATCH):
        part = scenes[start : start + BATCH]
        bound = _bound(part, localiser)
        bounds += bound[part.truth.present].tolist()
        with torch.inference_mode():
            for name, found in _located(part, localiser, networks):
                _add(methods.setdefault(name, Method(gospa=[], near=0, right=0)), part, found, bound)
    return Cell(rank=float(effective_rank(scenes.observation.H[0])), bounds=bounds, methods=methods)


def _located(
    scenes: Scenes, localiser: Localiser, networks: Mapping[str, HybridNetwork]
) -> Iterator[tuple[str, Estimates]]:
    o, known = scenes.observation, scenes.truth.count
    sensing = localiser.sensing(o)
    rules: dict[str, Rule]
    for name, network in networks.items():
        view = NetworkView.of(network, o)
        lent = order_rule("learnt", network, view.prediction)
        rules = {"known": known, "learnt": lent, "by BIC": BIC}
        found = view.locate(localiser, list(rules.values()), sensing)
        yield from ((f"hybrid `{name}`, K {rule}", each) for rule, each in zip(rules, found, strict=True))
    noise_unknown = "by BIC, noise level unknown"
    rules = {"known": known, f"by the rule of `{name}`": lent, "by BIC": BIC, noise_unknown: bic_noise_order}
    for rule, each in zip(rules, localiser.pursuit(sensing, *rules.values()), strict=True):
        yield f"NOMP, K {rule}", each
    R_samp = sample_covariance_of(o)
    rules = {"known": known, noise_unknown: bic_noise_order}
    for rule, each in zip(rules, localiser.back_projection(sensing, R_samp, *rules.values()), strict=True):
        yield f"back-projection peaks, K {rule}", each


def _add(method: Method, scenes: Scenes, found: Estimates, bound: torch.Tensor) -> None:
    truth = scenes.truth
    places = position_of(location_of(found.polar)), position_of(truth.location)
    method["gospa"] += gospa(places[0], found.present, places[1], truth.present, CUTOFF).tolist()
    error = match(found.polar, found.present, truth.polar, truth.present, CUTOFF).position
    method["near"] += int((error < 3 * bound)[truth.present].sum())
    method["right"] += int((found.present.sum(1) == truth.count).sum())


def _bound(scenes: Scenes, localiser: Localiser) -> torch.Tensor:
    """Root-CRB of each position [m], no larger than what is known without a snapshot."""
    o, truth = scenes.observation, scenes.truth
    free = localiser.domain.free
    bound = stochastic_bound(localiser.array, free, o.codebook, o.H, truth.location, truth.power, o.noise_var)
    return bound.position.clamp(max=prior_deviation(localiser.domain))
