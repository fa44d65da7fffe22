"""What a file of measurements contains, in the layout of `risloc.io.measurements`, whichever program wrote it.

`notes` says in words what was taken differently from how the file stores it.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from risloc.io.array_variables import ArrayVariables, read_mat, read_npz
from risloc.io.axis_order import PART, Fit, find_axes
from risloc.io.columns import Column, Stored
from risloc.io.hdf5_variables import IMAGINARY, Hdf5Variables
from risloc.io.joined_variables import JoinedVariables
from risloc.io.measurement_checks import MeasurementError
from risloc.io.number_kinds import with_numbers
from risloc.io.reading_options import AXES, Reading, element_order
from risloc.io.safe_hdf5 import StoredError, broken_as
from risloc.io.sigmf import SUFFIXES, read_sigmf

__all__ = ["Contents", "Variables", "kind_of", "open_variables"]

Variables = Hdf5Variables | ArrayVariables | JoinedVariables
"""The variables of an open file."""

_MAT, _ZIP = b"MATLAB 5.0 MAT-file", (b"PK\x03\x04", b"PK\x05\x06")  # the second one without a member
_OTHERS = (
    (b"\x93NUMPY", "one array of numpy", "write all variables with numpy.savez"),
    (b"# Created by Octave", "Octave's text format", "save with the option -v7 or -hdf5"),
    (b"Octave-1-", "Octave's binary format", "save with the option -v7 or -hdf5"),
)
"""First bytes, the format and the remedy."""

_VECTORS, _COMPLEX = ("noise_var", "truth/count"), (*AXES, "pilots")
_TRUTH = {"truth/location": 3, "truth/power": 2, "truth/echoes/location": 4, "truth/echoes/gain": 3}
_VALUES = (
    *("n_h", "n_v", "spacing_m", "carrier_hz", "code_bits", "reference"),
    *("azimuth_span_deg", "elevation_span_deg", "distance_span_m", "unknown_gains", "static_path"),
)
_REVERSED = "axes reversed (as MATLAB, Octave, Julia and Fortran write them)"


def kind_of(path: Path) -> str:
    """Find the kind of a file by its first bytes, and that of a SigMF recording by its name.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        "sigmf", "npz", "mat" (up to version 7), or "hdf5" for any other.

    Raises
    ------
    StoredError
        It is a known format that holds no named variables, or that only its program reads.
    """
    if path.suffix in SUFFIXES:
        return "sigmf"
    if path.suffix == ".sigmf":
        raise StoredError("expected the two files of a recording, got a SigMF archive; unpack it with tar")
    with path.open("rb") as file:
        head = file.read(len(_MAT))
    for mark, what, remedy in _OTHERS:
        if head.startswith(mark):
            raise StoredError(f"expected HDF5, .npz, .mat or SigMF, got {what}; {remedy}")
    return "npz" if head.startswith(_ZIP) else "mat" if head == _MAT else "hdf5"


def open_variables(path: Path, beside: Path | None = None) -> Variables:
    """Open a file of any kind that `kind_of` finds.

    Parameters
    ----------
    path
        The file.
    beside
        Another file with the variables that this one does not have, or None.

    Returns
    -------
    Variables
        Those of the open file.

    Raises
    ------
    MeasurementError
        A file that is not HDF5 is damaged, or holds other objects than numbers, texts and structs of them.
    """
    others = ArrayVariables({}, "") if beside is None else _opened(beside, None)
    try:
        own = _opened(path, others)
    except MeasurementError:
        others.close()
        raise
    return own if beside is None else JoinedVariables(own, others, (path, beside))


def _opened(path: Path, others: Hdf5Variables | ArrayVariables | None) -> Hdf5Variables | ArrayVariables:
    """Open one file; a SigMF recording needs the codes of `others`."""
    with broken_as(MeasurementError, path, "copy the file, or write it again as HDF5, .npz or .mat"):
        try:
            kind = kind_of(path)
            if kind == "sigmf":
                return read_sigmf(path, others or ArrayVariables({}, ""))
            return read_npz(path) if kind == "npz" else read_mat(path) if kind == "mat" else Hdf5Variables(path)
        except StoredError as error:
            raise MeasurementError(f"{path}: {error}") from error


class Contents:
    """The values and arrays of a file in the layout.

    Parameters
    ----------
    variables
        The variables of the open file.
    reading
        What the file does not say.
    """

    def __init__(self, variables: Variables, reading: Reading) -> None:
        self.variables, self.reading, self._fit = variables, reading, Fit("c", {})
        self._bits: object = None
        self._elements: np.ndarray | None = None
        self.notes = list[str]()
        self.declared = variables.declared
        if isinstance(variables, JoinedVariables):
            self.notes += variables.notes((*_COMPLEX, "noise_var", "truth", *_VALUES))
        if variables.growing:
            self._note("the scenes that are complete: another process is writing the file, or ended without closing it")
        if not self.declared and not variables.has_attribute("format"):
            self._note(f"variables by their names{f' ({variables.origin})' if variables.origin else ''}")

    def unknown(self, folder: str, known: Sequence[str], values: Sequence[str] = ()) -> list[str]:
        """List the names of a group or struct that the layout does not define.

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
        ends = ("_scale", *(end for pair in IMAGINARY for end in pair))
        parts = [name + end for name in _COMPLEX for end in ends if self.is_there(name)]
        parts = [part for part in parts if not folder and self.is_there(part)]
        return self.variables.unknown(folder, (*known, *parts), values)

    def settle(self, n_h: int, n_v: int, bits: object) -> object:
        """Find the order of the axes and the kind of the codes, before columns are asked for.

        Parameters
        ----------
        n_h
            The number of elements along x.
        n_v
            The number of elements along y.
        bits
            The bits of the codes, None if the file does not say.

        Returns
        -------
        object
            The bits; 1 for truth values if the file does not say.

        Raises
        ------
        StoredError
            The sizes fit several orders.
        """
        arrays = {}
        for name in AXES:
            try:
                arrays[name] = self.variables.stored(name)
            except StoredError:
                return bits  # the reader of the array says what is wrong
        fit = find_axes(arrays, n_h * n_v, self.reading, self.declared)
        self._fit = fit or Fit("c" if self.reading.axes == "auto" else self.reading.axes, {})
        self._note_axes(self._fit)
        self._elements = element_order(self.reading.order, n_h, n_v)
        self._note(None if self._elements is None else f"elements in the order {self.reading.order}")
        self._note("y, H and codes conjugated" if self.reading.conjugate else None)
        logical = arrays["codes"].logical or arrays["codes"].dtype.kind == "b"
        if logical and bits not in (None, 1):
            raise StoredError(
                f"code_bits: expected 1, as the codes are truth values, got {bits!r}; correct one of them"
            )
        self._bits = 1 if logical else bits
        return self._bits

    def column(self, name: str, kind: str) -> Column:
        """Find an array of the layout, without reading it.

        Parameters
        ----------
        name
            Its name.
        kind
            One of complex, integer, real, and integer or complex.

        Returns
        -------
        Column
            Has a shape, a dtype and rows in the layout.

        Raises
        ------
        StoredError
            There is none, or it is a link or an object of another kind.
        """
        stored = self.variables.stored(name)
        bits = self._bits if name == "codes" else None
        column, words = with_numbers(self._in_axes(name, stored), name, kind, bits, not self.declared)
        self._note(words)
        return self._turned(name, column)

    def _in_axes(self, name: str, stored: Stored) -> Column:
        """Put the axes of an array into the order of the layout."""
        count, size = len(stored.shape), len(stored.shape)
        if name in self._fit.axes:
            axes = self._fit.axes[name]
            layout = next(each for each in AXES[name] if sorted(each) == sorted(set(axes) - {PART}))
            before, behind = (0, 0) if name != "y" else (int("scene" not in layout), int("ant" not in layout))
            part = axes.index(PART) if PART in axes else None
            return Column(stored, stored.dtype, tuple(map(axes.index, layout)), part, (before, behind))
        if (
            (name in _VECTORS or (name == "pilots" and not self.declared))
            and count > 1
            and sum(length != 1 for length in stored.shape) <= 1
        ):
            return Column(stored, stored.dtype, (), flat=True)
        order = range(count)[::-1] if self._fit.order == "reversed" else range(count)
        missing = max(0, _TRUTH.get(name, size) - size) if not self.declared and count else 0
        return Column(stored, stored.dtype, tuple(order), added=(0, missing))

    def _turned(self, name: str, column: Column) -> Column:
        """Conjugate a column and reorder its elements as the user says."""
        if name not in (*_COMPLEX, "truth/echoes/gain"):
            return column
        steps, elements = column.convert, self._elements if name in ("H", "codes") else None
        if self.reading.conjugate:
            bits = self._bits if isinstance(self._bits, int) else 0
            steps = (*steps, functools.partial(_conjugate, bits=bits))
        return dataclasses.replace(column, convert=steps, elements=elements)

    def _note_axes(self, fit: Fit) -> None:
        if fit.order == "reversed":
            self._note(_REVERSED)
        if fit.order == "c" and any(axes not in (*AXES[name], *_with_part(name)) for name, axes in fit.axes.items()):
            self._note("axes in the order of their names")
        if "scene" not in fit.axes.get("y", ("scene",)):
            self._note("y as one scene")

    def _note(self, words: str | None) -> None:
        if words is not None and words not in self.notes:
            self.notes.append(words)

    def is_there(self, name: str) -> bool:
        """Test whether there is an array of this name.

        Parameters
        ----------
        name
            Its name in the layout.

        Returns
        -------
        bool
        """
        try:
            self.variables.stored(name)
        except StoredError:
            return False
        return True


def _with_part(name: str) -> list[tuple[str, ...]]:
    return [(*axes, PART) for axes in AXES[name]]


def _conjugate(x: np.ndarray, bits: int) -> np.ndarray:
    """Conjugate complex numbers, or phasors given as integer codes of `bits` bits; codes outside 0..2^bits - 1 stay as they are."""
    if x.dtype.kind == "c":
        return x.conj()
    states = 2**bits
    wide = x.astype(np.int64)
    return np.where((wide >= 0) & (wide < states), -wide % states, wide)
