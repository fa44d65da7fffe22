"""How good the covariances are themselves, before MUSIC or any fit: NMSE, and the share of the true subspace they hold."""

import math
from collections.abc import Mapping

from torch import Tensor

from risloc.covariance.factored import covariance_of
from risloc.learning.loss import nmse
from risloc.learning.validation import subspace_distance
from risloc.performance.intervals import median_interval
from risloc.scenes.batch import Scenes
from stages.evaluation.methods import Seen
from stages.evaluation.tables import Columns, Row, Table, cells, interval

__all__ = ["covariance_quality", "covariance_scores"]


def covariance_scores(seen: Seen, scenes: Scenes) -> dict[str, dict[str, Tensor]]:
    """Of R_pred, R_blend and R_samp in each scene: `nmse`, and `overlap` = tr(P P_true) / K; NaN without a source.

    P is the projector on the K leading eigenvectors.
    """
    truth = scenes.truth
    R_true = covariance_of(truth, seen.network.array)
    none = truth.count == 0
    found = {}
    for name, R in (("R_pred", seen.prediction.R_pred), ("R_blend", seen.R_blend), ("R_samp", seen.R_samp)):
        error = nmse(R, R_true)
        overlap = 1 - subspace_distance(seen.network, R, truth)
        found[name] = {"nmse": error.masked_fill(none, math.nan), "overlap": overlap.masked_fill(none, math.nan)}
    return found


def covariance_quality(scenes: Columns, covariances: Mapping[str, Columns], table: Table) -> list[Row]:
    """By SNR and K: the medians of `covariance_scores` with their intervals; no row for scenes without a source."""
    rows: list[Row] = []
    for name, own in covariances.items():
        for key, cell in cells(scenes, ["snr_db", "count"]):
            if key["count"] == 0:
                continue
            row: Row = {"covariance": name} | key | {"scenes": int(cell.sum())}
            for score in ("nmse", "overlap"):
                row |= dict(interval(f"{score}_median", median_interval(own[score][cell], table.confidence)))
            rows.append(row)
    return rows
