"""Read measurements from a file that nobody vouches for; `risloc.measurements` has the layout.

Before any data is read: what is there, of which type, shape and size, that it lies in this file as plain numbers (no links,
no virtual or external storage, no filters but HDF5's own compressions), and that what is declared is stored. Then scenes
are read in slices, and each number is looked at.

Axes: batch B (scene), snap L, ant M, elem N, src K.
"""

import dataclasses
import difflib
import itertools
import math
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import torch

from risloc.codebook import codebook
from risloc.measurements import FORMAT, VERSION, Measurements, Setup, Sources, noise_fault
from risloc.params import ParamError, build, shown
from risloc.stored import MOST_IN_A_CHUNK, StoredError, attribute, broken_as, check_storage, dataset, present

__all__ = ["MeasurementError", "MeasurementReader"]

MOST_IN_A_SCENE = 2**27  # L M N: a scene's G in single precision then takes 1 GiB
MOST_SOURCES = 64
_QUARTER = math.pi / 2 + 1e-6  # in single precision pi / 2 is a little more
MODULUS = 1e-3  # how far from 1 a code's modulus may be
_KINDS = {"complex": "c", "integer": "iu", "real": "f", "integer or complex": "iuc"}
_WHOLE = ("n_h", "n_v", "version", "code_bits")
_ATTRIBUTES = ("format", "version", "code_bits", *(field.name for field in dataclasses.fields(Setup)))
_DATASETS, _TRUTH = ("y", "H", "codes", "noise_var", "truth"), ("location", "power", "count")
_MOST_NAMES = 16
_LAYOUT = "the layout is in docs/command_line.md and in the help of risloc.measurements"


class MeasurementError(ValueError):
    """A measurement file is not readable or not what it must be; the message says where, what was expected and what to do."""


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

    def __init__(self, path: Path) -> None:
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
            y, H, codes = (self._part(name, low, high) for name in ("y", "H", "codes"))
            for name, array in (("y", y), ("H", H)):
                self._require(np.isfinite(array), name, low, "finite numbers", "leave the scene out")
                self._require(array != 0, name, low, "a signal, not zeros alone", "leave the scene out", enough=np.any)
            noise_var = self._noise(low, high) if self.has_noise else None
            if noise_var is not None and (fault := noise_fault(torch.from_numpy(y), noise_var, low)):
                raise self._error("noise_var", fault)
            return Measurements(
                setup=self.setup,
                y=torch.from_numpy(y),
                codebook=self._codebook(codes, low),
                H=torch.from_numpy(H),
                noise_var=noise_var,
                truth=self._truth(low, high) if self.sources else None,
            )

    def _open(self) -> None:
        self._check_format()
        self.unknown = self._unknown()
        self.setup = self._setup()
        N = self.setup.size
        self._data: dict[str, h5py.Dataset] = {}
        self._scenes, self.snapshots, self.antennas = self._add("y", "complex", (None, None, None))
        B, L, M = self._scenes, self.snapshots, self.antennas
        if min(B, L, M) < 1 or L * M * N > MOST_IN_A_SCENE or M > N:
            raise self._error(
                "y", f"expected [scene, snap, ant] with 1..{N} antennas, at least one snapshot, and snapshots x antennas x "
                f"elements up to {MOST_IN_A_SCENE}, got {B} x {L} x {M} with {N} elements; split the file, or mend n_h and n_v"
            )  # fmt: skip
        self._add("H", "complex", (B, M, N), (M, N))
        self._add("codes", "integer or complex", (B, L, N), (L, N))
        self.code_bits = self._attribute("code_bits") if "code_bits" in self._file.attrs else None
        if self._data["codes"].dtype.kind != "c" and not (isinstance(self.code_bits, int) and 1 <= self.code_bits <= 8):
            raise self._error("code_bits", f"expected an attribute of 1..8 for integer codes, got {self.code_bits!r}")
        self.has_noise = self._there(self._file, "noise_var")
        if self.has_noise:
            self._add("noise_var", "real", (B,), ())
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
        fits = [
            len(data.shape) == len(shape)
            and all(want in (None, got) for want, got in zip(shape, data.shape, strict=True))
            for shape in shapes
        ]
        if not any(fits):
            wanted = " or ".join(str(shape).replace("None", "any") for shape in shapes)
            raise self._error(name, f"expected the shape {wanted}, got {data.shape}; {_LAYOUT}")
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
            self._require(abs(abs(codes) - 1) <= MODULUS, "codes", low, "phasors of modulus 1", "divide by the modulus")
            return torch.from_numpy(codes.astype(np.complex64))
        bits = int(self.code_bits or 0)
        inside = (codes >= 0) & (codes < 2**bits)
        self._require(inside, "codes", low, f"integers in 0..{2**bits - 1} (code_bits = {bits})", "mend code_bits")
        return codebook(torch.from_numpy(codes.astype(np.uint8)), bits)

    def _noise(self, low: int, high: int) -> torch.Tensor:
        data = self._data["noise_var"]
        value = np.asarray(data[low:high] if data.shape else np.full(high - low, data[()]), dtype=np.float64)
        good = np.isfinite(value) & (value > 0)
        self._require(good, "noise_var", low, "positive numbers", "remove noise_var, and it is estimated")
        return torch.from_numpy(value)

    def _truth(self, low: int, high: int) -> Sources:
        location, power = (self._data[f"truth/{name}"][low:high].astype(np.float32) for name in ("location", "power"))
        count = self._data["truth/count"][low:high].astype(np.int64)
        for name, array in (("location", location), ("power", power)):
            self._require(np.isfinite(array), f"truth/{name}", low, "finite numbers", "remove the group truth")
        good = (count >= 0) & (count <= self.sources)
        self._require(good, "truth/count", low, f"0..{self.sources}", "remove the group truth")
        there = np.arange(self.sources) < count[:, None]
        angles, distance = np.abs(location[..., :2]).max(-1), location[..., 2]
        good = ~there | ((angles <= _QUARTER) & (distance > 0))
        self._require(
            good, "truth/location", low, "azimuth and elevation within +-pi/2 radians and a distance above 0 metres",
            "convert them, or remove the group truth",
        )  # fmt: skip
        return Sources(
            location=torch.from_numpy(location), power=torch.from_numpy(power), count=torch.from_numpy(count)
        )

    def _require(self, good: np.ndarray, name: str, low: int, expected: str, remedy: str, enough: Any = np.all) -> None:
        """The first scene whose entries are not all (or, with np.any, not one of them) good."""
        fine = enough(good.reshape(len(good), -1), axis=1)
        if not fine.all():
            bad = np.flatnonzero(~fine)
            raise self._error(
                name, f"scene {low + bad[0]}: expected {expected}, got others ({len(bad)} of scenes {low}.."
                f"{low + len(good) - 1}); {remedy}"
            )  # fmt: skip

    def _error(self, name: str, words: str) -> MeasurementError:
        return MeasurementError(f"{self.path}: {name}: {words}")

    def _told(self, what: str) -> AbstractContextManager[None]:
        return broken_as(MeasurementError, f"{self.path}: {what}", "write it again")
