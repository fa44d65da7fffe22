"""Write a shard: an HDF5 file of validated scenes is written completely or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from risloc.io.scene_arrays import layout
from risloc.io.shard_header import SCHEMA, SCHEMA_WITHOUT_ECHOES, shard_checksum
from risloc.scenes.scenario import Scenario
from risloc.scenes.stored_scenario import stored_scenario
from risloc.utils.atomic_files import replacing

__all__ = ["write_shard"]


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
    """Write scenes start, start + 1, ... of a split to a shard.

    The file is assembled in memory, written beside `path`, synced and renamed, so that it is complete or absent. The same
    scenes give the same bytes.

    Parameters
    ----------
    path
        The file.
    scenario
        The scenario.
    arrays
        The arrays of `risloc.io.scene_arrays.layout` by their names, with a batch axis.
    seed
        The root seed.
    split
        The split.
    start
        The index of the first scene.
    chunk
        The number of scenes in an HDF5 chunk.

    Returns
    -------
    str
        The checksum.

    Raises
    ------
    risloc.utils.atomic_files.DiskFullError
        There is no space left; no file remains.
    """
    path = Path(path)
    with h5py.File(path.name, "w", driver="core", backing_store=False, track_order=False) as file:
        held = []  # HDF5 allocates a dataset when its last handle is freed: keep all handles, so that the order is fixed
        for name in layout(scenario):
            array = arrays[name]
            chunks = (min(chunk, len(array)), *array.shape[1:])
            held.append(file.create_dataset(name, data=array, chunks=chunks, track_times=False))
        stored = stored_scenario(scenario)
        file.attrs["schema"] = SCHEMA if "echoes" in stored else SCHEMA_WITHOUT_ECHOES
        file.attrs["scenario"] = json.dumps(stored, sort_keys=True)
        file.attrs["seed"], file.attrs["split"] = seed, split
        file.attrs["start"], file.attrs["stop"] = start, start + len(arrays["y"])
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
