"""Convert the numbers of a column to those of the layout: complex numbers, integers and real numbers.

Axes: those of `risloc.io.measurements`.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from risloc.io.columns import Column, Convert, complex_parts, complex_type
from risloc.io.safe_hdf5 import StoredError

__all__ = ["integers", "with_numbers"]

_PARTS = (("r", "i"), ("real", "imag"), ("re", "im"), ("i", "q"))


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

    Raises
    ------
    StoredError
        Integers have a scale.
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
    if stored.missing is not None and dtype.kind in "fc":
        steps.append(functools.partial(_without, missing=stored.missing))
    if scale != 1:
        if dtype.kind in "iu" and "integer" in kind:
            raise StoredError(f"expected integers without a scale, got the scale {scale:g}; remove it, or apply it")
        dtype = np.dtype(np.float64) if dtype.kind in "iu" else dtype
        steps.append(lambda x: x.astype(dtype) * dtype.type(scale))
        words = f"{words or ''}, {name} times {scale:g}".removeprefix(", ")
    if dtype.kind in "iufb":
        dtype, more, step = _real_numbers(name, kind, dtype, bits, lenient, stored.logical)
        steps += [step] if step else []
        words = words or more
    return dataclasses.replace(column, dtype=dtype, convert=tuple(steps)), words


def _without(x: np.ndarray, missing: float) -> np.ndarray:
    """Replace the number that stands for a missing one by NaN."""
    return np.where((x.real == missing) | (x.imag == missing), x.dtype.type(np.nan), x)


def _fields(dtype: np.dtype[Any]) -> tuple[str, str] | None:
    """Return the members of a compound that hold the real and the imaginary part."""
    if dtype.names is None or len(dtype.names) != 2:
        return None
    plain = all(dtype[name].kind in "iuf" and not dtype[name].shape for name in dtype.names)
    pair = tuple(name.lower() for name in dtype.names)
    for parts in _PARTS if plain else ():
        if pair in (parts, parts[::-1]):
            first, second = dtype.names if pair == parts else dtype.names[::-1]
            return first, second
    return None


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
    real_pilots = name == "pilots" and dtype.kind == "f"
    taken = kind == "integer or complex" or (kind == "complex" and name == "H")
    if real_pilots or (dtype.kind == "f" and lenient and taken):
        complex_ = complex_type(dtype)
        return complex_, f"{name} from real numbers", lambda x: x.astype(complex_)
    return dtype, None, None
