"""Find names in a measurement file that its layout does not define, except those that other libraries write beside the data.

netCDF4 and PyTables store bookkeeping in HDF5: attributes, dimension scales and named types. These are ignored.
"""

import difflib
import itertools
from collections.abc import Sequence
from typing import Any

import h5py

from risloc.config import shown
from risloc.io.safe_hdf5 import FAILURES, attribute

__all__ = ["BOOKKEEPING", "unknown_names"]

BOOKKEEPING = frozenset({
    *("CLASS", "NAME", "TITLE", "VERSION", "FLAVOR", "FILTERS", "PYTABLES_FORMAT_VERSION"),
    *("DIMENSION_LIST", "DIMENSION_LABELS", "REFERENCE_LIST", "H5PATH", "MATLAB_class"),
    *("_NCProperties", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict"),
})  # fmt: skip
"""Attributes of HDF5's dimension scales, PyTables, netCDF4 and MATLAB."""

_MOST_NAMES, _MOST_LOOKED_AT = 16, 1024


def unknown_names(folder: str, names: Any, known: Sequence[str]) -> list[str]:
    """List at most 16 unknown names of a group or of its attributes, each with the most similar known name that is absent.

    Parameters
    ----------
    folder
        The prefix of each name.
    names
        A group of h5py, or the attributes of a group.
    known
        The names that the layout defines.

    Returns
    -------
    list of str
        The quoted names.
    """
    absent = [name for name in known if name not in names]
    strange = (name for name in itertools.islice(names, _MOST_LOOKED_AT) if name not in known)
    found = []
    for name in itertools.islice((name for name in strange if not _bookkeeping(names, name)), _MOST_NAMES):
        near = difflib.get_close_matches(name[:64].lower(), absent, n=1)
        found.append(shown(folder + name) + (f" ({folder}{near[0]}?)" if near else ""))
    return found


def _bookkeeping(names: Any, name: str) -> bool:
    """Test whether a name is a library's own attribute, a named type or a dimension scale."""
    if not isinstance(names, h5py.Group):
        return name in BOOKKEEPING
    try:
        if not isinstance(names.get(name, getlink=True), h5py.HardLink):
            return False
        what = names[name]
        if isinstance(what, h5py.Datatype):
            return True
        return "CLASS" in what.attrs and attribute(what, "CLASS") == "DIMENSION_SCALE"
    except FAILURES:
        return False
