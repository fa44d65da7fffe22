"""Read measurements from an untrusted file; `risloc.io.measurements` describes the layout.

Before any data are read, the reader checks the names, types, shapes and sizes, that the data are plain numbers in this file
(no links, no virtual or external storage, no filters but HDF5's own), and that all declared data are stored. Then scenes are
read in slices, and every number is checked.

Axes: batch B (scene), snap L, ant M, elem N, src K.
"""

import dataclasses
import itertools
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from risloc.config import ParamError, build, shown
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_rows import Rows
from risloc.io.measurement_shapes import allowed_shapes, bits_fault, shape_fault, size_fault
from risloc.io.measurements import FORMAT, VERSION, Measurements, Setup
from risloc.io.safe_hdf5 import MOST_IN_A_CHUNK, StoredError, attribute, broken_as, check_storage, dataset, present
from risloc.io.unknown_names import unknown_names

__all__ = ["MeasurementReader"]

MOST_SOURCES = 64
_AT_ONCE = 2**25  # bytes of a part, about
_KINDS = {"complex": "c", "integer": "iu", "real": "f", "integer or complex": "iuc"}
_WHOLE = ("n_h", "n_v", "version", "code_bits")
_ATTRIBUTES = ("format", "version", "code_bits", *(field.name for field in dataclasses.fields(Setup)))
_DATASETS, _TRUTH = ("y", "H", "codes", "noise_var", "truth"), ("location", "power", "count")
_LAYOUT = "docs/command_line.md and the help of risloc.io.measurements describe the layout"
_TURNED = "MATLAB, Julia and Fortran write the axes in reverse order; permute them before writing"


