"""What was located, as rows: for the table on the terminal, CSV and JSON, all written as scenes come."""

import csv
import json
import math
from collections.abc import Mapping
from io import TextIOBase
from typing import Any, TextIO

import torch

from risloc.locating import Found
from risloc.truth_errors import TruthErrors

__all__ = ["COLUMNS", "CsvFile", "JsonFile", "Row", "records_of", "rows_of", "table_head", "table_line"]

Row = dict[str, Any]
COLUMNS = (
    *("scene", "source", "x_m", "y_m", "z_m", "x_std_m", "y_std_m", "z_std_m"),
    *("azimuth_deg", "elevation_deg", "distance_m", "azimuth_std_deg", "elevation_std_deg", "distance_std_m"),
    *("power", "resolved", "noise_var"),
)
"""Of the CSV, and the keys of a source in the JSON; a scene without a source has no row, unless it is skipped."""

SKIPPED = "skipped"
"""Why a scene has no answer: the CSV's last column, and a key of such a scene in the JSON."""

TRUTH_COLUMNS = ("error_m", "bound_m")
"""Behind them where the file has the truth: the distance to the true source that is assigned, and that source's root-CRB."""

_SHOWN = (
    *(("scene", 6, "d"), ("source", 6, "d"), ("x_m", 9, ".3f"), ("x_std_m", 7, ".3f"), ("y_m", 9, ".3f")),
    *(("y_std_m", 7, ".3f"), ("z_m", 9, ".3f"), ("z_std_m", 7, ".3f"), ("power", 10, ".3g")),
)
_SHOWN_TRUTH = (("error_m", 9, ".3f"), ("bound_m", 9, ".3f"))
_NAMES = {"error_m": "error [m]", "bound_m": "bound [m]"} | {
    "x_m": "x [m]",
    "y_m": "y [m]",
    "z_m": "z [m]",
    "x_std_m": "+-",
    "y_std_m": "+-",
    "z_std_m": "+-",
}


def rows_of(found: Found, start: int) -> list[list[Row]]:
    """The rows of each scene, the first of which has number `start`."""
    degrees = torch.tensor([180 / math.pi, 180 / math.pi, 1.0], dtype=torch.float64)
    numbers = torch.cat(
        [found.position, found.position_std, found.location * degrees, found.location_std * degrees], dim=-1
    ).tolist()
    scenes = []
    for i in range(len(found)):
        rows = []
        for k in torch.nonzero(found.present[i]).flatten().tolist():
            tail = [float(found.power[i, k]), bool(found.resolved[i, k]), float(found.noise_var[i])]
            rows.append(dict(zip(COLUMNS, [start + i, k + 1, *numbers[i][k], *tail], strict=True)))
        scenes.append(rows)
    return scenes


def records_of(found: Found, start: int) -> list[Row]:
    """The record of each scene, the first of which has number `start`; a number that is not finite is None."""
    return _records(rows_of(found, start), start, found.noise_var.tolist())


def _records(scenes: list[list[Row]], start: int, noise_var: list[float]) -> list[Row]:
    records = []
    for i, (rows, noise) in enumerate(zip(scenes, noise_var, strict=True)):
        sources = [
            {name: _finite(value) for name, value in row.items() if name not in ("scene", "noise_var")} for row in rows
        ]
        records.append({"scene": start + i, "noise_var": noise, "sources": sources})
    return records


def with_errors(scenes: list[list[Row]], errors: TruthErrors | None, start: int) -> list[list[Row]]:
    """The rows with `TRUTH_COLUMNS`; as they are where the truth is not known."""
    if errors is None:
        return scenes
    error, least = errors.error.tolist(), errors.bound.tolist()

    def of(row: Row) -> Row:
        scene, slot = row["scene"] - start, row["source"] - 1
        return row | {"error_m": error[scene][slot], "bound_m": least[scene][slot]}

    return [[of(row) for row in rows] for rows in scenes]


def table_head(*, truth: bool = False) -> str:
    """The table's first line.  truth : with the error and the bound."""
    shown = (*_SHOWN, *_SHOWN_TRUTH) if truth else _SHOWN
    return " ".join(f"{_NAMES.get(name, name):>{width}}" for name, width, _ in shown)


def table_line(row: Row) -> str:
    """A source's line; one that is not resolved ends in a word."""
    shown = (*_SHOWN, *_SHOWN_TRUTH) if "error_m" in row else _SHOWN
    cells = " ".join(f"{row[name]:>{width}{how}}" for name, width, how in shown).replace("nan", "  -")
    return cells if row["resolved"] else f"{cells}  not resolved"


class CsvFile:
    """One row a source.  truth : with the columns that need it."""

    def __init__(self, file: TextIO | TextIOBase, *, truth: bool = False) -> None:
        columns = (*COLUMNS, *TRUTH_COLUMNS, SKIPPED) if truth else (*COLUMNS, SKIPPED)
        self._writer = csv.DictWriter(file, columns, lineterminator="\n")
        self._writer.writeheader()

    def add(self, scenes: list[list[Row]]) -> None:
        """The next scenes."""
        for rows in scenes:
            self._writer.writerows(rows)

    def skip(self, scene: int, why: str) -> None:
        """A row that says why the scene has no answer."""
        self._writer.writerow({"scene": scene, SKIPPED: why})


class JsonFile:
    """{..., "scenes": [{"scene": 0, "noise_var": ..., "sources": [...]}, ...]}; a number that is not finite is null."""

    def __init__(self, file: TextIO | TextIOBase, head: Mapping[str, Any]) -> None:
        self._file, self._between = file, "\n"
        file.write(json.dumps(dict(head), allow_nan=False)[:-1] + ', "scenes": [')

    def add(self, scenes: list[list[Row]], start: int, noise_var: list[float]) -> None:
        """The next scenes, the first of which has number `start`."""
        for record in _records(scenes, start, noise_var):
            self._write(record)

    def skip(self, scene: int, why: str) -> None:
        """The scene without sources, and why."""
        self._write({"scene": scene, "noise_var": None, "sources": [], SKIPPED: why})

    def end(self) -> None:
        """Close the brackets."""
        self._file.write("\n]}\n")

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(self._between + json.dumps(record, allow_nan=False))
        self._between = ",\n"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
