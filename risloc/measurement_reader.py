"""Read measurements from a file that nobody vouches for; `risloc.measurements` has the layout.

Before any data is read: what is there, of which type, shape and size, that it lies in this file as plain numbers (no links,
no virtual or external storage, no filters but HDF5's own compressions), and that what is declared is stored. Then scenes
are read in slices, and each number is looked at.

Axes: batch B (scene), snap L, ant M, elem N, src K.
"""

import dataclasses
import difflib
import itertools
import os
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import torch

from risloc.codebook import codebook
from risloc.measurement_checks import (
    Fault,
    MeasurementError,
    allowed_shapes,
    array_faults,
    shape_fault,
    size_fault,
    truth_faults,
)
from risloc.measurements import FORMAT, VERSION, Measurements, Setup, Sources
from risloc.params import ParamError, build, shown
from risloc.stored import MOST_IN_A_CHUNK, StoredError, attribute, broken_as, check_storage, dataset, present

__all__ = ["MeasurementError", "MeasurementReader"]

MOST_SOURCES = 64
_KINDS = {"complex": "c", "integer": "iu", "real": "f", "integer or complex": "iuc"}
_WHOLE = ("n_h", "n_v", "version", "code_bits")
_ATTRIBUTES = ("format", "version", "code_bits", *(field.name for field in dataclasses.fields(Setup)))
_DATASETS, _TRUTH = ("y", "H", "codes", "noise_var", "truth"), ("location", "power", "count")
_MOST_NAMES = 16
_LAYOUT = "the layout is in docs/command_line.md and in the help of risloc.measurements"


