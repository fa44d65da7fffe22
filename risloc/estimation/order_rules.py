"""The number of sources from the fits of growing order of a scene: the path of a selection, and the rules that read it.

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
    """The fits of growing order of each scene, from no source to as many as requested.

    Parameters
    ----------
    polar : [batch, order, src, 3]
        (u, v, w) of the fit of `order` sources, in its first slots.
    cost : [batch, order]
        Its conditional cost; infinite beyond `reached`.
    value : [batch, order]
        Its stochastic negative log-likelihood, if BIC or a rule needs it; infinite beyond `reached`.
    power : [batch, order, src]
        Its powers, if BIC or a rule needs them.
    reached : [batch]
        The highest order fitted.
    """

    polar: Float[Tensor, "batch order src 3"]
    cost: Float[Tensor, "batch order"]
    value: Float[Tensor, "batch order"]
    power: Float[Tensor, "batch order src"]
    reached: Int[Tensor, " batch"]

    def at(self, order: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch src 3"], Bool[Tensor, "batch src"]]:
        """Return the fit of an order, or of the highest order reached.

        Parameters
        ----------
        order : [batch]
            The order of each scene.

        Returns
        -------
        [batch, src, 3]
            (u, v, w).
        [batch, src]
            Which slots hold a source.
        """
        order = torch.minimum(order, self.reached)
        slots = torch.arange(self.polar.shape[2], device=order.device)
        return self.polar[torch.arange(len(order), device=order.device), order], slots < order[:, None]

    def scenes(self, rows: Tensor) -> "SelectionPath":
        """Return the paths of some scenes.

        Parameters
        ----------
        rows
            The numbers of the scenes.

        Returns
        -------
        SelectionPath
            Their paths.
        """
        return SelectionPath(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def valued(self, sensing: Sensing) -> "SelectionPath":
        """Compute the values and powers of all orders for the noise variance of `sensing`.

        Parameters
        ----------
        sensing
            The scenes.

        Returns
        -------
        SelectionPath
            The same fits with values and powers.
        """
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
"""Estimates K from the fits of all orders 0..K_MAX."""


@dataclass(frozen=True)
class EarlyRule:
    """A rule that needs only the fits up to the order at which BIC stops falling, which avoids all further fits.

    Parameters
    ----------
    rule
        The rule.
    """

    rule: OrderRule

    def __call__(self, sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
        """Apply the rule."""
        return self.rule(sensing, path)


def bic_order(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
    """Find the order at which BIC of the stochastic likelihood stops falling, with sigma^2 known.

    Parameters
    ----------
    sensing
        The scenes.
    path
        The fits of growing order.

    Returns
    -------
    [batch]
        The order.
    """
    each, samples = sum(sensing.domain.free) + 1, sensing.y[0].numel()  # a source's free coordinates and its power
    value = bic(path.value, each * torch.arange(path.value.shape[1], device=path.value.device), samples)
    return (value[:, 1:] < value[:, :-1]).cumprod(1).sum(1)


def bic_noise_order(sensing: Sensing, path: SelectionPath) -> Int[Tensor, " batch"]:
    """Find the order of least BIC with sigma^2 unknown: n ln(cost), n = L M, the conditional likelihood at its maximum.

    A source has its free coordinates and, in each snapshot, an unknown complex symbol. What the model does not explain
    raises the noise level instead of the number of sources: the classical answer to a wrong model.

    Parameters
    ----------
    sensing
        The scenes.
    path
        The fits of growing order.

    Returns
    -------
    [batch]
        The order.
    """
    snap, samples = sensing.y.shape[1], sensing.y[0].numel()
    each = sum(sensing.domain.free) + 2 * snap
    orders = torch.arange(path.cost.shape[1], device=path.cost.device)
    return bic(samples * path.cost.double().clamp_min(1e-300).log(), each * orders, samples).argmin(1)


BIC = EarlyRule(bic_order)
"""`bic_order` of a path that ends where BIC stops falling."""

Count = Int[Tensor, " batch"]
Rule = Count | OrderRule
"""K, or a rule that estimates it from the fits of growing order."""
