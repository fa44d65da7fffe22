"""The search space of the tuning, and its section of params.yaml."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from risloc.config import ParamError, as_mapping, param

if TYPE_CHECKING:
    from optuna.distributions import FloatDistribution

__all__ = ["HpoConfig", "Knob"]


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One line of the search space."""

    low: float = param("lowest value, or factor of a loss weight")
    high: float = param("highest value, or factor of a loss weight")
    log: bool = param("search the logarithm")
    step: float = param("multiple of this above `low`; 0: continuous", ge=0.0)

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0) or (self.log and self.step > 0):
            raise ParamError(f"expected low < high, and 0 < low and step 0 with log, got {as_mapping(self)}")

    def distribution(self) -> "FloatDistribution":
        """As the sampler sees it."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log, step=self.step or None)


@dataclass(frozen=True, kw_only=True)
class HpoConfig:
    """The `hpo` section of params.yaml."""

    trials: int = param("trials; 0 keeps params.yaml's own values", ge=0)
    startup: int = param("random trials before the sampler models the score", ge=1)
    epochs: int = param("passes of a trial; the score after each may prune it", ge=1)
    train_scenes: int = param("training scenes of a trial", ge=1)
    val_scenes: int = param(
        "validation scenes that score a trial; as many others decide whether the best is used", ge=2
    )
    confidence: float = param("confidence with which the best must beat the default", gt=0.5, lt=1.0)
    replicates: int = param(
        "trainings of the best and of the default, each from another initial network and in another order, that decide",
        ge=2,
    )
    space: dict[str, dict[str, Knob]] = param("search space: the range of each parameter searched, by section")

    def knobs(self) -> dict[str, Knob]:
        """The ranges of the search space by dotted path into params.yaml."""
        return {f"{section}.{name}": knob for section, ranges in self.space.items() for name, knob in ranges.items()}
