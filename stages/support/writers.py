"""The files that stages write: text, JSON, CSV and arrays, each whole or not at all."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from risloc.utils.atomic_files import replacing, write_bytes

__all__ = ["write_arrays", "write_csv", "write_json", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write `values` as JSON, whole or not at all; ValueError for NaN or infinity (JSON has none: write null)."""
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` as an .npz of plain data, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `rows`, which all have the keys of the first one, as CSV, whole or not at all; ValueError if empty."""
    if not rows:
        raise ValueError(f"{path}: expected at least one row, got none")
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
