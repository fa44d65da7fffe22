"""Read measurements from an untrusted file; `risloc.io.measurements` describes the layout.

Before data are read, the reader checks names, types, shapes and sizes, that the data are plain numbers in this file (no links, no
virtual or external storage, HDF5's own filters), and that all are stored. Scenes are read in slices, and every number is checked.

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

import numpy as np

from risloc.config import shown
from risloc.io.columns import Column
from risloc.io.measurement_attributes import LAYOUT, check_format, code_bits_in, reception_in, setup_in
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_contents import Contents, open_variables
from risloc.io.measurement_rows import Rows
from risloc.io.measurement_shapes import allowed_shapes, bits_fault, shape_fault, size_fault, stored_fault
from risloc.io.measurements import Measurements, Setup
from risloc.io.reading_options import Reading
from risloc.io.safe_hdf5 import StoredError, broken_as
from risloc.io.stored_scenes import ECHOES, TRUTH, stored_echoes, stored_noise, stored_pilots, stored_truth

__all__ = ["MeasurementReader"]

MOST_SOURCES = 64
_AT_ONCE = 2**25  # bytes of a part, about
_ATTRIBUTES = (
    *("format", "version", "code_bits", "unknown_gains", "static_path"),
    *(field.name for field in dataclasses.fields(Setup)),
)
_DATASETS = ("y", "H", "codes", "noise_var", "pilots", "truth")
_TURNED = f"if the axes have another order, say it with `risloc convert --axes y=ant,snap,scene` (in Python Reading); {LAYOUT}"


class MeasurementReader:
    """The scenes of a measurement file, read in slices; a context manager. `len` is their number. To leave invalid ones out:

        bad = file.bad()
        good = [scene for scene in range(len(file)) if scene not in bad]
        measurements = file.read(good)

    Parameters
    ----------
    path
        The file: HDF5, .npz or .mat.
    reading
        What the file does not say about its axes, elements and phases.

    Attributes
    ----------
    setup
        What all scenes share.
    snapshots, antennas
        L and M.
    has_noise
        Whether the file has sigma^2.
    reception
        What is known of the receiver.
    sources
        The number of slots of the truth, 0 without a truth.
    paths
        The number of echoes for which a source of the truth has slots, 0 without echoes.
    unknown
        Names in the file that the layout does not define, quoted, each with the most similar known name that is absent. They
        are ignored. What netCDF4 and PyTables write beside the data is not listed.
    how
        What was taken differently from how the file stores it, in words; "" if nothing was.
    growing
        Whether another process may add scenes.

    Raises
    ------
    MeasurementError
        The file does not exist, is not HDF5 or violates the layout.
    """

    def __init__(self, path: "str | os.PathLike[str]", reading: Reading | None = None) -> None:
        path = Path(path)
        if not path.is_file():
            found = "a directory" if path.is_dir() else "no such file"
            raise MeasurementError(f"{path}: expected a measurement file, got {found}; correct the path")
        self.path = path
        with self._told():
            self._contents = Contents(open_variables(path, reading.beside if reading else None), reading or Reading())
        try:
            with self._told():
                self._open()
        except MeasurementError:
            self._contents.variables.close()
            raise
        self.how = f"read with {'; '.join(self._contents.notes)}" if self._contents.notes else ""
        self.growing = self._contents.variables.growing

    def __len__(self) -> int:
        return self._scenes

    def __enter__(self) -> "MeasurementReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._contents.variables.close()

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

    def parts(self, start: int = 0) -> Iterator[slice]:
        """Split the scenes from `start` on into slices of about 32 MiB.

        Parameters
        ----------
        start
            The number of the first scene.

        Yields
        ------
        slice
        """
        M, L, N = self.antennas, self.snapshots, self.setup.size
        step = max(1, _AT_ONCE // (16 * max(M * N, M * L, L * N)))
        for first in range(start, len(self), step):
            yield slice(first, min(first + step, len(self)))

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
        check_format(self.path, self._contents)
        self.unknown = self._unknown()
        self.setup = setup_in(self.path, self._contents)
        N, bits = self.setup.size, code_bits_in(self.path, self._contents)
        try:
            self.code_bits = self._contents.settle(self.setup.n_h, self.setup.n_v, bits)
        except StoredError as error:
            raise MeasurementError(f"{self.path}: {error}") from None
        self._data: dict[str, Column] = {}
        self._scenes, self.snapshots, self.antennas = self._add("y", "complex", (None, None, None))
        B, L, M = self._scenes, self.snapshots, self.antennas
        if fault := size_fault(B, L, M, N):
            raise MeasurementError(f"{self.path}: {fault}")
        allowed = allowed_shapes(B, L, M, N)
        self._add("H", "complex", *allowed["H"])
        self._add("codes", "integer or complex", *allowed["codebook"])
        if fault := bits_fault(self._data["codes"].dtype.kind, self.code_bits):
            raise MeasurementError(f"{self.path}: {fault}")
        if self._data["codes"].dtype.kind == "c":
            self.code_bits = None  # they belong to integer codes
        self.has_noise = self._there("noise_var")
        if self.has_noise:
            self._add("noise_var", "real", *allowed["noise_var"])
        if has_pilots := self._there("pilots"):
            self._add("pilots", "complex", *allowed["pilots"])
        self.reception = reception_in(self.path, self._contents, has_pilots)
        self._open_truth()

    def _open_truth(self) -> None:
        B, self.sources, self.paths = self._scenes, 0, 0
        if not self._has_group("truth"):
            return
        self.sources = self._few("truth", "sources", self._add("truth/location", "real", (B, None, 3))[1])
        if not self.sources:
            return
        self._add("truth/power", "real", (B, self.sources))
        self._add("truth/count", "integer", (B,))
        if self._has_group("truth/echoes"):
            shape = self._add("truth/echoes/location", "real", (B, self.sources, None, 3))
            self.paths = self._few("truth/echoes", "echoes of a source", shape[2])
            self._add("truth/echoes/gain", "complex", shape[:3])

    def _few(self, name: str, what: str, number: int) -> int:
        if number > MOST_SOURCES:
            raise self._error(name, f"expected at most {MOST_SOURCES} {what}, got {number}; remove it")
        return number

    def _unknown(self) -> tuple[str, ...]:
        found = self._contents.unknown("", _DATASETS, _ATTRIBUTES)
        if self._has_group("truth"):
            found += self._contents.unknown("truth/", (*TRUTH, "echoes"))
            if self._has_group("truth/echoes"):
                found += self._contents.unknown("truth/echoes/", ECHOES)
        return tuple(found)

    def _there(self, name: str) -> bool:
        try:
            return self._contents.variables.has(name)
        except StoredError as error:
            raise self._error(name, str(error)) from None

    def _has_group(self, name: str) -> bool:
        try:
            return self._contents.variables.has_group(name)
        except StoredError as error:
            raise self._error(name, str(error)) from None

    def _add(self, name: str, kind: str, *shapes: tuple[int | None, ...]) -> tuple[int, ...]:
        """Check and keep an array without reading it; return its shape, one of `shapes` (None: any size)."""
        try:
            data = self._contents.column(name, kind)
        except StoredError as error:
            raise self._error(name, f"{error}; {LAYOUT}") from None
        if fault := stored_fault(kind, data.dtype):
            raise self._error(name, fault)
        if fault := shape_fault(name, data.shape, shapes):
            raise MeasurementError(f"{self.path}: {fault}; {_TURNED if len(data.shape) > 1 else LAYOUT}")
        try:
            self._contents.variables.check(name)
        except StoredError as error:
            raise self._error(name, str(error)) from None
        self._data[name] = data
        return data.shape

    def _rows(self, scenes: slice | Sequence[int]) -> Rows:
        """Read the scenes as they are stored."""
        numbers = range(len(self))[scenes] if isinstance(scenes, slice) else [operator.index(each) for each in scenes]
        rising = all(low < high for low, high in itertools.pairwise(numbers))
        if not numbers or not rising or numbers[0] < 0 or numbers[-1] >= len(self):
            raise IndexError(f"scenes: expected increasing numbers in 0..{len(self) - 1}, got {shown(scenes)}")
        together = numbers[-1] - numbers[0] + 1 == len(numbers)
        index = slice(numbers[0], numbers[-1] + 1) if together else list(numbers)
        constant = self._contents.reading.pilots == "constant"
        with self._told():
            y, H, codes = (self._part(name, index, len(numbers)) for name in ("y", "H", "codes"))
            return Rows(
                numbers=numbers, y=y, H=H, codes=codes, bits=self.code_bits if isinstance(self.code_bits, int) else 0,
                noise_var=stored_noise(self._data["noise_var"], index, len(numbers)) if self.has_noise else None,
                truth=stored_truth(self._data, index) if self.sources else None,
                echoes=stored_echoes(self._data, index) if self.paths else None,
                pilots=stored_pilots(None if constant else self._data.get("pilots"), index, y.shape[:2])
                if self.reception.pilots else None,
                reception=self.reception,
            )  # fmt: skip

    def _part(self, name: str, index: slice | list[int], count: int) -> np.ndarray:
        """Read an array of some scenes; repeat an array that all scenes share."""
        data = self._data[name]
        shared = len(data.shape) < 3
        try:
            array = np.repeat(data[()][None], count, axis=0) if shared else data[index]
        except StoredError as error:
            raise self._error(name, str(error)) from None
        return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))

    def _error(self, name: str, words: str) -> MeasurementError:
        return MeasurementError(f"{self.path}: {name}: {words}")

    def _told(self) -> AbstractContextManager[None]:
        return broken_as(MeasurementError, self.path, "copy the file or write it again")