class MeasurementReader:
    """The scenes of a measurement file, read in slices; a context manager. `len` is the number of scenes.

    Invalid scenes can be left out:

        bad = file.bad()
        good = [scene for scene in range(len(file)) if scene not in bad]
        measurements = file.read(good)

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    setup
        What all scenes share.
    snapshots, antennas
        L and M.
    has_noise
        Whether the file has sigma^2.
    sources
        The number of slots of the truth, 0 without a truth.
    unknown
        Names in the file that the layout does not define, quoted, each with the most similar known name that is absent. They
        are ignored. What netCDF4 and PyTables write beside the data is not listed.

    Raises
    ------
    MeasurementError
        The file does not exist, is not HDF5 or violates the layout.
    """

    def __init__(self, path: "str | os.PathLike[str]") -> None:
        path = Path(path)
        if not path.is_file():
            found = "a directory" if path.is_dir() else "no such file"
            raise MeasurementError(f"{path}: expected a measurement file, got {found}; correct the path")
        self.path = path
        with self._told():
            self._file = h5py.File(path, "r", rdcc_nbytes=MOST_IN_A_CHUNK)
        try:
            with self._told():
                self._open()
        except MeasurementError:
            self._file.close()
            raise

    def __len__(self) -> int:
        return self._scenes

    def __enter__(self) -> "MeasurementReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, scenes: slice | Sequence[int]) -> Measurements:
        """Read scenes; y, H and noise_var keep the precision of the file.

        Parameters
        ----------
        scenes
            A slice, or increasing numbers of scenes.

        Returns
        -------
        Measurements

        Raises
        ------
        MeasurementError
            A number is not finite, a scene has no signal, or a code or a noise variance is invalid.
        IndexError
            The numbers are not increasing or out of range.
        """
        rows = self._rows(scenes)
        for fault in rows.faults():
            raise MeasurementError(f"{self.path}: {fault.words(rows.numbers)}")
        return rows.measurements(self.setup)

    def parts(self) -> Iterator[slice]:
        """Split all scenes into slices of about 32 MiB.

        Yields
        ------
        slice
        """
        step = max(1, _AT_ONCE // (16 * self.antennas * max(self.setup.size, self.snapshots)))
        for start in range(0, len(self), step):
            yield slice(start, min(start + step, len(self)))

    def bad(self, scenes: slice | None = None) -> dict[int, str]:
        """Read scenes and find those that `read` rejects, with the reasons by their numbers.

        Parameters
        ----------
        scenes
            A slice; None means all scenes.

        Returns
        -------
        dict
        """
        if scenes is None:
            return {number: why for part in self.parts() for number, why in self.bad(part).items()}
        numbers = range(len(self))[scenes]
        try:
            return self._rows(numbers).bad() if numbers else {}
        except MeasurementError as error:  # what is stored is damaged
            if len(numbers) == 1:
                return {numbers[0]: str(error).removeprefix(f"{self.path}: ")}
            middle = numbers[len(numbers) // 2]
            return self.bad(slice(numbers[0], middle)) | self.bad(slice(middle, numbers[-1] + 1))

    def _open(self) -> None:
        self._check_format()
        self.unknown = self._unknown()
        self.setup = self._setup()
        N = self.setup.size
        self._data: dict[str, h5py.Dataset] = {}
        self._scenes, self.snapshots, self.antennas = self._add("y", "complex", (None, None, None))
        B, L, M = self._scenes, self.snapshots, self.antennas
        if fault := size_fault(B, L, M, N):
            raise MeasurementError(f"{self.path}: {fault}")
        allowed = allowed_shapes(B, L, M, N)
        self._add("H", "complex", *allowed["H"])
        self._add("codes", "integer or complex", *allowed["codebook"])
        self.code_bits = self._attribute("code_bits") if "code_bits" in self._file.attrs else None
        if fault := bits_fault(self._data["codes"].dtype.kind, self.code_bits):
            raise MeasurementError(f"{self.path}: {fault}")
        self.has_noise = self._there(self._file, "noise_var")
        if self.has_noise:
            self._add("noise_var", "real", *allowed["noise_var"])
        self.sources = self._add("truth/location", "real", (B, None, 3))[1] if self._has_truth() else 0
        if self.sources:
            if self.sources > MOST_SOURCES:
                raise self._error("truth", f"expected at most {MOST_SOURCES} sources, got {self.sources}; remove it")
            self._add("truth/power", "real", (B, self.sources))
            self._add("truth/count", "integer", (B,))

    def _check_format(self) -> None:
        found = [self._attribute(name) if name in self._file.attrs else None for name in ("format", "version")]
        if found != [FORMAT, VERSION]:
            raise self._error("attributes", f"expected format {FORMAT!r}, version {VERSION}, got {found}; {_LAYOUT}")

    def _unknown(self) -> tuple[str, ...]:
        found = unknown_names("", self._file.attrs, _ATTRIBUTES) + unknown_names("", self._file, _DATASETS)
        if self._there(self._file, "truth") and isinstance(self._file["truth"], h5py.Group):
            found += unknown_names("truth/", self._file["truth"], _TRUTH)
        return tuple(found)

    def _setup(self) -> Setup:
        optional = ("azimuth_span_deg", "elevation_span_deg", "distance_span_m")
        values: dict[str, Any] = {"reference": "centre", **dict.fromkeys(optional)}
        for field in dataclasses.fields(Setup):
            if field.name in self._file.attrs:
                values[field.name] = self._attribute(field.name)
            elif field.name not in values:
                doc = f"{field.metadata['doc']} {field.metadata['unit']}".strip()
                raise self._error("attributes", f"expected {field.name} ({doc}), got none; {_LAYOUT}")
        try:
            return build(Setup, values, "attribute")
        except ParamError as error:
            raise MeasurementError(f"{self.path}: {error.fault}; correct the attribute in the file") from None

    def _attribute(self, name: str) -> Any:
        """Read a small attribute as plain Python: text, a number or a list of two."""
        try:
            value = attribute(self._file, name)
        except StoredError as error:
            raise self._error("attributes", f"{name}: {error}; {_LAYOUT}") from None
        whole = name in _WHOLE and isinstance(value, float) and value.is_integer()
        return int(value) if whole else value

    def _there(self, group: h5py.Group, name: str) -> bool:
        try:
            return present(group, name)
        except StoredError as error:
            raise self._error(name, str(error)) from None

    def _has_truth(self) -> bool:
        if not self._there(self._file, "truth"):
            return False
        if not isinstance(self._file["truth"], h5py.Group):
            raise self._error("truth", "expected a group, got an object of another kind; remove it")
        return True

    def _add(self, name: str, kind: str, *shapes: tuple[int | None, ...]) -> tuple[int, ...]:
        """Check and keep a dataset without reading it; return its shape, one of `shapes` (None: any size)."""
        folder, _, last = name.rpartition("/")
        group = self._file[folder] if folder else self._file
        try:
            data = dataset(group, last)
        except StoredError as error:
            raise self._error(name, f"{error}; {_LAYOUT}") from None
        if data.dtype.kind not in _KINDS[kind] or data.dtype.itemsize > 16:
            raise self._error(name, f"expected {kind} numbers of at most double precision{_compound(kind, data)}")
        if fault := shape_fault(name, tuple(data.shape), shapes):
            size = self.setup.size
            turned = len(data.shape) > 1 and data.shape[0] == size != data.shape[-1]
            raise MeasurementError(f"{self.path}: {fault}; {_TURNED if turned else _LAYOUT}")
        try:
            check_storage(data)
        except StoredError as error:
            raise self._error(name, str(error)) from None
        self._data[name] = data
        return tuple(data.shape)

    def _rows(self, scenes: slice | Sequence[int]) -> Rows:
        """Read the scenes as they are stored."""
        numbers = range(len(self))[scenes] if isinstance(scenes, slice) else [operator.index(each) for each in scenes]
        rising = all(low < high for low, high in itertools.pairwise(numbers))
        if not numbers or not rising or numbers[0] < 0 or numbers[-1] >= len(self):
            raise IndexError(f"scenes: expected increasing numbers in 0..{len(self) - 1}, got {shown(scenes)}")
        together = numbers[-1] - numbers[0] + 1 == len(numbers)
        index = slice(numbers[0], numbers[-1] + 1) if together else list(numbers)
        with self._told():
            y, H, codes = (self._part(name, index, len(numbers)) for name in ("y", "H", "codes"))
            noise_var = self._noise(index, len(numbers)) if self.has_noise else None
            truth = self._truth(index) if self.sources else None
        bits = int(self.code_bits or 0)
        return Rows(numbers=numbers, y=y, H=H, codes=codes, bits=bits, noise_var=noise_var, truth=truth)

    def _part(self, name: str, index: slice | list[int], count: int) -> np.ndarray:
        """Read an array of some scenes; repeat an array that all scenes share."""
        data = self._data[name]
        shared = len(data.shape) < 3
        array = np.repeat(data[()][None], count, axis=0) if shared else data[index]
        return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))

    def _noise(self, index: slice | list[int], count: int) -> np.ndarray:
        data = self._data["noise_var"]
        value = data[index] if data.shape == (len(self),) else np.full(count, data[()])
        return np.asarray(value, dtype=np.float64)

    def _truth(self, index: slice | list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        location, power, count = (self._data[f"truth/{name}"][index] for name in _TRUTH)
        return location.astype(np.float32), power.astype(np.float32), count.astype(np.int64)

    def _error(self, name: str, words: str) -> MeasurementError:
        return MeasurementError(f"{self.path}: {name}: {words}")

    def _told(self) -> AbstractContextManager[None]:
        return broken_as(MeasurementError, self.path, "copy the file or write it again")


def _compound(kind: str, data: h5py.Dataset) -> str:
    """Describe what was found instead of numbers of this kind, and the remedy."""
    if "complex" not in kind or data.dtype.names is None:
        return f", got {data.dtype}; convert the numbers"
    came = ", ".join(f"{name} ({data.dtype[name]})" for name in data.dtype.names[:4])
    return f" (complex numbers as h5py writes them, a compound of two floats named r and i), got a compound of {came}; convert the numbers"
