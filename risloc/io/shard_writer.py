"""Write a shard: validated scenes in, one whole HDF5 file out, or none."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from risloc.config import as_mapping
from risloc.io.scene_arrays import layout
from risloc.io.shard_reader import SCHEMA, shard_checksum
from risloc.scenes.scenario import Scenario
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
    with h5py.File(path.name, "w", driver="core", backing_store=False, track_order=False) as file:
        held = []  # HDF5 gives a dataset its room when its last handle is freed: all of them at one moment, not at Python's
        for name in layout(scenario):
            array = arrays[name]
            chunks = (min(chunk, len(array)), *array.shape[1:])
            held.append(file.create_dataset(name, data=array, chunks=chunks, track_times=False))
        file.attrs["schema"] = SCHEMA
        file.attrs["scenario"] = json.dumps(as_mapping(scenario), sort_keys=True)
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
