"""GOSPA beside matching pursuit's, scene by scene: the mean difference says more than the difference of two means."""

from collections.abc import Mapping

from risloc.performance.intervals import bootstrap_interval
from stages.evaluation.labels import method_of
from stages.evaluation.tables import Columns, Row, Table, cells, interval

__all__ = ["paired"]

REFERENCE = "nomp_refined"  # the strong classical method


def paired(scenes: Columns, methods: Mapping[str, Columns], table: Table) -> list[Row]:
    """GOSPA of each method less that of NOMP in the same scenes and under the same K rule, by SNR: mean, interval, metres.

    Below 0 is better than NOMP. The interval is a bootstrap over scenes. No row where NOMP was not run.
    """
    rows: list[Row] = []
    for name, scores in methods.items():
        rule = method_of(name).rule
        reference = REFERENCE if rule == "known" else f"{REFERENCE}_{rule}"
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
