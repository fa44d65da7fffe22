"""Typed, frozen parameters: each field carries its meaning, unit and domain, and nothing has a default.

A section of ``params.yaml`` is built into the dataclass that owns it, which stands beside the code it configures.
"""

import contextlib
import dataclasses
import math
import operator
import os
import re
import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionStartEvent, ScalarEvent

__all__ = [
    "ParamError",
    "as_mapping",
    "build",
    "checked",
    "flatten",
    "integer",
    "param",
    "read_yaml",
    "shown",
    "whole",
]

T = TypeVar("T")
_DOMAIN = ("ge", "gt", "le", "lt", "choices")
_MOST_YAML = 2**18  # bytes: of ours the longest has some 2^13
_DEEPEST_YAML = 32  # mappings and lists within each other: of ours the deepest has 5
_BROKEN = (YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)


class ParamError(ValueError):
    """A parameter is unknown, missing, of the wrong type, or outside its domain."""


def param(doc: str, *, unit: str = "", **domain: Any) -> Any:
    """Declare a dataclass field: its meaning, unit, and domain (``ge gt le lt`` bounds, or ``choices``).

    The bounds hold for every number of a field that is a tuple of numbers.
    """
    if unknown := set(domain) - set(_DOMAIN):
        raise TypeError(f"unknown domain keys {sorted(unknown)}; expected some of {_DOMAIN}")
    return dataclasses.field(metadata={"doc": doc, "unit": unit, "domain": domain})


def shown(value: object) -> str:
    """A value as Python writes it, cut where that is long: what came, for a message."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    """Aliases let some bytes of YAML stand for a list whose text fills the memory."""

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write a very long one in decimals."""
        return super().repr_int(x, level) if abs(x) < 10**self.maxlong else f"an integer of {x.bit_length()} bits"


_SHORT = _Short()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 3, 8, 8, 8
_SHORT.maxstring = _SHORT.maxother = 200


def build(cls: type[T], values: object, where: str) -> T:
    """Build the frozen dataclass `cls` from the mapping `values` found at the dotted path `where`.

    Raises
    ------
    ParamError
        Names the parameter, what was expected (type and allowed set), what came, and what to do.
    """
    if not isinstance(values, Mapping):
        raise ParamError(f"{where}: expected a mapping with the keys {_names(cls)}, got {shown(values)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(key if isinstance(key, str) else shown(key) for key in values if key not in fields):
        raise ParamError(
            f"{where}.{unknown[0]}: unknown parameter; allowed here: {_names(cls)}. Remove it or mend its name"
        )
    if missing := [name for name in fields if name not in values]:
        doc = fields[missing[0]].metadata["doc"]
        raise ParamError(f"{where}.{missing[0]}: missing ({doc}); it has no default, add it")
    hints = typing.get_type_hints(cls)
    kwargs = {name: _checked(hints[name], f, values[name], f"{where}.{name}") for name, f in fields.items()}
    try:
        return cls(**kwargs)
    except ParamError as error:
        raise ParamError(f"{where}: {error}") from None


def checked(config: Any, where: str) -> dict[str, Any]:
    """The fields of a dataclass as `build` would take them, for the `__post_init__` of one that is also made directly.

    Raises
    ------
    ParamError
        As `build` has it.
    """
    hints = typing.get_type_hints(type(config))
    return {
        f.name: _checked(hints[f.name], f, getattr(config, f.name), f"{where}.{f.name}")
        for f in dataclasses.fields(config)
    }


def integer(value: object) -> int | None:
    """An integer of Python, numpy or torch (one number, no booleans) as Python's; None of anything else."""
    with contextlib.suppress(AttributeError, TypeError):
        number: Any = value
        array = not isinstance(value, int) and (number.ndim > 0 or "bool" in str(number.dtype))
        return None if isinstance(value, bool) or array else operator.index(number)
    return None


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """An argument that counts something as Python's integer.

    Raises
    ------
    ValueError
        No integer, or one outside least..most (None: no bound): `name` and what came.
    """
    number = integer(value)
    if number is None or number < least or (most is not None and number > most):
        span = f"of at least {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name}: expected an integer {span}, got {shown(value)}")
    return number


def as_mapping(config: Any) -> dict[str, Any]:
    """The plain mapping (lists instead of tuples) from which `build` gives `config` again."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one flat mapping with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


class _Composer(Composer):
    """Refuses what two readers of YAML understand differently: other versions, tags, unusual names of anchors."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False

    def compose_document(self) -> Any:
        event = self.parser.peek_event()
        if event.version not in (None, (1, 2)):
            raise ConstructorError(None, None, "expected YAML 1.2; remove the line %YAML", event.start_mark)
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.ctag is not None:
            raise ConstructorError(None, None, "expected no tag (!...); remove it", event.start_mark)
        if event.anchor is not None and re.fullmatch(r"[A-Za-z0-9_-]+", event.anchor) is None:
            raise ConstructorError(None, None, "expected letters, digits, - and _ after & and *", event.start_mark)
        return super().compose_node(parent, index)


