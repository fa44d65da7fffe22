"""Calibration: whether the standard deviations that a fit reports are those of its errors.

Axes: batch B, src (true slots), est (estimated slots).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from risloc.estimation.assessment import Estimates
from risloc.performance.intervals import median_interval, proportion_interval
from risloc.performance.metrics import Match
from stages.evaluation.tables import Columns, Row, Table, cells, interval, sources

__all__ = ["LEVELS", "calibration", "standardised"]

LEVELS = (0.68, 0.95)
"""Nominal: the share of errors of a Gaussian that lie within z standard deviations."""


def standardised(found: Match, estimates: Estimates) -> dict[str, Tensor]:
    """|r_hat - r| / distance_std and position error / position_std of each true source, [B, src].

    NaN where a source is absent or missed, where its estimate calls itself unresolved, or where a deviation is 0
    (distance no parameter): these are counted elsewhere, and no claim was made about them.
    """
    slot = found.estimate.clamp_min(0)
    used = (found.estimate >= 0) & estimates.resolved.gather(1, slot)

    def over(error: Tensor, std: Tensor) -> Tensor:
        own = std.gather(1, slot)
        return torch.where(used & (own > 0), error / own, torch.nan)

    return {
        "distance_z": over(found.distance, estimates.distance_std),
        "position_z": over(found.position, estimates.position_std),
    }


def calibration(scenes: Columns, methods: Mapping[str, Columns], table: Table) -> list[Row]:
    """By method with a fit and by SNR: the share of errors of r within the nominal interval, and the median position ratio.

    used : matched and resolved sources; sources : all there were.
    """
    from scipy.stats import norm  # half a second, which not every stage needs

    rows: list[Row] = []
    for name, scores in methods.items():
        if "distance_z" not in scores:
            continue
        for key, cell in cells(scenes, ["snr_db"]):
            z, ratio = sources(scores["distance_z"][cell]), sources(scores["position_z"][cell])
            row: Row = {"method": name} | key | {"sources": int(scenes["count"][cell].sum()), "used": len(z)}
            for level in LEVELS:
                hits = int((z <= norm.ppf((1 + level) / 2)).sum())
                share = proportion_interval(hits, len(z), table.confidence)
                row |= dict(interval(f"observed_{100 * level:.0f}", share))
            median = median_interval(ratio, table.confidence)
            rows.append(row | dict(interval("position_error_over_std_median", median)))
    return rows
