"""Run every method on one batch of scenes, with the same search domain, noise variance and fit, and time each of them.

A time begins with the snapshots. That of a plain spectrum leaves out the search that found its K.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from types import MappingProxyType
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance, covariance_of
from risloc.covariance.snapshots import sample_covariance_of
from risloc.estimation.assessment import Estimates
from risloc.estimation.conditional import Sensing
from risloc.estimation.echo_localiser import EchoLocaliser
from risloc.estimation.information_criteria import aic_order, mdl_order
from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import Rule
from risloc.estimation.spectral_methods import Located, first
from risloc.learning.hybrid import NetworkView
from risloc.learning.k_rules import BY_BIC, KNOWN, NOISE_UNKNOWN, needs_network, order_rule
from risloc.learning.network import HybridNetwork
from risloc.learning.prediction import PRESENT
from risloc.scenes.batch import Scenes
from stages.evaluation.method import ECHOES, HYBRID, NOMP, PLAIN, STOCHASTIC, Method

__all__ = ["METHODS", "NO_SELECTION", "Result", "Seen", "model_orders", "run_methods"]

REFITTED = (HYBRID, NOMP, Method("R_true"))  # also fitted once more by the stochastic likelihood, under these K rules:
REFITTED_BY = (KNOWN, BY_BIC)
NO_SELECTION = Method("ablation_no_selection")
"""The one method that gives a result only if K is known."""
T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One method's result for a batch.

    seconds : for the whole batch, from the snapshots on; the time of a selection that serves several K rules is divided
    equally among them.  estimates : the fit behind `located`, None if the method has no fit.
    """

    method: Method
    located: Located
    seconds: float
    estimates: Estimates | None


@dataclass(frozen=True)
class Seen(NetworkView):
    """The outputs of a network for a batch, and the seconds that they took."""

    seconds: float

    @classmethod
    def by(cls, network: HybridNetwork, scenes: Scenes) -> "Seen":
        """Run the network."""
        view, seconds = _timed(partial(NetworkView.of, network, scenes.observation))
        return cls(**vars(view), seconds=seconds)


def run_methods(
    scenes: Scenes,
    localiser: Localiser,
    trained: Seen,
    untrained: HybridNetwork,
    k_rules: Sequence[str],
    names: Sequence[str] = (),
) -> Iterator[Result]:
    """Run the methods of `METHODS` that `names` lists (all if it is empty) on a batch; yield a result for each and each K rule.

    Each of the covariances R_blend, R_pred, R_samp, R_true (the oracle), R_blend of the untrained network, and that of
    sparse Bayesian learning gives two results: refined (selection among candidates and joint fit) and plain (the peaks of
    MUSIC as they are). The peaks of the back-projection are refined, too, and come with the plain spectra of beamforming
    and MVDR on R_samp. Further methods are orthogonal matching pursuit, plain and Newtonised, the network's slots alone, and
    the hybrid with one step left out at a time. With Gaussian symbols, those in `REFITTED` are fitted once more by the
    stochastic likelihood. The candidates of a network include its slots and the peaks of the score spectrum; every method
    has the same number of candidates. If K is not given, a plain spectrum uses the K that the refinement of the same
    covariance found. The learnt K rule of the trained network is applied to R_blend, R_pred, the hybrid with fewer kinds of
    candidates, and NOMP. NOMP with echoes finds K itself whatever `k_rules` says: sigma^2 given (`bic`) or not (`bic_noise`).
    """
    batch = _Batch(scenes, localiser, trained, untrained, k_rules)
    for method, answers in _FAMILIES.items():
        if not names or method.name in names:
            yield from answers(batch, method)


def model_orders(localiser: Localiser, seen: Seen) -> dict[str, Int[Tensor, " batch"]]:
    """Return K by MDL and by AIC on the eigenvalues of R_samp, and the number of slots that are more likely present than not."""
    R_samp = seen.R_samp
    widest = min(localiser.slots, min(R_samp.factor.shape[-2:]) - 1)
    return {
        "mdl": mdl_order(R_samp, widest),
        "aic": aic_order(R_samp, widest),
        "presence": (seen.prediction.presence > PRESENT).sum(1),
    }


