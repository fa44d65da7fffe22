"""What is known of a network on a set of scenes: the loss terms, and the physical score, which no weight scales.

Axes: batch B.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance, covariance_of
from risloc.learning.distributed import ALONE, Group
from risloc.learning.loss import loss_terms, nmse
from risloc.learning.loss_weights import LossConfig
from risloc.learning.network import PRESENT, HybridNetwork, Prediction
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Scenes, Truth

__all__ = [
    "GOSPA_CUTOFF",
    "Means",
    "Validation",
    "nmse_pred",
    "nmse_silent",
    "slot_gospa",
    "subspace_distance",
    "validate",
]

GOSPA_CUTOFF = 2.0
"""Metres: of the physical score, and of the K rule's training."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What is known of a network on a set of scenes. Only `terms` names a loss; nothing here is scaled by a weight.

    terms : mean of each raw loss term.  nmse_pred : the NMSE of R_pred itself, where the term `loss_nmse_pred` is the mean
    over the network's passes.  nmse_silent : the NMSE that R_blend would have if the network said nothing (R_pred = I): what
    hiding behind R_samp yields.  score : the physical score of each scene, smaller is better: 1 - tr(P_blend P_true) / K, the
    subspace that MUSIC will use, plus GOSPA of the slots over its cut-off.
    """

    terms: dict[str, float]
    nmse_pred: float
    nmse_silent: float
    score: Float[Tensor, " scene"]


@torch.no_grad()
def validate(
    network: HybridNetwork, loss: LossConfig, batches: Iterable[Scenes], device: torch.device, group: Group = ALONE
) -> Validation:
    """Run `network` in evaluation mode over `batches`, dealt out one by one where a group does it together."""
    network.eval()
    own = []
    for batch in batches:
        scenes = batch.to(device)
        prediction, R_samp, R_blend = network.blend(scenes.observation)
        terms = loss_terms(prediction, R_blend, scenes, network.array, network.grid, loss)
        facts = {
            "nmse_pred": nmse_pred(network, prediction, scenes.truth),
            "nmse_silent": nmse_silent(network, R_samp, scenes.truth),
        }
        score = subspace_distance(network, R_blend, scenes.truth) + slot_gospa(prediction, scenes.truth)
        values = {name: value.cpu() for name, value in {**terms.values, **facts}.items()}
        own.append((values, score.cpu()))
    sums, scores = Means(), []
    for values, score in group.in_turn(own):
        sums.add(values, len(score))
        scores.append(score)
    means = sums.result()
    return Validation(
        nmse_pred=means.pop("nmse_pred"),
        nmse_silent=means.pop("nmse_silent"),
        terms=means,
        score=torch.cat(scores),
    )


def subspace_distance(network: HybridNetwork, R: FactoredCovariance, truth: Truth) -> Float[Tensor, " batch"]:
    """1 - tr(P P_true) / K with P the K leading eigenvectors of R; 0 where there is no source."""
    Q = torch.linalg.qr(truth.steering(network.array)).Q * truth.present[:, None, :]
    U = R.subspace(truth.power.shape[1]) * truth.present[:, None, :]
    overlap = torch.view_as_real(Q.mH @ U).square().sum((-3, -2, -1))
    return torch.where(truth.count > 0, 1 - overlap / truth.count.clamp_min(1), 0.0)


def slot_gospa(prediction: Prediction, truth: Truth) -> Float[Tensor, " batch"]:
    """GOSPA (cut-off 2 m) of the slots more likely present than not, divided by the cut-off."""
    estimate = position_of(location_of(prediction.polar))
    found = prediction.presence > PRESENT
    return gospa(estimate, found, position_of(truth.location), truth.present, cutoff=GOSPA_CUTOFF) / GOSPA_CUTOFF


def nmse_pred(network: HybridNetwork, prediction: Prediction, truth: Truth) -> Float[Tensor, ""]:
    """The NMSE of R_pred, the last pass's, a mean over scenes with sources."""
    return _mean_of_sourced(nmse(prediction.R_pred, covariance_of(truth, network.array)), truth)


def nmse_silent(network: HybridNetwork, R_samp: FactoredCovariance, truth: Truth) -> Float[Tensor, ""]:
    """The NMSE of (1 - beta) I + beta R_samp, a mean over scenes with sources; I never stands as a matrix."""
    beta = network.beta
    silent = nmse(FactoredCovariance(beta**0.5 * R_samp.factor), covariance_of(truth, network.array), white=1 - beta)
    return _mean_of_sourced(silent, truth)


def _mean_of_sourced(values: Float[Tensor, " batch"], truth: Truth) -> Float[Tensor, ""]:
    """0 where no scene has a source."""
    some = truth.count > 0
    return values[some].mean() if bool(some.any()) else values.new_zeros(())


class Means:
    """Means over scenes of what each batch says, added up in double precision where it lies, and read once."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """The means over a batch of `count` scenes, or parts of them that add up."""
        for name, value in values.items():
            weighted = value.detach().double() * count
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
        self._count += count

    def result(self) -> dict[str, float]:
        """The mean of each."""
        return {name: float(value) / max(self._count, 1) for name, value in self._sums.items()}
