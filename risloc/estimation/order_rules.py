"""How many sources, from the fits of growing order of a scene: the path of a selection, and the rules that read it.

Axes: batch B, order K_MAX + 1, src K_MAX.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from risloc.estimation.conditional import Sensing
from risloc.estimation.information_criteria import bic
from risloc.estimation.stochastic import fit_powers

__all__ = ["BIC", "Count", "EarlyRule", "OrderRule", "Rule", "SelectionPath", "bic_noise_order", "bic_order"]


@dataclass(frozen=True)
class SelectionPath:
    """The fits of growing order of each scene, from no source to as many as were asked for.

    polar : (u, v, w) of the fit of `order` sources, in its first slots.  cost : its conditional cost.
    value : its stochastic negative log-likelihood and `power` the powers, where BIC or a rule was to look at them.
    reached : the highest order fitted; beyond it everything is that order's, and cost and value are infinite.
    """

    polar: Float[Tensor, "batch order src 3"]
    cost: Float[Tensor, "batch order"]
    value: Float[Tensor, "batch order"]
    power: Float[Tensor, "batch order src"]
    reached: Int[Tensor, " batch"]

    def at(self, order: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch src 3"], Bool[Tensor, "batch src"]]:
        """The fit of that order, or of the highest reached, and which of its slots hold a source."""
        order = torch.minimum(order, self.reached)
        slots = torch.arange(self.polar.shape[2], device=order.device)
        return self.polar[torch.arange(len(order), device=order.device), order], slots < order[:, None]

    def scenes(self, rows: Tensor) -> "SelectionPath":
        """The paths of the scenes of these rows."""
        return SelectionPath(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def valued(self, sensing: Sensing) -> "SelectionPath":
        """The same fits with the values and powers of all orders for the noise variance of `sensing`."""
        value, power = torch.full_like(self.value, torch.inf), torch.zeros_like(self.power)
        noise_var = sensing.noise_var.double()
        value[:, 0] = sensing.y[0].numel() * noise_var.log() + self.cost[:, 0].double() / noise_var
        for k in range(1, value.shape[1]):
            rows = (self.reached >= k).nonzero()[:, 0]
            if len(rows):
                present = torch.ones(len(rows), k, dtype=torch.bool, device=rows.device)
                power[rows, k, :k], value[rows, k] = fit_powers(sensing.scenes(rows), self.polar[rows, k, :k], present)
        return dataclasses.replace(self, value=value, power=power)


OrderRule = Callable[[Sensing, SelectionPath], Int[Tensor, " batch"]]
"""Finds K from the fits of all orders 0..K_MAX."""


@dataclass(frozen=True)
class EarlyRule:
    """A rule that needs the fits only up to the order at which BIC stops falling, which spares all further fits."""

    rule: OrderRule

    def __call__(self, sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
        """What the rule says."""
        return self.rule(sensing, path)


def bic_order(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
    """The order at which BIC of the stochastic likelihood stops falling, sigma^2 known."""
    each, samples = sum(sensing.domain.free) + 1, sensing.y[0].numel()  # a source's free coordinates and its power
    value = bic(path.value, each * torch.arange(path.value.shape[1], device=path.value.device), samples)
    return (value[:, 1:] < value[:, :-1]).cumprod(1).sum(1)


def bic_noise_order(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
    """The order of least BIC where sigma^2 is unknown too: n ln(cost), n = L M, the conditional likelihood at its best.

    A source has its free coordinates and, in each snapshot, an unknown complex symbol. What the model does not explain
    raises the noise level instead of calling for sources: the classical answer to a model that is wrong.
    """
    snap, samples = sensing.y.shape[1], sensing.y[0].numel()
    each = sum(sensing.domain.free) + 2 * snap
    orders = torch.arange(path.cost.shape[1], device=path.cost.device)
    return bic(samples * path.cost.double().clamp_min(1e-300).log(), each * orders, samples).argmin(1)


BIC = EarlyRule(bic_order)
"""`bic_order` of a path that ends where BIC stops falling."""

Count = Int[Tensor, " batch"]
Rule = Count | OrderRule
"""How K is known: given, or by a rule that reads the fits of growing order."""
