"""The angles that the surface of measurements can see."""

import dataclasses
from typing import Any

from risloc.io.measurements import Setup
from risloc.locating.locate_arguments import LocateError

__all__ = ["with_visible_angles"]


def with_visible_angles(setup: Setup) -> tuple[Setup, tuple[str, ...]]:
    """Fix the angle that a line of elements cannot see: at 0, or in the middle of its span if 0 is outside.

    Parameters
    ----------
    setup
        The setup of the measurements, with the span of this angle.

    Returns
    -------
    Setup
        The setup with that angle fixed.
    tuple of str
        A note about it, if there is such an angle.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        There is one element, which sees no direction.
    """
    if setup.size == 1:
        raise LocateError("n_h, n_v: expected at least 2 elements, got 1 x 1: one element sees no direction")
    if setup.n_h > 1 and setup.n_v > 1:
        return setup, ()
    angle, axis = ("azimuth", "y") if setup.n_h == 1 else ("elevation", "x")
    name = f"{angle}_span_deg"
    low, high = getattr(setup, name)
    if low == high:
        return setup, ()
    value = 0.0 if low <= 0 <= high else (low + high) / 2
    note = f"elements in a line along {axis} cannot see {angle}: it is fixed at {value:g} deg"
    fixed: dict[str, Any] = {name: (value, value)}
    return dataclasses.replace(setup, **fixed), (note,)
