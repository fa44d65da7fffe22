"""Shards: HDF5 files of scenes, read in batches by training and evaluation. `risloc.io.shard_writer` writes them.

A shard holds the arrays of `risloc.io.scene_arrays.layout`, chunked along the scenes, and in its attributes the schema version,
scenario, seed, split, index range and a checksum over all of these.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import Tensor

from risloc.config import ParamError, as_mapping, build, param, shown
from risloc.io.safe_hdf5 import attribute, broken_as, check_storage, dataset
from risloc.io.scene_arrays import layout, scenes_of
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario

__all__ = [
    "SCHEMA",
    "ShardConfig",
    "ShardError",
    "ShardHeader",
    "ShardReader",
    "check_shard",
    "shard_checksum",
    "shard_header",
]

SCHEMA = 2
"""Version 2 stores no factor of R_true: it follows from locations and powers."""

_TYPES = {"scenario": str, "split": str, "checksum": str}
_HEADER = ("schema", "scenario", "seed", "split", "start", "stop", "chunk")
_FILES = 16  # files kept open


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """How scenes are packed."""

    scenes_per_shard: int = param("scenes in a shard", ge=1)
    chunk: int = param("scenes in an HDF5 chunk: read together", ge=1)


class ShardError(ValueError):
    """A shard cannot be read or is not what was asked for; the message says which file, and what to do."""


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says of itself, and the dtype and shape of each of its datasets; no data have been read."""

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
    """BLAKE2b over the attributes and, in the order of their names, all datasets of an open shard."""
    running = hashlib.blake2b(digest_size=16)
    for name in _HEADER:
        running.update(f"{name}={file.attrs[name]};".encode())
    for name in sorted(file):
        dataset = file[name]
        running.update(f"{name} {dataset.dtype.str} {dataset.shape};".encode())
        for part in dataset.iter_chunks():
            running.update(np.ascontiguousarray(dataset[part]).data)
    return running.hexdigest()


class ShardReader:
    """The shards of one split, as one sequence of scenes in the order of their index.

    Files are opened when they are first read, anew in every process, and each is checked against its checksum then.

    Parameters
    ----------
    folder : holds the shards of one split, `*.h5`.
    expected : the scenario that the shards must have been made for; None takes any.

    Raises
    ------
    ShardError
        No shards; a file that is truncated, foreign, of another schema version or scenario, or missing from the
        sequence; later, on the first read, one whose content does not match its checksum.
    """

    def __init__(self, folder: "str | os.PathLike[str]", expected: Scenario | None = None) -> None:
        folder = Path(folder)
        paths = sorted(folder.glob("*.h5"))
        if not paths:
            raise ShardError(
                f"{folder}: expected shards (*.h5), found none; mend the path or, in the repository, run `dvc repro shard`"
            )
        headers = [shard_header(path) for path in paths]
        first = headers[0]
        for header, stop in zip(headers, [0, *(h.stop for h in headers)], strict=False):
            same = (header.scenario, header.seed, header.split) == (first.scenario, first.seed, first.split)
            if not same or header.start != stop:
                raise ShardError(
                    f"{header.path}: expected scenes from {stop} on of the same scenario, seed and split as "
                    f"{first.path.name}, got {header.split} from {header.start} on; {_AGAIN}"
                )
        try:
            self.scenario = build(Scenario, json.loads(first.scenario), "scenario")
        except (ValueError, RecursionError) as error:
            fault = error.fault if isinstance(error, ParamError) else error
            raise ShardError(f"{first.path}: the scenario in it is not readable ({fault}); {_AGAIN}") from None
        for header in headers:
            _check_arrays(header, self.scenario)
        if expected is not None and expected != self.scenario:
            ours, theirs = as_mapping(expected), as_mapping(self.scenario)
            names = [name for name in ours if ours[name] != theirs[name]]
            raise ShardError(
                f"{folder}: the shards were made for another scenario ({', '.join(names)} differ: "
                f"{theirs[names[0]]!r} there, {ours[names[0]]!r} asked for); ask for theirs or, in the repository, run `dvc repro shard`"
            )
        self.folder, self.seed, self.split, self.chunk = folder, first.seed, first.split, first.chunk
        self._headers = headers
        self._open: dict[int, tuple[int, h5py.File]] = {}  # shard to (process, file), the one longest open first
        self._verified: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return self._headers[-1].stop

    @property
    def checksum(self) -> str:
        """One checksum over the shards' own: what ties a result to its data."""
        return hashlib.blake2b("".join(h.checksum for h in self._headers).encode(), digest_size=16).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def read(self, index: slice | Sequence[int] | Tensor) -> Scenes:
        """Scenes by a slice of step 1 or by increasing indices, as CPU tensors that share no memory with the file."""
        arrays = self._gather(list(layout(self.scenario)), index)
        with _told(self.folder):
            return scenes_of(arrays, self.scenario.code_bits)

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        for _, file in self._open.values():
            file.close()
        self._open = {}

    def _gather(self, names: list[str], index: slice | Sequence[int] | Tensor) -> dict[str, np.ndarray]:
        runs = list(self._runs(index))
        with _told(self.folder):
            pieces = [{name: self._file(shard)[name][low:high] for name in names} for shard, low, high in runs]
        return {name: _joined([piece[name] for piece in pieces]) for name in names}

    def _runs(self, index: slice | Sequence[int] | Tensor) -> Iterator[tuple[int, int, int]]:
        """The scenes asked for as (shard, from, to), each run contiguous."""
        if isinstance(index, slice):
            low, high, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"index: expected a slice of step 1, got step {step}")
            wanted = np.arange(low, high)
        else:
            wanted = np.asarray(index, dtype=np.int64)
        if not len(wanted) or wanted[0] < 0 or wanted[-1] >= len(self) or (np.diff(wanted) <= 0).any():
            raise IndexError(f"index: expected increasing scenes in 0..{len(self) - 1}, at least one, got {index}")
        stops = np.array([header.stop for header in self._headers])
        shards = np.searchsorted(stops, wanted, side="right")
        breaks = np.flatnonzero((np.diff(wanted) > 1) | (np.diff(shards) > 0)) + 1
        for run in np.split(np.arange(len(wanted)), breaks):
            shard = int(shards[run[0]])
            start = self._headers[shard].start
            yield shard, int(wanted[run[0]]) - start, int(wanted[run[-1]]) + 1 - start

    def _file(self, shard: int) -> h5py.File:
        here = os.getpid()
        pid, file = self._open.get(shard, (0, None))
        if pid != here:
            file = _opened(self._headers[shard].path)
            if (here, shard) not in self._verified:
                _verify(self._headers[shard], file)
                self._verified.add((here, shard))
            if len(self._open) >= _FILES:
                self._open.pop(next(iter(self._open)))[1].close()
            self._open[shard] = (here, file)
        return file


