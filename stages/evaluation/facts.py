"""What an evaluation rests on: the scenario, the data with their checksum, the checkpoint with its digest, the settings."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from risloc.config import as_mapping, flatten
from risloc.io.shard_reader import ShardReader
from risloc.learning.network import HybridNetwork

__all__ = ["Facts", "facts_of"]

Facts = dict[str, dict[str, object]]
"""Title of a list, then name and value."""


def facts_of(
    seed: int,
    reader: ShardReader,
    network: HybridNetwork,
    trained: Mapping[str, object],
    checkpoint: Path,
    settings: Mapping[str, object],
) -> Facts:
    """Collect the facts.

    Parameters
    ----------
    seed
        Seed of the evaluation.
    reader
        The test scenes.
    network, trained, checkpoint
        The network, what its checkpoint says of its training, and the folder of the checkpoint.
    settings
        The sections of params.yaml that the evaluation used.
    """
    digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    net = {"network": as_mapping(network.config), "grid": as_mapping(network.grid_config)}
    net["covariance"] = as_mapping(network.covariance_config)
    return {
        "Data": {"seed": reader.seed, "split": reader.split, "scenes": len(reader), "checksum": reader.checksum},
        "Scenario": flatten(as_mapping(reader.scenario)),
        "Checkpoint": {"sha256 of the weights": digest} | flatten(net) | flatten(trained, "training."),
        "Evaluation": {"seed": seed} | flatten(settings) | {"torch": torch.__version__},
    }
