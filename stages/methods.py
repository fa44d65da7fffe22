"""Every method on one batch of scenes: the same domain, K rule, sigma^2, grid and fit for all, timed from the snapshots on."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from risloc.covariance import FactoredCovariance, least_squares_snapshots, sample_covariance, true_covariance
from risloc.geometry import polar_of
from risloc.likelihood import Sensing
from risloc.localise import Localiser, Located, first
from risloc.network import HybridNetwork, Prediction
from risloc.order import aic_order, mdl_order
from risloc.scene import Scenes
from risloc.selection import Estimates
from risloc.steering import steering_matrix

__all__ = ["K_RULES", "Result", "Seen", "model_orders", "run_methods"]

K_RULES = ("known", "bic")
REFITTED = ("R_blend_refined", "nomp_refined", "R_true_refined")  # also shown with the stochastic likelihood's fit
PRESENT = 0.5  # a slot whose presence is above this holds a source
T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One method's answer to a batch.

    name : covariance or search, and step, such as ``R_blend_refined``; with ``_bic`` where the method had to find K.
    seconds : for the whole batch, from the snapshots on; a selection that serves several K rules is counted in each
    divided by their number.  estimates : the fit behind `located`, None where there was none.
    """

    name: str
    located: Located
    seconds: float
    estimates: Estimates | None


@dataclass(frozen=True)
class Seen:
    """What a network makes of a batch, and the seconds that it took."""

    prediction: Prediction
    R_samp: FactoredCovariance
    R_blend: FactoredCovariance
    seconds: float

    @classmethod
    def by(cls, network: HybridNetwork, scenes: Scenes) -> "Seen":
        """Run the network."""
        blended, seconds = _timed(partial(network.blend, scenes.observation))
        return cls(*blended, seconds)


def run_methods(
    scenes: Scenes, localiser: Localiser, trained: Seen, untrained: Seen, k_rules: Sequence[str]
) -> Iterator[Result]:
    """The answers of all methods to a batch, one after another, under each K rule.

    MUSIC on R_blend, R_pred, R_samp, R_true (the oracle), on R_blend of the untrained network and on the covariance of
    sparse Bayesian learning, each plain and refined; beamforming and MVDR on R_samp, plain; back-projection peaks, refined;
    orthogonal matching pursuit, plain and Newtonised; the network's slots alone; and the hybrid with one step left out at a
    time. Where symbols are Gaussian, some of the refined ones once more after the stochastic fit. A network's slots and the
    peaks of what the snapshots say against it stand among its candidates, of which every method has as many. Where BIC
    finds K, a plain spectrum takes the K that the refinement of the same covariance found.
    """
    batch = _Batch(scenes, localiser, k_rules)
    yield from _learnt(batch, trained)
    yield from batch.hybrid("untrained_refined", untrained.prediction, untrained.R_blend, untrained.seconds)
    yield from _classical(batch)
    yield from batch.covariance("R_true", _true(batch), 0.0)


def model_orders(localiser: Localiser, seen: Seen) -> dict[str, Int[Tensor, " batch"]]:
    """K as MDL and AIC on the eigenvalues of R_samp see it, and the number of slots more likely present than not."""
    R_samp = seen.R_samp
    widest = min(localiser.slots, min(R_samp.factor.shape[-2:]) - 1)
    return {
        "mdl": mdl_order(R_samp, widest),
        "aic": aic_order(R_samp, widest),
        "presence": (seen.prediction.presence > PRESENT).sum(1),
    }


class _Batch:
    """What the methods share: the scenes, what the likelihood knows of them, and the K rules."""

    def __init__(self, scenes: Scenes, localiser: Localiser, k_rules: Sequence[str]) -> None:
        self.observation, self.truth, self.localiser = scenes.observation, scenes.truth, localiser
        self.sensing: Sensing = localiser.sensing(self.observation)
        self.counts = [self.truth.count if rule == "known" else None for rule in k_rules]
        self.gaussian = localiser.scenario.waveform == "independent"
        self.suffixes = ["" if rule == "known" else f"_{rule}" for rule in k_rules]

    def covariance(self, label: str, R: FactoredCovariance, before: float) -> Iterator[Result]:
        """MUSIC on R, refined and plain; `before`: the seconds that R took."""
        search = partial(self.localiser.refined, self.sensing, R, *self.counts)
        yield from self.fitted(f"{label}_refined", search, before, {f"{label}_plain": partial(self.localiser.music, R)})

    def hybrid(
        self, label: str, seen: Prediction, R: FactoredCovariance, before: float, **left_out: bool
    ) -> Iterator[Result]:
        """The same with a network's candidates beside those of its covariance R; `left_out`: kinds of them set to False."""

        def search() -> list[Estimates]:
            found = self.localiser.hybrid_candidates(self.observation, seen.R_pred, R, seen.polar, **left_out)
            return self.localiser.select(self.sensing, found, self.counts)

        plain = {} if left_out else {f"{label.removesuffix('_refined')}_plain": partial(self.localiser.music, R)}
        yield from self.fitted(label, search, before, plain)

    def fitted(
        self,
        name: str,
        search: Callable[[], list[Estimates]],
        before: float,
        plain: Mapping[str, Callable[[Tensor], Located]] = MappingProxyType({}),
    ) -> Iterator[Result]:
        """A search that answers all K rules at once, and plain spectra that take over each answer's K."""
        answers, seconds = _timed(search)
        for found, suffix in zip(answers, self.suffixes, strict=True):
            own = before + seconds / len(answers)
            yield Result(f"{name}{suffix}", Located(found.polar, found.present), own, found)
            if name in REFITTED and self.gaussian:
                again, more = _timed(partial(self.localiser.efficient, self.sensing, found))
                label = name.replace("refined", "stochastic")
                yield Result(f"{label}{suffix}", Located(again.polar, again.present), own + more, again)
            for label, spectrum in plain.items():
                located, seconds_plain = _timed(partial(spectrum, found.present.sum(1)))
                yield Result(f"{label}{suffix}", located, before + seconds_plain, None)


