"""What every figure of the report is made of: the tables, a method's curve with its interval, the bound, the legend, the file."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from risloc.plotting.figure_files import save_figure
from stages.evaluation.method import chosen
from stages.evaluation.tables import Row, number
from stages.reporting.looks import Look, look_of

__all__ = [
    "BOUND",
    "Subject",
    "Tables",
    "bound",
    "curve",
    "dots",
    "family",
    "fit_log_axis",
    "legend_below",
    "log_ticks",
    "points",
    "save",
    "spread",
]

Tables = Mapping[str, Sequence[Row]]

BOUND = "0.35"
"""The grey of everything that says what is possible."""

_SHADES = plt.get_cmap("viridis")
_HUGE = 1e9  # where the bar of an interval without an upper end leaves the figure
_TOP = 0.985  # of the axis: where a value that is infinite is marked


@dataclass(frozen=True)
class Subject:
    """What is drawn: the tables, the K rules (the first one names the main curves) and the first GOSPA cut-off."""

    tables: Tables
    rules: tuple[str, ...]
    cutoff: float

    @property
    def gospa(self) -> str:
        """The column of the headline GOSPA."""
        return f"gospa_{self.cutoff:g}m"

    def methods(
        self, step: str | None = None, rule: str | None = None, ablations: bool = False, table: str = "by_snr"
    ) -> list[Look]:
        """The looks of the methods of a table that have that step, under that K rule (the first one)."""
        names = [str(row["method"]) for row in self.tables[table]]
        return [look_of(m) for m in chosen(names, step=step, rule=rule or self.rules[0], ablations=ablations)]


def points(rows: Iterable[Row], x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and y's interval of these rows by increasing x, [rows] each; rows without an interval have y as both ends."""
    own = sorted(rows, key=lambda row: number(row, x))
    ends = [f"{y}_low", f"{y}_high"] if own and f"{y}_low" in own[0] else [y, y]
    values = [np.array([number(row, name) for row in own]) for name in (x, y, *ends)]
    return values[0], values[1], values[2], values[3]


def family(axis: Axes, rows: Sequence[Row], methods: Sequence[Look], x: str, y: str, width: float = 0.15) -> None:
    """The curve of each method, their points side by side over `width` of the least step in x, so that bars are seen."""
    places = sorted({number(row, x) for row in rows})
    step = min((high - low for low, high in itertools.pairwise(places)), default=1.0)
    for i, method in enumerate(methods):
        own = [row for row in rows if row["method"] == method.name]
        curve(axis, own, method, x, y, width * step * (i / max(len(methods) - 1, 1) - 0.5))
    axis.set_xticks(places)


def curve(axis: Axes, rows: Sequence[Row], method: Look, x: str, y: str, shift: float = 0.0) -> None:
    """A method's y against x with the bars of its interval; a triangle at the top marks an infinite y.

    shift : added to x.
    """
    place, value, low, high = points(rows, x, y)
    place, there = place + shift, np.isfinite(value)
    shown = np.where(there, value, np.nan)
    look = {
        "color": method.colour,
        "marker": method.marker,
        "linestyle": method.line,
        "zorder": 3 if method.strong else 2,
    }
    sizes = {"markersize": 8 if method.marker == "*" else 4.5, "linewidth": 2.2 if method.strong else 1.2}
    axis.plot(place, shown, label=method.short, **look, **sizes)  # type: ignore[arg-type]
    ends = spread(shown, low, np.where(np.isfinite(high), high, _HUGE))
    axis.errorbar(place, shown, ends, fmt="none", ecolor=method.colour, elinewidth=0.9, alpha=0.75)
    lost = place[np.isinf(value)]
    axis.plot(lost, np.full(len(lost), _TOP), "^", color=method.colour, transform=axis.get_xaxis_transform(), ms=6)


def dots(axis: Axes, rows: Sequence[Row], methods: Sequence[Look], column: str) -> None:
    """A line of the figure for each method, on it a dot with its interval for each SNR; a triangle where infinite."""
    cell = {(row["method"], number(row, "snr_db")): row for row in rows}
    snrs = sorted({snr for _, snr in cell})
    for i, snr in enumerate(snrs):
        own = [cell[m.name, snr] for m in methods]
        place = np.arange(len(own)) + 0.5 * (0.5 - (i + 0.5) / len(snrs))
        value, low, high = (np.array([number(row, f"{column}{end}") for row in own]) for end in ("", "_low", "_high"))
        shown, high = np.where(np.isfinite(value), value, np.nan), np.where(np.isfinite(high), high, value)
        colour = _SHADES(0.9 * i / max(len(snrs) - 1, 1))
        look = {"fmt": "o", "markersize": 4, "color": colour, "elinewidth": 1.0}
        axis.errorbar(shown, place, xerr=spread(shown, low, high), label=f"{snr:g} dB", **look)  # type: ignore[arg-type]
        lost = place[np.isinf(value)]
        axis.plot(np.full(len(lost), _TOP), lost, ">", color=colour, transform=axis.get_yaxis_transform(), ms=5)


def spread(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """The lengths of error bars to both sides, never negative: a rounded interval may end inside its value."""
    return [np.maximum(value - low, 0), np.maximum(high - value, 0)]


def bound(axis: Axes, rows: Sequence[Row], x: str = "snr_db") -> None:
    """The median root-CRB, dashed."""
    known = {number(row, x): number(row, "root_crb_median_m") for row in rows}
    axis.plot(list(known), list(known.values()), color=BOUND, linestyle="--", linewidth=1.8, label="root-CRB (median)")


def fit_log_axis(axes: Iterable[Axes], rows: Iterable[Row], y: str, floor: float = 0.0) -> None:
    """A logarithmic y axis around the finite positive values of the column, nothing below `floor`; a plain one without."""
    values = [v for row in rows if math.isfinite(v := number(row, y)) and v > 0]
    low = max(min(values, default=0.1), floor)
    high = max(max(values, default=1.0), low)
    for axis in axes if values else ():
        axis.set(yscale="log", ylim=(low / 1.4, 1.8 * high))
        log_ticks(axis.yaxis, high / low)


def log_ticks(axis: Axis, ratio: float) -> None:
    """Plain numbers at 1, 2 and 5 of each decade where the axis spans a `ratio` of few, else at each decade."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 300 else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, axes: Iterable[Axes], columns: int = 4) -> None:
    """One legend under the panels, each word once."""
    entries: dict[str, Artist] = {}
    for axis in axes:
        axis.grid(alpha=0.25)
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(text, handle)
    if entries:
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns, fontsize=8)


def save(figures: Mapping[str, Figure], folder: Path) -> dict[str, Path]:
    """Write each as ``name.png`` and, as vectors, ``name.pdf`` in the folder, and close it; the PNGs by name."""
    paths = {name: folder / f"{name}.png" for name in figures}
    for name, figure in figures.items():
        for path in (paths[name], paths[name].with_suffix(".pdf")):
            save_figure(figure, path)
        plt.close(figure)
    return paths
