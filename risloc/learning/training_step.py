"""Parts of a training step: the settings, the terms of a part of the batch, and what the first step reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from risloc.config import param
from risloc.covariance.factored import FactoredCovariance
from risloc.learning.loss import LossTerms, Whole, loss_terms
from risloc.learning.loss_weights import TERMS, LossConfig, LossWeights
from risloc.learning.network import HybridNetwork
from risloc.learning.prediction import Prediction
from risloc.scenes.batch import Scenes

__all__ = ["FirstStep", "FitConfig", "StepPart", "StepReport", "summed"]


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """The `fit` section of params.yaml: how every stage fits a network."""

    batch_size: int = param("scenes per step", ge=1)
    accumulate: int = param("sequential parts that each step is split into: less memory, the same step", ge=1)
    learning_rate: float = param("peak learning rate of AdamW", gt=0.0)
    weight_decay: float = param("decoupled weight decay", ge=0.0)
    warmup: float = param("fraction of all steps in which the learning rate rises", ge=0.0, lt=1.0)
    clip_norm: float = param("largest gradient norm", gt=0.0)
    ema_decay: float = param(
        "decay of the running average of the weights, which is evaluated and shipped", ge=0.0, lt=1.0
    )
    replicate: int = param("repetition: another initial network and another order of the same scenes", ge=0)


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """What the first step of every run reports, so that an unsupervised covariance cannot go unnoticed.

    Parameters
    ----------
    weights
        The weights of the step.
    loss_nmse, loss_nmse_pred
        The terms NMSE(R_blend) and NMSE(R_pred).
    R_blend_requires_grad
        Whether R_blend carries a gradient.
    """

    weights: LossWeights
    loss_nmse: float
    loss_nmse_pred: float
    R_blend_requires_grad: bool


class StepPart(nn.Module):
    """Map a part of a step to its terms and the network's output in one call, as data-parallel training requires.

    Parameters
    ----------
    network
        The network.
    loss
        The weights, which say which terms are needed.
    """

    def __init__(self, network: HybridNetwork, loss: LossConfig) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(
        self, scenes: Scenes, whole: Whole | None
    ) -> tuple[LossTerms, Prediction | None, FactoredCovariance | None]:
        """Compute the terms; without a scene they and their gradients are 0, so that the other ranks do not wait for them.

        Parameters
        ----------
        scenes
            The scenes of the part.
        whole
            What the terms need to know of the whole batch.

        Returns
        -------
        tuple
            The terms, the prediction and R_blend; the latter two are None without a scene.
        """
        network = self.network
        if len(scenes) == 0:
            zeros = [(weight * 0).sum() for weight in network.parameters() if weight.requires_grad]
            nothing = torch.stack(zeros).sum()
            computed = [name for name in TERMS if name != "loss_nll" or self.loss.lam_nll > 0]
            return LossTerms(dict.fromkeys(computed, nothing)), None, None
        prediction, _, R_blend = network.blend(scenes.observation)
        terms = loss_terms(prediction, R_blend, scenes, network.array, network.grid, self.loss, whole, every=False)
        return terms, prediction, R_blend


@dataclass
class StepReport:
    """What the parts of a step have reported so far; the check of the gradients uses it in the first step of an epoch.

    Parameters
    ----------
    first
        Whether this is the first step of an epoch.
    terms
        The sum of each term over the parts.
    faults
        What is wrong with the gradients.
    norms
        The gradient norms of each part.
    sources
        Whether a scene had a source.
    blended
        Whether R_blend carries a gradient.
    """

    first: bool
    terms: dict[str, Tensor] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    norms: list[dict[str, float]] = field(default_factory=list)
    sources: bool = False
    blended: bool = False


def summed(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sum the values of each name over `parts`.

    Parameters
    ----------
    parts
        The values by name; a name may be missing in some.

    Returns
    -------
    dict
        The sum for each name.
    """
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part[name] for part in parts if name in part) for name in names}
