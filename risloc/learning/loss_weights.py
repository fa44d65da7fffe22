"""The weights of the loss: one for each term, at their full value and as the curriculum brings them in."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from risloc.config import ParamError, param

__all__ = ["EVERY_PASS", "TERMS", "WEIGHTS", "LossConfig", "LossWeights"]

T = TypeVar("T", float, Tensor)
START_OF_CURRICULUM = 0.3


LENGTH_OF_CURRICULUM = 1 / 3


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """The weights that one step is trained with. There are no defaults: a weight that is not given is an error."""

    lam_cov: float = param("NMSE of R_blend, the main loss", ge=0.0)
    lam_cov_pred: float = param(
        "NMSE of R_pred, so that the network cannot hide behind the samples; as the terms of lam_ang, lam_rng and lam_K a mean over the network's passes",
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
        """What each term is multiplied with in the total, by the term's name."""
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
        """Return those of `terms` that have a weight, each times its effective weight."""
        effective = self.effective()
        return {name: effective[name] * terms[name] for name in effective if name in terms}

    def text(self) -> str:
        """The weights as every epoch line shows them."""
        return ", ".join(f"{name}={getattr(self, name):.4g}" for name in WEIGHTS)


WEIGHTS = tuple(field.name for field in dataclasses.fields(LossWeights))


TERMS = tuple(LossWeights(**dict.fromkeys(WEIGHTS, 1.0)).effective())


EVERY_PASS = ("loss_nmse_pred", "loss_ang", "loss_rng", "loss_K")


"""The terms that are means over all passes of the network; the others are of the last one."""


@dataclass(frozen=True, kw_only=True)
class LossConfig(LossWeights):
    """The `loss` section of params.yaml: the weights at their full value, and how they come in."""

    gap_margin: float = param("what 2 E - 1 must exceed, E the share of energy in the signal subspace", ge=-1.0, le=1.0)
    curriculum: bool = param("geometry first: lam_cov rises linearly from 0.3 of its value over the first third")

    def weights_at(self, epoch: int, epochs: int) -> LossWeights:
        """The weights of `epoch` (from 0) out of `epochs`, with a curriculum and without."""
        ramp = 1.0
        if self.curriculum:
            progress = epoch / max(1.0, LENGTH_OF_CURRICULUM * epochs)
            ramp = START_OF_CURRICULUM + (1 - START_OF_CURRICULUM) * min(1.0, progress)
        values = {name: getattr(self, name) for name in WEIGHTS}
        return LossWeights(**{**values, "lam_cov": ramp * self.lam_cov})

    def scaled(self, factors: Mapping[str, float]) -> "LossConfig":
        """Each weight times its tuned factor; every weight must have one, and nothing else may."""
        if sorted(factors) != sorted(WEIGHTS):
            raise ParamError(f"loss factors: expected one for each of {', '.join(WEIGHTS)}, got {sorted(factors)}")
        for name, factor in factors.items():
            if not math.isfinite(factor) or factor <= 0:
                raise ParamError(f"loss factor of {name}: expected a finite number > 0, got {factor!r}")
        return dataclasses.replace(self, **{name: getattr(self, name) * factors[name] for name in WEIGHTS})

    @property
    def unsupervised(self) -> tuple[str, ...]:
        """Which of lam_cov and lam_cov_pred are exactly 0: an ablation, to be said aloud."""
        return tuple(name for name in ("lam_cov", "lam_cov_pred") if getattr(self, name) == 0)
