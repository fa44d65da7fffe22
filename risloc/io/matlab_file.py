"""Write measurements so that MATLAB and Octave load them: a .mat file of version 7.3, which is HDF5 with conventions.

Axes are stored in reverse order, so that MATLAB shows them in the order of the layout; complex numbers are pairs named real and
imag; scalars are 1 x 1; each variable names its class. `risloc.io.hdf5_variables` reads such files.
"""

from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

__all__ = ["MatlabFile"]

_BLOCK = 512  # bytes before the HDF5 data
_HEADER = b"MATLAB 7.3 MAT-file, written by risloc. HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"
_CLASSES = {"f4": "single", "f8": "double", "c8": "single", "c16": "double", "u1": "uint8", "i8": "int64"}


class MatlabFile:
    """A .mat file that is written scene by scene; a context manager.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = h5py.File(path, "w", userblock_size=_BLOCK, track_order=False)

    def __enter__(self) -> "MatlabFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        with self._path.open("r+b") as file:
            file.write(_HEADER)

    def value(self, name: str, value: Any) -> None:
        """Write a number, two numbers or a text.

        Parameters
        ----------
        name
            Its name.
        value
            The value.
        """
        if isinstance(value, str):
            self._file[name] = np.frombuffer(value.encode("utf-16-le"), np.uint16)[:, None]
            self._file[name].attrs["MATLAB_class"] = np.bytes_("char")
            self._file[name].attrs["MATLAB_int_decode"] = np.int32(2)
        else:
            self._file[name] = np.atleast_2d(np.asarray(value, np.float64)).T
            self._file[name].attrs["MATLAB_class"] = np.bytes_("double")

    def create(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Create an array of all scenes.

        Parameters
        ----------
        name
            Its name; "/" separates a struct from its member.
        shape
            The shape in the layout; the first axis is that of the scenes.
        dtype
            The type of the numbers.
        """
        stored = (shape if len(shape) > 1 else (*shape, 1))[::-1]
        real = f"f{dtype.itemsize // 2}"
        kind = np.dtype([("real", real), ("imag", real)]) if dtype.kind == "c" else dtype
        data = self._file.create_dataset(name, stored, kind, track_times=False)
        data.attrs["MATLAB_class"] = np.bytes_(_CLASSES[dtype.str[1:]])
        folder = name.rpartition("/")[0]
        if folder:
            self._file[folder].attrs["MATLAB_class"] = np.bytes_("struct")

    def put(self, name: str, start: int, array: np.ndarray) -> None:
        """Write some scenes of an array.

        Parameters
        ----------
        name
            Its name.
        start
            The number of the first scene.
        array
            The scenes in the layout.
        """
        data = self._file[name]
        turned = np.ascontiguousarray((array if array.ndim > 1 else array[:, None]).T)
        data[..., start : start + len(array)] = turned.view(data.dtype) if turned.dtype.kind == "c" else turned
