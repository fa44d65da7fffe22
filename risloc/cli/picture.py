"""Draws the first located sources and their echoes from above and from the side, with standard deviations and the truth."""

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from risloc.cli.errors import NOT_DONE, CommandError
from risloc.io.measurements import Measurements, Setup
from risloc.locating.found import Found
from risloc.locating.result_rows import Row
from risloc.physics.geometry import position_of
from risloc.plotting.echo_places import ECHO, drawn_images, joints
from risloc.plotting.figure_files import FORMATS, save_figure
from risloc.plotting.palette import BLUE, VERMILION

__all__ = ["DRAWN", "Picture"]

DRAWN = 1000
"""The largest number of sources in a picture."""

_GREY = "#555555"


class Picture:
    """Collects the sources and the truth of the first scenes, and draws them.

    Parameters
    ----------
    path
        The file to write.

    Raises
    ------
    UsageError
        The suffix of the name is not in `risloc.plotting.figure_files.FORMATS`.
    CommandError
        matplotlib is not installed.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in FORMATS:
            raise click.UsageError(f"--png: expected a name that ends in {', '.join(FORMATS)}, got {path.name}")
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            raise CommandError("--png needs matplotlib; run: pip install 'risloc[figures]'", NOT_DONE) from None
        self._path, self._rows, self._truth = path, list[Row](), list[np.ndarray]()
        self._images = [torch.zeros(2, 0, 3, dtype=torch.float64)]  # of the echoes, and their sources

    @property
    def shown(self) -> int:
        """The number of sources in the picture."""
        return len(self._rows)

    def add(self, scenes: list[list[Row]], part: Measurements, found: Found) -> None:
        """Add scenes, up to `DRAWN` sources.

        Parameters
        ----------
        scenes
            The rows of each scene.
        part
            The measurements, which may have the truth.
        found
            The sources, which may have echoes.
        """
        for i, rows in enumerate(scenes):
            if len(self._rows) >= DRAWN:
                return
            drawn = rows[: DRAWN - len(self._rows)]
            self._rows += drawn
            self._images += [_echoes(found, i, row["source"] - 1) for row in drawn]
            if part.truth is not None:
                location = part.truth.location[i, : int(part.truth.count[i])]
                self._truth.append(position_of(location.double()).numpy())

    def draw(self, setup: Setup, title: str) -> None:
        """Write the picture as a whole or not at all.

        Parameters
        ----------
        setup
            The surface.
        title
            The title.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 4.5), dpi=120, layout="constrained")
        axes = figure.subplots(1, 2)
        elements = setup.surface.array.elements.numpy()
        truth = np.concatenate([np.zeros((0, 3)), *self._truth])
        image, source = torch.cat(self._images, dim=1)
        for ax, (i, name) in zip(axes, ((0, "x"), (1, "y")), strict=True):
            ax.plot(elements[:, i], np.zeros(len(elements)), "s", ms=2, color=_GREY, label="surface")
            if len(truth):
                ax.plot(truth[:, i], truth[:, 2], "o", ms=9, mfc="none", color=VERMILION, label="truth")
            if len(image):
                _add_echoes(ax, drawn_images(image, source), source, i)
            for resolved, colour, label in ((True, BLUE, "located, +- 1 std"), (False, _GREY, "not resolved")):
                rows = [row for row in self._rows if row["resolved"] is resolved]
                if rows:
                    _points(ax, rows, name, colour, label)
            ax.set(xlabel=f"{name} [m]", ylabel="z [m]", title="from above" if i == 0 else "from the side")
            ax.set_aspect("equal", adjustable="datalim")
            ax.grid(alpha=0.3)
        axes[0].legend(loc="upper left")  # "best" compares all positions, which may take seconds
        figure.suptitle(title)
        save_figure(figure, self._path)


def _echoes(found: Found, scene: int, source: int) -> torch.Tensor:
    """Return the images of the echoes of a source, and as many times the position of the source."""
    position = found.position[scene, source].double()
    if found.echoes is None:
        return position.new_zeros(2, 0, 3)
    image = found.echoes.position[scene, source][found.echoes.present[scene, source]].double()
    return torch.stack([image, position.expand_as(image)])


def _add_echoes(ax: Any, image: torch.Tensor, source: torch.Tensor, i: int) -> None:
    lines = joints(image, source)
    ax.plot(*lines[:, (i, 2)].numpy().T, lw=0.6, alpha=0.4, color=BLUE)
    ax.plot(*image[:, (i, 2)].numpy().T, ".", ms=5, alpha=0.4, color=BLUE, label=ECHO)


def _points(ax: Any, rows: list[Row], name: str, colour: str, label: str) -> None:
    place = np.array([[row[f"{name}_m"], row["z_m"]] for row in rows])
    std = np.nan_to_num(np.array([[row[f"{name}_std_m"], row["z_std_m"]] for row in rows]), posinf=0.0)
    if not rows[0]["resolved"]:
        std = np.zeros_like(std)  # the bar of an unknown coordinate would fill the picture
    ax.errorbar(place[:, 0], place[:, 1], std[:, 1], std[:, 0], fmt="x", ms=6, color=colour, capsize=2, label=label)
