"""The variables of an HDF5 file, whether its own layout, MATLAB 7.3, Octave, Julia, R, netCDF or PyTables wrote it.

MATLAB and Octave write a scalar as a dataset of one number, and text as numbers of its characters; Octave puts each variable into
a group with its type and its value. Nothing is read that is not in the file itself (`risloc.io.safe_hdf5`).
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from risloc.io.columns import Stored, two_parts
from risloc.io.growing_files import GrowingDataset, complete_scenes, open_hdf5
from risloc.io.packed_numbers import missing_of, nonzero, scale_of
from risloc.io.safe_hdf5 import FAILURES, StoredError, attribute, check_storage, dataset, present
from risloc.io.unknown_names import unknown_names
from risloc.io.variable_values import MOST_TEXT, octave_value, plain

__all__ = ["IMAGINARY", "Hdf5Variables", "names_of_parts"]

IMAGINARY = (("_real", "_imag"), ("_re", "_im"), ("_r", "_i"))
"""How the names of a real and an imaginary part end that are arrays of their own."""

_WITH_SCENES = ("y", "H", "codes", "noise_var", "truth/location", "truth/power", "truth/count")
_EMPTY = "expected numbers, got an empty array; fill it, or leave the variable out"
_LIBRARY = ("#refs#", "#subsystem#")


def names_of_parts(name: str, has: Callable[[str], bool]) -> tuple[str, str] | None:
    """Find the names of the two arrays that hold the real and the imaginary part of one.

    Parameters
    ----------
    name
        The name of the complex array in the layout.
    has
        Tests whether there is an array of a name.

    Returns
    -------
    tuple of str, or None
        Both names; None if there are no two such arrays.
    """
    pairs = ((name + real, name + imaginary) for real, imaginary in IMAGINARY)
    return next((pair for pair in pairs if all(map(has, pair))), None)


class Hdf5Variables:
    """The variables and attributes of an open HDF5 file.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.file, self.growing = open_hdf5(path)
        self._scenes: int | None = None
        if self.growing:
            with contextlib.suppress(StoredError):
                self._scenes = complete_scenes(self._variable(name)[0] for name in self._with_scenes())

    def _with_scenes(self) -> list[str]:
        ends = ("", *(end for pair in IMAGINARY for end in pair))
        return [name + end for name in _WITH_SCENES for end in ends if self.has(name + end)]

    @property
    def declared(self) -> bool:
        """Whether attributes of the file say that it has the layout."""
        return "format" in self.file.attrs or "version" in self.file.attrs

    @property
    def origin(self) -> str:
        """The program that wrote the file, "" if nothing tells it."""
        with contextlib.suppress(*FAILURES):
            for name in self.file:
                link = self.file.get(name, getlink=True)
                if isinstance(link, h5py.HardLink):
                    marks = self.file[name].attrs
                    if "MATLAB_class" in marks:
                        return "MATLAB"
                    if "OCTAVE_NEW_FORMAT" in marks:
                        return "Octave"
        return ""

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def has_attribute(self, name: str) -> bool:
        """Test whether there is a value of this name: an attribute, or a variable.

        Parameters
        ----------
        name
            The name.

        Returns
        -------
        bool
        """
        return name in self.file.attrs or self.has(name)

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
        if name in self.file.attrs:
            return attribute(self.file, name)
        data, class_ = self._variable(name)
        check_storage(data)
        if h5py.check_string_dtype(data.dtype) is None and data.dtype.kind not in "iufb":
            raise StoredError(f"expected text or numbers, got {data.dtype}")
        if data.size > MOST_TEXT:
            raise StoredError(f"expected one or two values, got the shape {data.shape}")
        return plain(
            data[()], class_ == "char" or class_.endswith("string") or (data.dtype == np.uint16 and data.size > 2)
        )

    def has(self, name: str) -> bool:
        """Test whether there is an object of this name.

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
            The name is a soft or external link.
        """
        folder, _, last = name.rpartition("/")
        group = self._group(folder) if folder else self.file
        return group is not None and present(group, last)

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
        if not self.has(name):
            return False
        if self._group(name) is None:
            raise StoredError("expected a group, got an object of another kind; remove it")
        return True

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
        parts = None if self.has(name) else names_of_parts(name, self.has)
        found = self._single(name) if parts is None else two_parts(*map(self._single, parts))
        if not self.has(f"{name}_scale"):
            return found
        return dataclasses.replace(found, scale=nonzero(f"{name}_scale", self.attribute(f"{name}_scale")))

    def _single(self, name: str) -> Stored:
        data, class_ = self._variable(name)
        numbers = data
        if self._scenes is not None and data.shape:
            if not self._scenes:
                raise StoredError(
                    "expected at least one complete scene, got none yet; wait until the writer has written one"
                )
            numbers = GrowingDataset(data, self._scenes)
        logical = class_ == "logical" or class_.startswith("bool")
        return Stored(numbers, None, _dims(data), logical, scale_of(data), missing_of(data))

    def check(self, name: str) -> None:
        """Check that everything an array declares is stored.

        Parameters
        ----------
        name
            Its name in the layout; "/" separates a group or struct from its member.

        Raises
        ------
        StoredError
            It is not (`risloc.io.safe_hdf5.check_storage`).
        """
        found = self.stored(name)
        for data in (found.data, found.imaginary):
            if data is not None:
                check_storage(data)

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
        group = self._group(folder.rstrip("/")) if folder else self.file
        if folder:
            return unknown_names(folder, group, known)
        named = known if self.declared else (*known, *values)
        return unknown_names("", self.file.attrs, values) + unknown_names("", group, (*named, *_LIBRARY))

    def _group(self, name: str) -> h5py.Group | None:
        """Return the group of this name, or the one in which Octave keeps the members of a struct."""
        group = self.file
        for part in name.split("/"):
            if not present(group, part):
                return None
            group, _ = octave_value(group[part])
            if not isinstance(group, h5py.Group):
                return None
        return group

    def _variable(self, name: str) -> tuple[h5py.Dataset, str]:
        """Return the dataset of a variable and the class that MATLAB or Octave gives it, "" without one."""
        folder, _, last = name.rpartition("/")
        group = self._group(folder) if folder else self.file
        if group is None:
            raise StoredError("expected a dataset of this name, got none")
        if present(group, last) and isinstance(group[last], h5py.Group):
            data, kind = octave_value(group[last])
            if "OCTAVE_EMPTY_MATRIX" in group[last].attrs:
                raise StoredError(_EMPTY)
            if "sparse" in kind or "MATLAB_sparse" in group[last].attrs:
                raise StoredError(f"expected an array, got a sparse one; save full({last})")
            if isinstance(data, h5py.Dataset) and data.shape is not None:
                return data, kind
        data = dataset(group, last)
        if "MATLAB_empty" in data.attrs:  # the numbers are the sizes
            raise StoredError(_EMPTY)
        return data, str(attribute(data, "MATLAB_class")) if "MATLAB_class" in data.attrs else ""


def _dims(data: h5py.Dataset) -> tuple[str, ...] | None:
    """Return the names of the axes as netCDF gives them."""
    names = []
    with contextlib.suppress(*FAILURES):
        for dim in data.dims:
            if len(dim) != 1:
                return None
            names.append(str(dim[0].name).rpartition("/")[2])
    return tuple(names) if names and len(names) == len(data.shape) else None