class MeasurementReader:
    """The scenes of a measurement file, read in slices. A context manager.

    setup : what all scenes share.  snapshots, antennas : L and M.  has_noise : whether the file says sigma^2.
    sources : slots of the truth, 0 without a truth.  `len` is the number of scenes.  unknown : names in the file that the
    layout does not know, quoted, each with the known and absent one that is nearest; nothing of them is looked at.

    Raises
    ------
    MeasurementError
        No such file, no HDF5, or something in it that the layout does not allow; on `read`, numbers that are not finite, a
        scene without any signal, a code that is no code, a noise variance that is not positive or out of all proportion to y.
    """

    def __init__(self, path: "str | os.PathLike[str]") -> None:
        path = Path(path)
        if not path.is_file():
            raise MeasurementError(f"{path}: expected a file of measurements, there is none; mend the path")
        self.path = path
        with self._told("not a readable HDF5 file, or a damaged one"):
            self._file = h5py.File(path, "r", rdcc_nbytes=MOST_IN_A_CHUNK)
        try:
            with self._told("damaged"):
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

    def read(self, scenes: slice) -> Measurements:
        """The scenes of a slice of step 1; y, H and noise_var in the precision of the file."""
        low, high, step = scenes.indices(len(self))
        if step != 1 or high <= low:
            raise IndexError(f"scenes: expected a slice of step 1 in 0..{len(self)}, not empty, got {scenes}")
        with self._told("damaged"):
            y, H = (torch.from_numpy(self._part(name, low, high)) for name in ("y", "H"))
            book = self._codebook(self._part("codes", low, high), low)
            noise_var = self._noise(low, high) if self.has_noise else None
            self._refuse(array_faults(y, book, H, noise_var), low)
            truth = self._truth(low, high) if self.sources else None
            return Measurements(setup=self.setup, y=y, codebook=book, H=H, noise_var=noise_var, truth=truth)

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
        if self._data["codes"].dtype.kind != "c" and not (isinstance(self.code_bits, int) and 1 <= self.code_bits <= 8):
            raise self._error("code_bits", f"expected an attribute of 1..8 for integer codes, got {self.code_bits!r}")
        self.has_noise = self._there(self._file, "noise_var")
        if self.has_noise:
            self._add("noise_var", "real", *allowed["noise_var"])
        self.sources = self._add("truth/location", "real", (B, None, 3))[1] if self._has_truth() else 0
        if self.sources:
            if self.sources > MOST_SOURCES:
                raise self._error("truth/location", f"expected at most {MOST_SOURCES} sources, got {self.sources}")
            self._add("truth/power", "real", (B, self.sources))
            self._add("truth/count", "integer", (B,))

    def _check_format(self) -> None:
        found = [self._attribute(name) if name in self._file.attrs else None for name in ("format", "version")]
        if found != [FORMAT, VERSION]:
            raise self._error("attributes", f"expected format {FORMAT!r}, version {VERSION}, got {found}; {_LAYOUT}")

    def _unknown(self) -> tuple[str, ...]:
        """At most `_MOST_NAMES` of each place."""
        places: list[tuple[str, Any, tuple[str, ...]]] = [
            ("", self._file.attrs, _ATTRIBUTES),
            ("", self._file, _DATASETS),
        ]
        if self._there(self._file, "truth") and isinstance(self._file["truth"], h5py.Group):
            places.append(("truth/", self._file["truth"], _TRUTH))
        found = list[str]()
        for folder, names, known in places:
            absent = [name for name in known if name not in names]
            for name in itertools.islice((name for name in names if name not in known), _MOST_NAMES):
                near = difflib.get_close_matches(name[:64].lower(), absent, n=1)
                found.append(shown(folder + name) + (f" ({folder}{near[0]}?)" if near else ""))
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
            raise MeasurementError(f"{self.path}: {error}") from None

    def _attribute(self, name: str) -> Any:
        """A small attribute as plain Python: text, a number or a list of two."""
        try:
            value = attribute(self._file, name)
        except StoredError as error:
            raise self._error("attributes", f"{name}: {error}") from None
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
            raise self._error("truth", "expected a group, got something else; remove it")
        return True

    def _add(self, name: str, kind: str, *shapes: tuple[int | None, ...]) -> tuple[int, ...]:
        """Check a dataset without reading it and keep it; its shape, which must be one of `shapes` (None: any size)."""
        folder, _, last = name.rpartition("/")
        group = self._file[folder] if folder else self._file
        try:
            data = dataset(group, last)
        except StoredError as error:
            raise self._error(name, f"{error}; {_LAYOUT}") from None
        if data.dtype.kind not in _KINDS[kind] or data.dtype.itemsize > 16:
            raise self._error(
                name, f"expected {kind} numbers of at most double precision, got {data.dtype}; convert them"
            )
        if fault := shape_fault(name, tuple(data.shape), shapes):
            raise MeasurementError(f"{self.path}: {fault}; {_LAYOUT}")
        try:
            check_storage(data)
        except StoredError as error:
            raise self._error(name, str(error)) from None
        self._data[name] = data
        return tuple(data.shape)

    def _part(self, name: str, low: int, high: int) -> np.ndarray:
        """Scenes low..high - 1; what all scenes share, once for each."""
        data = self._data[name]
        shared = len(data.shape) < 3
        array = np.repeat(data[()][None], high - low, axis=0) if shared else data[low:high]
        return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))

    def _codebook(self, codes: np.ndarray, low: int) -> torch.Tensor:
        if codes.dtype.kind == "c":
            return torch.from_numpy(codes.astype(np.complex64))
        bits = int(self.code_bits or 0)
        inside = torch.from_numpy(((codes >= 0) & (codes < 2**bits)).reshape(len(codes), -1).all(1))
        if not inside.all():
            expected = f"integers in 0..{2**bits - 1} (code_bits = {bits})"
            self._refuse([Fault("codebook", ~inside, expected, "others", "mend code_bits")], low)
        return codebook(torch.from_numpy(codes.astype(np.uint8)), bits)

    def _noise(self, low: int, high: int) -> torch.Tensor:
        data = self._data["noise_var"]
        value = data[low:high] if data.shape == (len(self),) else np.full(high - low, data[()])
        return torch.from_numpy(np.asarray(value, dtype=np.float64))

    def _truth(self, low: int, high: int) -> Sources:
        location, power = (self._data[f"truth/{name}"][low:high].astype(np.float32) for name in ("location", "power"))
        count = self._data["truth/count"][low:high].astype(np.int64)
        truth = [torch.from_numpy(array) for array in (location, power, count)]
        self._refuse(truth_faults(*truth), low)
        return Sources(location=truth[0], power=truth[1], count=truth[2])

    def _refuse(self, faults: list[Fault], low: int) -> None:
        """Say the first fault, under the name that its array has in the file."""
        for fault in faults:
            name = {"codebook": "codes"}.get(fault.name, fault.name.replace(".", "/"))
            raise MeasurementError(f"{self.path}: {dataclasses.replace(fault, name=name).words(low)}")

    def _error(self, name: str, words: str) -> MeasurementError:
        return MeasurementError(f"{self.path}: {name}: {words}")

    def _told(self, what: str) -> AbstractContextManager[None]:
        return broken_as(MeasurementError, f"{self.path}: {what}", "write it again")
