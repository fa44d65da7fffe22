"""Find by the sizes in which order the axes of a file stand: as in C and numpy, or reversed as MATLAB and Fortran write them.

One order holds for all arrays of a file. y, H and codes share the numbers of scenes, snapshots, antennas and elements, and the
number of elements is known.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from risloc.io.columns import Stored
from risloc.io.reading_options import AXES, Reading
from risloc.io.safe_hdf5 import StoredError

__all__ = ["PART", "Fit", "find_axes"]

PART = "part"
"""The name of the axis of two that holds the real and the imaginary part."""


@dataclass(frozen=True)
class Fit:
    """An order of the axes that fits the sizes.

    Parameters
    ----------
    order
        "c", "reversed" or "named".
    axes
        The axes of each array in the order of the file; "part" is that of the real and the imaginary part.
    """

    order: str
    axes: Mapping[str, tuple[str, ...]]


def find_axes(arrays: Mapping[str, Stored], elements: int, reading: Reading, declared: bool) -> Fit | None:
    """Find the axes of y, H and codes.

    Parameters
    ----------
    arrays
        The stored arrays by these names.
    elements
        The number of elements N.
    reading
        What the user says about the axes.
    declared
        Whether the file declares the layout, in which axes have the order of C.

    Returns
    -------
    Fit or None
        The axes; None if no order fits.

    Raises
    ------
    StoredError
        More than one order fits and nothing decides between them.
    """
    orders = ("c", "reversed") if reading.axes == "auto" else (reading.axes,)
    fits = list[Fit]()
    for order in orders:
        choices = [_choices(name, stored, order, reading) for name, stored in arrays.items()]
        for axes in itertools.product(*choices):
            named = dict(zip(arrays, axes, strict=True))
            if _consistent(named, arrays, elements) and named not in [fit.axes for fit in fits]:
                fits.append(Fit(order, named))
    if not fits or len(fits) == 1 or (declared and fits[0].order == "c"):
        return fits[0] if fits else None
    sizes = ", ".join(f"{name} {stored.shape}" for name, stored in arrays.items())
    example = ",".join(fits[0].axes["y"])
    raise StoredError(
        f"expected sizes that tell the order of the axes, got {sizes} with {elements} elements, which fit more than one; say it with "
        "`risloc convert --axes c` (the order of numpy, h5ls and C), `--axes reversed` (of MATLAB, Octave, Julia and Fortran) or, "
        f"for one array, `--axes y={example}` (in Python Reading(axes=...))"
    )


def _choices(name: str, stored: Stored, order: str, reading: Reading) -> list[tuple[str, ...]]:
    """List the axes that an array may have in the order of the file."""
    given = reading.named_axes.get(name)
    if given is None and (dims := _named(name, stored)) is not None:
        return [dims]
    choices: list[tuple[str, ...]] = [axes if order == "c" else axes[::-1] for axes in AXES[name]]
    choices = choices if given is None else [given]
    parts: list[tuple[str, ...]] = [(*axes, PART) if order == "c" else (PART, *axes) for axes in choices]
    complex_apart = stored.dtype.kind in "iuf" and stored.imaginary is None and name != "codes"
    return choices + parts if complex_apart else choices


def _named(name: str, stored: Stored) -> tuple[str, ...] | None:
    """Return the axes if the file names them; one of two with another name holds the real and the imaginary part."""
    dims = stored.dims or ()
    known = {axis for axes in AXES[name] for axis in axes}
    if name != "codes" and sum(axis not in known for axis in dims) == 1 and stored.dtype.kind in "iuf":
        dims = tuple(
            axis if axis in known or size != 2 else PART for axis, size in zip(dims, stored.shape, strict=True)
        )
    return dims if sorted(axis for axis in dims if axis != PART) in [sorted(axes) for axes in AXES[name]] else None


def _consistent(named: Mapping[str, tuple[str, ...]], arrays: Mapping[str, Stored], elements: int) -> bool:
    """Test whether the arrays agree about the size of each axis."""
    sizes = {"elem": elements, PART: 2}
    if "scene" not in named["y"]:
        sizes["scene"] = 1
    if "ant" not in named["y"]:
        sizes["ant"] = 1
    for name, axes in named.items():
        if len(axes) != len(arrays[name].shape):
            return False
        for axis, size in zip(axes, arrays[name].shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                return False
    return True
