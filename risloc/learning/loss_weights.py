"""The weights of the loss: one for each term, at their full value and as the curriculum raises them."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from risloc.config import ParamError, param

__all__ = ["EVERY_PASS", "TERMS", "WEIGHTS", "LossConfig", "LossWeights"]

T = TypeVar("T", float, Tensor)
START_OF_CURRICULUM = 0.3  # factor of lam_cov in the first epoch
LENGTH_OF_CURRICULUM = 1 / 3  # fraction of the epochs in which lam_cov rises


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """The weights of one training step. They have no defaults: a missing weight is an error."""

    lam_cov: float = param("NMSE of R_blend, the main loss", ge=0.0)
    lam_cov_pred: float = param(
        "NMSE of R_pred, so that the network cannot rely on R_samp alone; a mean over its passes, like the terms of lam_ang, lam_rng and lam_K",
        ge=0.0,
    )
    lam_cross: float = param("energy of R_blend between signal and noise subspace, per unit of lam_cov", ge=0.0)
    lam_gap: float = param("hinge on the energy of R_blend in the signal subspace, per unit of lam_cov", ge=0.0)
    lam_ang: float = param("error in (u, v), in grid steps", ge=0.0)
    lam_rng: float = param("error in 1/r, in grid steps", ge=0.0)
    lam_K: float = param("cross entropy of the heat map", ge=0.0)
    lam_nll: float = param(
        "negative log-likelihood of the snapshots under the last R_pred, less that under R_true", ge=0.0
    )

    def __post_init__(self) -> None:
        for name in WEIGHTS:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ParamError(f"{name}: expected a finite weight >= 0, got {value!r}")

    def effective(self) -> dict[str, float]:
        """Return the factor of each term in the total.

        Returns
        -------
        dict
            The factors by the names of the terms.
        """
        return {
            "loss_nmse": self.lam_cov,
            "loss_nmse_pred": self.lam_cov_pred,
            "loss_cross": self.lam_cov * self.lam_cross,
            "loss_gap": self.lam_cov * self.lam_gap,
            "loss_ang": self.lam_ang,
            "loss_rng": self.lam_rng,
            "loss_K": self.lam_K,
            "loss_nll": self.lam_nll,
        }

    def weighted(self, terms: Mapping[str, T]) -> dict[str, T]:
        """Multiply terms by their effective weights.

        Parameters
        ----------
        terms
            Values by the names of the terms; other names are ignored.

        Returns
        -------
        dict
            The weighted values of the terms that are given.
        """
        effective = self.effective()
        return {name: effective[name] * terms[name] for name in effective if name in terms}

    def text(self) -> str:
        """Format the weights for the line of an epoch.

        Returns
        -------
        str
            "lam_cov=1, lam_cov_pred=0.05, ..."
        """
        return ", ".join(f"{name}={getattr(self, name):.4g}" for name in WEIGHTS)


WEIGHTS = tuple(field.name for field in dataclasses.fields(LossWeights))
"""The names of the weights."""

TERMS = tuple(LossWeights(**dict.fromkeys(WEIGHTS, 1.0)).effective())
"""The names of the terms."""

EVERY_PASS = ("loss_nmse_pred", "loss_ang", "loss_rng", "loss_K")
"""The terms that are means over all passes of the network; the others are those of the last pass."""


@dataclass(frozen=True, kw_only=True)
class LossConfig(LossWeights):
    """The `loss` section of params.yaml: the weights at their full value, and whether a curriculum raises them."""

    gap_margin: float = param("what 2 E - 1 must exceed, E the share of energy in the signal subspace", ge=-1.0, le=1.0)
    curriculum: bool = param("geometry first: lam_cov rises linearly from 0.3 of its value over the first third")

    def weights_at(self, epoch: int, epochs: int) -> LossWeights:
        """Return the weights of an epoch, with or without the curriculum.

        Parameters
        ----------
        epoch
            The epoch, from 0.
        epochs
            The number of epochs.

        Returns
        -------
        LossWeights
            The weights.
        """
        ramp = 1.0
        if self.curriculum:
            progress = epoch / max(1.0, LENGTH_OF_CURRICULUM * epochs)
            ramp = START_OF_CURRICULUM + (1 - START_OF_CURRICULUM) * min(1.0, progress)
        values = {name: getattr(self, name) for name in WEIGHTS}
        return LossWeights(**{**values, "lam_cov": ramp * self.lam_cov})

    def scaled(self, factors: Mapping[str, float]) -> "LossConfig":
        """Multiply the weights by tuned factors.

        Parameters
        ----------
        factors
            One factor for each weight, by its name, and nothing else.

        Returns
        -------
        LossConfig
            The scaled weights; the margin and the curriculum stay as they are.

        Raises
        ------
        ParamError
            A factor is missing, unknown, not finite or not positive.
        """
        if sorted(factors) != sorted(WEIGHTS):
            raise ParamError(f"loss factors: expected one for each of {', '.join(WEIGHTS)}, got {sorted(factors)}")
        for name, factor in factors.items():
            if not math.isfinite(factor) or factor <= 0:
                raise ParamError(f"loss factor of {name}: expected a finite number > 0, got {factor!r}")
        return dataclasses.replace(self, **{name: getattr(self, name) * factors[name] for name in WEIGHTS})

    @property
    def unsupervised(self) -> tuple[str, ...]:
        """Which of lam_cov and lam_cov_pred are exactly 0; such an ablation is logged as a warning."""
        return tuple(name for name in ("lam_cov", "lam_cov_pred") if getattr(self, name) == 0)
