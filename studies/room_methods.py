"""The methods of studies/room.py on one cell's scenes, and what is kept of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict

import torch

from risloc.covariance.snapshots import sample_covariance_of
from risloc.estimation.assessment import Estimates
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import Rule
from risloc.learning.hybrid import NetworkView
from risloc.learning.k_rules import BY_BIC, KNOWN, LEARNT, NOISE_UNKNOWN, order_rule
from risloc.learning.network import HybridNetwork
from risloc.performance.crb import prior_deviation, stochastic_bound
from risloc.performance.metrics import gospa, match
from risloc.physics.channel import effective_rank
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Scenes
from stages.evaluation.method import ECHOES, HYBRID, NOMP, Method
from stages.reporting.looks import phrase

__all__ = ["CUTOFF", "LENDER", "NOMP_RULES", "Cell", "measured"]

CUTOFF, BATCH = 2.0, 40

LENDER = "robust"
"""The network whose K rule NOMP uses, too."""

HYBRID_RULES = (KNOWN, LEARNT, BY_BIC)
NOMP_RULES = (KNOWN, LEARNT, BY_BIC, NOISE_UNKNOWN)
ECHO_RULES = (BY_BIC, NOISE_UNKNOWN)
BACK_PROJECTION, PEAK_RULES = Method("back_projection"), (KNOWN, NOISE_UNKNOWN)


class Outcome(TypedDict):
    """GOSPA of each scene, sources within 3 root-CRB, scenes whose K is right."""

    gospa: list[float]
    near: int
    right: int


class Cell(TypedDict):
    """Effective rank of H, root-CRBs of the position of each source [m], and the outcome of each method by its phrase."""

    rank: float
    bounds: list[float]
    methods: dict[str, Outcome]


def measured(scenes: Scenes, localiser: Localiser, networks: Mapping[str, HybridNetwork]) -> Cell:
    """Every method on the scenes, against the bound of the line-of-sight model with the H that is given."""
    bounds, methods, echo_localiser = list[float](), dict[str, Outcome](), EchoLocaliser(localiser)
    for start in range(0, len(scenes), BATCH):
        part = scenes[start : start + BATCH]
        bound = _bound(part, localiser)
        bounds += bound[part.truth.present].tolist()
        with torch.inference_mode():
            for name, found in _located(part, echo_localiser, networks):
                _add(methods.setdefault(name, Outcome(gospa=[], near=0, right=0)), part, found, bound)
    return Cell(rank=float(effective_rank(scenes.observation.H[0])), bounds=bounds, methods=methods)


def _located(
    scenes: Scenes, echo_localiser: EchoLocaliser, networks: Mapping[str, HybridNetwork]
) -> Iterator[tuple[str, Estimates]]:
    localiser, o, known = echo_localiser.localiser, scenes.observation, scenes.truth.count
    sensing, R_samp = localiser.sensing(o), sample_covariance_of(o)
    views = {name: NetworkView.of(network, o) for name, network in networks.items()}
    for name, view in views.items():
        estimates = view.locate(localiser, _rules(HYBRID_RULES, known, view), sensing)
        yield from _named(HYBRID, HYBRID_RULES, estimates, name)
    pursuit = localiser.pursuit(sensing, *_rules(NOMP_RULES, known, views[LENDER]))
    yield from _named(NOMP, NOMP_RULES, pursuit, LENDER)
    search = echo_localiser.search(sensing)
    echoing = (search.answer(given=rule == BY_BIC).estimates for rule in ECHO_RULES)
    yield from _named(ECHOES, ECHO_RULES, echoing, LENDER)
    peaks = localiser.back_projection(sensing, R_samp, *_rules(PEAK_RULES, known, views[LENDER]))
    yield from _named(BACK_PROJECTION, PEAK_RULES, peaks, LENDER)


def _rules(names: Sequence[str], known: torch.Tensor, view: NetworkView) -> list[Rule]:
    return [known if name == KNOWN else order_rule(name, view.network, view.prediction) for name in names]


def _named(
    method: Method, rules: Sequence[str], estimates: Iterable[Estimates], network: str
) -> Iterator[tuple[str, Estimates]]:
    return ((phrase(method.by(rule), network), each) for rule, each in zip(rules, estimates, strict=True))


def _add(outcome: Outcome, scenes: Scenes, found: Estimates, bound: torch.Tensor) -> None:
    truth = scenes.truth
    places = position_of(location_of(found.polar)), position_of(truth.location)
    outcome["gospa"] += gospa(places[0], found.present, places[1], truth.present, CUTOFF).tolist()
    error = match(found.polar, found.present, truth.polar, truth.present, CUTOFF).position
    outcome["near"] += int((error < 3 * bound)[truth.present].sum())
    outcome["right"] += int((found.present.sum(1) == truth.count).sum())


def _bound(scenes: Scenes, localiser: Localiser) -> torch.Tensor:
    """Root-CRB of each position [m], no larger than what is known without a snapshot."""
    truth = scenes.truth
    bound = stochastic_bound(localiser.surface, scenes.observation, truth.location, truth.power, truth.echoes)
    return bound.position.clamp(max=prior_deviation(localiser.domain))
