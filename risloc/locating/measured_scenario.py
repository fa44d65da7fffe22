"""The scenario of measurements: what the localiser needs to know of their setup."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from risloc.config import ParamError, as_mapping, build, param
from risloc.io.measurements import Setup
from risloc.locating.locate_arguments import LocateError
from risloc.physics.geometry import Array
from risloc.scenes.scenario import Scenario

__all__ = ["MeasuredScenario", "measured_scenario", "with_visible_angles"]


@dataclass(frozen=True, kw_only=True)
class MeasuredScenario(Scenario):
    """A scenario whose elements have any spacing, not only half a wavelength."""

    spacing_m: float = param("distance of neighbouring elements", unit="m", gt=0.0)

    def array(self) -> Array:
        """Return the elements of the surface.

        Returns
        -------
        Array
            The array.
        """
        names = [field.name for field in dataclasses.fields(Setup)]
        return Setup(**{name: getattr(self, name) for name in names}).array()


def measured_scenario(base: Scenario, setup: Setup, snapshots: int, antennas: int, slots: int) -> MeasuredScenario:
    """Make the scenario of measurements.

    Parameters
    ----------
    base
        Has the spans that the setup lacks, and parameters of the simulation, which are not used.
    setup
        The setup of the measurements.
    snapshots
        The number of snapshots L.
    antennas
        The number of antennas M.
    slots
        The largest number of sources K_MAX.

    Returns
    -------
    MeasuredScenario
        The scenario.

    Raises
    ------
    risloc.locating.locate_arguments.LocateError
        A parameter is outside its domain.
    """
    given = {name: value for name, value in as_mapping(setup).items() if value is not None}
    fixed = {"preset": "measured", "observation": "ris", "codebook": "random", "waveform": "independent"}
    sizes = {
        "snapshots": snapshots,
        "antennas": antennas,
        "K_MAX": slots,
        "K_span": [0, slots],
        "coherent_fraction": 0.0,
    }
    try:
        return build(MeasuredScenario, as_mapping(base) | fixed | sizes | given, "measured")
    except ParamError as error:
        raise LocateError(str(error)) from None


def with_visible_angles(setup: Setup, base: Scenario) -> tuple[Setup, tuple[str, ...]]:
    """Fix the angle that a line of elements cannot see: at 0, or in the middle of its span if 0 is outside.

    Parameters
    ----------
    setup
        The setup of the measurements.
    base
        Has the spans that the setup lacks.

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
    low, high = getattr(setup, name) or getattr(base, name)
    if low == high:
        return setup, ()
    value = 0.0 if low <= 0 <= high else (low + high) / 2
    note = f"elements in a line along {axis} cannot see {angle}: it is fixed at {value:g} deg"
    fixed: dict[str, Any] = {name: (value, value)}
    return dataclasses.replace(setup, **fixed), (note,)
