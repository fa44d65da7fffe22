"""The data that the learnt K rule is fitted on: features of the hybrid's selection paths, and the cost of each order's answer.

Axes: scene, order K_MAX + 1.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from risloc.estimation.localiser import Localiser
from risloc.estimation.order_rules import bic_order
from risloc.learning.hybrid import NetworkView
from risloc.learning.network import HybridNetwork
from risloc.learning.order_rule import order_features
from risloc.performance.metrics import gospa
from risloc.physics.geometry import location_of, position_of
from risloc.scenes.batch import Scenes

__all__ = ["OrderExamples", "order_examples"]


@dataclass(frozen=True)
class OrderExamples:
    """The data for the order head: the features of scenes, and the cost of each order's answer.

    Parameters
    ----------
    features : [scene, feature]
        The features of `risloc.learning.order_rule.order_features`.
    cost : [scene, order]
        GOSPA divided by its cut-off.
    known : [scene]
        The true order, for comparison.
    bic : [scene]
        The order that BIC selects, for comparison.
    """

    features: Float[Tensor, "scene feature"]
    cost: Float[Tensor, "scene order"]
    known: Int[Tensor, " scene"]
    bic: Int[Tensor, " scene"]

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, rows: slice) -> "OrderExamples":
        return OrderExamples(self.features[rows], self.cost[rows], self.known[rows], self.bic[rows])

    @staticmethod
    def cat(parts: "Sequence[OrderExamples]") -> "OrderExamples":
        """Concatenate examples.

        Parameters
        ----------
        parts
            The examples, in order.

        Returns
        -------
        OrderExamples
            All of them.
        """
        names = [field.name for field in dataclasses.fields(OrderExamples)]
        return OrderExamples(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def mean_cost(self, order: Int[Tensor, " scene"]) -> float:
        """Compute the mean cost of answering with given orders.

        Parameters
        ----------
        order : [scene]
            The order of each scene's answer.

        Returns
        -------
        float
            The mean of GOSPA over its cut-off.
        """
        return float(self.cost.gather(1, order[:, None]).mean())


@torch.no_grad()
def order_examples(network: HybridNetwork, localiser: Localiser, scenes: Scenes, cutoff: float) -> OrderExamples:
    """Run the hybrid's selection in scenes up to the largest order, and compute the features and GOSPA of each order's fit.

    Parameters
    ----------
    network
        The network.
    localiser
        The localiser of its surface.
    scenes
        The scenes with their truth.
    cutoff
        The cut-off of GOSPA in metres.

    Returns
    -------
    OrderExamples
        The examples.
    """
    truth = scenes.truth
    view = NetworkView.of(network, scenes.observation)
    sensing = localiser.sensing(scenes.observation)
    path = localiser.path(sensing, view.candidates(localiser))
    costs = []
    for order in range(path.cost.shape[1]):
        polar, present = path.at(torch.full_like(path.reached, order))
        place = position_of(location_of(polar))
        costs.append(gospa(place, present, position_of(truth.location), truth.present, cutoff) / cutoff)
    features = order_features(network, view.prediction, sensing, path)
    return OrderExamples(features, torch.stack(costs, dim=1), truth.count, bic_order(sensing, path))
