"""Echoes of located sources as rows, one per echo, from which JSON and CSV are written."""

import math
from typing import Any

import torch

from risloc.locating.found import Found

__all__ = ["ECHO_COLUMNS", "echo_rows_of"]

ECHO_COLUMNS = (
    *("scene", "source", "echo", "x_m", "y_m", "z_m", "x_std_m", "y_std_m", "z_std_m"),
    *("azimuth_deg", "elevation_deg", "distance_m", "gain_db", "gain_phase_deg", "gain_std"),
)
"""The columns of an echo: its source, the place of the image, and the gain relative to the direct wave, whose standard deviation
is linear."""


def echo_rows_of(found: Found, start: int) -> list[list[dict[str, Any]]]:
    """Make the rows of the echoes.

    Parameters
    ----------
    found
        The sources.
    start
        The number of the first scene.

    Returns
    -------
    list of list of dict
        The rows of each scene, by source and the strongest echo first; none if echoes were not searched for.
    """
    if (echoes := found.echoes) is None:
        return [[] for _ in range(len(found))]
    degrees = torch.tensor([180 / math.pi, 180 / math.pi, 1.0], dtype=torch.float64)
    gain = torch.stack([20 * echoes.gain.abs().log10(), echoes.gain.angle().rad2deg(), echoes.gain_std], dim=-1)
    numbers = torch.cat([echoes.position, echoes.position_std, echoes.location * degrees, gain.double()], dim=-1)
    rows: list[list[dict[str, Any]]] = [[] for _ in range(len(found))]
    for scene, source, path in torch.nonzero(echoes.present).tolist():
        number = 1 + int(echoes.present[scene, source, :path].sum())
        values = [start + scene, source + 1, number, *numbers[scene, source, path].tolist()]
        rows[scene].append(dict(zip(ECHO_COLUMNS, values, strict=True)))
    return rows
