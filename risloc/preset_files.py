"""Named scenarios, kept as package data: one YAML file a preset, with every value of the `scenario` section."""

import importlib.resources
import importlib.resources.abc
from typing import Any

from risloc.params import ParamError, read_yaml

__all__ = ["preset", "preset_names"]


def preset_names() -> list[str]:
    """The presets there are, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def preset(name: str) -> dict[str, Any]:
    """The values of preset `name`, as the `scenario` section holds them; `build(Scenario, ...)` makes the scenario.

    Raises
    ------
    ParamError
        No such preset; the message lists them.
    """
    if name not in preset_names():
        raise ParamError(f"preset: expected one of {', '.join(preset_names())}, got {name!r}")
    with importlib.resources.as_file(_folder() / f"{name}.yaml") as path:
        return read_yaml(path)


def _folder() -> importlib.resources.abc.Traversable:
    return importlib.resources.files("risloc") / "presets"
