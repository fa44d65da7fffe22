"""Tables as stages write them, read back with the types that they had."""

import csv
from collections.abc import Callable
from pathlib import Path

__all__ = ["read_rows"]

_KINDS: tuple[Callable[[str], object], ...] = (int, float)


def read_rows(path: Path) -> list[dict[str, object]]:
    """Read the rows of a CSV: whole numbers, numbers (with inf and nan), text, and None for an empty cell."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: _value(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def _value(cell: str) -> object:
    if cell == "":
        return None
    for kind in _KINDS:
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell
