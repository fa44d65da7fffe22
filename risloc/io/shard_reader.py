"""Shards: HDF5 files of scenes that training and evaluation read in batches. `risloc.io.shard_writer` writes them.

A shard holds the arrays of `risloc.io.scene_arrays.layout`, chunked along the scenes, and in its attributes the schema version,
scenario, seed, split, index range and a checksum over all of these.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import Tensor

from risloc.config import ParamError, as_mapping, param
from risloc.io.scene_arrays import layout, scenes_of
from risloc.io.shard_header import AGAIN, ShardError, ShardHeader, open_shard, shard_errors, shard_header, verify_shard
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.stored_scenario import scenario_of_stored

__all__ = [
    "ShardConfig",
    "ShardReader",
]


_FILES = 16  # files kept open


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """Layout of the shards."""

    scenes_per_shard: int = param("number of scenes in a shard", ge=1)
    chunk: int = param("number of scenes in an HDF5 chunk, which are read together", ge=1)


class ShardReader:
    """The shards of one split, as one sequence of scenes in the order of their index.

    Each process opens a file when it first reads it, and then verifies its checksum.

    Parameters
    ----------
    folder
        The folder with the shards of one split, `*.h5`.
    expected
        The scenario for which the shards must have been made; None accepts any.

    Raises
    ------
    ShardError
        There are no shards, or a file is truncated, foreign, of another schema version or scenario, or missing from the
        sequence; later, on the first read, the content of a file does not match its checksum.
    """

    def __init__(self, folder: "str | os.PathLike[str]", expected: Scenario | None = None) -> None:
        folder = Path(folder)
        paths = sorted(folder.glob("*.h5"))
        if not paths:
            raise ShardError(
                f"{folder}: expected shards (*.h5), got none; correct the path or, in the repository, run `dvc repro shard`"
            )
        headers = [shard_header(path) for path in paths]
        first = headers[0]
        for header, stop in zip(headers, [0, *(h.stop for h in headers)], strict=False):
            same = (header.scenario, header.seed, header.split) == (first.scenario, first.seed, first.split)
            if not same or header.start != stop:
                raise ShardError(
                    f"{header.path}: expected scenes from {stop} with the scenario, seed and split of "
                    f"{first.path.name}, got scenes of {header.split} from {header.start}; {AGAIN}"
                )
        try:
            self.scenario = scenario_of_stored(json.loads(first.scenario), "scenario")
        except (ValueError, RecursionError) as error:
            fault = error.fault if isinstance(error, ParamError) else error
            raise ShardError(f"{first.path}: its scenario is not readable ({fault}); {AGAIN}") from None
        for header in headers:
            _check_arrays(header, self.scenario)
        if expected is not None and expected != self.scenario:
            ours, theirs = as_mapping(expected), as_mapping(self.scenario)
            names = [name for name in ours if ours[name] != theirs[name]]
            raise ShardError(
                f"{folder}: the shards were made for another scenario ({', '.join(names)} differ: "
                f"{theirs[names[0]]!r} there, {ours[names[0]]!r} requested); request that scenario or, in the repository, run `dvc repro shard`"
            )
        self.folder, self.seed, self.split, self.chunk = folder, first.seed, first.split, first.chunk
        self._headers = headers
        self._open: dict[int, tuple[int, h5py.File]] = {}  # shard to (process, file), the one longest open first
        self._verified: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return self._headers[-1].stop

    @property
    def checksum(self) -> str:
        """One checksum over those of all shards, which identifies the data of a result."""
        return hashlib.blake2b("".join(h.checksum for h in self._headers).encode(), digest_size=16).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def read(self, index: slice | Sequence[int] | Tensor) -> Scenes:
        """Read scenes as CPU tensors that share no memory with the file.

        Parameters
        ----------
        index
            A slice of step 1, or increasing indices.

        Returns
        -------
        Scenes
            The scenes.
        """
        arrays = self._gather(list(layout(self.scenario)), index)
        with shard_errors(self.folder):
            return scenes_of(arrays, self.scenario.code_bits)

    def close(self) -> None:
        """Close the files; the next read reopens them."""
        for _, file in self._open.values():
            file.close()
        self._open = {}

    def _gather(self, names: list[str], index: slice | Sequence[int] | Tensor) -> dict[str, np.ndarray]:
        runs = list(self._runs(index))
        with shard_errors(self.folder):
            pieces = [{name: self._file(shard)[name][low:high] for name in names} for shard, low, high in runs]
        return {name: _joined([piece[name] for piece in pieces]) for name in names}

    def _runs(self, index: slice | Sequence[int] | Tensor) -> Iterator[tuple[int, int, int]]:
        """Yield contiguous runs of the requested scenes as (shard, from, to)."""
        if isinstance(index, slice):
            low, high, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"index: expected a slice of step 1, got step {step}")
            wanted = np.arange(low, high)
        else:
            wanted = np.asarray(index, dtype=np.int64)
        if not len(wanted) or wanted[0] < 0 or wanted[-1] >= len(self) or (np.diff(wanted) <= 0).any():
            raise IndexError(
                f"index: expected increasing numbers of scenes in 0..{len(self) - 1}, at least one, got {index}"
            )
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
            file = open_shard(self._headers[shard].path)
            if (here, shard) not in self._verified:
                verify_shard(self._headers[shard], file)
                self._verified.add((here, shard))
            if len(self._open) >= _FILES:
                self._open.pop(next(iter(self._open)))[1].close()
            self._open[shard] = (here, file)
        return file


def _check_arrays(header: ShardHeader, scenario: Scenario) -> None:
    """Check that the datasets are exactly those of the scenario's scenes."""
    scenes = header.stop - header.start
    wanted = {name: (dtype, (scenes, *shape)) for name, (dtype, shape) in layout(scenario).items()}
    for name in sorted({*wanted, *header.arrays}):
        ours, theirs = wanted.get(name), header.arrays.get(name)
        if ours != theirs:
            words = ["no array" if each is None else f"{each[0]} {each[1]}" for each in (ours, theirs)]
            raise ShardError(f"{header.path}: {name}: expected {words[0]}, got {words[1]}; {AGAIN}")


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
