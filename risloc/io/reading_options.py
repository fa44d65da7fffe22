"""How to read a file that does not say how its axes, its elements and its phases are to be taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from risloc.io.measurement_checks import MeasurementError
from risloc.io.reception import GAINS

__all__ = ["AXES", "ORDERS", "PILOTS", "REORDERED", "Reading", "axes_from", "element_order"]

AXES = {
    "y": (("scene", "snap", "ant"), ("snap", "ant"), ("scene", "snap")),
    "H": (("scene", "ant", "elem"), ("ant", "elem")),
    "codes": (("scene", "snap", "elem"), ("snap", "elem")),
}
"""The axes that an array may have, in the order of the layout; y without scenes is one scene, without antennas M is 1."""

REORDERED = ("auto", "c", "reversed")
"""The orders of all axes of a file: found by the sizes; that of C and numpy; that of MATLAB, Octave, Julia and Fortran."""

ORDERS = ("rows", "rows-down", "columns", "columns-down")
"""The orders of the elements: along x first ("rows") or along y first ("columns"), with y rising or falling ("-down")."""

PILOTS = ("file", "constant")
"""The pilots: those of the file if it has any, or symbols that do not vary."""


@dataclass(frozen=True)
class Reading:
    """What a file does not say itself.

    Parameters
    ----------
    axes
        One of `REORDERED`.
    named_axes
        The axes of single arrays, in the order of the file, by the name of the array.
    conjugate
        Whether the file has the time dependence exp(-j w t), so that y, H and codes are conjugated.
    order
        The order of the elements in the last axis of H and of the codes, one of `ORDERS`.
    beside
        Another file with the variables that the file does not have, or None.
    pilots
        One of `PILOTS`.
    unknown_gains
        One of `risloc.io.reception.GAINS`; "none" leaves what the file says.
    static_path
        Whether a part of the signal does not pass the surface; False leaves what the file says.
    """

    axes: str = "auto"
    named_axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conjugate: bool = False
    order: str = "rows"
    beside: Path | None = None
    pilots: str = "file"
    unknown_gains: str = "none"
    static_path: bool = False

    def __post_init__(self) -> None:
        choices = {"axes": REORDERED, "order": ORDERS, "pilots": PILOTS, "unknown_gains": GAINS}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise MeasurementError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
        for name, axes in self.named_axes.items():
            if sorted(axes) not in [sorted(each) for each in AXES.get(name, ())]:
                known = ", ".join(f"{array}={','.join(choices[0])}" for array, choices in AXES.items())
                raise MeasurementError(
                    f"axes: expected the axes of an array in any order, such as {known}, got {name}={','.join(axes)}"
                )


def axes_from(words: tuple[str, ...]) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Read the values of the option ``--axes``.

    Parameters
    ----------
    words
        "c", "reversed", "auto", or an array with its axes, as in "y=ant,snap,scene".

    Returns
    -------
    tuple
        The arguments `axes` and `named_axes` of `Reading`.

    Raises
    ------
    MeasurementError
        Two orders are given for the same arrays.
    """
    order, named = "auto", dict[str, tuple[str, ...]]()
    for word in words:
        name, equals, axes = (part.strip() for part in word.partition("="))
        if name in named if equals else order != "auto":
            raise MeasurementError(
                f"axes: expected one order for {name if equals else 'all arrays'}, got two; leave one out"
            )
        if equals:
            named[name] = tuple(axis.strip() for axis in axes.split(","))
        else:
            order = word
    return order, named


def element_order(order: str, n_h: int, n_v: int) -> np.ndarray | None:
    """Find where each element of the layout, n = ix + n_h iy, stands in a file.

    Parameters
    ----------
    order
        One of `ORDERS`.
    n_h
        The number of elements along x.
    n_v
        The number of elements along y.

    Returns
    -------
    [elem] or None
        The positions in the file; None if the order is that of the layout.
    """
    if order == "rows":
        return None
    iy, ix = np.divmod(np.arange(n_h * n_v), n_h)
    if order.endswith("-down"):
        iy = n_v - 1 - iy
    return ix + n_h * iy if order.startswith("rows") else iy + n_v * ix
