"""Shard files: their schema, header and checksum, and the checks of a file before its scenes are read."""

import hashlib
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from risloc.config import shown
from risloc.io.safe_hdf5 import attribute, broken_as, check_storage, dataset

__all__ = [
    "SCHEMA",
    "SCHEMA_WITHOUT_ECHOES",
    "ShardError",
    "ShardHeader",
    "check_shard",
    "shard_checksum",
    "shard_header",
]

SCHEMA = 3
"""Schema version of shards with echoes, which it adds to version 2."""

SCHEMA_WITHOUT_ECHOES = 2
"""Schema version of shards without echoes, which earlier versions of risloc read, too."""

AGAIN = "copy the file again or, in the repository, delete it and run `dvc repro shard`"
_NEWER = "a later version of risloc wrote it; install that version"
_OLDER = "an earlier version of risloc wrote it; in the repository, run `dvc repro shard`; otherwise ask its author to write it again"
_TYPES = {"scenario": str, "split": str, "checksum": str}
_HEADER = ("schema", "scenario", "seed", "split", "start", "stop", "chunk")


class ShardError(ValueError):
    """A shard cannot be read or is not the requested one; the message names the file and the remedy."""


@dataclass(frozen=True)
class ShardHeader:
    """The attributes of a shard, and the dtype and shape of each of its datasets, without any data.

    Parameters
    ----------
    path
        The file.
    scenario
        The scenario as JSON.
    seed
        The root seed.
    split
        The split.
    start
        The index of the first scene.
    stop
        One more than the index of the last scene.
    chunk
        The number of scenes in an HDF5 chunk.
    checksum
        The checksum of attributes and datasets.
    arrays
        The dtype and shape of each dataset by its name.
    """

    path: Path
    scenario: str
    seed: int
    split: str
    start: int
    stop: int
    chunk: int
    checksum: str
    arrays: dict[str, tuple[np.dtype, tuple[int, ...]]]


def shard_checksum(file: h5py.File) -> str:
    """Compute BLAKE2b over the attributes and, in the order of their names, all datasets of a shard.

    Parameters
    ----------
    file
        The open shard.

    Returns
    -------
    str
        The checksum, 32 hexadecimal digits.
    """
    running = hashlib.blake2b(digest_size=16)
    for name in _HEADER:
        running.update(f"{name}={file.attrs[name]};".encode())
    for name in sorted(file):
        dataset = file[name]
        running.update(f"{name} {dataset.dtype.str} {dataset.shape};".encode())
        for part in dataset.iter_chunks():
            running.update(np.ascontiguousarray(dataset[part]).data)
    return running.hexdigest()


def check_shard(path: "str | os.PathLike[str]") -> ShardHeader:
    """Read the header of a shard and check that its content matches its checksum.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ShardHeader
        The header.

    Raises
    ------
    ShardError
        The file is not a shard, or its content does not match its checksum.
    """
    path = Path(path)
    header = shard_header(path)
    with open_shard(path) as file:
        verify_shard(header, file)
    return header


def shard_header(path: "str | os.PathLike[str]") -> ShardHeader:
    """Read the header of a shard and check that all data it declares are stored.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ShardHeader
        The header.

    Raises
    ------
    ShardError
        The file is not a shard of this schema version, or data are missing.
    """
    path = Path(path)
    with open_shard(path) as file, shard_errors(path):
        if missing := {*_HEADER, "checksum"} - set(file.attrs):
            raise ShardError(
                f"{path}: expected a shard, got an HDF5 file without the attributes {', '.join(sorted(missing))}; {AGAIN}"
            )
        values = {name: attribute(file, name) for name in (*_HEADER, "checksum")}
        _check_schema(path, values.pop("schema"))
        for name, value in values.items():
            if not isinstance(value, _TYPES.get(name, int)):
                raise ShardError(
                    f"{path}: {name}: expected {_TYPES.get(name, int).__name__}, got {type(value).__name__}; {AGAIN}"
                )
        if not 0 <= values["start"] < values["stop"] or values["chunk"] < 1:
            raise ShardError(
                f"{path}: expected start < stop and a chunk of at least 1, got start {values['start']}, stop {values['stop']} and chunk {values['chunk']}; {AGAIN}"
            )
        arrays = {}
        for name in file:
            data = dataset(file, name)
            check_storage(data)
            if data.chunks is None:
                raise ShardError(f"{path}: {name}: expected chunked storage, got contiguous storage; {AGAIN}")
            arrays[name] = (data.dtype, data.shape)
        return ShardHeader(path=path, arrays=arrays, **values)


def open_shard(path: Path) -> h5py.File:
    """Open a shard; raise ShardError if it is broken."""
    with broken_as(ShardError, path, AGAIN):
        return h5py.File(path, "r", rdcc_nbytes=0)


def verify_shard(header: ShardHeader, file: h5py.File) -> None:
    """Raise ShardError if the content of a shard does not match its checksum."""
    with shard_errors(header.path):
        found = shard_checksum(file)
    if found != header.checksum:
        raise ShardError(
            f"{header.path}: the content does not match the checksum, so the file was changed or damaged; {AGAIN}"
        )


def shard_errors(path: Path) -> AbstractContextManager[None]:
    """Convert exceptions of h5py in the block to ShardError."""
    return broken_as(ShardError, path, AGAIN)


def _check_schema(path: Path, schema: object) -> None:
    if schema in (SCHEMA_WITHOUT_ECHOES, SCHEMA):
        return
    remedy = AGAIN
    if isinstance(schema, int):
        remedy = _NEWER if schema > SCHEMA else _OLDER
    versions = f"{SCHEMA_WITHOUT_ECHOES} or {SCHEMA}"
    raise ShardError(f"{path}: expected a shard of schema version {versions}, got version {shown(schema)}; {remedy}")
