"""best.yaml: the contract between tuning and training, and the one place where a tuned value is put to use.

A knob is a dotted path into params.yaml. A loss weight's knob is a factor on the value that stands there, so that what
a person sets always changes what is trained and 0 stays 0; any other knob replaces the value.
"""

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from risloc.config import ParamError, as_mapping, build, param
from risloc.covariance.factored import CovarianceConfig
from risloc.learning.loss_weights import WEIGHTS, LossConfig
from risloc.learning.network_config import NetworkConfig
from risloc.learning.training_step import FitConfig
from risloc.utils.atomic_files import write_bytes
from risloc.utils.yaml_reader import read_yaml

__all__ = ["Best", "Tunable", "apply", "knobs", "read_best", "write_best"]

_NOT_TUNED = ("fit.replicate", "fit.accumulate")  # the best of several chances is no setting; parts change no result


@dataclass(frozen=True, kw_only=True)
class Tunable:
    """The sections of params.yaml that tuning may reach."""

    covariance: CovarianceConfig = param("how R_blend is made")
    network: NetworkConfig = param("the network")
    loss: LossConfig = param("the loss")
    fit: FitConfig = param("how it is fitted")


@dataclass(frozen=True, kw_only=True)
class Best:
    """What tuning chose."""

    chosen: str = param("'default', or the trial's name")
    values: dict[str, float] = param("value of each tuned knob that is no loss weight, by dotted path")
    loss_factors: dict[str, float] = param("factor of every loss weight")

    @classmethod
    def default(cls) -> "Best":
        """Nothing tuned: params.yaml as it stands."""
        return cls(chosen="default", values={}, loss_factors=dict.fromkeys(WEIGHTS, 1.0))

    @classmethod
    def from_knobs(cls, chosen: str, suggested: Mapping[str, float]) -> "Best":
        """A trial's knobs, loss weights apart; the weights without a knob get factor 1."""
        factors = {name: float(suggested.get(f"loss.{name}", 1.0)) for name in WEIGHTS}
        values = {path: float(v) for path, v in suggested.items() if path.partition(".")[2] not in factors}
        return cls(chosen=chosen, values=values, loss_factors=factors)


def knobs(tunable: Tunable) -> tuple[str, ...]:
    """Every dotted path that a search space may name: the numbers but replicate and accumulate, and for loss the weights."""
    plain = as_mapping(tunable)
    numbers = [
        f"{section}.{name}"
        for section in ("covariance", "network", "fit")
        for name, value in plain[section].items()
        if isinstance(value, int | float) and not isinstance(value, bool) and f"{section}.{name}" not in _NOT_TUNED
    ]
    return (*numbers, *(f"loss.{name}" for name in WEIGHTS))


def apply(tunable: Tunable, best: Best) -> Tunable:
    """`tunable` with every tuned value in its place, checked against its domain.

    Raises
    ------
    risloc.config.ParamError
        An unknown knob, a value outside its parameter's domain, or a loss weight without a factor.
    """
    plain = as_mapping(tunable)
    for path, value in best.values.items():
        if path not in knobs(tunable) or path.startswith("loss."):
            raise ParamError(f"{path}: no such knob; expected one of {', '.join(knobs(tunable))}")
        section, name = path.split(".")
        plain[section][name] = round(value) if isinstance(plain[section][name], int) else value
    tuned = build(Tunable, plain, "tuned")
    return dataclasses.replace(tuned, loss=tuned.loss.scaled(best.loss_factors))


def write_best(path: Path, best: Best) -> None:
    """Write best.yaml, whole or not at all."""
    text = io.BytesIO()
    YAML().dump(as_mapping(best), text)
    write_bytes(path, text.getvalue())


def read_best(path: Path) -> Best:
    """Read best.yaml strictly.

    Raises
    ------
    risloc.config.ParamError
        The file is missing, or a key is missing or unknown; a loss weight without its factor is an error.
    """
    if not path.is_file():
        raise ParamError(f"{path}: no such file; make it with `dvc repro hpo`")
    best = build(Best, read_yaml(path), str(path))
    if sorted(best.loss_factors) != sorted(WEIGHTS):
        missing = sorted(set(WEIGHTS) ^ set(best.loss_factors))
        raise ParamError(f"{path}: loss_factors: expected one for each loss weight; at odds: {', '.join(missing)}")
    return best
