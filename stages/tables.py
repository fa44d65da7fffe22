"""Scores of every method, scene by scene, and the tables made of them: by SNR, by K, by cell, never one average."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from risloc.crb import deterministic_bound, stochastic_bound
from risloc.geometry import location_of, polar_of, position_of
from risloc.localise import Localiser, Located
from risloc.metrics import (
    Interval,
    bootstrap_interval,
    gospa,
    match,
    median_interval,
    proportion_interval,
    resolved_scenes,
    rmspe,
)
from risloc.scene import Scenes

__all__ = ["Scores", "Table", "error_curves", "flat_metrics", "score", "score_bound", "tabulate"]

Columns = dict[str, np.ndarray]
Row = dict[str, object]
WITHIN = 3.0  # root-CRBs within which an estimate counts as at the bound


@dataclass(frozen=True)
class Bounds:
    """The root-CRBs of a batch, position clipped to the prior's deviation; NaN where there is no source."""

    position: Tensor
    clipped: Tensor


class Scores:
    """Columns of per-scene scores of one method (or of the scenes themselves), batch by batch."""

    def __init__(self) -> None:
        self._parts: list[Columns] = []

    def add(self, **columns: Tensor) -> None:
        """Append a batch; the first axis of every column runs over its scenes."""
        self._parts.append({name: value.detach().cpu().numpy() for name, value in columns.items()})

    def columns(self) -> Columns:
        """All scenes so far."""
        return {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}


def score_bound(scenes: Scenes, localiser: Localiser, prior: float, waveform: str) -> Bounds:
    """The bound of each source: stochastic for independent symbols, deterministic where the waveform is shared."""
    o, t = scenes.observation, scenes.truth
    known = (localiser.array, localiser.domain.free, o.codebook, o.H, _true_location(scenes))
    if waveform == "independent":
        bound = stochastic_bound(*known, t.power, o.noise_var)
    else:
        bound = deterministic_bound(*known, t.symbols, o.noise_var)
    return Bounds(position=bound.position.clamp(max=prior), clipped=(bound.position > prior) & t.present)


def score(scenes: Scenes, bounds: Bounds, located: Located, cutoffs: Sequence[float]) -> dict[str, Tensor]:
    """The scores of one method on a batch; the first cut-off decides what is matched."""
    t = scenes.truth
    true = polar_of(_true_location(scenes))
    found = match(located.polar, located.present, true, t.present, cutoffs[0])
    p, q = position_of(location_of(located.polar)), position_of(location_of(true))
    columns = {
        "position": found.position,
        "distance": found.distance,
        "angle": found.angle,
        "ratio": found.position / bounds.position,
        "missed": found.missed,
        "false": found.false,
        "count": located.present.sum(1),
        "resolved": resolved_scenes(found.position, q, t.present),
    }
    return columns | {f"gospa_{c:g}m": gospa(p, located.present, q, t.present, c) for c in cutoffs}


@dataclass(frozen=True)
class Table:
    """What `tabulate` needs besides the scores."""

    cutoffs: tuple[float, ...]
    confidence: float
    seed: int


def tabulate(scenes: Columns, methods: Mapping[str, Columns], by: Sequence[str], table: Table) -> list[Row]:
    """One row for each method and each value of the columns `by` of the scenes (snr_db, count).

    Intervals are at `table.confidence`: order statistics for medians, Wilson for shares, bootstrap over scenes else.
    """
    keys = np.stack([scenes[name] for name in by], axis=1)
    rows: list[Row] = []
    for name, scores in methods.items():
        for key in np.unique(keys, axis=0):
            cell = (keys == key).all(axis=1)
            row: Row = {"method": name} | {b: _plain(k) for b, k in zip(by, key, strict=True)}
            rows.append(row | dict(_cell(_select(scenes, cell), _select(scores, cell), table)))
    return rows


def _cell(scenes: Columns, scores: Columns, table: Table) -> Iterator[tuple[str, object]]:
    level, n = table.confidence, len(scenes["count"])
    error, ratio = _sources(scores["position"]), _sources(scores["ratio"])
    yield "scenes", n
    yield "sources", len(error)
    yield from _interval("position_error_median_m", median_interval(error, level))
    yield "root_crb_median_m", _rounded(float(np.median(_sources(scenes["root_crb"]))) if len(error) else math.nan)
    yield from _interval("error_over_root_crb_median", median_interval(ratio, level))
    near = ratio[ratio < WITHIN]
    yield from _interval(f"within_{WITHIN:g}_root_crb", proportion_interval(len(near), len(ratio), level))
    yield (
        f"error_over_root_crb_rms_within_{WITHIN:g}",
        _rounded(float(np.sqrt(np.mean(near**2))) if len(near) else math.nan),
    )
    yield "rmspe_matched_m", _rounded(rmspe(torch.from_numpy(error)))
    yield "angle_rmse_matched_deg", _rounded(math.degrees(rmspe(torch.from_numpy(_sources(scores["angle"])))))
    yield "distance_rmse_matched_m", _rounded(rmspe(torch.from_numpy(_sources(scores["distance"]))))
    yield "angle_error_median_deg", _rounded(math.degrees(median_interval(_sources(scores["angle"]), level).value))
    yield "distance_error_median_m", _rounded(median_interval(_sources(scores["distance"]), level).value)
    for c in table.cutoffs:
        name = f"gospa_{c:g}m"
        yield from _interval(name, bootstrap_interval(scores[name], lambda x: x.mean(axis=-1), level, table.seed))
    sources = int(scenes["count"].sum())
    yield from _interval("detected", proportion_interval(sources - int(scores["missed"].sum()), sources, level))
    yield "false_per_scene", _rounded(float(scores["false"].mean()))
    right = int((scores["count"] == scenes["count"]).sum())
    yield from _interval("K_accuracy", proportion_interval(right, n, level))
    yield from _interval("resolved", proportion_interval(int(scores["resolved"].sum()), n, level))
    yield "bounds_clipped", int(scenes["clipped"].sum())


def error_curves(rows: Sequence[Row], methods: Sequence[str]) -> list[Row]:
    """Median position error against SNR, one column a method and one for the bound: the plot's data."""
    snrs = sorted({float(str(row["snr_db"])) for row in rows})
    cell = {(row["method"], row["snr_db"]): row for row in rows}
    return [
        {"snr_db": snr, "root_crb": cell[methods[0], snr]["root_crb_median_m"]}
        | {name: cell[name, snr]["position_error_median_m"] for name in methods}
        for snr in snrs
    ]


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


def _true_location(scenes: Scenes) -> Tensor:
    """Absent slots hold a harmless location instead of zeros."""
    filler = torch.tensor([0.0, 0.0, 1.0], dtype=scenes.truth.location.dtype)
    return torch.where(scenes.truth.present[..., None], scenes.truth.location, filler)


def _select(columns: Columns, rows: np.ndarray) -> Columns:
    return {name: value[rows] for name, value in columns.items()}


def _sources(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    return flat[~np.isnan(flat)]


def _interval(name: str, x: Interval) -> Iterator[tuple[str, object]]:
    yield name, _rounded(x.value)
    yield f"{name}_low", _rounded(x.low)
    yield f"{name}_high", _rounded(x.high)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)
