"""The validation of a network on a set of scenes: the loss terms, and the physical score, which no weight scales.

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
from risloc.learning.network import HybridNetwork
from risloc.learning.prediction import PRESENT, Prediction
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
"""The cut-off in metres of GOSPA in the physical score and in the training of the K rule."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The results of a network on a set of scenes, none of which is scaled by a weight of the loss.

    Parameters
    ----------
    terms
        The mean of each raw term of the loss.
    nmse_pred
        The NMSE of R_pred of the last pass; the term `loss_nmse_pred` is the mean over the passes.
    nmse_silent
        The NMSE that R_blend would have with R_pred = I: what a network reaches that predicts nothing and leaves all to R_samp.
    score : [scene]
        The physical score of each scene, smaller is better: 1 - tr(P_blend P_true) / K, the error of the subspace that MUSIC
        uses, plus GOSPA of the slots divided by its cut-off.
    """

    terms: dict[str, float]
    nmse_pred: float
    nmse_silent: float
    score: Float[Tensor, " scene"]


@torch.no_grad()
def validate(
    network: HybridNetwork, loss: LossConfig, batches: Iterable[Scenes], device: torch.device, group: Group = ALONE
) -> Validation:
    """Run a network in evaluation mode over batches.

    Parameters
    ----------
    network
        The network.
    loss
        The configuration of the loss.
    batches
        The batches of this process; those of a group are dealt out one by one.
    device
        Where to compute.
    group
        The processes that validate together.

    Returns
    -------
    Validation
        The results over the batches of all processes.
    """
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
    """Compute 1 - tr(P P_true) / K, with P the projection onto the K leading eigenvectors of R.

    Parameters
    ----------
    network
        The network, for its array.
    R
        The covariance.
    truth
        The true sources.

    Returns
    -------
    [batch]
        The distances; 0 if there is no source.
    """
    Q = torch.linalg.qr(truth.steering(network.array)).Q * truth.present[:, None, :]
    U = R.subspace(truth.power.shape[1]) * truth.present[:, None, :]
    overlap = torch.view_as_real(Q.mH @ U).square().sum((-3, -2, -1))
    return torch.where(truth.count > 0, 1 - overlap / truth.count.clamp_min(1), 0.0)


def slot_gospa(prediction: Prediction, truth: Truth) -> Float[Tensor, " batch"]:
    """Compute GOSPA (cut-off 2 m) of the slots that are more likely present than not, divided by the cut-off.

    Parameters
    ----------
    prediction
        The prediction.
    truth
        The true sources.

    Returns
    -------
    [batch]
        GOSPA divided by its cut-off.
    """
    estimate = position_of(location_of(prediction.polar))
    found = prediction.presence > PRESENT
    return gospa(estimate, found, position_of(truth.location), truth.present, cutoff=GOSPA_CUTOFF) / GOSPA_CUTOFF


def nmse_pred(network: HybridNetwork, prediction: Prediction, truth: Truth) -> Float[Tensor, ""]:
    """Compute the NMSE of R_pred of the last pass.

    Parameters
    ----------
    network
        The network, for its array.
    prediction
        Its prediction.
    truth
        The true sources.

    Returns
    -------
    Tensor
        The mean over the scenes with sources; 0 if there are none.
    """
    return _mean_of_sourced(nmse(prediction.R_pred, covariance_of(truth, network.array)), truth)


def nmse_silent(network: HybridNetwork, R_samp: FactoredCovariance, truth: Truth) -> Float[Tensor, ""]:
    """Compute the NMSE of (1 - beta) I + beta R_samp without storing I as a matrix.

    Parameters
    ----------
    network
        The network, for its array and beta.
    R_samp
        The sample covariance.
    truth
        The true sources.

    Returns
    -------
    Tensor
        The mean over the scenes with sources; 0 if there are none.
    """
    beta = network.beta
    silent = nmse(FactoredCovariance(beta**0.5 * R_samp.factor), covariance_of(truth, network.array), white=1 - beta)
    return _mean_of_sourced(silent, truth)


def _mean_of_sourced(values: Float[Tensor, " batch"], truth: Truth) -> Float[Tensor, ""]:
    """Return the mean over the scenes with sources; 0 if there are none."""
    some = truth.count > 0
    return values[some].mean() if bool(some.any()) else values.new_zeros(())


class Means:
    """Means over scenes, accumulated in double precision on the device of the values and read only once."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Add the means over a batch.

        Parameters
        ----------
        values
            The means over the batch, or parts of them that add up.
        count
            The number of scenes of the batch.
        """
        for name, value in values.items():
            weighted = value.detach().double() * count
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
        self._count += count

    def result(self) -> dict[str, float]:
        """Compute the means over all scenes.

        Returns
        -------
        dict
            The means by their names.
        """
        return {name: float(value) / max(self._count, 1) for name, value in self._sums.items()}
