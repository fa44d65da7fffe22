"""Located sources as rows of the table on the terminal, of CSV and of JSON, written batch by batch."""

import csv
import dataclasses
import json
import math
from collections.abc import Mapping
from io import TextIOBase
from typing import Any, TextIO

import torch

from risloc.locating.found import Found
from risloc.locating.truth_errors import TruthErrors

__all__ = [
    "COLUMNS",
    "CsvFile",
    "JsonFile",
    "Row",
    "empty_line",
    "records_of",
    "rows_of",
    "scenes_of",
    "table_head",
    "table_line",
    "with_errors",
]

Row = dict[str, Any]
COLUMNS = (
    *("scene", "source", "x_m", "y_m", "z_m", "x_std_m", "y_std_m", "z_std_m"),
    *("azimuth_deg", "elevation_deg", "distance_m", "azimuth_std_deg", "elevation_std_deg", "distance_std_m"),
    *("xy_cov_m2", "xz_cov_m2", "yz_cov_m2", "power", "resolved", "reason"),
    *("noise_var", "noise", "misfit", "misfit_low", "misfit_high", "explained", "verdict"),
)
"""The columns of the CSV, of a source up to `reason` and of its scene from `noise_var` on. A scene without sources has no row."""

OF_THE_SCENE = COLUMNS[COLUMNS.index("noise_var") :]

SKIPPED = "skipped"
"""The reason why a scene was skipped: the last column of the CSV, and a key of such a scene in the JSON."""

TRUTH_COLUMNS = ("error_m", "bound_m")
"""Further columns if the truth is known: the distance to the assigned true source, and the root-CRB of that source."""

_TABLE = (
    *(("scene", 6, "d"), ("source", 6, "d"), ("x_m", 9, ".3f"), ("x_std_m", 7, ".3f"), ("y_m", 9, ".3f")),
    *(("y_std_m", 7, ".3f"), ("z_m", 9, ".3f"), ("z_std_m", 7, ".3f"), ("power", 10, ".3g")),
)
_TABLE_TRUTH = (("error_m", 9, ".3f"), ("bound_m", 9, ".3f"))
_FIT = {
    "misfit": ("misfit", 7, ".2f"),
    "explained": ("explained", 9, ".3f"),
}  # misfit if sigma^2 is given, otherwise explained
_NAMES = {"error_m": "error [m]", "bound_m": "bound [m]"} | {
    "x_m": "x [m]",
    "y_m": "y [m]",
    "z_m": "z [m]",
    "x_std_m": "+-",
    "y_std_m": "+-",
    "z_std_m": "+-",
}


def rows_of(found: Found, start: int) -> list[list[Row]]:
    """Make the rows of the sources.

    Parameters
    ----------
    found
        The sources.
    start
        The number of the first scene.

    Returns
    -------
    list of list of Row
        The rows of each scene.
    """
    degrees = torch.tensor([180 / math.pi, 180 / math.pi, 1.0], dtype=torch.float64)
    upper = found.position_covariance[..., (0, 0, 1), (1, 2, 2)]
    numbers = torch.cat(
        [found.position, found.position_std, found.location * degrees, found.location_std * degrees, upper], dim=-1
    ).tolist()
    scenes, why = [], found.why
    for i, scene in enumerate(scenes_of(found, start)):
        rows = []
        for k in torch.nonzero(found.present[i]).flatten().tolist():
            tail = [float(found.power[i, k]), bool(found.resolved[i, k]), why[i][k]]
            tail += [scene[name] for name in OF_THE_SCENE]
            rows.append(dict(zip(COLUMNS, [start + i, k + 1, *numbers[i][k], *tail], strict=True)))
        scenes.append(rows)
    return scenes


def records_of(found: Found, start: int) -> list[Row]:
    """Make the records of the scenes.

    Parameters
    ----------
    found
        The sources.
    start
        The number of the first scene.

    Returns
    -------
    list of Row
        The record of each scene; a number that is not finite is None.
    """
    return _records(found, rows_of(found, start), start)


def _records(found: Found, scenes: list[list[Row]], start: int) -> list[Row]:
    records = []
    for i, (scene, rows) in enumerate(zip(scenes_of(found, start), scenes, strict=True)):
        covariances = found.position_covariance[i].tolist()
        sources = [
            {name: value for name, value in row.items() if name not in ("scene", *OF_THE_SCENE)}
            | {"position_covariance_m2": covariances[row["source"] - 1]}
            for row in rows
        ]
        records.append(_finite(scene | {"sources": sources}))
    return records


def with_errors(scenes: list[list[Row]], errors: TruthErrors | None, start: int) -> list[list[Row]]:
    """Add `TRUTH_COLUMNS` to the rows.

    Parameters
    ----------
    scenes
        The rows of each scene.
    errors
        The errors of the sources; None: the truth is not known, and the rows are returned unchanged.
    start
        The number of the first scene.

    Returns
    -------
    list of list of Row
        The rows of each scene.
    """
    if errors is None:
        return scenes
    error, root_crb = errors.error.tolist(), errors.bound.tolist()

    def of(row: Row) -> Row:
        scene, slot = row["scene"] - start, row["source"] - 1
        return row | {"error_m": error[scene][slot], "bound_m": root_crb[scene][slot]}

    return [[of(row) for row in rows] for rows in scenes]


