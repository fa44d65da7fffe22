"""params.yaml as the typed sections that a stage's signature asks for, checked whole before anything runs."""

import copy
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.layout import STAGES
from risloc.config import ParamError, build, shown
from risloc.scenes.preset_files import preset

__all__ = ["override", "sections_of", "stage_function", "typed_sections", "with_preset"]


def stage_function(stage: str) -> Callable[..., None]:
    """The `run` of `stages/<stage>.py`."""
    return importlib.import_module(f"stages.{stage}").run


def sections_of(run: Callable[..., None]) -> dict[str, type]:
    """The sections that a stage asks for, each with its type: its parameters but the paths and how it is executed."""
    hints = typing.get_type_hints(run)
    others = ("report", "runner", "storage")
    names = [name for name in inspect.signature(run).parameters if name not in others and hints[name] is not Path]
    return {name: hints[name] for name in names}


def typed_sections(stage: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The typed sections of `stage`, after all sections of all stages have been checked.

    Raises
    ------
    ParamError
        An unknown or missing section or key, a wrong type, a value outside its domain; of any stage, so that a slip in
        the last one shows before the first one runs.
    """
    _no_dots(params)
    asked = {name: sections_of(stage_function(name)) for name in STAGES}
    known = dict.fromkeys(section for sections in asked.values() for section in sections)
    if unknown := [name for name in params if name not in known]:
        raise ParamError(f"{unknown[0]}: unknown section; allowed: {', '.join(known)}. Remove it or correct its name")
    if missing := [name for name in known if name not in params]:
        raise ParamError(f"{missing[0]}: missing section; there are no other defaults, so add it to params.yaml")
    built = {
        name: {section: _section(kind, params[section], section) for section, kind in sections.items()}
        for name, sections in asked.items()
    }
    return built[stage]


def with_preset(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of `params` with the scenario of the preset; ParamError, listing the presets, for an unknown one."""
    return {**params, "scenario": preset(name)}


def override(params: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `params` with the value at each dotted path of `changes` replaced; ParamError if it is not there."""
    changed: dict[str, Any] = copy.deepcopy(dict(params))
    for path, value in changes.items():
        *parents, last = path.split(".")
        place: Any = changed
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise ParamError(f"{path}: not a parameter; use one in params.yaml, such as loss.lam_cov")
        if isinstance(place[last], dict):
            raise ParamError(f"{path}: this is a section; set its parameters one by one: {', '.join(place[last])}")
        place[last] = value
    return changed


def _no_dots(values: Mapping[Any, Any], where: str = "") -> None:
    """Refuse a name with a dot, which no `-S` and no `--set` reaches."""
    for name, value in values.items():
        if isinstance(name, str) and "." in name:
            section, _, rest = name.partition(".")
            raise ParamError(
                f"{where}{name}: expected a name without dots, which `dvc exp run -S` reads as levels; write "
                f"{section}: {{{rest}: ...}} under {where.rstrip('.') or 'the top level'}"
            )
        if isinstance(value, Mapping):
            _no_dots(value, f"{where}{name}.")


def _section(kind: type, value: object, name: str) -> Any:
    if kind is not int:
        return build(kind, value, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ParamError(f"{name}: expected a whole number >= 0, got {shown(value)}")
    return value