class _Batch:
    """What the methods share: scenes, sensing model, networks and K rules."""

    def __init__(
        self,
        scenes: Scenes,
        localiser: Localiser,
        trained: Seen,
        untrained: HybridNetwork,
        k_rules: Sequence[str],
    ) -> None:
        self.scenes, self.observation, self.truth = scenes, scenes.observation, scenes.truth
        self.localiser, self.trained, self.untrained = localiser, trained, untrained
        self.sensing: Sensing = localiser.sensing(self.observation)
        self.rules = {rule: self.rule(rule) for rule in k_rules if not needs_network(rule)}
        self.every_rule = self.rules | {rule: self.rule(rule) for rule in k_rules if needs_network(rule)}
        self.gaussian = localiser.scenario.waveform == "independent"

    def rule(self, name: str) -> Rule:
        """Return the true K for the rule `known`, otherwise the rule of that name; a learnt one is that of the trained network."""
        if name == KNOWN:
            return self.truth.count
        return order_rule(name, self.trained.network, self.trained.prediction)

    @cached_property
    def R_samp(self) -> tuple[FactoredCovariance, float]:
        """The sample covariance, and the seconds that it took."""
        return _timed(partial(sample_covariance_of, self.observation))

    def covariance(self, method: Method, R: FactoredCovariance, before: float) -> Iterator[Result]:
        """Run MUSIC on R, refined and plain. before : the seconds that R took."""
        search = partial(self.localiser.refined, self.sensing, R, *self.rules.values())
        plain = {method.source: partial(self.localiser.music, R)}
        yield from self.fitted(method, search, before, self.rules, plain)

    def hybrid(self, method: Method, seen: Seen, R: FactoredCovariance, **left_out: bool) -> Iterator[Result]:
        """Run MUSIC on a network's covariance R, refined with the other candidates of the network; without `left_out` plain, too.

        left_out : kinds of candidates that are switched off, such as ``slots=False``.
        """
        rules = self.every_rule if seen is self.trained else self.rules

        def search() -> list[Estimates]:
            return self.localiser.select(
                self.sensing, seen.candidates(self.localiser, R, **left_out), list(rules.values())
            )

        plain = {} if left_out else {method.source: partial(self.localiser.music, R)}
        yield from self.fitted(method, search, seen.seconds, rules, plain)

    def fitted(
        self,
        method: Method,
        search: Callable[[], list[Estimates]],
        before: float,
        rules: Mapping[str, Rule],
        plain: Mapping[str, Callable[[Tensor], Located]] = MappingProxyType({}),
    ) -> Iterator[Result]:
        """Run a search that serves all these K rules at once, and after each result the plain spectra with the K that it found."""
        answers, seconds = _timed(search)
        for found, rule in zip(answers, rules, strict=True):
            own = before + seconds / len(answers)
            yield Result(method.by(rule), Located(found.polar, found.present), own, found)
            if method in REFITTED and self.gaussian and rule in REFITTED_BY:
                again, more = _timed(partial(self.localiser.efficient, self.sensing, found))
                refitted = method.stepped(STOCHASTIC).by(rule)
                yield Result(refitted, Located(again.polar, again.present), own + more, again)
            for source, spectrum in plain.items():
                located, seconds_plain = _timed(partial(spectrum, found.present.sum(1)))
                yield Result(Method(source, PLAIN, rule), located, before + seconds_plain, None)


def _R_blend(batch: _Batch, method: Method) -> Iterator[Result]:
    yield from batch.hybrid(method, batch.trained, batch.trained.R_blend)


def _R_pred(batch: _Batch, method: Method) -> Iterator[Result]:
    yield from batch.hybrid(method, batch.trained, batch.trained.prediction.R_pred)


def _slots(batch: _Batch, method: Method) -> Iterator[Result]:
    seen = batch.trained.prediction
    order = seen.presence.argsort(dim=1, descending=True)
    ranked = seen.polar.gather(1, order[..., None].expand(-1, -1, 3))
    everyone = torch.ones_like(seen.presence, dtype=torch.bool)
    present = (seen.presence > PRESENT).sum(1)
    for name, rule in batch.rules.items():
        count = rule if isinstance(rule, Tensor) else present
        located = first(ranked, everyone, count, batch.localiser.slots)
        yield Result(method.by(name), located, batch.trained.seconds, None)


def _without_candidates(batch: _Batch, method: Method, **left_out: bool) -> Iterator[Result]:
    """Run the hybrid without one kind of its candidates."""
    yield from batch.hybrid(method, batch.trained, batch.trained.R_blend, **left_out)


