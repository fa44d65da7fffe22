"""Read YAML files as plain data, limited to what every YAML 1.2 reader understands alike."""

import os
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionStartEvent, ScalarEvent

from risloc.config import ParamError, shown

__all__ = ["read_yaml"]

_MOST_YAML = 2**18  # bytes; the longest file of this project has some 2^13
_DEEPEST_YAML = 32  # levels of nested mappings and lists; the deepest file of this project has 5
_BROKEN = (YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)


def read_yaml(path: "str | os.PathLike[str]") -> dict[str, Any]:
    """Read a YAML 1.2 mapping of at most 256 KiB as data, with the library that DVC uses.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        The mapping.

    Raises
    ------
    ParamError
        The file is too long, is not YAML or not a mapping, or has a duplicate key, a tag, a merge or too many levels; the
        message names the line.
    """
    path = Path(path)
    with path.open("rb") as file:
        content = file.read(_MOST_YAML + 1)
    if len(content) > _MOST_YAML:
        raise ParamError(f"{path}: expected at most {_MOST_YAML} bytes of YAML, got a larger file; correct the path")
    reader = YAML(typ="safe", pure=True)  # libyaml overruns the stack on deeply nested texts
    reader.Composer, reader.Constructor, reader.max_depth = _Composer, _Constructor, _DEEPEST_YAML
    try:
        values = reader.load(content.decode())
    except _BROKEN as error:
        raise ParamError(f"{path}: not readable as YAML: {_reason(error)}") from error
    if not isinstance(values, dict):
        raise ParamError(f"{path}: expected a mapping at the top level, got {type(values).__name__}")
    if strange := [key for key in values if not isinstance(key, str)]:
        raise ParamError(f"{path}: expected names at the top level, got {shown(strange[0])}; correct it")
    return values


class _Composer(Composer):
    """Reject what different YAML readers interpret differently: other versions, tags and unusual anchor names."""

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
    """Accept data only, without duplicate keys and without merges, which can expand beyond the memory."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key in mapping:
            name = key if isinstance(key, str) else shown(key)
            raise ConstructorError(None, None, f"{name}: duplicate key; keep one", key_node.start_mark)
        return True

    def flatten_mapping(self, node: Any) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ConstructorError(None, None, "expected no merge (<<); write its values here", key.start_mark)


def _reason(error: BaseException) -> str:
    """Return the message of a reader error in one line, with the position in the text."""
    message = str(error).partition(";")[0]  # the rest, if any, is advice to programmers
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        deep = isinstance(error, MaxDepthExceededError)
        problem = f"expected at most {_DEEPEST_YAML} levels, got more; nest less" if deep else error.problem
        message = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {problem}"
    message = " ".join(message.split())
    return message if len(message) <= 200 else f"{message[:200]}..."
