"""The values of variables as MATLAB and Octave keep them in HDF5: text as numbers, scalars as arrays, variables in groups."""

from typing import Any

import h5py
import numpy as np

from risloc.io.safe_hdf5 import StoredError, dataset, present

__all__ = ["MOST_TEXT", "octave_value", "plain"]

MOST_TEXT = 64
"""The largest number of characters of a text."""

_DEEPEST = 3  # cells in one another


def octave_value(found: h5py.HLObject) -> tuple[h5py.HLObject, str]:
    """Find what Octave keeps in the group of a variable.

    A member of a struct that was loaded from another file is a cell of one.

    Parameters
    ----------
    found
        The object of the name of the variable.

    Returns
    -------
    tuple
        The dataset, or the group of the members of a struct, and the type that Octave names; any other object as it is, and "".

    Raises
    ------
    StoredError
        The type is not a text.
    """
    kind = ""
    for _ in range(_DEEPEST):
        if not (isinstance(found, h5py.Group) and "OCTAVE_NEW_FORMAT" in found.attrs and present(found, "value")):
            break
        word = dataset(found, "type")
        if word.shape != () or word.dtype.kind != "S" or word.dtype.itemsize > MOST_TEXT:
            raise StoredError("expected the name of a type beside the value, as Octave writes it; write the data again")
        kind, found = word[()].decode(errors="replace"), found["value"]
        if kind == "cell" and isinstance(found, h5py.Group) and present(found, "_0") and not present(found, "_1"):
            found = found["_0"]
    return found, kind


def plain(value: Any, text: bool) -> Any:
    """Convert an array of one or two numbers, or text, to plain Python.

    Parameters
    ----------
    value
        The array or number; text may be given as the codes of its characters.
    text
        Whether numbers are the codes of characters.

    Returns
    -------
    Any
        Text, a number or a list of two.

    Raises
    ------
    StoredError
        There are more values.
    """
    array = np.asarray(value)
    if text and array.dtype.kind in "iu":
        return "".join(chr(int(code)) for code in array.reshape(-1) if code > 0)
    if array.size not in (1, 2):
        raise StoredError(f"expected one or two values, got the shape {array.shape}")
    values = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in array.reshape(-1).tolist()]
    return values[0] if len(values) == 1 else values
