"""Changes of single parameters, `section.key=value`, as `dvc exp run -S` reads them: Hydra's grammar of overrides."""

import contextlib
from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException

from risloc.config import ParamError, shown

__all__ = ["parse_change", "written_change"]

_FORM = "section.key=value, as `dvc exp run -S` takes it"


def parse_change(text: str) -> tuple[str, Any]:
    """The dotted path and the value that DVC would write there.

    Raises
    ------
    ParamError
        DVC would not take the text either, or it stands for more than one value.
    """
    try:
        change = OverridesParser.create().parse_override(text)
    except HydraException as error:
        reason = str(error).partition("\n")[0]
        raise ParamError(f"{shown(text)}: expected {_FORM}: {reason}; quote strings: 'key=\"a string\"'") from None
    if change.type != OverrideType.CHANGE or change.package is not None:
        raise ParamError(f"{shown(text)}: expected {_FORM}; no parameter can be added or removed")
    if change.is_sweep_override():
        raise ParamError(f"{shown(text)}: expected one value, got several; run each separately, or give a list: [1, 2]")
    value = change.value()
    if "${" in repr(value):
        raise ParamError(f"{shown(text)}: expected a value, got a reference ${{...}}; write the value itself")
    return change.key_or_group, value


def written_change(path: str, value: object) -> str:
    """Return the text from which `parse_change`, and so DVC, gets `path` and `value` again.

    Raises
    ------
    ParamError
        DVC's command line cannot carry the value.
    """
    text = f"{path}={_written(value)}"
    with contextlib.suppress(ParamError):
        if repr(parse_change(text)) == repr((path, value)):  # 1, 1.0 and true are equal, too
            return text
    raise ParamError(f"{path}: expected a value that `dvc exp run -S` can carry, got {shown(value)}")


def _written(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_written(each) for each in value) + "]"
    return str(value)
