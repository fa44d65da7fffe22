"""Named scenarios, kept as package data: one YAML file a preset, with every value of the `scenario` section."""

import importlib.resources
import importlib.resources.abc
import itertools
from typing import Any

from risloc.config import ParamError, read_yaml

__all__ = ["preset", "preset_names", "preset_purpose"]


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
    with importlib.resources.as_file(_file(name)) as path:
        return read_yaml(path)


def preset_purpose(name: str) -> str:
    """What preset `name` is for, in a sentence: the comment that its file begins with.

    Raises
    ------
    ParamError
        No such preset; the message lists them.
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
