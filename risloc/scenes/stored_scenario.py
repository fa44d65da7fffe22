"""Scenarios in the files of networks and of scenes, of this version and of those that had no echoes yet.

A scenario without echoes is stored without their section, as it always was, if the section has the values of the preset
`default`; a missing section is read as that one.
"""

from collections.abc import Mapping
from typing import Any

from risloc.config import as_mapping, build
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario

__all__ = ["scenario_of_stored", "stored_scenario"]


def stored_scenario(scenario: Scenario) -> dict[str, Any]:
    """Convert a scenario to the mapping that files hold.

    Parameters
    ----------
    scenario
        The scenario.

    Returns
    -------
    dict
        The value of each parameter.
    """
    values = as_mapping(scenario)
    return {name: value for name, value in values.items() if name != "echoes" or value != _no_echoes()}


def scenario_of_stored(values: object, where: str) -> Scenario:
    """Restore a scenario from the mapping that a file holds.

    Parameters
    ----------
    values
        The mapping.
    where
        Its dotted path, for messages.

    Returns
    -------
    Scenario
        The scenario.

    Raises
    ------
    risloc.config.ParamError
        A parameter is missing, unknown or outside its domain.
    """
    return build(Scenario, {"echoes": _no_echoes(), **values} if isinstance(values, Mapping) else values, where)


def _no_echoes() -> dict[str, Any]:
    section: dict[str, Any] = preset("default")["echoes"]
    return section