def _learnt(batch: _Batch, trained: Seen) -> Iterator[Result]:
    """The hybrid, the same on R_pred alone, the slots alone, and the hybrid with one step left out at a time."""
    seen, R_blend, seconds = trained.prediction, trained.R_blend, trained.seconds
    yield from batch.hybrid("R_blend_refined", seen, R_blend, seconds)
    yield from batch.hybrid("R_pred_refined", seen, seen.R_pred, seconds)
    order = seen.presence.argsort(dim=1, descending=True)
    ranked = seen.polar.gather(1, order[..., None].expand(-1, -1, 3))
    for rule, suffix in zip(batch.counts, batch.suffixes, strict=True):
        count = (seen.presence > PRESENT).sum(1) if rule is None else rule
        everyone = torch.ones_like(seen.presence, dtype=torch.bool)
        yield Result(f"slots_plain{suffix}", first(ranked, everyone, count, batch.localiser.slots), seconds, None)
    for step in ("slots", "score", "spectrum"):
        yield from batch.hybrid(f"ablation_no_{step}", seen, R_blend, seconds, **{step: False})
    yield from _without_a_fit(batch, seen, R_blend, seconds)


def _without_a_fit(batch: _Batch, seen: Prediction, R: FactoredCovariance, before: float) -> Iterator[Result]:
    localiser, sensing = batch.localiser, batch.sensing
    offer = partial(localiser.hybrid_candidates, batch.observation, seen.R_pred, R, seen.polar)
    for name, left_out in {"no_joint_fit": {"joint": False}, "no_fit": {"fit": False}}.items():

        def search(left_out: dict[str, bool] = left_out) -> list[Estimates]:
            return localiser.select(sensing, offer(), batch.counts, **left_out)

        yield from batch.fitted(f"ablation_{name}", search, before)
    for rule, suffix in zip(batch.counts, batch.suffixes, strict=True):
        if rule is not None:  # without a selection nothing says how many there are
            found, own = _timed(lambda rule=rule: localiser.strongest(sensing, offer(), rule))  # type: ignore[misc]
            located = Located(found.polar, found.present)
            yield Result(f"ablation_no_selection{suffix}", located, before + own, found)


def _classical(batch: _Batch) -> Iterator[Result]:
    localiser, sensing, o = batch.localiser, batch.sensing, batch.observation
    x, solved = _timed(partial(least_squares_snapshots, o.y, o.codebook, o.H, o.noise_var))
    R_samp = sample_covariance(x)
    yield from batch.covariance("R_samp", R_samp, solved)
    spectra = {
        "beamforming_plain": partial(localiser.beamforming, R_samp),
        "mvdr_plain": partial(localiser.mvdr, R_samp),
    }
    search = partial(localiser.back_projection, sensing, R_samp, *batch.counts)
    yield from batch.fitted("back_projection_refined", search, solved, spectra)
    R_sparse, learnt = _timed(partial(localiser.sparse, sensing))
    yield from batch.covariance("sbl", R_sparse, learnt)
    for result in batch.fitted("omp_plain", partial(localiser.pursuit, sensing, o, *batch.counts, fit=False), 0.0):
        yield replace(result, estimates=None)  # on the grid: no fit, no standard deviations
    yield from batch.fitted("nomp_refined", partial(localiser.pursuit, sensing, o, *batch.counts), 0.0)


def _true(batch: _Batch) -> FactoredCovariance:
    truth = batch.truth
    location = torch.where(truth.present[..., None], truth.location, torch.ones(3))
    return true_covariance(steering_matrix(batch.localiser.array, polar_of(location)), truth.power)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began
