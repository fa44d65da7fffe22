"""The attributes by which netCDF and recorders of integer samples say how numbers are packed."""

from typing import Any

import h5py
import numpy as np

from risloc.io.safe_hdf5 import StoredError, attribute

__all__ = ["missing_of", "nonzero", "scale_of"]


def nonzero(name: str, value: Any) -> float:
    """Check that a value is a finite number other than 0.

    Parameters
    ----------
    name
        Its name, for the message.
    value
        The value.

    Returns
    -------
    float

    Raises
    ------
    StoredError
        It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or value == 0:
        raise StoredError(f"expected {name} to be a nonzero number, got {value!r}; correct it")
    return float(value)


def scale_of(data: h5py.Dataset) -> float:
    """Read the factor of the numbers, the attribute ``scale_factor`` or ``scale``.

    Parameters
    ----------
    data
        The dataset.

    Returns
    -------
    float
        The factor, 1 without such an attribute.

    Raises
    ------
    StoredError
        It is not a nonzero number, or the attribute ``add_offset`` is not 0.
    """
    if "add_offset" in data.attrs and (offset := attribute(data, "add_offset")) != 0:
        raise StoredError(
            f"expected no attribute add_offset, or 0, got {offset!r}; add it to the numbers, and write them without it"
        )
    for name in ("scale_factor", "scale"):
        if name in data.attrs:
            return nonzero(f"the attribute {name}", attribute(data, name))
    return 1.0


def missing_of(data: h5py.Dataset) -> float | None:
    """Find the number that stands for a missing one: the attribute ``_FillValue`` or ``missing_value``.

    Parameters
    ----------
    data
        The dataset.

    Returns
    -------
    float or None
        The number; None if there is none, it is NaN, or it is 0, which a sample may be.
    """
    for name in ("_FillValue", "missing_value"):
        if name in data.attrs:
            value = attribute(data, name)
            return float(value) if isinstance(value, int | float) and np.isfinite(value) and value else None
    return None
