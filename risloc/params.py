"""Typed, frozen parameters: each field carries its meaning, unit and domain, and nothing has a default.

A section of ``params.yaml`` is built into the dataclass that owns it, which stands beside the code it configures.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

__all__ = ["ParamError", "as_mapping", "build", "flatten", "param", "read_yaml"]

T = TypeVar("T")
_DOMAIN = ("ge", "gt", "le", "lt", "choices")


class ParamError(ValueError):
    """A parameter is unknown, missing, of the wrong type, or outside its domain."""


def param(doc: str, *, unit: str = "", **domain: Any) -> Any:
    """Declare a dataclass field: its meaning, unit, and domain (``ge gt le lt`` bounds, or ``choices``).

    The bounds hold for every number of a field that is a tuple of numbers.
    """
    if unknown := set(domain) - set(_DOMAIN):
        raise TypeError(f"unknown domain keys {sorted(unknown)}; expected some of {_DOMAIN}")
    return dataclasses.field(metadata={"doc": doc, "unit": unit, "domain": domain})


def build(cls: type[T], values: object, where: str) -> T:
    """Build the frozen dataclass `cls` from the mapping `values` found at the dotted path `where`.

    Raises
    ------
    ParamError
        Names the parameter, what was expected (type and allowed set), what came, and what to do.
    """
    if not isinstance(values, Mapping):
        raise ParamError(f"{where}: expected a mapping with the keys {_names(cls)}, got {values!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(str(key) for key in values if key not in fields):
        raise ParamError(
            f"{where}.{unknown[0]}: unknown parameter; allowed here: {_names(cls)}. Remove it or mend its name"
        )
    if missing := [name for name in fields if name not in values]:
        doc = fields[missing[0]].metadata["doc"]
        raise ParamError(
            f"{where}.{missing[0]}: missing ({doc}); there are no defaults outside params.yaml, add it there"
        )
    hints = typing.get_type_hints(cls)
    kwargs = {name: _checked(hints[name], f, values[name], f"{where}.{name}") for name, f in fields.items()}
    try:
        return cls(**kwargs)
    except ParamError as error:
        raise ParamError(f"{where}: {error}") from None


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


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, and reads 1e-3 as a number as YAML 1.2 does."""


def _unique(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise ParamError(f"{key}: given twice{node.start_mark}; keep one")
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping as data; a doubled key or anything but a mapping is a `ParamError`."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ParamError(f"{path}: expected a mapping at the top level, got {type(values).__name__}")
    return values


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
        if not isinstance(value, list | tuple):
            raise ParamError(f"{where}: expected a list, got {value!r}")
        if args[-1] is not ... and len(value) != len(args):
            raise ParamError(f"{where}: expected a list of {len(args)}, got {value!r}")
        items = [args[0]] * len(value) if args[-1] is ... else args
        return tuple(_converted(a, v, where) for a, v in zip(items, value, strict=True))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ParamError(f"{where}: expected a mapping, got {value!r}")
        return {str(k): _converted(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _scalar(kind, value, where)


def _scalar(kind: type, value: object, where: str) -> Any:
    if kind is float and isinstance(value, str):
        try:
            value = float(value)  # YAML 1.1 reads 1e-3 as a string
        except ValueError:
            raise ParamError(f"{where}: expected a number, got {value!r}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ParamError(f"{where}: expected {kind.__name__}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParamError(f"{where}: expected a finite number, got {value!r}")
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
        raise ParamError(f"{where}: expected a value {allowed}, got {value!r}")


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
