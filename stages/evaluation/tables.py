"""The tables made of the scores, scene by scene: by SNR, by K, by cell, never one average; time and ablations beside them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from risloc.performance.intervals import Interval, bootstrap_interval, median_interval, proportion_interval
from risloc.performance.metrics import rmspe
from stages.evaluation.method import PLAIN, Method

__all__ = [
    "Columns",
    "Row",
    "Table",
    "ablation",
    "cells",
    "curves",
    "flat_metrics",
    "interval",
    "json_ready",
    "number",
    "select",
    "sources",
    "tabulate",
    "timing",
]

Columns = dict[str, np.ndarray]
Row = dict[str, object]
WITHIN = 3.0  # root-CRBs within which an estimate counts as at the bound


@dataclass(frozen=True)
class Table:
    """What a table needs besides the scores.

    cutoffs : of GOSPA, metres.  confidence : level of every interval.  seed : of every bootstrap.
    """

    cutoffs: tuple[float, ...]
    confidence: float
    seed: int


def tabulate(scenes: Columns, methods: Mapping[str, Columns], by: Sequence[str], table: Table) -> list[Row]:
    """One row for each method and each value of the columns `by` of the scenes (snr_db, count).

    Intervals are at `table.confidence`: order statistics for medians, Wilson for shares, bootstrap over scenes else.
    `unresolved` (share of reported sources) and `not_converged` (scenes) are None where a method makes no fit.
    """
    rows: list[Row] = []
    for name, scores in methods.items():
        for key, cell in cells(scenes, by):
            here, own = select(scenes, cell), select(scores, cell)
            rows.append({"method": name} | key | dict(_cell(here, own, table)) | dict(_fit(own, table)))
    return rows


def _cell(scenes: Columns, scores: Columns, table: Table) -> Iterator[tuple[str, object]]:
    level, n = table.confidence, len(scenes["count"])
    error, ratio = sources(scores["position"]), sources(scores["ratio"])
    yield "scenes", n
    yield "sources", len(error)
    yield from interval("position_error_median_m", median_interval(error, level))
    yield "root_crb_median_m", _rounded(float(np.median(sources(scenes["root_crb"]))) if len(error) else math.nan)
    yield from interval("error_over_root_crb_median", median_interval(ratio, level))
    near = ratio[ratio < WITHIN]
    yield from interval(f"within_{WITHIN:g}_root_crb", proportion_interval(len(near), len(ratio), level))
    yield (
        f"error_over_root_crb_rms_within_{WITHIN:g}",
        _rounded(float(np.sqrt(np.mean(near**2))) if len(near) else math.nan),
    )
    yield "rmspe_matched_m", _rounded(rmspe(torch.from_numpy(error)))
    for name, unit, values in (("angle", "deg", np.rad2deg(scores["angle"])), ("distance", "m", scores["distance"])):
        yield from interval(f"{name}_rmse_matched_{unit}", _rms(values, table))
        yield from interval(f"{name}_error_median_{unit}", median_interval(sources(values), level))
    yield from _bound("angle", "deg", np.rad2deg(scenes["root_crb_angle"]))
    yield from _bound("distance", "m", scenes["root_crb_distance"])
    for c in table.cutoffs:
        name = f"gospa_{c:g}m"
        yield from interval(name, bootstrap_interval(scores[name], _mean, level, table.seed))
    total = int(scenes["count"].sum())
    yield from interval("detected", proportion_interval(total - int(scores["missed"].sum()), total, level))
    yield "false_per_scene", _rounded(float(scores["false"].mean()))
    right = int((scores["count"] == scenes["count"]).sum())
    yield from interval("K_accuracy", proportion_interval(right, n, level))
    yield from interval("resolved", proportion_interval(int(scores["resolved"].sum()), n, level))
    yield "bounds_clipped", int(scenes["clipped"].sum())


def _fit(scores: Columns, table: Table) -> Iterator[tuple[str, object]]:
    """What the fits of a method say of themselves."""
    if "unresolved" not in scores:
        yield from ((f"unresolved{end}", None) for end in ("", "_low", "_high"))
        yield "not_converged", None
        return
    reported, unresolved = int(scores["count"].sum()), int(scores["unresolved"].sum())
    yield from interval("unresolved", proportion_interval(unresolved, reported, table.confidence))
    yield "not_converged", int(scores["not_converged"].sum())


def timing(times: Mapping[str, Sequence[tuple[int, float]]], batch: int, table: Table) -> list[Row]:
    """Milliseconds a scene of each method: the mean over its batches, with the bootstrap interval over them.

    times : (scenes, seconds) of each batch. A last batch that is short is left out where there are others.
    """
    rows: list[Row] = []
    for name, parts in times.items():
        full = [part for part in parts if part[0] == batch] or list(parts)
        each = np.array([1e3 * seconds / scenes for scenes, seconds in full])
        spent = dict(interval("ms_per_scene", bootstrap_interval(each, _mean, table.confidence, table.seed)))
        size = {"batch": min(batch, full[0][0]), "batches": len(full), "threads": torch.get_num_threads()}
        rows.append({"method": name} | spent | size)
    return rows


def ablation(by_snr: Sequence[Row], times: Sequence[Row], table: Table) -> list[Row]:
    """The hybrid, refined, and whatever is left of it when one part goes, by SNR: error, share at the bound, GOSPA, time."""
    names = ("position_error_median_m", f"within_{WITHIN:g}_root_crb", *(f"gospa_{c:g}m" for c in table.cutoffs))
    kept = ["method", "snr_db", "scenes", *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))]
    spent = {row["method"]: row["ms_per_scene"] for row in times}
    return [
        {name: row[name] for name in kept} | {"ms_per_scene": spent[row["method"]]}
        for row in by_snr
        if (m := Method.named(str(row["method"]))).step != PLAIN and m.group in ("hybrid", "learned")
    ]


def curves(rows: Sequence[Row], column: str, bound: str | None = None) -> list[Row]:
    """One column of a table by SNR as a column for each method: what a line plot reads. bound : the column root_crb."""
    found: dict[object, Row] = {}
    for row in rows:
        line = found.setdefault(row["snr_db"], {"snr_db": row["snr_db"]} | ({"root_crb": row[bound]} if bound else {}))
        line[str(row["method"])] = row[column]
    return sorted(found.values(), key=lambda line: number(line, "snr_db"))


def flat_metrics(rows: Sequence[Row]) -> dict[str, float | None]:
    """The headline numbers by SNR under flat keys, ``quantity/method/snr10``; null where not finite."""
    names = {
        "position_error_median": "position_error_median_m",
        "error_over_root_crb_median": "error_over_root_crb_median",
        "within_3_root_crb": "within_3_root_crb",
        "gospa": "gospa_2m",
        "K_accuracy": "K_accuracy",
    }
    flat: dict[str, float | None] = {}
    for short, column in names.items():
        for row in rows:
            value = row.get(column)
            usable = isinstance(value, float) and math.isfinite(value)
            flat[f"{short}/{row['method']}/snr{row['snr_db']:g}"] = value if usable else None  # type: ignore[assignment]
    return flat


def json_ready(tables: Mapping[str, Sequence[Row]]) -> dict[str, object]:
    """The tables with null for every number that is not finite."""

    def plain(value: object) -> object:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: [{key: plain(value) for key, value in row.items()} for row in rows] for name, rows in tables.items()}


def cells(scenes: Columns, by: Sequence[str]) -> Iterator[tuple[Row, np.ndarray]]:
    """Each combination of values of the columns `by` that occurs, with the mask of its scenes."""
    keys = np.stack([scenes[name] for name in by], axis=1)
    for key in np.unique(keys, axis=0):
        yield {b: _plain(k) for b, k in zip(by, key, strict=True)}, (keys == key).all(axis=1)


def select(columns: Columns, rows: np.ndarray) -> Columns:
    """The columns at these scenes."""
    return {name: value[rows] for name, value in columns.items()}


def sources(values: np.ndarray) -> np.ndarray:
    """A column over source slots as one value a source: absent ones (NaN) left out, missed ones (infinite) kept."""
    flat = values.ravel()
    return flat[~np.isnan(flat)]


def interval(name: str, x: Interval) -> Iterator[tuple[str, object]]:
    """The columns `name`, `name`_low and `name`_high."""
    yield name, _rounded(x.value)
    yield f"{name}_low", _rounded(x.low)
    yield f"{name}_high", _rounded(x.high)


def number(row: Mapping[str, object], key: str) -> float:
    """A cell as a number; NaN where it is empty."""
    value = row[key]
    return math.nan if value is None else float(str(value))


def _rms(errors: np.ndarray, table: Table) -> Interval:
    """The root mean square of errors [scene, src] over matched sources; resampled are scenes that have any."""
    hit = np.isfinite(errors)
    hits, squares = hit.sum(1), (np.where(hit, errors, 0.0) ** 2).sum(1)
    matched = np.flatnonzero(hits).astype(float)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        scene = drawn.astype(int)
        return np.sqrt(squares[scene].sum(axis=-1) / hits[scene].sum(axis=-1))

    return bootstrap_interval(matched, statistic, table.confidence, table.seed)


def _bound(name: str, unit: str, root_crb: np.ndarray) -> Iterator[tuple[str, object]]:
    """The mean of root-CRBs, as papers print it, and their root mean square, which an efficient estimator's RMSE meets."""
    own = sources(root_crb)
    yield f"root_crb_{name}_mean_{unit}", _rounded(float(own.mean()) if len(own) else math.nan)
    yield f"root_crb_{name}_rms_{unit}", _rounded(rmspe(torch.from_numpy(own)))


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=-1)


def _rounded(value: float) -> float:
    return float(f"{round(value, 12):.5g}")  # 1e-17 is Wilson's zero


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)
