"""docs/params.md: every parameter from the dataclass that declares it, its value in params.yaml, who takes it; presets; rooms."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.layout import STAGES
from pipeline.sections import sections_of, stage_function
from risloc.config import as_mapping, flatten
from risloc.scenes.preset_files import preset, preset_names, preset_purpose
from risloc.scenes.room import Room, read_room

__all__ = ["params_reference"]

HEAD = """\
# Parameters

This page describes every parameter of the pipeline. `python -m pipeline params-reference > docs/params.md` writes it from the
dataclasses that declare the parameters; a test compares the two. Every value is in `params.yaml` and has no other default. An
unknown or missing key, a wrong type or a value outside its domain is reported in one line before anything runs.

The last column is the value in `params.yaml`, whose scenario is the preset `default`. `make preset NAME=room_3g5` writes another
preset there, and `dvc exp run -S loss.lam_cov=0.5` runs with one value changed. Each section names the stages that use it; after
a change DVC runs these and every stage that depends on them."""

PRESETS = """## Presets

`make preset NAME=...` writes a preset into the section `scenario`; `python -m pipeline STAGE --preset NAME` uses one for a
single run. The table lists only the values that differ from `default`."""

ROOM = """## A room file

`risloc trace --room FILE` reads such a YAML file ([command line](command_line.md#a-ray-traced-room)). All keys are at its top
level, and all are required. The last column is the room `hall`, which comes with the package."""

_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_ROOT_SEED = "root of every random stream: scenes, initial weights, order of the scenes"


def params_reference(params: Mapping[str, Any]) -> str:
    """The page, for params.yaml read as the mapping `params`: a table a section, in the order of the file."""
    asked = {stage: sections_of(stage_function(stage)) for stage in STAGES}
    kinds = {name: kind for sections in asked.values() for name, kind in sections.items()}
    lines = [HEAD]
    for name, values in params.items():
        takers = [stage for stage, sections in asked.items() if name in sections]
        lines += ["", f"## {name}", "", _who(kinds[name], takers), "", *_head()]
        if dataclasses.is_dataclass(kinds[name]):
            lines += _rows(kinds[name], values, f"{name}.")
        else:
            lines.append(_row(name, _ROOT_SEED, "int", "", ">= 0", values))
    room = _rows(Room, as_mapping(read_room("hall")), "")
    return "\n".join([*lines, "", PRESETS, "", *_presets(), "", ROOM, "", *_head(), *room]) + "\n"


def runs_again(takers: list[str]) -> list[str]:
    """The stages that are due after a change of what `takers` take, in order: those, and all that read what they write."""
    due: set[str] = set()
    for stage, files in STAGES.items():
        if stage in takers or any(name in STAGES[other].outs for other in due for name in files.deps):
            due.add(stage)
    return [stage for stage in STAGES if stage in due]


def _presets() -> Iterator[str]:
    """A row for each preset: what it is for, and what it has otherwise than `default`."""
    usual = flatten(preset("default"))
    yield from ("| preset | what it is for | differs from `default` in |", "|---|---|---|")
    for name in preset_names():
        own = flatten(preset(name))
        other = [f"`{key}: {_flow(own[key])}`" for key in usual if own[key] != usual[key] and key != "preset"]
        yield f"| `{name}` | {_escaped(preset_purpose(name))} | {', '.join(other) or 'nothing'} |"


def _who(kind: type, takers: list[str]) -> str:
    owner = f"`{kind.__module__}.{kind.__name__}`. " if dataclasses.is_dataclass(kind) else ""
    due = runs_again(takers)
    again = "every stage runs" if due == list(STAGES) else f"{_listed(due)} {'runs' if len(due) == 1 else 'run'}"
    return f"{owner}Used by {_listed(takers)}; after a change {again} again."


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _head() -> list[str]:
    return ["| parameter | meaning | type | unit | domain | value |", "|---|---|---|---|---|---|"]


def _rows(cls: Any, values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """A row for each field; one that is a dataclass gets the rows of its own fields, a mapping of mappings one an entry."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, value, name = hints[field.name], values[field.name], f"{prefix}{field.name}"
        meta = field.metadata
        if dataclasses.is_dataclass(kind):
            yield _row(name, meta["doc"], "section", "", "", None)
            yield from _rows(kind, value, f"{name}.")
        elif typing.get_origin(kind) is dict and typing.get_origin(ranges := typing.get_args(kind)[1]) is dict:
            yield _row(name, meta["doc"], "mapping", "", "", None)
            yield from _ranges(typing.get_args(ranges)[1], value, name)
        else:
            yield _row(name, meta["doc"], _type(kind), meta["unit"], _domain(meta), value)


def _ranges(entry: Any, sections: Mapping[str, Mapping[str, Any]], prefix: str) -> Iterator[str]:
    """The rows of a search space: what a range says, by the fields of its dataclass `entry`, and each range there is."""
    hints = typing.get_type_hints(entry)
    for f in dataclasses.fields(entry):
        domain = _domain(f.metadata)
        yield _row(f"{prefix}.*.*.{f.name}", f.metadata["doc"], _type(hints[f.name]), f.metadata["unit"], domain, None)
    for section, ranges in sections.items():
        for name, each in ranges.items():
            yield _row(f"{prefix}.{section}.{name}", "the range searched", "", "", "", each)


def _row(name: str, doc: str, kind: str, unit: str, domain: str, value: object) -> str:
    shown = "" if value is None else f"`{_flow(value)}`"
    cells = [f"`{name}`", _escaped(doc), kind, unit, _escaped(domain), shown]
    return f"| {' | '.join(cells)} |"


def _type(kind: Any) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return f"list of {_type(args[0])}" if args[-1] is ... else f"list of {len(args)} {_type(args[0])}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if arg is type(None) else _type(arg) for arg in args)
    return kind.__name__


def _domain(metadata: Mapping[str, Any]) -> str:
    """The bounds in words, or the choices."""
    domain = metadata["domain"]
    if "choices" in domain:
        return "one of " + ", ".join(str(choice) for choice in domain["choices"])
    return " and ".join(f"{_SIGNS[key]} {bound:g}" for key, bound in domain.items())


def _flow(value: object) -> str:
    """A value as YAML writes it on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and abs(value) >= 1e6 and float(f"{value:g}") == value:
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(each) for each in value) + "]"
    return str(value)


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*").replace("<", "&lt;")
