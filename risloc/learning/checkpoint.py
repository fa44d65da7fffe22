"""Checkpoints: a folder with `model.safetensors` and the `config.json` from which the network is rebuilt.

Both files hold data only, no code, and are checked strictly when they are loaded.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from risloc.config import ParamError, as_mapping, build, shown
from risloc.covariance.factored import CovarianceConfig
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.physics.grid import GridConfig, grid_shape
from risloc.scenes.scenario import Scenario
from risloc.scenes.stored_scenario import scenario_of_stored, stored_scenario
from risloc.utils.atomic_files import write_bytes

__all__ = [
    "SCHEMA_VERSION",
    "SHIPPED",
    "CheckpointError",
    "check_geometry",
    "load_checkpoint",
    "save_checkpoint",
    "shipped_checkpoint",
]

SCHEMA_VERSION = 1
_MOST_CONFIG = 2**20  # bytes
_MOST_STEERING = 2**24  # grid points times elements: 128 MiB
_SECTIONS = {"grid": GridConfig, "covariance": CovarianceConfig, "network": NetworkConfig}
_GEOMETRY = ("observation", "n_h", "n_v", "carrier_hz", "reference", "K_MAX")

SHIPPED = ("default", "robust")
"""The networks that come with the package, each with its model card; see `shipped_checkpoint`."""

_SHIPPED_IN = Path(__file__).parent / "shipped"
_AGAIN = "Copy it again, or train it again (in the repository: `dvc repro train`)"


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, of another schema version, or made for another geometry."""


def save_checkpoint(folder: "str | os.PathLike[str]", network: HybridNetwork, extra: Mapping[str, Any]) -> None:
    """Write the weights and their config; each file is written completely or left unchanged.

    Parameters
    ----------
    folder
        The folder to write to.
    network
        The network.
    extra
        What else to store with the weights (loss weights, checksum of the data, scores); must be JSON.

    Raises
    ------
    risloc.utils.atomic_files.DiskFullError
        There is no room for one of the files.
    """
    folder = Path(folder)
    config = {
        "schema_version": SCHEMA_VERSION,
        "scenario": stored_scenario(network.scenario),
        "grid": as_mapping(network.grid_config),
        "covariance": as_mapping(network.covariance_config),
        "network": as_mapping(network.config),
        "extra": dict(extra),
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(folder / "model.safetensors", save(weights))
    write_bytes(folder / "config.json", (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def load_checkpoint(folder: "str | os.PathLike[str]") -> tuple[HybridNetwork, dict[str, Any]]:
    """Load a network.

    Parameters
    ----------
    folder
        The folder that `save_checkpoint` wrote.

    Returns
    -------
    tuple
        The network in evaluation mode, and what was saved as `extra`.

    Raises
    ------
    CheckpointError
        A file is missing or damaged, the schema version is another one, or weights and config do not fit together.
    """
    folder = Path(folder)
    remedy = _AGAIN if folder.parent != _SHIPPED_IN else "Install risloc again"
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: no such file. {remedy}")
    try:
        config, weights = _read(folder)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder}: not a readable checkpoint ({error}). {remedy}") from error
    version = config.get("schema_version") if isinstance(config, dict) else None
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"{folder}: expected checkpoint schema version {SCHEMA_VERSION}, got {shown(version)}. {remedy}"
        )
    try:
        scenario = scenario_of_stored(config.get("scenario"), f"{folder}/config.json: scenario")
        sections: dict[str, Any] = {
            name: build(cls, config.get(name), f"{folder}/config.json: {name}") for name, cls in _SECTIONS.items()
        }
        _check_sizes(scenario, sections["grid"], sections["network"], weights)
        network = HybridNetwork(scenario, sections["grid"], sections["covariance"], sections["network"])
        network.load_state_dict(weights, strict=True)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        fault = error.fault if isinstance(error, ParamError) else error
        raise CheckpointError(f"{folder}: weights and config do not form a network ({fault}). {remedy}") from error
    extra = config.get("extra")
    if not isinstance(extra, dict):
        raise CheckpointError(f"{folder}/config.json: extra: expected a mapping, got {shown(extra)}. {remedy}")
    return network.eval(), extra


def _read(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """Read both files of a checkpoint; the content of the config is not checked."""
    if (folder / "config.json").stat().st_size > _MOST_CONFIG:
        raise ValueError(f"config.json: expected at most {_MOST_CONFIG} bytes")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config, load_file(folder / "model.safetensors")


def _check_sizes(scenario: Scenario, grid: GridConfig, network: NetworkConfig, weights: Mapping[str, Tensor]) -> None:
    """Check, before a network is built, that its grid fits into memory and that the file holds enough weights."""
    points = math.prod(grid_shape(scenario.surface, grid))
    if points * scenario.size > _MOST_STEERING:
        raise ValueError(f"grid: expected at most {_MOST_STEERING} points x elements, got {points} x {scenario.size}")
    stored = sum(each.numel() for each in weights.values())
    if network.residual_weights > stored:
        raise ValueError(f"network: expected {network.residual_weights} weights or more, got {stored}")


def shipped_checkpoint(name: str) -> Path:
    """Return the folder of a network that comes with the package.

    Its card.md says what the network was trained on and how well it performs.

    Parameters
    ----------
    name
        One of `SHIPPED`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    CheckpointError
        No shipped network has that name.
    """
    folder = _SHIPPED_IN / name
    if name not in SHIPPED or not folder.is_dir():
        raise CheckpointError(f"{name!r}: expected a shipped checkpoint, one of {', '.join(SHIPPED)}")
    return folder


def check_geometry(network: HybridNetwork, scenario: Scenario) -> None:
    """Refuse to use a network with an array, a wavelength or a K_MAX that it was not made for.

    Parameters
    ----------
    network
        The network.
    scenario
        The scenario that it is to be used in.

    Raises
    ------
    CheckpointError
        A parameter differs; the message names the first one, with both values.
    """
    for name in _GEOMETRY:
        made, asked = getattr(network.scenario, name), getattr(scenario, name)
        if made != asked:
            raise CheckpointError(
                f"checkpoint: made for scenario.{name} = {made!r}, asked to run on {asked!r}. "
                "Train one for this scenario (in the repository: `dvc repro train`), or restore the scenario"
            )
