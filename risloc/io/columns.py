"""Arrays of a file in the numbers and axes of the layout, whatever the program that wrote them; they are read in slices.

Axes: those of `risloc.io.measurements`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from risloc.io.safe_hdf5 import StoredError

__all__ = ["Column", "Stored", "complex_parts", "complex_type", "integers", "with_numbers"]

_PARTS = (("r", "i"), ("real", "imag"), ("re", "im"), ("i", "q"))
Convert = Callable[[np.ndarray], np.ndarray]


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
    """

    data: Any
    imaginary: Any = None
    dims: tuple[str, ...] | None = None
    logical: bool = False
    scale: float = 1.0

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


def integers(name: str, x: np.ndarray) -> np.ndarray:
    """Convert whole numbers of a floating type to integers.

    Parameters
    ----------
    name
        The name of the array, for the message.
    x
        The numbers.

    Returns
    -------
    the same shape
        Integers.

    Raises
    ------
    StoredError
        A number is not whole.
    """
    whole = np.isfinite(x) & (x == np.rint(x)) & (np.abs(x) < 2**31)
    if not whole.all():
        advice = "; write phases as complex phasors exp(1j * phase)" if name == "codes" else "; correct them"
        raise StoredError(f"expected whole numbers, got {x[~whole].flat[0]:g}{advice}")
    return x.astype(np.int64)


def with_numbers(column: Column, name: str, kind: str, bits: object, lenient: bool) -> tuple[Column, str | None]:
    """Add to a column the conversion of its numbers to those of the layout.

    Parameters
    ----------
    column
        The column in the axes of the layout.
    name
        The name of the array.
    kind
        One of complex, integer, real, and integer or complex.
    bits
        The bits of integer codes, None if the file does not say.
    lenient
        Whether real numbers are taken for complex ones with imaginary part 0, as MATLAB and Octave store them.

    Returns
    -------
    tuple
        The column, and in words what is special about it or None. A column that cannot be converted is returned unchanged.
    """
    stored, scale = column.stored, column.stored.scale
    dtype, steps, words = stored.dtype, list[Convert](), None
    if stored.imaginary is not None:
        dtype, words = complex_type(np.result_type(dtype, stored.imaginary.dtype)), "complex numbers from two arrays"
    elif (fields := _fields(dtype)) is not None:
        real, imaginary = fields
        words = f"complex numbers from pairs {real}, {imaginary}"
        steps.append(lambda x: complex_parts(x[real], x[imaginary]))
        dtype = complex_type(dtype[real])
    elif column.part is not None:
        words = "complex numbers from an axis of two"
        steps.append(lambda x: complex_parts(x[..., 0], x[..., 1]))
        dtype = complex_type(dtype)
    if scale != 1 and dtype.kind in "fc":
        steps.append(lambda x: x * x.dtype.type(scale))
        words = f"{words or ''}, {name} times {scale:g}".removeprefix(", ")
    if dtype.kind in "iufb":
        dtype, more, step = _real_numbers(name, kind, dtype, bits, lenient, stored.logical)
        steps += [step] if step else []
        words = words or more
    return dataclasses.replace(column, dtype=dtype, convert=tuple(steps)), words


def _fields(dtype: np.dtype[Any]) -> tuple[str, str] | None:
    """Return the members of a compound that hold the real and the imaginary part."""
    if dtype.names is None or len(dtype.names) != 2:
        return None
    plain = all(dtype[name].kind in "iuf" and not dtype[name].shape for name in dtype.names)
    pair = tuple(name.lower() for name in dtype.names)
    for real, imaginary in _PARTS:
        if plain and set(pair) == {real, imaginary} and (real, imaginary) != ("i", "q"):
            first, second = dtype.names if pair == (real, imaginary) else dtype.names[::-1]
            return first, second
    return (dtype.names[0], dtype.names[1]) if plain and pair == ("i", "q") else None


def _real_numbers(
    name: str, kind: str, dtype: np.dtype[Any], bits: object, lenient: bool, logical: bool
) -> tuple[np.dtype[Any], str | None, Convert | None]:
    """Convert real numbers to a kind: return the type, what is special in words, and the conversion; nothing if it is none."""
    whole = np.dtype(np.int64)
    if kind == "real" and dtype.kind in "iu":
        return np.dtype(np.float64), None, lambda x: x.astype(np.float64)
    if kind == "integer" and dtype.kind == "f":
        return whole, None, lambda x: integers(name, x)
    if kind == "integer or complex" and (dtype.kind == "b" or logical):
        return np.dtype(np.uint8), f"{name} from truth values", lambda x: x.astype(np.uint8)
    if kind == "integer or complex" and dtype.kind == "f" and bits is not None:
        return whole, f"{name} from floating-point numbers", lambda x: integers(name, x)
    if dtype.kind == "f" and lenient and (kind == "integer or complex" or (kind == "complex" and name == "H")):
        complex_ = complex_type(dtype)
        return complex_, f"{name} from real numbers", lambda x: x.astype(complex_)
    return dtype, None, None
