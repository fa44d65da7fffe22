"""The figures of the report, each drawn from the tables alone: methods beside the bound, always by SNR."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from stages.evaluation.calibration import LEVELS
from stages.evaluation.method import PLAIN, REFINED, Method, chosen
from stages.evaluation.model_order import ALL
from stages.evaluation.resolution import SNR_RANGES
from stages.evaluation.tables import WITHIN, Row, number
from stages.reporting.drawing import (
    BOUND,
    Subject,
    bound,
    dots,
    family,
    fit_log_axis,
    legend_below,
    log_ticks,
    points,
    spread,
)
from stages.reporting.looks import ORDERS, RULES, look_of

__all__ = ["FIGURES", "Drawing", "draw"]

STEPS = {REFINED: "with likelihood refinement", PLAIN: "plain spectrum"}
SNR = "SNR [dB]"


@dataclass(frozen=True)
class Drawing:
    """A figure: its file's name, its title, what it says in words, the table it is drawn from, and how.

    columns : of the table, those that are drawn; none stands for all.
    """

    name: str
    title: str
    says: str
    table: str
    draw: Callable[[Subject], Figure]
    columns: tuple[str, ...] = ()


def draw(subject: Subject) -> dict[str, Figure]:
    """All figures by name. A table without rows gives an empty one."""
    return {drawing.name: drawing.draw(subject) for drawing in FIGURES}


def _errors(s: Subject) -> Figure:
    rows, y = s.tables["by_snr"], "position_error_median_m"
    figure, axes = plt.subplots(1, 2, figsize=(10, 5), sharey=True, layout="constrained")
    for axis, (step, words) in zip(axes, STEPS.items(), strict=True):
        family(axis, rows, s.methods(step), "snr_db", y)
        bound(axis, rows)
        axis.set(xlabel=SNR, title=words)
    axes[0].set(ylabel="median position error [m]")
    fit_log_axis(axes, rows, y, floor=_least(rows) / 3)  # the plain oracle is exact, far below
    legend_below(figure, axes)
    return figure


def _errors_by_k(s: Subject) -> Figure:
    rows, y = s.tables["by_cell"], "position_error_median_m"
    counts = sorted({number(row, "count") for row in rows})
    columns = min(3, len(counts))
    shape = (-(-len(counts) // columns), columns)
    figure, grid = plt.subplots(
        *shape, figsize=(10, 1.2 + 2.8 * shape[0]), sharey=True, squeeze=False, layout="constrained"
    )
    axes = list(grid.flat)
    for axis, count in zip(axes, counts, strict=False):
        own = [row for row in rows if number(row, "count") == count]
        family(axis, own, s.methods(REFINED), "snr_db", y)
        bound(axis, own)
        axis.set(xlabel=SNR, title=f"K = {count:g}")
    for axis in axes[len(counts) :]:
        axis.remove()
    for row in grid:
        row[0].set(ylabel="median position error [m]")
    shown = [row for row in rows if row["method"] in {m.name for m in s.methods(REFINED)}]
    fit_log_axis(axes[: len(counts)], shown, y, floor=_least(rows) / 3)
    legend_below(figure, axes[: len(counts)])
    return figure


def _ratios(s: Subject) -> Figure:
    rows, y = s.tables["by_snr"], "error_over_root_crb_median"
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for line, (step, words) in zip(axes, STEPS.items(), strict=True):
        methods = s.methods(step)
        family(line[0], rows, methods, "snr_db", y)
        family(line[1], rows, methods, "snr_db", f"within_{WITHIN:g}_root_crb")
        line[0].axhline(1, color=BOUND, linestyle="--", linewidth=1.8, label="the bound")
        line[0].axhline(0.674, color=BOUND, linestyle=":", label="median of an efficient, one-dimensional error")
        line[0].set(xlabel=SNR, ylabel="median of error / root-CRB", title=words)
        line[1].set(xlabel=SNR, ylabel=f"share within {WITHIN:g} root-CRB", title=words, ylim=(-0.02, 1.04))
        names = {method.name for method in methods}
        fit_log_axis(line[:1], (row for row in rows if row["method"] in names), y, floor=0.4)
    legend_below(figure, axes.flat)
    return figure


def _gospa(s: Subject) -> Figure:
    rows, columns = s.tables["by_snr"], len(s.rules)
    figure, axes = plt.subplots(2, columns, figsize=(5 * columns, 8), sharey=True, squeeze=False, layout="constrained")
    for line, step in zip(axes, STEPS, strict=True):
        for axis, rule in zip(line, s.rules, strict=True):
            family(axis, rows, s.methods(step, rule), "snr_db", s.gospa)
            axis.set(xlabel=SNR, title=f"{STEPS[step]}, {RULES[rule]}")
        line[0].set(ylabel=f"mean GOSPA [m], cut-off {s.cutoff:g} m")
    fit_log_axis(axes.flat, rows, s.gospa, floor=_least(rows) / 3)
    legend_below(figure, axes.flat)
    return figure


def _resolution(s: Subject) -> Figure:
    rows = s.tables["resolution"]
    bins = sorted({(number(r, "separation_low_beams"), number(r, "separation_high_beams")) for r in rows})
    placed = [
        r | {"place": bins.index((number(r, "separation_low_beams"), number(r, "separation_high_beams")))} for r in rows
    ]
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), sharey=True, layout="constrained")
    for line, step in zip(axes, STEPS, strict=True):
        methods = s.methods(step)
        for axis, words in zip(line, SNR_RANGES, strict=True):
            own = [row for row in placed if row["snr_range"] == words]
            family(axis, own, methods, "place", "resolution", width=0.55)
            axis.set_xticks(range(len(bins)), [_bin(*each) for each in bins])
            axis.set(
                xlabel="separation of the closest pair [beams]", title=f"{STEPS[step]}, SNR {words}", ylim=(-0.02, 1.04)
            )
        line[0].set(ylabel="share of pairs resolved")
    legend_below(figure, axes.flat)
    return figure


def _model_order(s: Subject) -> Figure:
    rows = [row for row in s.tables["k_accuracy"] if row["count"] == ALL]
    names = dict.fromkeys(str(row["method"]) for row in rows)
    methods = [look_of(method) for method in chosen(name for name in names if name not in ORDERS)]
    methods += [look for name, look in ORDERS.items() if name in names]
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
    family(axes[0], rows, methods, "snr_db", "K_accuracy")
    family(axes[1], rows, methods, "snr_db", "K_error_mean")
    axes[0].set(xlabel=SNR, ylabel="share of scenes whose K is found", ylim=(-0.02, 1.04))
    axes[1].axhline(0, color=BOUND, linestyle="--", label="no bias")
    axes[1].set(xlabel=SNR, ylabel="mean of (K found - K)")
    legend_below(figure, axes)
    return figure


def _calibration(s: Subject) -> Figure:
    rows = s.tables["calibration"]
    methods = s.methods(table="calibration")
    figure, axes = plt.subplots(1, len(LEVELS) + 1, figsize=(10, 4.6), layout="constrained")
    for axis, level in zip(axes, LEVELS, strict=False):
        family(axis, rows, methods, "snr_db", f"observed_{100 * level:.0f}")
        axis.axhline(level, color=BOUND, linestyle="--", linewidth=1.8, label="nominal")
        axis.set(xlabel=SNR, ylabel="observed share", title=f"distance, {level:.0%} interval", ylim=(0, 1.04))
    family(axes[-1], rows, methods, "snr_db", "position_error_over_std_median")
    axes[-1].axhline(0.674, color=BOUND, linestyle=":", label="median of a one-dimensional Gaussian")
    axes[-1].set(xlabel=SNR, ylabel="median error / reported deviation", title="position")
    legend_below(figure, axes)
    return figure


def _time(s: Subject) -> Figure:
    spent = {str(row["method"]): row for row in s.tables["time"]}
    methods = [m for m in s.methods() if m.name in spent][::-1]
    figure, axes = plt.subplots(1, 2, figsize=(10, 1.5 + 0.3 * len(methods)), sharey=True, layout="constrained")
    for place, method in enumerate(methods):
        _, value, low, high = points([spent[method.name]], "ms_per_scene", "ms_per_scene")
        fading = 1.0 if Method.named(method.name).step == REFINED else 0.45
        axes[0].barh(place, value, xerr=spread(value, low, high), color=method.colour, alpha=fading, ecolor="0.6")
        axes[0].annotate(f" {value[0]:.2g}", (high[0], place), va="center", fontsize=7)
    dots(axes[1], s.tables["by_snr"], methods, s.gospa)
    size = ", ".join(f"{name} {row[name]}" for row in s.tables["time"][:1] for name in ("batch", "threads"))
    axes[0].set(xscale="log", xlabel=f"time a scene [ms] ({size})", ylim=(-0.6, len(methods) - 0.4))
    axes[0].margins(x=0.15)
    log_ticks(axes[0].xaxis, 10)
    axes[0].set_yticks(range(len(methods)), [m.text for m in methods], fontsize=8)
    axes[1].set(xlabel=f"mean GOSPA [m], cut-off {s.cutoff:g} m")
    legend_below(figure, axes[1:], columns=8)
    axes[0].grid(axis="x", alpha=0.25)
    return figure


def _ablation(s: Subject) -> Figure:
    rows = s.tables["ablation"]
    methods = s.methods(ablations=True, table="ablation")[::-1]
    figure, axes = plt.subplots(1, 3, figsize=(10, 2 + 0.3 * len(methods)), sharey=True, layout="constrained")
    shown = {
        "position_error_median_m": "median position error [m]",
        f"within_{WITHIN:g}_root_crb": f"share within {WITHIN:g} root-CRB",
        s.gospa: f"mean GOSPA [m], cut-off {s.cutoff:g} m",
    }
    for axis, (column, words) in zip(axes, shown.items(), strict=True):
        dots(axis, rows, methods, column)
        axis.set(xlabel=words)
    axes[0].set(ylim=(-0.6, len(methods) - 0.4))
    names = {m.name for m in methods}
    if any(np.isfinite(number(row, "position_error_median_m")) for row in rows if row["method"] in names):
        axes[0].set(xscale="log")
        log_ticks(axes[0].xaxis, 10)
    axes[0].set_yticks(range(len(methods)), [m.text for m in methods], fontsize=8)
    legend_below(figure, axes[2:], columns=8)
    for axis in axes[:2]:
        axis.grid(alpha=0.25)
    return figure


def _least(rows: Sequence[Row]) -> float:
    """The least median root-CRB, metres; 0.01 where no scene has a source."""
    return min((v for row in rows if (v := number(row, "root_crb_median_m")) > 0), default=1e-2)


def _bin(low: float, high: float) -> str:
    return f"{low:g}-{high:g}" if np.isfinite(high) else f"{low:g} and more"


FIGURES = (
    Drawing(
        "error_by_snr",
        "Error against SNR, and the bound",
        "Median position error of each method against SNR, with its interval, beside the median root-CRB (dashed).",
        "by_snr",
        _errors,
        ("sources", "position_error_median_m", "root_crb_median_m"),
    ),
    Drawing(
        "ratio_by_snr",
        "How far from the bound",
        "Left: median over sources of the position error divided by that source's root-CRB. Right: share of sources "
        "within three root-CRB. Missed sources count as infinitely far.",
        "by_snr",
        _ratios,
        ("sources", "error_over_root_crb_median", f"within_{WITHIN:g}_root_crb"),
    ),
    Drawing(
        "error_by_snr_and_k",
        "Error against SNR, for each number of sources",
        "Median position error of the refined methods against SNR, a panel for each K, beside the median root-CRB.",
        "by_cell",
        _errors_by_k,
        ("sources", "position_error_median_m", "root_crb_median_m", "error_over_root_crb_median"),
    ),
    Drawing(
        "gospa_by_snr",
        "GOSPA against SNR",
        "Mean GOSPA over scenes, where misses and false alarms cost as much as a large error, for each K rule.",
        "by_snr",
        _gospa,
    ),
    Drawing(
        "resolution",
        "Resolution of close sources",
        "Share of scenes whose closest pair is resolved, against the pair's separation in beams of wavelength / aperture.",
        "resolution",
        _resolution,
    ),
    Drawing(
        "k_accuracy",
        "Number of sources",
        "Left: share of scenes whose number of sources is found exactly, against SNR. Right: the mean signed error of K.",
        "k_accuracy",
        _model_order,
    ),
    Drawing(
        "calibration",
        "Calibration of the reported deviations",
        "Observed share of distance errors within the nominal interval, and the median of position error over reported "
        "deviation, over matched sources that call themselves resolved, against SNR.",
        "calibration",
        _calibration,
    ),
    Drawing(
        "time",
        "Time a scene, against what it buys",
        "Left: milliseconds a scene of each method (refined solid, plain pale). Right: its mean GOSPA at each SNR.",
        "time",
        _time,
    ),
    Drawing(
        "ablation",
        "What each part of the hybrid is worth",
        "The hybrid and its ablations, refined: median position error, share within three root-CRB, and GOSPA at each SNR.",
        "ablation",
        _ablation,
    ),
)
"""The figures in the order of the report."""