class _Constructor(SafeConstructor):
    """Data alone, without keys given twice and without merges, which could stand for more than fits into memory."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key in mapping:
            name = key if isinstance(key, str) else shown(key)
            raise ConstructorError(None, None, f"{name}: given twice; keep one", key_node.start_mark)
        return True

    def flatten_mapping(self, node: Any) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ConstructorError(None, None, "expected no merge (<<); write its values out here", key.start_mark)


def read_yaml(path: "str | os.PathLike[str]") -> dict[str, Any]:
    """Read a YAML 1.2 mapping of at most 256 KiB as data, with the library by which DVC reads it.

    Raises
    ------
    ParamError
        Names the line: no YAML, no mapping, a key given twice, a tag, a merge, or what is nested too deeply.
    """
    path = Path(path)
    with path.open("rb") as file:
        content = file.read(_MOST_YAML + 1)
    if len(content) > _MOST_YAML:
        raise ParamError(f"{path}: expected at most {_MOST_YAML} bytes of YAML, got more; mend the path")
    reader = YAML(typ="safe", pure=True)  # libyaml's half overruns the stack where texts are nested deeply
    reader.Composer, reader.Constructor, reader.max_depth = _Composer, _Constructor, _DEEPEST_YAML
    try:
        values = reader.load(content.decode())
    except _BROKEN as error:
        raise ParamError(f"{path}: not readable as YAML: {_reason(error)}") from error
    if not isinstance(values, dict):
        raise ParamError(f"{path}: expected a mapping at the top level, got {type(values).__name__}")
    if strange := [key for key in values if not isinstance(key, str)]:
        raise ParamError(f"{path}: expected names at the top level, got {shown(strange[0])}; mend it")
    return values


def _reason(error: BaseException) -> str:
    """What an error of the reader says, in one line with the place in the text."""
    said = str(error).partition(";")[0]  # what may follow is advice to programmers
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        deep = isinstance(error, MaxDepthExceededError)
        problem = f"expected at most {_DEEPEST_YAML} levels, got more; nest less" if deep else error.problem
        said = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {problem}"
    said = " ".join(said.split())
    return said if len(said) <= 200 else f"{said[:200]}..."


def _checked(kind: Any, field: dataclasses.Field[Any], value: object, where: str) -> Any:
    converted = _converted(kind, value, where)
    if not isinstance(converted, Mapping) and not dataclasses.is_dataclass(converted):
        for number in converted if isinstance(converted, tuple) else (converted,):
            if number is not None:
                _check_domain(number, field.metadata["domain"], where)
    return converted


def _converted(kind: Any, value: object, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _converted(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value, where)
    if origin is tuple:
        value = _listed(value)
        if not isinstance(value, list | tuple):
            raise ParamError(f"{where}: expected a list, got {shown(value)}")
        if args[-1] is not ... and len(value) != len(args):
            raise ParamError(f"{where}: expected a list of {len(args)}, got {shown(value)}")
        items = [args[0]] * len(value) if args[-1] is ... else args
        return tuple(_converted(a, v, where) for a, v in zip(items, value, strict=True))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ParamError(f"{where}: expected a mapping, got {shown(value)}")
        return {str(k): _converted(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _scalar(kind, value, where)


def _listed(value: object) -> object:
    """What an array holds, as lists of numbers; anything else as it is."""
    with contextlib.suppress(AttributeError, TypeError):
        array: Any = value
        return array.tolist() if array.ndim >= 0 else value
    return value


def _scalar(kind: type, value: object, where: str) -> Any:
    if kind is float and isinstance(value, str):
        raise ParamError(
            f"{where}: expected a number, got the text {shown(value)}; write it without quotes, a digit before the point"
        )
    if kind is float:
        value = _listed(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if kind is int and (whole := integer(value)) is not None:
        value = whole
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ParamError(f"{where}: expected {kind.__name__}, got {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParamError(f"{where}: expected a finite number, got {shown(value)}")
    return value


def _check_domain(value: Any, domain: Mapping[str, Any], where: str) -> None:
    holds = {
        "ge": lambda bound: value >= bound,
        "gt": lambda bound: value > bound,
        "le": lambda bound: value <= bound,
        "lt": lambda bound: value < bound,
        "choices": lambda allowed: value in allowed,
    }
    if not all(holds[key](bound) for key, bound in domain.items()):  # type: ignore[no-untyped-call]
        signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "choices": "one of"}
        allowed = " and ".join(f"{signs[key]} {bound}" for key, bound in domain.items())
        raise ParamError(f"{where}: expected a value {allowed}, got {shown(value)}")


def _names(cls: type) -> str:
    return ", ".join(f.name for f in dataclasses.fields(cls))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return as_mapping(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
