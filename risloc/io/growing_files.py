"""Read a file that another process is writing: HDF5's single writer, multiple readers (SWMR).

An array grows along its first axis, the scenes, which must be unlimited. A scene is there when every growing array has it and its
chunks are stored: a writer that writes y last and then flushes shows whole scenes only.
"""

import contextlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py

from risloc.io.safe_hdf5 import MOST_IN_A_CHUNK

__all__ = ["GrowingDataset", "complete_scenes", "open_hdf5"]

_BEING_WRITTEN = "already open for write"  # HDF5's words


def open_hdf5(path: Path) -> tuple[h5py.File, bool]:
    """Open a file for reading, in SWMR mode if it is being written in this mode, or if its writer ended without closing it.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    tuple
        The open file, and whether it may grow.
    """
    try:
        return h5py.File(path, "r", rdcc_nbytes=MOST_IN_A_CHUNK), False
    except OSError as error:
        if _BEING_WRITTEN not in str(error):
            raise
        with contextlib.suppress(OSError):
            return h5py.File(path, "r", rdcc_nbytes=MOST_IN_A_CHUNK, libver="latest", swmr=True), True
        raise


def complete_scenes(arrays: Iterable[h5py.Dataset]) -> int | None:
    """Count the scenes that every growing array has.

    Parameters
    ----------
    arrays
        The arrays of the file.

    Returns
    -------
    int or None
        The number of scenes; None if no array grows.
    """
    counts = [_complete(data) for data in arrays if _grows(data)]
    return min(counts) if counts else None


class GrowingDataset(h5py.Dataset):  # type: ignore[misc]
    """The first scenes of a growing array, which can be read and checked as a dataset.

    Parameters
    ----------
    data
        The array.
    scenes
        The number of scenes.
    """

    def __init__(self, data: h5py.Dataset, scenes: int) -> None:
        super().__init__(data.id)
        self._whole, self._first = data, scenes

    def __getitem__(self, index: Any, new_dtype: Any = None) -> Any:
        """Read a part of the first scenes; the index has a slice or a list of scenes for the first axis."""
        first, *rest = index if index else (slice(None),)
        if isinstance(first, slice):
            first = slice(*first.indices(self.shape[0]))
        return self._whole[(first, *rest)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape with the number of the first scenes."""
        return (self._first if _grows(self._whole) else self._whole.shape[0], *self._whole.shape[1:])

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes of the entries."""
        return self.size * int(self._whole.dtype.itemsize)

    @property
    def file(self) -> h5py.File:
        """The file of the array."""
        return self._whole.file

    @property
    def id(self) -> "_Counted":
        """The identifier of h5py, which counts what is stored."""
        return _Counted(self._whole.id, _grid(self._whole, self.shape))


class _Counted:
    """The identifier of a dataset, which counts no more chunks than those of the first scenes."""

    def __init__(self, identity: h5py.h5d.DatasetID, most: int) -> None:
        self._identity, self._most = identity, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._identity, name)

    def get_num_chunks(self) -> int:
        return min(int(self._identity.get_num_chunks()), self._most)


def _grid(data: h5py.Dataset, shape: tuple[int, ...]) -> int:
    """Count the chunks that an array of this shape has."""
    if data.chunks is None:
        return 0
    return math.prod(-(-size // chunk) for size, chunk in zip(shape, data.chunks, strict=True))


def _grows(data: h5py.Dataset) -> bool:
    return data.chunks is not None and data.maxshape[0] is None


def _complete(data: h5py.Dataset) -> int:
    others = _grid(data, (1, *data.shape[1:]))
    stored = int(data.id.get_num_chunks()) // max(1, others) * data.chunks[0]
    return min(data.shape[0], stored)
