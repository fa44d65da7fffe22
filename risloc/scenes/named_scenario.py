"""Make a scenario from the name of its preset, with some values changed."""

from risloc.config import build
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario

__all__ = ["scenario"]


def scenario(name: str = "default", **changes: object) -> Scenario:
    """Make the scenario of a preset with some of its values changed.

    >>> scenario("default", snapshots=64).snapshots
    64

    Parameters
    ----------
    name
        The name of the preset.
    **changes
        New values by the names of their parameters.

    Returns
    -------
    Scenario
        The scenario.

    Raises
    ------
    risloc.config.ParamError
        The preset or a parameter does not exist, or a value is outside its domain.
    """
    return build(Scenario, preset(name) | changes, "scenario")
