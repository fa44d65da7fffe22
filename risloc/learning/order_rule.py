"""The learnt K rule: choose the order of a selection path that has the least expected GOSPA, even if the model is wrong.

BIC asks whether one more source explains the snapshots better than chance would, under a model that is taken to be true. If
the world departs from the model (element errors, a wrong channel, extra paths), what the model leaves unexplained looks like
sources that are not there. This rule was trained on such worlds: it looks at the fits of all orders, and at the network's
presence at their locations, and a small network of its own chooses among the orders 0..K_MAX.

Axes: batch B, order K_MAX + 1, src K_MAX.
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from risloc.estimation.conditional import Sensing
from risloc.estimation.information_criteria import bic
from risloc.estimation.order_rules import OrderRule, SelectionPath
from risloc.learning.network import HybridNetwork
from risloc.learning.network_layers import OrderHead
from risloc.learning.prediction import Prediction

__all__ = ["fit_order_head", "learnt_order", "order_features"]

_EPOCHS, _BATCH, _RATE, _DECAY, _JITTER = 30, 128, 5e-3, 0.1, 0.05
_SHARP = 0.1  # differences of cost that matter
_NATS = 4.0  # width of the soft threshold around that of BIC


def learnt_order(network: HybridNetwork, prediction: Prediction) -> OrderRule:
    """Make the learnt rule for the scenes of a prediction.

    Parameters
    ----------
    network
        A network whose order head has been fitted.
    prediction
        Its prediction of the scenes.

    Returns
    -------
    OrderRule
        The rule.

    Raises
    ------
    ValueError
        The network's order head has not been fitted.
    """
    if not bool(network.order.fitted):
        raise ValueError(
            "K by 'learnt': expected a checkpoint with a fitted order head, got one without; choose another K rule "
            "(for example 'bic') or fit it (in the repository: `dvc repro order` with order.scenes > 0)"
        )

    def rule(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
        return network.order(order_features(network, prediction, sensing, path)).argmax(1)

    return rule


def order_features(
    network: HybridNetwork, prediction: Prediction, sensing: Sensing, path: SelectionPath
) -> Float[Tensor, "batch feature"]:
    """Compute the features of the rule, which are the same for y and c y, and for H and c H.

    Parameters
    ----------
    network
        The network.
    prediction
        Its prediction of the scenes.
    sensing
        The scenes.
    path
        Their selection path.

    Returns
    -------
    [batch, feature]
        For each order: the log of the residual divided by its expectation under noise; the log of the decrease of the negative
        log-likelihood; by how much that decrease exceeds the threshold of BIC, through tanh; the network's least presence at
        the estimated locations (logit); the weakest source relative to the strongest, and relative to the noise (log powers
        times the mean row energy of G). Then the presences of the network's slots (logits).
    """
    batch, orders = path.cost.shape
    samples, src = sensing.y[0].numel(), path.polar.shape[2]
    rows = torch.arange(orders, device=path.cost.device)
    at = torch.minimum(rows, path.reached[:, None])
    polar = path.polar.gather(1, at[..., None, None].expand(-1, -1, src, 3))
    power = path.power.gather(1, at[..., None].expand(-1, -1, src))
    here = torch.arange(src, device=rows.device) < at[..., None]

    noise_var = sensing.noise_var[:, None]
    free = samples - at * sensing.y.shape[1]
    residual = (path.cost.gather(1, at) / (noise_var * free.clamp_min(1))).clamp_min(1e-6).log()
    value = path.value.gather(1, at)
    decrease = functional.pad((value[:, :-1] - value[:, 1:]).clamp_min(0), (1, 0))
    price = bic(torch.zeros(()), sum(sensing.domain.free) + 1, samples) / 2
    evidence = ((decrease - price) / _NATS).tanh()

    presence = network.presence_at(prediction, polar.flatten(1, 2)).view(batch, orders, src).logit(eps=1e-4)
    least = presence.masked_fill(~here, math.inf).amin(2).masked_fill(at == 0, 0)

    row_energy = sensing.G.abs().square().sum(-1).mean(1)[:, None]
    level = (power.to(row_energy.dtype) * (row_energy / noise_var)[..., None]).clamp_min(1e-6).log()
    weakest = level.masked_fill(~here, math.inf).amin(2).masked_fill(at == 0, 0)
    strongest = level.masked_fill(~here, -math.inf).amax(2).masked_fill(at == 0, 0)
    features = [residual, decrease.log1p(), evidence, least, weakest - strongest, weakest]
    slots = prediction.presence.logit(eps=1e-4)
    return torch.cat([each.to(slots.dtype) for each in features] + [slots], dim=1)


def fit_order_head(
    head: OrderHead, features: Float[Tensor, "scene feature"], cost: Float[Tensor, "scene order"], seed: int
) -> None:
    """Fit the probabilities of the head to softmax(-cost / 0.1) by cross entropy.

    Orders of nearly the same cost share the probability, so that nothing is learnt from a tie. The mean cost itself,
    sum_k p_k cost_k, is no alternative: its gradient vanishes with p_k, so that an order that is rare at first would never be
    chosen.

    Parameters
    ----------
    head
        The head.
    features : [scene, feature]
        The features of the scenes.
    cost : [scene, order]
        The cost of answering with each order's fit, here GOSPA divided by its cut-off.
    seed
        The seed of the weights, the noise and the order of the scenes.

    Raises
    ------
    ValueError
        There is no scene, or a feature or a cost is not finite.
    """
    if len(features) == 0 or not (features.isfinite().all() and cost.isfinite().all()):
        raise ValueError(f"order head: expected finite features and costs of at least one scene, got {len(features)}")
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        head.start_with(features)
        optimizer = torch.optim.AdamW(head.parameters(), _RATE, weight_decay=_DECAY)
        steps = list(_batches(len(features), draw))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=len(steps))
        for rows in steps:
            wanted = (-cost[rows] / _SHARP).softmax(1)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(functional.cross_entropy(head(features[rows], jitter=_JITTER), wanted))
            optimizer.step()
            schedule.step()


def _batches(count: int, draw: torch.Generator) -> Iterable[Tensor]:
    for _ in range(_EPOCHS):
        order = torch.randperm(count, generator=draw)
        yield from (order[low : low + _BATCH] for low in range(0, count, _BATCH))
