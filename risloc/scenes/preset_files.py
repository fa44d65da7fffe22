"""Named scenarios, shipped as package data: one YAML file for each preset, with every value of the `scenario` section."""

import importlib.resources
import importlib.resources.abc
import itertools
from typing import Any

from risloc.config import ParamError
from risloc.utils.yaml_reader import read_yaml

__all__ = ["preset", "preset_names", "preset_purpose"]


def preset_names() -> list[str]:
    """List the presets.

    Returns
    -------
    list of str
        Their names, sorted.
    """
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def preset(name: str) -> dict[str, Any]:
    """Read the values of a preset as the `scenario` section holds them; `build(Scenario, ...)` makes the scenario.

    Parameters
    ----------
    name
        The name of the preset.

    Returns
    -------
    dict
        The value of each parameter.

    Raises
    ------
    ParamError
        The preset does not exist; the message lists the existing ones.
    """
    with importlib.resources.as_file(_file(name)) as path:
        return read_yaml(path)


def preset_purpose(name: str) -> str:
    """Read the purpose of a preset: the comment at the beginning of its file.

    Parameters
    ----------
    name
        The name of the preset.

    Returns
    -------
    str
        One sentence.

    Raises
    ------
    ParamError
        The preset does not exist; the message lists the existing ones.
    """
    lines = _file(name).read_text(encoding="utf-8").splitlines()
    return " ".join(
        line.removeprefix("#").strip() for line in itertools.takewhile(lambda it: it.startswith("#"), lines)
    )


def _file(name: str) -> importlib.resources.abc.Traversable:
    if name not in preset_names():
        raise ParamError(f"preset: expected one of {', '.join(preset_names())}, got {name!r}")
    return _folder() / f"{name}.yaml"


def _folder() -> importlib.resources.abc.Traversable:
    return importlib.resources.files("risloc.scenes") / "presets"