def scenes_of(found: Found, start: int) -> list[Row]:
    """Return what is known of each scene as a whole.

    Parameters
    ----------
    found
        The sources.
    start
        The number of the first scene.

    Returns
    -------
    list of Row
        Its noise variance, misfit, share of energy explained, verdict and whiteness.
    """
    tensors = (found.noise_var, found.misfit, found.misfit_limits[:, 0], found.misfit_limits[:, 1], found.explained)
    names = ("noise_var", "misfit", "misfit_low", "misfit_high", "explained")
    numbers = torch.stack([x.double() for x in tensors], dim=1).tolist()
    noise = ["estimated" if estimated else "given" for estimated in found.estimated.tolist()]
    rest = zip(noise, found.verdict, _whiteness_of(found), strict=True)
    return [
        {"scene": start + i}
        | dict(zip(names, values, strict=True))
        | dict(zip(("noise", "verdict", "whiteness"), words, strict=True))
        for i, (values, words) in enumerate(zip(numbers, rest, strict=True))
    ]


def _whiteness_of(found: Found) -> list[Row | None]:
    """Return the statistics of each scene with their limits; None if sigma^2 was given."""
    if found.whiteness is None:
        return [None] * len(found)
    names = [field.name for field in dataclasses.fields(found.whiteness)]
    columns = [getattr(found.whiteness, name).tolist() for name in names]
    return [dict(zip(names, numbers, strict=True)) for numbers in zip(*columns, strict=True)]


def table_head(fit: str, *, truth: bool = False) -> str:
    """Return the head of the table.

    Parameters
    ----------
    fit
        The column that says how well a scene is explained, "misfit" or "explained".
    truth
        Whether there are columns for the error and the bound.

    Returns
    -------
    str
        A line.
    """
    return " ".join(f"{_NAMES.get(name, name):>{width}}" for name, width, _ in _columns(fit, truth))


def table_line(row: Row, fit: str) -> str:
    """Return the line of a source, which ends with the reason if the source is not resolved.

    Parameters
    ----------
    row
        The row of the source.
    fit
        "misfit" or "explained".

    Returns
    -------
    str
        A line.
    """
    columns = _columns(fit, "error_m" in row)
    cells = " ".join(f"{row[name]:>{width}{format_}}" for name, width, format_ in columns).replace("nan", "  -")
    return cells if row["resolved"] else f"{cells}  not resolved: {row['reason']}"


def empty_line(scene: Row, fit: str) -> str:
    """Return the line of a scene without sources.

    Parameters
    ----------
    scene
        What is known of the scene.
    fit
        "misfit" or "explained".

    Returns
    -------
    str
        A line.
    """
    name, width, format_ = _FIT[fit]
    head = f"{scene['scene']:>6d} {'no source':>{len(table_head(fit)) - width - 8}} {scene[name]:>{width}{format_}}"
    if scene["verdict"] in ("fits", "white", "untold"):
        return head
    return f"{head}  {'misfit' if fit == 'misfit' else 'residual'} {scene['verdict']}"


def _columns(fit: str, truth: bool) -> tuple[tuple[str, int, str], ...]:
    return (*_TABLE, _FIT[fit], *(_TABLE_TRUTH if truth else ()))


class CsvFile:
    """A CSV file with one row per source.

    Parameters
    ----------
    file
        The file to write to.
    truth
        Whether there are columns that need the truth.
    """

    def __init__(self, file: TextIO | TextIOBase, *, truth: bool = False) -> None:
        columns = (*COLUMNS, *TRUTH_COLUMNS, SKIPPED) if truth else (*COLUMNS, SKIPPED)
        self._writer = csv.DictWriter(file, columns, lineterminator="\n")
        self._writer.writeheader()

    def add(self, scenes: list[list[Row]]) -> None:
        """Write the rows of scenes.

        Parameters
        ----------
        scenes
            The rows of each scene.
        """
        for rows in scenes:
            self._writer.writerows(rows)

    def skip(self, scene: int, why: str) -> None:
        """Write a row that says why a scene was skipped.

        Parameters
        ----------
        scene
            The number of the scene.
        why
            The reason.
        """
        self._writer.writerow({"scene": scene, SKIPPED: why})


class JsonFile:
    """A JSON file with one record per scene; a number that is not finite is null.

    Its layout is {..., "scenes": [{"scene": 0, "noise_var": ..., "sources": [...]}, ...]}.

    Parameters
    ----------
    file
        The file to write to.
    head
        The entries before the scenes.
    """

    def __init__(self, file: TextIO | TextIOBase, head: Mapping[str, Any]) -> None:
        self._file, self._between = file, "\n"
        file.write(json.dumps(dict(head), allow_nan=False)[:-1] + ', "scenes": [')

    def add(self, found: Found, scenes: list[list[Row]], start: int) -> None:
        """Write the records of scenes.

        Parameters
        ----------
        found
            The sources.
        scenes
            The rows of each scene.
        start
            The number of the first scene.
        """
        for record in _records(found, scenes, start):
            self._write(record)

    def skip(self, scene: int, why: str) -> None:
        """Write a record without sources that says why a scene was skipped.

        Parameters
        ----------
        scene
            The number of the scene.
        why
            The reason.
        """
        self._write({"scene": scene, "noise_var": None, "sources": [], SKIPPED: why})

    def end(self) -> None:
        """Write the closing brackets."""
        self._file.write("\n]}\n")

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(self._between + json.dumps(record, allow_nan=False))
        self._between = ",\n"


def _finite(value: Any) -> Any:
    """Return the value with None in place of each number that is not finite."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
