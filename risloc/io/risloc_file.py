"""Write an HDF5 file in the layout of `risloc.io.measurements`, scene by scene."""

from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

__all__ = ["RislocFile"]


class RislocFile:
    """A file that is written scene by scene; a context manager.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._file = h5py.File(path, "w", track_order=False)

    def __enter__(self) -> "RislocFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def value(self, name: str, value: Any) -> None:
        """Write an attribute.

        Parameters
        ----------
        name
            Its name.
        value
            A number, two numbers or a text.
        """
        self._file.attrs[name] = value

    def create(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Create an array of all scenes.

        Parameters
        ----------
        name
            Its name.
        shape
            Its shape; the first axis is that of the scenes.
        dtype
            The type of the numbers.
        """
        self._file.create_dataset(name, shape, dtype, track_times=False)

    def put(self, name: str, start: int, array: np.ndarray) -> None:
        """Write some scenes of an array.

        Parameters
        ----------
        name
            Its name.
        start
            The number of the first scene.
        array
            The scenes.
        """
        self._file[name][start : start + len(array)] = array
