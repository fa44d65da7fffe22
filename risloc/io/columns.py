"""Arrays of a file in the numbers and axes of the layout, whatever the program that wrote them; they are read in slices.

Axes: those of `risloc.io.measurements`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from risloc.io.safe_hdf5 import StoredError

__all__ = ["Column", "Convert", "Stored", "complex_parts", "complex_type", "two_parts"]

Convert = Callable[[np.ndarray], np.ndarray]
"""Converts numbers, element by element."""


@dataclass(frozen=True)
class Stored:
    """An array as it is stored.

    Parameters
    ----------
    data
        Has a shape and a dtype and is indexed like a numpy array, such as a dataset of h5py.
    imaginary
        The imaginary part if it is an array of its own, else None.
    dims
        The names of the axes, None if the file does not name them.
    logical
        Whether the integers 0 and 1 are truth values.
    scale
        The factor of the numbers, 1 if the file has none.
    missing
        The number that stands for a missing one, None if there is none.
    """

    data: Any
    imaginary: Any = None
    dims: tuple[str, ...] | None = None
    logical: bool = False
    scale: float = 1.0
    missing: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The stored shape."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored type."""
        return np.dtype(self.data.dtype)


@dataclass(frozen=True)
class Column:
    """An array of the layout, read from a stored one.

    Parameters
    ----------
    stored
        The stored array.
    dtype
        The type of the numbers that are read.
    axes
        The stored axis of each axis of the layout.
    part
        The stored axis of two that holds the real and the imaginary part, or None.
    added
        The number of axes of length 1 to put in front, and behind.
    flat
        Whether the array is a vector along some stored axis.
    convert
        Converts the numbers, element by element.
    elements
        The position in the file of each element of the last axis; None: as stored.
    """

    stored: Stored
    dtype: np.dtype[Any]
    axes: tuple[int, ...]
    part: int | None = None
    added: tuple[int, int] = (0, 0)
    flat: bool = False
    convert: Sequence[Convert] = ()
    elements: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the layout."""
        if self.flat:
            return (int(np.prod(self.stored.shape, dtype=np.int64)),)
        before, behind = self.added
        return (1,) * before + tuple(self.stored.shape[axis] for axis in self.axes) + (1,) * behind

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read rows of the first axis, or everything for the index ()."""
        if self.flat or self.added[0] or not self.axes or index == ():
            whole = self._read([slice(None)] * len(self.stored.shape))
            return whole if index == () else whole[index]
        key: list[Any] = [slice(None)] * len(self.stored.shape)
        key[self.axes[0]] = index
        return self._read(key)

    def _read(self, key: list[Any]) -> np.ndarray:
        x = np.asarray(self.stored.data[tuple(key)])
        if self.stored.imaginary is not None:
            x = complex_parts(x, np.asarray(self.stored.imaginary[tuple(key)]))
        part = () if self.part is None else (self.part,)
        x = x.reshape(-1) if self.flat else x.transpose(*self.axes, *part)
        for convert in self.convert:
            x = convert(x)
        if any(self.added):
            x = x.reshape((1,) * self.added[0] + x.shape + (1,) * self.added[1])
        return x if self.elements is None else x[..., self.elements]


def complex_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the complex type that holds two numbers of a real type.

    Parameters
    ----------
    dtype
        The type of the real and the imaginary part.

    Returns
    -------
    numpy.dtype
    """
    small = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    return np.dtype(np.complex64 if small else np.complex128)


def complex_parts(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """Put complex numbers together.

    Parameters
    ----------
    real
        The real parts.
    imaginary
        The imaginary parts.

    Returns
    -------
    the same shape
        The complex numbers.
    """
    x = np.empty(real.shape, complex_type(np.result_type(real.dtype, imaginary.dtype)))
    x.real, x.imag = real, imaginary
    return x


def two_parts(real: Stored, imaginary: Stored) -> Stored:
    """Put the real and the imaginary part of an array together, which are arrays of their own.

    Parameters
    ----------
    real
        The real part.
    imaginary
        The imaginary part.

    Returns
    -------
    Stored

    Raises
    ------
    StoredError
        They differ in their shapes, axes or scales, or are not real numbers.
    """
    for what, first, second in (
        ("of one shape", real.shape, imaginary.shape),
        ("with the same axes", real.dims, imaginary.dims),
        ("with the same scale", real.scale, imaginary.scale),
        ("with the same number for missing ones", real.missing, imaginary.missing),
    ):
        if first != second:
            raise StoredError(f"expected real and imaginary part {what}, got {first} and {second}; write them alike")
    if (real.dtype.kind + imaginary.dtype.kind).strip("iuf"):
        raise StoredError(
            f"expected real numbers in real and imaginary part, got {real.dtype} and {imaginary.dtype}; correct them"
        )
    return dataclasses.replace(real, imaginary=imaginary.data)
