"""Read the attributes of a measurement file: its format, its setup and the bits of its codes."""

import dataclasses
from pathlib import Path
from typing import Any

from risloc.config import ParamError, build
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurement_contents import Contents
from risloc.io.measurements import FORMAT, VERSIONS, Setup
from risloc.io.reading_options import AXES
from risloc.io.reception import Reception
from risloc.io.safe_hdf5 import StoredError

__all__ = ["LAYOUT", "check_format", "code_bits_in", "reception_in", "setup_in"]

LAYOUT = "docs/command_line.md and the help of risloc.io.measurements describe the layout"
"""Where a reader of messages finds the layout."""

_WHOLE = ("n_h", "n_v", "version", "code_bits")
_OPTIONAL = ("azimuth_span_deg", "elevation_span_deg", "distance_span_m")


def check_format(path: Path, contents: Contents) -> None:
    """Check that a file has the format and the version of measurements, unless the names of its variables say what it is.

    Parameters
    ----------
    path
        Its path, for messages.
    contents
        The contents of the file.

    Raises
    ------
    MeasurementError
        The format or the version is another one.
    """
    if not contents.declared and not any(map(contents.variables.has_attribute, ("format", "version"))):
        if not any(map(contents.is_there, AXES)):
            raise MeasurementError(
                f"{path}: expected format {FORMAT!r}, or variables named y, H and codes, got neither; {LAYOUT}"
            )
        return
    found = [
        _read(path, contents, name) if contents.variables.has_attribute(name) else None
        for name in ("format", "version")
    ]
    if found[0] != FORMAT or found[1] not in VERSIONS:
        versions = " or ".join(map(str, VERSIONS))
        raise MeasurementError(_fault(path, f"expected format {FORMAT!r}, version {versions}, got {found}; {LAYOUT}"))


def setup_in(path: Path, contents: Contents) -> Setup:
    """Read the setup from the attributes of a file.

    Parameters
    ----------
    path
        Its path, for messages.
    contents
        The contents of the file.

    Returns
    -------
    Setup
        The setup.

    Raises
    ------
    MeasurementError
        An attribute is missing or has an invalid value.
    """
    values: dict[str, Any] = {"reference": "centre", **dict.fromkeys(_OPTIONAL)}
    for field in dataclasses.fields(Setup):
        if contents.variables.has_attribute(field.name):
            values[field.name] = _read(path, contents, field.name)
        elif field.name not in values:
            doc = f"{field.metadata['doc']} {field.metadata['unit']}".strip()
            raise MeasurementError(_fault(path, f"expected {field.name} ({doc}), got none; {LAYOUT}"))
    try:
        setup = build(Setup, values, "attribute")
    except ParamError as error:
        raise MeasurementError(f"{path}: {error.fault}; correct the attribute in the file") from None
    if setup.reference == "first" and contents.reading.order.endswith("-down"):
        raise MeasurementError(
            f"{path}: reference: expected 'centre' with the order {contents.reading.order}, whose first element is not that of the "
            "layout (the first of the bottom row), got 'first'; refer truth and spans to the centre"
        )
    return setup


def reception_in(path: Path, contents: Contents, pilots: bool) -> Reception:
    """Read what is known of the receiver.

    Parameters
    ----------
    path
        Its path, for messages.
    contents
        The contents of the file, with what the user adds.
    pilots
        Whether the file has pilots.

    Returns
    -------
    Reception

    Raises
    ------
    MeasurementError
        An attribute has an invalid value, or gains or a static path are unknown and there are no pilots.
    """
    reading = contents.reading
    gains, static = (
        _read(path, contents, name) if contents.variables.has_attribute(name) else default
        for name, default in (("unknown_gains", "none"), ("static_path", 0))
    )
    if not isinstance(gains, str) or static not in (0, 1):
        raise MeasurementError(
            _fault(path, f"expected unknown_gains as text and static_path 0 or 1, got {[gains, static]}; {LAYOUT}")
        )
    try:
        return Reception(
            pilots=pilots or reading.pilots == "constant",
            unknown_gains=gains if reading.unknown_gains == "none" else reading.unknown_gains,
            static_path=bool(static) or reading.static_path,
        )
    except MeasurementError as error:
        raise MeasurementError(f"{path}: {error}") from None


def code_bits_in(path: Path, contents: Contents) -> Any:
    """Read the bits of the codes, which are not checked.

    Parameters
    ----------
    path
        Its path, for messages.
    contents
        The contents of the file.

    Returns
    -------
    Any
        The value of the attribute `code_bits`, None without it.

    Raises
    ------
    MeasurementError
        The attribute is not text, a number or a list of two numbers.
    """
    return _read(path, contents, "code_bits") if contents.variables.has_attribute("code_bits") else None


def _read(path: Path, contents: Contents, name: str) -> Any:
    """Read a small attribute as plain Python: text, a number or a list of two."""
    try:
        value = contents.variables.attribute(name)
    except StoredError as error:
        raise MeasurementError(_fault(path, f"{name}: {error}; {LAYOUT}")) from None
    whole = name in _WHOLE and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def _fault(path: Path, words: str) -> str:
    return f"{path}: attributes: {words}"
