"""The variables of files that are read as a whole: numpy's .npz and MATLAB's .mat up to version 7.

They are read as data: no pickled object is loaded. What a file declares is limited before it is read.
"""

import contextlib
import dataclasses
import functools
import math
import operator
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse
from scipy.io.matlab import MatReadError

from risloc.config import shown
from risloc.io.columns import Stored, two_parts
from risloc.io.hdf5_variables import names_of_parts
from risloc.io.packed_numbers import nonzero
from risloc.io.safe_hdf5 import FAILURES, StoredError
from risloc.io.variable_values import plain

__all__ = ["MOST_IN_MEMORY", "ArrayVariables", "read_mat", "read_npz"]

MOST_IN_MEMORY = 2**32
"""Maximum number of bytes of all arrays of such a file."""

_NUMBERS = "iufcb"
_TOO_LARGE = (
    f"expected at most {MOST_IN_MEMORY >> 30} GiB, got more; write larger data as HDF5, which is read in slices"
)


class ArrayVariables:
    """Variables in memory.

    Parameters
    ----------
    arrays
        The arrays by their names; "/" separates a struct from its member.
    origin
        The program that wrote them.
    logical
        The names of the arrays of truth values.
    dims
        The names of the axes of arrays of which they are known.
    """

    growing = False
    """No such file is read while it is written."""

    declared = False
    """No such file has attributes that say that it has the layout."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        origin: str,
        logical: frozenset[str] = frozenset(),
        dims: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        self.arrays, self.origin, self.logical, self.dims = dict(arrays), origin, logical, dims
        self.notes = list[str]()

    def close(self) -> None:
        """Forget the arrays."""
        self.arrays = {}

    def has_attribute(self, name: str) -> bool:
        """Test whether there is a value of this name.

        Parameters
        ----------
        name
            The name.

        Returns
        -------
        bool
        """
        return name in self.arrays

    def attribute(self, name: str) -> Any:
        """Read a value as plain Python: text, a number or a list of two.

        Parameters
        ----------
        name
            The name.

        Returns
        -------
        Any

        Raises
        ------
        StoredError
            The value is larger or of another type.
        """
        value = self.arrays[name]
        if value.dtype.kind not in _NUMBERS + "US":
            raise StoredError(f"expected text or numbers, got {value.dtype}")
        return plain(value, text=value.dtype == np.uint16 and value.size > 2)

    def has(self, name: str) -> bool:
        """Test whether there is an object of this name.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.

        Returns
        -------
        bool
        """
        return name in self.arrays or any(other.startswith(f"{name}/") for other in self.arrays)

    def has_group(self, name: str) -> bool:
        """Test whether there is a group or struct of this name.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.

        Returns
        -------
        bool

        Raises
        ------
        StoredError
            The object is of another kind.
        """
        if name in self.arrays:
            raise StoredError("expected a struct, got an array; remove it")
        return self.has(name)

    def stored(self, name: str) -> Stored:
        """Find an array, without reading it.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.

        Returns
        -------
        Stored

        Raises
        ------
        StoredError
            There is none, or it is of another kind.
        """
        if name in self.arrays:
            found = self._single(name)
        else:
            parts = names_of_parts(name, self.arrays.__contains__)
            if parts is None:
                raise StoredError("expected an array of this name, got none")
            found = two_parts(*map(self._single, parts))
        return dataclasses.replace(found, scale=self._scale(name))

    def _single(self, name: str) -> Stored:
        data = self.arrays[name]
        if not data.size:
            raise StoredError("expected numbers, got an empty array; fill it, or leave the variable out")
        return Stored(data, dims=self.dims.get(name), logical=name in self.logical or data.dtype.kind == "b")

    def _scale(self, name: str) -> float:
        scale = self.arrays.get(f"{name}_scale")
        if scale is None:
            return 1.0
        return nonzero(f"{name}_scale", scale.item() if scale.size == 1 else scale.tolist())

    def check(self, name: str) -> None:
        """Do nothing: the arrays are in memory.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.
        """

    def unknown(self, folder: str, known: Sequence[str], values: Sequence[str]) -> list[str]:
        """List the names of a group or struct that are not known, quoted.

        Parameters
        ----------
        folder
            The group with a "/" behind it; "" for the root.
        known
            The names of arrays that the layout defines.
        values
            The names of values that it defines.

        Returns
        -------
        list of str
        """
        inside = [name.removeprefix(folder) for name in self.arrays if name.startswith(folder)]
        heads = dict.fromkeys(name.partition("/")[0] for name in inside)
        return [shown(folder + name) for name in heads if name not in (*known, *values)][:16]


def read_npz(path: Path) -> ArrayVariables:
    """Read a file that numpy.savez or numpy.savez_compressed has written.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ArrayVariables

    Raises
    ------
    StoredError
        The file declares more than `MOST_IN_MEMORY`, or an array holds objects.
    """
    with _damaged_as(".npz"):
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_IN_MEMORY:
                raise StoredError(_TOO_LARGE)
        with np.load(path, allow_pickle=False) as file:
            return ArrayVariables({name: np.asarray(file[name]) for name in file.files}, "numpy")


def read_mat(path: Path) -> ArrayVariables:
    """Read a file that MATLAB or Octave has written with ``save -v7`` or ``save -v6``.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ArrayVariables

    Raises
    ------
    StoredError
        The file declares more than `MOST_IN_MEMORY`.
    """
    with _damaged_as(".mat"):
        listed = scipy.io.whosmat(path, appendmat=False)
        if sum(16 * math.prod(map(int, shape)) for _, shape, _ in listed) > MOST_IN_MEMORY:
            raise StoredError(_TOO_LARGE)
        loaded = scipy.io.loadmat(path, appendmat=False, chars_as_strings=True)
        for name, value in loaded.items():
            if scipy.sparse.issparse(value):
                raise StoredError(f"{name}: expected an array, got a sparse one; save full({name}), or leave it out")
        flat = [_flat(name, value) for name, value in loaded.items() if not name.startswith("__")]
    logical = frozenset(name for name, _, kind in listed if kind == "logical")
    return ArrayVariables(functools.reduce(operator.or_, flat, {}), "MATLAB or Octave", logical)


@contextlib.contextmanager
def _damaged_as(kind: str) -> Iterator[None]:
    """Convert every exception of the block to a StoredError."""
    try:
        yield
    except StoredError:
        raise
    except (*FAILURES, EOFError, zipfile.BadZipFile, zlib.error, MatReadError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise StoredError(
            f"expected numbers and texts in a {kind} file, got something else or a damaged file ({words}); write it again"
        ) from error


def _flat(name: str, value: Any) -> dict[str, np.ndarray]:
    """List the numbers and texts of a variable, and of the members of a struct, by their names."""
    if not isinstance(value, np.ndarray):
        return {}
    if value.dtype.names is not None and value.size == 1:
        element = value.reshape(-1)[0]
        return {key: each for part in value.dtype.names for key, each in _flat(f"{name}/{part}", element[part]).items()}
    return {name: value} if value.dtype.kind in _NUMBERS + "US" else {}
