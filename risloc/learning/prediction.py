"""What the network returns: the output of each pass and the prediction of the last one.

Axes: batch B, elem N, src K_MAX, U, V and W along the map.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.covariance.factored import FactoredCovariance

__all__ = ["PRESENT", "MapOutput", "Prediction"]

PRESENT = 0.5
"""A slot whose presence is above this holds a source."""


@dataclass(frozen=True, kw_only=True)
class MapOutput:
    """The output of the last layer for each cell, at which the gradients of the losses are checked.

    Parameters
    ----------
    heat : [batch, V, U]
        The logit that a source lies in the cell.
    polar : [batch, V, U, 3]
        (u, v, w) of a source in or near the cell, not yet clamped to the domain.
    log_power : [batch, V, U]
        The log of the relative power of that source.
    spread : [batch, V, U]
        The logit of the spread of its inverse distance.
    features : [batch, V, U, channel]
        The last hidden layer.
    """

    heat: Float[Tensor, "batch V U"]
    polar: Float[Tensor, "batch V U 3"]
    log_power: Float[Tensor, "batch V U"]
    spread: Float[Tensor, "batch V U"]
    features: Float[Tensor, "batch V U channel"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Low-rank factors of R_pred, and the slots from which they were made.

    Parameters
    ----------
    cov_fact_angle, cov_fact_range : [batch, elem, src]
        The factors A_ang and A_rng.
    polar : [batch, src, 3]
        (u, v, w) of each slot.
    power : [batch, src]
        The relative power, linear.
    presence : [batch, src]
        The probability that the slot holds a source.
    output
        The dense maps.
    earlier
        The predictions of the earlier passes.
    """

    cov_fact_angle: Complex[Tensor, "batch elem src"]
    cov_fact_range: Complex[Tensor, "batch elem src"]
    polar: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    presence: Float[Tensor, "batch src"]
    output: MapOutput
    earlier: "tuple[Prediction, ...]"

    @property
    def R_pred(self) -> FactoredCovariance:
        """R_pred = A_ang A_ang^H + A_rng A_rng^H with trace N and rank at most 2 K_MAX."""
        return FactoredCovariance(torch.cat([self.cov_fact_angle, self.cov_fact_range], dim=-1)).normalised()