_AGAIN = "copy it again or, in the repository, delete it and run `dvc repro shard`"
_OLDER = (
    "an earlier risloc wrote it: in the repository, run `dvc repro shard`; elsewhere, ask its author to write it again"
)
_NEWER = "a later risloc wrote it: install that version"


def _opened(path: Path) -> h5py.File:
    with broken_as(ShardError, path, _AGAIN):
        return h5py.File(path, "r", rdcc_nbytes=0)


def _verify(header: ShardHeader, file: h5py.File) -> None:
    with _told(header.path):
        found = shard_checksum(file)
    if found != header.checksum:
        raise ShardError(f"{header.path}: its content does not match its checksum: it was changed or damaged; {_AGAIN}")


def check_shard(path: "str | os.PathLike[str]") -> ShardHeader:
    """The header of a shard whose content matches its checksum; ShardError for any other file."""
    path = Path(path)
    header = shard_header(path)
    with _opened(path) as file:
        _verify(header, file)
    return header


def shard_header(path: "str | os.PathLike[str]") -> ShardHeader:
    """What a shard says of itself, once it is sure that all it declares is stored in it; ShardError for any other file."""
    path = Path(path)
    with _opened(path) as file, _told(path):
        if missing := {*_HEADER, "checksum"} - set(file.attrs):
            raise ShardError(f"{path}: HDF5, but no shard of ours (no {', '.join(sorted(missing))}); {_AGAIN}")
        values = {name: attribute(file, name) for name in (*_HEADER, "checksum")}
        _check_schema(path, values.pop("schema"))
        for name, value in values.items():
            if not isinstance(value, _TYPES.get(name, int)):
                raise ShardError(
                    f"{path}: {name}: expected {_TYPES.get(name, int).__name__}, got another type; {_AGAIN}"
                )
        if not 0 <= values["start"] < values["stop"] or values["chunk"] < 1:
            raise ShardError(f"{path}: expected start < stop and a chunk of at least 1, got others; {_AGAIN}")
        arrays = {}
        for name in file:
            data = dataset(file, name)
            check_storage(data)
            if data.chunks is None:
                raise ShardError(f"{path}: {name}: expected chunks, got none; {_AGAIN}")
            arrays[name] = (data.dtype, data.shape)
        return ShardHeader(path=path, arrays=arrays, **values)


def _check_schema(path: Path, schema: object) -> None:
    if schema == SCHEMA:
        return
    remedy = _AGAIN
    if isinstance(schema, int):
        remedy = _NEWER if schema > SCHEMA else _OLDER
    raise ShardError(f"{path}: expected a shard of schema version {SCHEMA}, got version {shown(schema)}; {remedy}")


def _check_arrays(header: ShardHeader, scenario: Scenario) -> None:
    """The datasets are those of the scenario's scenes, no more and no fewer."""
    scenes = header.stop - header.start
    wanted = {name: (dtype, (scenes, *shape)) for name, (dtype, shape) in layout(scenario).items()}
    for name in sorted({*wanted, *header.arrays}):
        ours, theirs = wanted.get(name), header.arrays.get(name)
        if ours != theirs:
            words = ["none" if each is None else f"{each[0]} {each[1]}" for each in (ours, theirs)]
            raise ShardError(f"{header.path}: {name}: expected {words[0]}, got {words[1]}; {_AGAIN}")


def _told(path: Path) -> AbstractContextManager[None]:
    return broken_as(ShardError, path, _AGAIN)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
