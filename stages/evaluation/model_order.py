"""Model order: how often K is found, by BIC beside each refined method and by estimators of K alone."""

from collections.abc import Iterator, Mapping

import numpy as np

from risloc.learning.k_rules import KNOWN
from risloc.performance.intervals import bootstrap_interval, proportion_interval
from stages.evaluation.method import Method
from stages.evaluation.tables import Columns, Row, Table, cells, interval

__all__ = ["ALL", "k_accuracy"]

ALL = "all"
"""In the column `count`: scenes of every K."""


def k_accuracy(
    scenes: Columns, methods: Mapping[str, Columns], orders: Mapping[str, Columns], table: Table
) -> list[Row]:
    """By SNR, then by SNR and K: the share of scenes whose K is found, and the mean of (K found - K).

    methods : of these, the fits that had to find K.  orders : estimators of K alone, their answer in `count`.
    """
    seeking = {name: own for name, own in methods.items() if Method.named(name).rule != KNOWN and "unresolved" in own}
    rows: list[Row] = []
    for by in (["snr_db"], ["snr_db", "count"]):
        for name, own in (seeking | dict(orders)).items():
            for key, cell in cells(scenes, by):
                surplus = (own["count"] - scenes["count"])[cell].astype(float)
                rows.append(
                    {"method": name, "snr_db": key["snr_db"], "count": key.get("count", ALL)}
                    | dict(_cell(surplus, table))
                )
    return rows


def _cell(surplus: np.ndarray, table: Table) -> Iterator[tuple[str, object]]:
    level, n = table.confidence, len(surplus)
    yield "scenes", n
    yield from interval("K_accuracy", proportion_interval(int((surplus == 0).sum()), n, level))
    yield from interval("K_error_mean", bootstrap_interval(surplus, lambda x: x.mean(axis=-1), level, table.seed))
