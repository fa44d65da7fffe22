"""Read SigMF recordings of several channels: samples in `NAME.sigmf-data`, described by JSON in `NAME.sigmf-meta`.

A recording has the samples alone, sample t of every channel after sample t - 1. They are the snapshots: the first L samples are the
first scene, L being the number of codes. H, codes and the setup come from another file. The samples are mapped, not read as a whole.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from risloc.config import shown
from risloc.io.array_variables import ArrayVariables
from risloc.io.hdf5_variables import Hdf5Variables
from risloc.io.safe_hdf5 import StoredError

__all__ = ["SUFFIXES", "read_sigmf"]

SUFFIXES = (".sigmf-meta", ".sigmf-data")
"""The endings of the names of the two files of a recording."""

_MOST_JSON = 2**24
_TYPES = ("f64", "f32", "i32", "i16", "i8")


def read_sigmf(path: Path, others: Hdf5Variables | ArrayVariables) -> ArrayVariables:
    """Read a recording.

    Parameters
    ----------
    path
        One of its two files.
    others
        The variables that a recording does not have: H, codes, n_h and others.

    Returns
    -------
    ArrayVariables
        y and, if the other variables lack it, carrier_hz.

    Raises
    ------
    StoredError
        The recording is invalid, or the other variables have no codes.
    """
    described = _described(path.with_suffix(".sigmf-meta"))
    whole: Mapping[str, Any] = described.get("global", {})
    first = _capture(described)
    kind, channels = _number_type(whole), whole.get("core:num_channels", 1)
    if not isinstance(channels, int) or not 1 <= channels <= 1024:
        raise StoredError(f"expected core:num_channels in 1..1024, got {shown(channels)}; correct the recording")
    if first.get("core:header_bytes", 0) or whole.get("core:trailing_bytes", 0):
        raise StoredError("expected samples alone, got header or trailing bytes; remove them")
    data = path.with_suffix(".sigmf-data")
    if not data.is_file():
        raise StoredError(f"expected the samples in {data.name} beside it, got none; copy them there")
    samples = data.stat().st_size // (2 * kind.itemsize * channels)
    snapshots = _snapshots(others)
    if samples < snapshots:
        raise StoredError(
            f"expected at least {snapshots} samples, one for each code, got {samples}; correct the codes or the recording"
        )
    scenes, rest = divmod(samples, snapshots)
    y = np.memmap(data, kind, "r", shape=(scenes, snapshots, channels, 2))
    arrays: dict[str, np.ndarray] = {"y": y}
    if not others.has_attribute("carrier_hz") and isinstance(first.get("core:frequency"), int | float):
        arrays["carrier_hz"] = np.asarray(float(first["core:frequency"]))
    made = ArrayVariables(arrays, "SigMF", dims={"y": ("scene", "snap", "ant", "part")})
    made.notes += [f"the last {rest} samples left out, fewer than the {snapshots} of a scene"] if rest else []
    return made


def _described(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_JSON:
            raise StoredError(f"expected at most {_MOST_JSON >> 20} MiB of JSON, got more")
        described = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, StoredError):
            raise
        raise StoredError(
            f"expected JSON that describes the recording in {path.name}, got none ({error}); correct it"
        ) from error
    if not isinstance(described, dict) or not isinstance(described.get("global", {}), dict):
        raise StoredError(f"expected an object with `global` in {path.name}, got another; correct it")
    return described


def _capture(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is said about the only capture."""
    captures = described.get("captures", [])
    if not isinstance(captures, list) or len(captures) > 1:
        raise StoredError(
            f"expected one capture, got {len(captures)}: the samples have gaps or several frequencies; write a recording for each"
        )
    return captures[0] if captures and isinstance(captures[0], dict) else {}


def _number_type(whole: Mapping[str, Any]) -> np.dtype[Any]:
    """Return the type of the real and the imaginary part."""
    name = whole.get("core:datatype")
    base, _, order = str(name).partition("_")
    if base[:1] != "c" or base[1:] not in _TYPES or (order not in ("le", "be") and base != "ci8"):
        raise StoredError(
            f"expected core:datatype to be complex, such as cf32_le or ci16_le, got {shown(name)}; convert the samples"
        )
    return np.dtype(f"{'>' if order == 'be' else '<'}{base[1]}{int(base[2:]) // 8}")


def _snapshots(others: Hdf5Variables | ArrayVariables) -> int:
    """Return the number of codes: of two axes the one that is not that of the elements, of three the middle one."""
    if not all(others.has(name) for name in ("codes", "n_h", "n_v")):
        raise StoredError(
            "expected codes, n_h and n_v from another file, got none; use `risloc convert --with FILE` (in Python Reading(beside=...))"
        )
    shape, n_h, n_v = others.stored("codes").shape, others.attribute("n_h"), others.attribute("n_v")
    if 0 in shape:
        raise StoredError(f"codes: expected at least one snapshot, got the shape {shape}; correct the codes")
    if len(shape) == 3:
        return shape[1]
    if len(shape) != 2 or n_h * n_v not in shape:
        raise StoredError(f"codes: expected [snap, elem] with {n_h} x {n_v} elements, got {shape}; correct the codes")
    return shape[0] if shape[1] == n_h * n_v else shape[1]
