"""Typed, frozen parameters: each field carries its meaning, unit and domain, and has no default.

Each section of ``params.yaml`` is built into a dataclass that is defined beside the code it configures.
"""

import contextlib
import dataclasses
import math
import operator
import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = [
    "ParamError",
    "as_mapping",
    "build",
    "checked",
    "flatten",
    "integer",
    "param",
    "shown",
]

T = TypeVar("T")
_DOMAIN = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "choices": "one of"}


class ParamError(ValueError):
    """A parameter is unknown, missing, of the wrong type, or outside its domain.

    Parameters
    ----------
    fault, remedy
        What is wrong, and how to correct values that a person wrote. Callers that read other values show `fault` alone.
    """

    def __init__(self, fault: str, remedy: str = "") -> None:
        super().__init__(f"{fault}; {remedy}" if remedy else fault)
        self.fault = fault


def param(doc: str, *, unit: str = "", **domain: Any) -> Any:
    """Declare a dataclass field.

    Parameters
    ----------
    doc
        The meaning of the field.
    unit
        Its unit.
    **domain
        Bounds ``ge gt le lt``, or ``choices``; they hold for every element of a tuple.

    Returns
    -------
    dataclasses.Field
        The field.

    Raises
    ------
    TypeError
        A key of the domain is unknown.
    """
    if unknown := set(domain) - set(_DOMAIN):
        raise TypeError(f"unknown domain keys {sorted(unknown)}; expected some of {tuple(_DOMAIN)}")
    return dataclasses.field(metadata={"doc": doc, "unit": unit, "domain": domain})


def shown(value: object) -> str:
    """Return the representation of a value for a message, shortened if it is long.

    Parameters
    ----------
    value
        The value.

    Returns
    -------
    str
        Its representation.
    """
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    """Limit representations, because a few bytes of YAML with aliases can stand for a list whose text fills the memory."""

    def repr_int(self, x: int, level: int) -> str:
        """Describe an integer that is too long for Python to print in decimals."""
        return super().repr_int(x, level) if abs(x) < 10**self.maxlong else f"an integer of {x.bit_length()} bits"


_SHORT = _Short()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 3, 8, 8, 8
_SHORT.maxstring = _SHORT.maxother = 200


def build(cls: type[T], values: object, where: str) -> T:
    """Build a frozen dataclass of parameters from a mapping.

    Parameters
    ----------
    cls
        The dataclass.
    values
        The value of every field.
    where
        The dotted path of the mapping, for messages.

    Returns
    -------
    T
        The dataclass.

    Raises
    ------
    ParamError
        The message names the parameter, the expected type and domain, the value and the remedy.
    """
    if not isinstance(values, Mapping):
        raise ParamError(f"{where}: expected a mapping with the keys {_names(cls)}, got {shown(values)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(key if isinstance(key, str) else shown(key) for key in values if key not in fields):
        raise ParamError(
            f"{where}.{unknown[0]}: unknown parameter; allowed here: {_names(cls)}", "remove it or correct its name"
        )
    if missing := [name for name in fields if name not in values]:
        doc = fields[missing[0]].metadata["doc"]
        raise ParamError(f"{where}.{missing[0]}: missing ({doc})", "it has no default, add it")
    hints = typing.get_type_hints(cls)
    kwargs = {name: _checked(hints[name], f, values[name], f"{where}.{name}") for name, f in fields.items()}
    try:
        return cls(**kwargs)
    except ParamError as error:
        raise ParamError(f"{where}: {error}") from None


def checked(config: Any, where: str) -> dict[str, Any]:
    """Check and convert the fields of a dataclass as `build` does, for the `__post_init__` of one that is also made directly.

    Parameters
    ----------
    config
        The dataclass.
    where
        Its dotted path, for messages.

    Returns
    -------
    dict
        The converted value of each field.

    Raises
    ------
    ParamError
        As for `build`.
    """
    hints = typing.get_type_hints(type(config))
    return {
        f.name: _checked(hints[f.name], f, getattr(config, f.name), f"{where}.{f.name}")
        for f in dataclasses.fields(config)
    }


def integer(value: object) -> int | None:
    """Convert an integer of Python, numpy or torch to a Python integer.

    Parameters
    ----------
    value
        Any value.

    Returns
    -------
    int or None
        The integer; None for anything else, including booleans and arrays.
    """
    with contextlib.suppress(AttributeError, TypeError):
        number: Any = value
        array = not isinstance(value, int) and (number.ndim > 0 or "bool" in str(number.dtype))
        return None if isinstance(value, bool) or array else operator.index(number)
    return None


def as_mapping(config: Any) -> dict[str, Any]:
    """Convert a dataclass to the plain mapping, with lists for tuples, from which `build` restores it.

    Parameters
    ----------
    config
        The dataclass.

    Returns
    -------
    dict
        The value of each field.
    """
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one mapping with dotted keys.

    Parameters
    ----------
    values
        The mapping.
    prefix
        Text put before every key.

    Returns
    -------
    dict
        The flat mapping.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


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
    """Convert an array to lists of numbers; return anything else unchanged."""
    with contextlib.suppress(AttributeError, TypeError):
        array: Any = value
        return array.tolist() if array.ndim >= 0 else value
    return value


def _scalar(kind: type, value: object, where: str) -> Any:
    if kind is float and isinstance(value, str):
        raise ParamError(
            f"{where}: expected a number, got the text {shown(value)}; write it without quotes and with a digit before the point"
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
    holds = [value in b if key == "choices" else getattr(operator, key)(value, b) for key, b in domain.items()]
    if not all(holds):
        allowed = " and ".join(f"{_DOMAIN[key]} {bound}" for key, bound in domain.items())
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
