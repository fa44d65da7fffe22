"""The located sources seen from above and from the side, with their standard deviations."""

from pathlib import Path
from typing import Any

import numpy as np

from risloc.command.results import Row
from risloc.command.words import NOT_DONE, CommandError
from risloc.files import replacing
from risloc.measurements import Setup

__all__ = ["check_matplotlib", "draw"]

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#555555"  # Okabe and Ito: told apart by every eye


def check_matplotlib() -> None:
    """Refuse at the start what could not be drawn at the end."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise CommandError("--png: needs matplotlib: pip install 'risloc[figures]'", NOT_DONE) from None


def draw(path: Path, setup: Setup, rows: list[Row], truth: np.ndarray, title: str) -> None:
    """Write a PNG, whole or not at all. truth : positions [source, 3] in metres, none where they are not known."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots(1, 2)
    elements = setup.array().elements.numpy()
    for ax, (i, name) in zip(axes, ((0, "x"), (1, "y")), strict=True):
        ax.plot(elements[:, i], np.zeros(len(elements)), "s", ms=2, color=_GREY, label="surface")
        if len(truth):
            ax.plot(truth[:, i], truth[:, 2], "o", ms=9, mfc="none", color=_ORANGE, label="truth")
        for good, colour, label in ((True, _BLUE, "located, +- 1 std"), (False, _GREY, "not resolved")):
            chosen = [row for row in rows if row["resolved"] is good]
            if chosen:
                _points(ax, chosen, name, colour, label)
        ax.set(xlabel=f"{name} [m]", ylabel="z [m]", title="from above" if i == 0 else "from the side")
        ax.set_aspect("equal", adjustable="datalim")
        ax.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "risloc"})


def _points(ax: Any, rows: list[Row], name: str, colour: str, label: str) -> None:
    place = np.array([[row[f"{name}_m"], row["z_m"]] for row in rows])
    std = np.nan_to_num(np.array([[row[f"{name}_std_m"], row["z_std_m"]] for row in rows]), posinf=0.0)
    if not (rows[0]["resolved"]):
        std = np.zeros_like(std)  # such a deviation says that nothing is known: it would fill the picture
    ax.errorbar(place[:, 0], place[:, 1], std[:, 1], std[:, 0], fmt="x", ms=6, color=colour, capsize=2, label=label)