def _without_fit(batch: _Batch, method: Method, **left_out: bool) -> Iterator[Result]:
    """Run the hybrid without the joint fit (`joint=False`), or without any fit (`fit=False`)."""
    seen, rules = batch.trained, list(batch.rules.values())

    def search() -> list[Estimates]:
        return batch.localiser.select(batch.sensing, seen.candidates(batch.localiser), rules, **left_out)

    yield from batch.fitted(method, search, seen.seconds, batch.rules)


def _without_selection(batch: _Batch, method: Method) -> Iterator[Result]:
    """The strongest of the hybrid's candidates, where K is known: without a selection nothing says how many there are."""
    seen = batch.trained
    for name, rule in batch.rules.items():
        if isinstance(rule, Tensor):

            def search(count: Int[Tensor, " batch"] = rule) -> Estimates:
                return batch.localiser.strongest(batch.sensing, seen.candidates(batch.localiser), count)

            found, own = _timed(search)
            yield Result(method.by(name), Located(found.polar, found.present), seen.seconds + own, found)


def _untrained(batch: _Batch, method: Method) -> Iterator[Result]:
    seen = Seen.by(batch.untrained, batch.scenes)
    yield from batch.hybrid(method, seen, seen.R_blend)


def _R_samp(batch: _Batch, method: Method) -> Iterator[Result]:
    yield from batch.covariance(method, *batch.R_samp)


def _back_projection(batch: _Batch, method: Method) -> Iterator[Result]:
    localiser, (R_samp, solved) = batch.localiser, batch.R_samp
    spectra = {"beamforming": partial(localiser.beamforming, R_samp), "mvdr": partial(localiser.mvdr, R_samp)}
    search = partial(localiser.back_projection, batch.sensing, R_samp, *batch.rules.values())
    yield from batch.fitted(method, search, solved, batch.rules, spectra)


def _sbl(batch: _Batch, method: Method) -> Iterator[Result]:
    yield from batch.covariance(method, *_timed(partial(batch.localiser.sparse, batch.sensing)))


def _omp(batch: _Batch, method: Method) -> Iterator[Result]:
    search = partial(batch.localiser.pursuit, batch.sensing, *batch.rules.values(), fit=False)
    for result in batch.fitted(method, search, 0.0, batch.rules):
        yield replace(result, estimates=None)  # on the grid: no fit, no standard deviations


def _nomp(batch: _Batch, method: Method) -> Iterator[Result]:
    """NOMP runs with the learnt K rule, too, to separate the effect of the rule from that of the candidates."""
    rules = batch.every_rule
    search = partial(batch.localiser.pursuit, batch.sensing, *rules.values())
    yield from batch.fitted(method, search, 0.0, rules)


def _nomp_echoes(batch: _Batch, method: Method) -> Iterator[Result]:
    search, searching = _timed(partial(_echo_localiser(batch.localiser).search, batch.sensing))
    for rule in (BY_BIC, NOISE_UNKNOWN):
        answer, answering = _timed(partial(search.answer, given=rule == BY_BIC))
        found = answer.estimates
        yield Result(method.by(rule), Located(found.polar, found.present), searching + answering, found)


def _R_true(batch: _Batch, method: Method) -> Iterator[Result]:
    yield from batch.covariance(method, covariance_of(batch.truth, batch.localiser.array), 0.0)


_echo_localiser = lru_cache(maxsize=1)(EchoLocaliser)  # its grid serves every batch of a localiser


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


_FAMILIES: Mapping[Method, Callable[[_Batch, Method], Iterator[Result]]] = {
    HYBRID: _R_blend,
    Method("R_pred"): _R_pred,
    Method("slots", PLAIN): _slots,
    Method("ablation_no_slots"): partial(_without_candidates, slots=False),
    Method("ablation_no_score"): partial(_without_candidates, score=False),
    Method("ablation_no_spectrum"): partial(_without_candidates, spectrum=False),
    Method("ablation_no_joint_fit"): partial(_without_fit, joint=False),
    Method("ablation_no_fit"): partial(_without_fit, fit=False),
    NO_SELECTION: _without_selection,
    Method("untrained"): _untrained,
    Method("R_samp"): _R_samp,
    Method("back_projection"): _back_projection,
    Method("sbl"): _sbl,
    Method("omp", PLAIN): _omp,
    NOMP: _nomp,
    ECHOES: _nomp_echoes,
    Method("R_true"): _R_true,
}

METHODS = tuple(method.name for method in _FAMILIES)
"""The names that `run_methods` accepts. Plain spectra and stochastic refits come with the method whose K or fit they use."""
