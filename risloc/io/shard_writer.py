"""Write a shard: validated scenes in, one whole HDF5 file out, or none.

Axes: batch B, src K_MAX, elem N.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch

from risloc.config import as_mapping
from risloc.io.scene_arrays import layout, scenes_of
from risloc.io.shard_reader import FACTOR, SCHEMA, shard_checksum
from risloc.physics.portable_arithmetic import exact_polar_of, exact_steering_matrix, exact_sum
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.utils.atomic_files import replacing

__all__ = ["true_factor", "write_shard"]


def true_factor(scenario: Scenario, scenes: Scenes) -> np.ndarray:
    """The factor A diag(sqrt p) of R_true, trace N: complex64 [batch, elem, src], zero columns where no source is."""
    location, power = scenes.truth.location.double(), scenes.truth.power.double()
    location[~scenes.truth.present] = 1.0  # any place: the power there is 0
    A = exact_steering_matrix(scenario.array(), exact_polar_of(location))
    share = power / exact_sum(power)[:, None].clamp_min(torch.finfo(torch.float32).tiny)
    return torch.view_as_complex(torch.view_as_real(A) * share.sqrt()[:, None, :, None]).to(torch.complex64).numpy()


def write_shard(
    path: "str | os.PathLike[str]",
    scenario: Scenario,
    arrays: Mapping[str, np.ndarray],
    *,
    seed: int,
    split: str,
    start: int,
    chunk: int,
) -> str:
    """Write scenes start, start + 1, ... of a split to `path`; returns the checksum.

    The file is laid out in memory, written beside `path`, synced and renamed: it is whole or it is not there. The same
    scenes give the same bytes.

    arrays : as `risloc.io.scene_arrays.layout` lists them, with a batch axis.

    Raises
    ------
    risloc.utils.atomic_files.DiskFullError
        No room for the file; nothing is left of it.
    """
    path = Path(path)
    scenes = scenes_of(arrays, scenario.code_bits)
    stored = {name: arrays[name] for name in layout(scenario)} | {FACTOR: true_factor(scenario, scenes)}
    with h5py.File(path.name, "w", driver="core", backing_store=False, track_order=False) as file:
        held = []  # HDF5 gives a dataset its room when its last handle is freed: all of them at one moment, not at Python's
        for name, array in stored.items():
            chunks = (min(chunk, len(array)), *array.shape[1:])
            held.append(file.create_dataset(name, data=array, chunks=chunks, track_times=False))
        file.attrs["schema"] = SCHEMA
        file.attrs["scenario"] = json.dumps(as_mapping(scenario), sort_keys=True)
        file.attrs["seed"], file.attrs["split"] = seed, split
        file.attrs["start"], file.attrs["stop"] = start, start + len(scenes)
        file.attrs["chunk"] = chunk
        checksum = shard_checksum(file)
        file.attrs["checksum"] = checksum
        file.flush()
        _write_whole(path, file.id.get_file_image())
    return checksum


def _write_whole(path: Path, content: bytes) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
