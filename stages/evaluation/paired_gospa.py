"""GOSPA beside matching pursuit's, scene by scene: the mean difference says more than the difference of two means."""

from collections.abc import Mapping

from risloc.performance.intervals import bootstrap_interval
from stages.evaluation.method import NOMP, Method
from stages.evaluation.tables import Columns, Row, Table, cells, interval

__all__ = ["paired"]


def paired(scenes: Columns, methods: Mapping[str, Columns], table: Table) -> list[Row]:
    """GOSPA of each method less that of NOMP in the same scenes and under the same K rule, by SNR: mean, interval, metres.

    Below 0 is better than NOMP. The interval is a bootstrap over scenes. No row where NOMP was not run.
    """
    rows: list[Row] = []
    for name, scores in methods.items():
        reference = NOMP.by(Method.named(name).rule).name
        if name == reference or reference not in methods:
            continue
        for key, here in cells(scenes, ["snr_db"]):
            row: Row = {"method": name} | key | {"scenes": int(here.sum())}
            for c in table.cutoffs:
                less = (scores[f"gospa_{c:g}m"] - methods[reference][f"gospa_{c:g}m"])[here]
                found = bootstrap_interval(less, lambda x: x.mean(axis=-1), table.confidence, table.seed)
                row |= dict(interval(f"gospa_{c:g}m_less_nomp", found))
            rows.append(row)
    return rows
