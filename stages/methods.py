"""Every method on one batch of scenes: the same domain, K rule and sigma^2 for all, timed."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from risloc.covariance import FactoredCovariance, least_squares_snapshots, true_covariance
from risloc.geometry import polar_of
from risloc.localise import Localiser, Located
from risloc.network import HybridNetwork
from risloc.scene import Scenes
from risloc.steering import steering_matrix

__all__ = ["K_RULES", "Result", "run_methods"]

K_RULES = ("known", "bic")
T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One method's answer to a batch.

    name : covariance and step, such as ``R_blend_refined``; with ``_bic`` where the method had to find K.
    seconds : of this method alone, for the whole batch; its share where one selection serves several K rules.
    """

    name: str
    located: Located
    seconds: float


def run_methods(
    scenes: Scenes, localiser: Localiser, network: HybridNetwork, untrained: HybridNetwork, k_rules: Sequence[str]
) -> Iterator[Result]:
    """The answers of all methods to a batch, one after another, under each K rule.

    MUSIC on R_blend, R_pred, R_samp, R_true (the oracle) and on R_blend of the untrained network, each plain and
    refined; back-projection peaks refined; matching pursuit refined. A network's slots stand among its candidates, of which
    every method has as many. Where BIC finds K, plain MUSIC takes the K that
    its refined counterpart found.
    """
    observation = scenes.observation
    counts = [scenes.truth.count if rule == "known" else None for rule in k_rules]
    suffixes = ["" if rule == "known" else f"_{rule}" for rule in k_rules]
    sensing = localiser.sensing(observation)
    for label, R, slots in _covariances(scenes, localiser, network, untrained):
        refined, seconds = _timed(partial(localiser.refined, sensing, R, *counts, slots=slots))
        for found, suffix in zip(refined, suffixes, strict=True):
            yield Result(f"{label}_refined{suffix}", Located(found.polar, found.present), seconds / len(counts))
            plain, own = _timed(partial(localiser.plain, R, found.present.sum(1)))
            yield Result(f"{label}_plain{suffix}", plain, own)
    x = least_squares_snapshots(observation.y, observation.codebook, observation.H, observation.noise_var)
    searches = {
        "back_projection": partial(localiser.back_projection, sensing, x, *counts),
        "pursuit": partial(localiser.pursuit, sensing, observation, *counts),
    }
    for label, search in searches.items():
        refined, seconds = _timed(search)
        for found, suffix in zip(refined, suffixes, strict=True):
            yield Result(f"{label}_refined{suffix}", Located(found.polar, found.present), seconds / len(counts))


def _covariances(
    scenes: Scenes, localiser: Localiser, network: HybridNetwork, untrained: HybridNetwork
) -> Iterator[tuple[str, FactoredCovariance, Tensor | None]]:
    """Each covariance, and the slots of the network that it came from."""
    observation, truth = scenes.observation, scenes.truth
    prediction, R_samp, R_blend = network.blend(observation)
    yield "R_blend", R_blend, prediction.polar
    yield "R_pred", prediction.R_pred, prediction.polar
    yield "R_samp", R_samp, None
    location = torch.where(truth.present[..., None], truth.location, torch.ones(3))
    yield "R_true", true_covariance(steering_matrix(localiser.array, polar_of(location)), truth.power), None
    blind, _, R_blind = untrained.blend(observation)
    yield "untrained", R_blind, blind.polar


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began
