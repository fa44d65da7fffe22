"""Located sources as rows, from which the table on the terminal, CSV and JSON are written."""

import dataclasses
import math
from typing import Any

import torch

from risloc.locating.echo_rows import echo_rows_of
from risloc.locating.found import Found
from risloc.locating.truth_errors import TruthErrors

__all__ = [
    "COLUMNS",
    "SKIPPED",
    "TRUTH_COLUMNS",
    "Row",
    "records_of",
    "rows_of",
    "scenes_of",
    "with_errors",
]

Row = dict[str, Any]
COLUMNS = (
    *("scene", "source", "x_m", "y_m", "z_m", "x_std_m", "y_std_m", "z_std_m"),
    *("azimuth_deg", "elevation_deg", "distance_m", "azimuth_std_deg", "elevation_std_deg", "distance_std_m"),
    *("xy_cov_m2", "xz_cov_m2", "yz_cov_m2", "power", "resolved", "reason", "echoes"),
    *("noise_var", "noise", "misfit", "misfit_low", "misfit_high", "explained", "verdict", "grouping"),
)
"""The columns of the CSV, of a source up to `echoes`, their number, and of its scene from `noise_var` on. A scene without sources has no row."""

OF_THE_SCENE = COLUMNS[COLUMNS.index("noise_var") :]

SKIPPED = "skipped"
"""The reason why a scene was skipped: the last column of the CSV, and a key of such a scene in the JSON."""

TRUTH_COLUMNS = ("error_m", "bound_m")
"""Further columns if the truth is known: the distance to the assigned true source, and the root-CRB of that source."""


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
    echoes = None if found.echoes is None else found.echoes.present.sum(-1).tolist()
    for i, scene in enumerate(scenes_of(found, start)):
        rows = []
        for k in torch.nonzero(found.present[i]).flatten().tolist():
            state = [float(found.power[i, k]), bool(found.resolved[i, k]), why[i][k], echoes and echoes[i][k]]
            values = [start + i, k + 1, *numbers[i][k], *state, *(scene[name] for name in OF_THE_SCENE)]
            rows.append(dict(zip(COLUMNS, values, strict=True)))
        scenes.append(rows)
    return scenes


def records_of(found: Found, start: int, scenes: list[list[Row]] | None = None) -> list[Row]:
    """Make the records of the scenes.

    Parameters
    ----------
    found
        The sources.
    start
        The number of the first scene.
    scenes
        The rows of each scene, for example with `TRUTH_COLUMNS`; None: those of `rows_of`.

    Returns
    -------
    list of Row
        The record of each scene; a number that is not finite is None.
    """
    scenes = rows_of(found, start) if scenes is None else scenes
    covariances, echoes = found.position_covariance.tolist(), echo_rows_of(found, start)

    def source(i: int, row: Row) -> Row:
        own = [_without(each, "scene", "source") for each in echoes[i] if each["source"] == row["source"]]
        return _without(row, "scene", *OF_THE_SCENE) | {
            "position_covariance_m2": covariances[i][row["source"] - 1],
            "echoes": None if found.echoes is None else own,
        }

    return [
        _finite(scene | {"sources": [source(i, row) for row in rows]})
        for i, (scene, rows) in enumerate(zip(scenes_of(found, start), scenes, strict=True))
    ]


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
        Its noise variance, misfit, share of energy explained, verdict, whiteness and grouping: "ambiguous" if the symbols do
        not vary and cannot tell an echo from a source, otherwise "clear"; None if echoes were not searched for.
    """
    tensors = (found.noise_var, found.misfit, found.misfit_limits[:, 0], found.misfit_limits[:, 1], found.explained)
    names = ("noise_var", "misfit", "misfit_low", "misfit_high", "explained")
    numbers = torch.stack([x.double() for x in tensors], dim=1).tolist()
    noise = ["estimated" if estimated else "given" for estimated in found.estimated.tolist()]
    rest = zip(noise, found.verdict, _whiteness_of(found), _grouping_of(found), strict=True)
    return [
        {"scene": start + i}
        | dict(zip(names, values, strict=True))
        | dict(zip(("noise", "verdict", "whiteness", "grouping"), words, strict=True))
        for i, (values, words) in enumerate(zip(numbers, rest, strict=True))
    ]


def _whiteness_of(found: Found) -> list[Row | None]:
    """Return the statistics of each scene with their limits; None if sigma^2 was given."""
    if found.whiteness is None:
        return [None] * len(found)
    names = [field.name for field in dataclasses.fields(found.whiteness)]
    columns = [getattr(found.whiteness, name).tolist() for name in names]
    return [dict(zip(names, numbers, strict=True)) for numbers in zip(*columns, strict=True)]


def _grouping_of(found: Found) -> list[str | None]:
    if found.echoes is None:
        return [None] * len(found)
    return ["ambiguous" if ambiguous else "clear" for ambiguous in found.echoes.ambiguous.tolist()]


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def _finite(value: Any) -> Any:
    """Return the value with None in place of each number that is not finite."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
