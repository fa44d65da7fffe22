"""Rows of Markdown tables from the tables of an evaluation (tables.json), for the pages and cards that are made of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from risloc.performance.intervals import Interval, proportion_interval
from stages.evaluation.method import STOCHASTIC, Method
from stages.evaluation.model_order import ALL
from stages.reporting.looks import ORDERS, RULES, look_of

__all__ = [
    "ABOVE",
    "FEW",
    "Row",
    "Tables",
    "bound_head",
    "by_rules",
    "by_snr",
    "covariances",
    "db",
    "of_every_k",
    "pooled",
    "rule_words",
    "section",
    "shown",
    "table",
    "those_of",
    "value",
    "with_stochastic",
    "words",
]

Row = dict[str, Any]
Tables = Mapping[str, list[Row]]
ABOVE = (10.0, 15.0, 20.0)  # SNRs above threshold, dB
FEW = (1, 2, 3)  # sources
_AT = 10.0  # dB, where the covariances are shown


def section(
    title: str, head: Sequence[str], rows: Iterable[Sequence[str]], said: str = "", level: int = 2
) -> Iterator[str]:
    """A heading of that level, what is `said` below it, and a table."""
    yield from ("", f"{level * '#'} {title}", "", *([said, ""] if said else []))
    yield from table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table and an empty line."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def by_snr(rows: Iterable[Row], names: Iterable[str], snrs: Sequence[float], column: str) -> Iterator[list[str]]:
    """A line for each method: its words, and the column with its interval at each SNR."""
    found = {(row["method"], row["snr_db"]): row for row in rows}
    for name in names:
        yield [words(name), *(value(found[name, snr], column) for snr in snrs)]


def of_every_k(k_accuracy: Iterable[Row]) -> list[Row]:
    """Of the table of how often K is found, the rows by SNR alone."""
    return [row for row in k_accuracy if row["count"] == ALL]


def bound_head() -> list[str]:
    """The head of the columns of `pooled`."""
    return ["within 3 root-CRB", "rms of those", "median, over cells"]


def pooled(by_cell: Iterable[Row], name: str, confidence: float) -> list[str]:
    """Above threshold, K = 1..3: the share within 3 root-CRB, the rms of error / root-CRB of those, its medians' range."""
    rows = [r for r in by_cell if r["method"] == name and r["snr_db"] in ABOVE and r["count"] in FEW]
    hits = [r["sources"] * r["within_3_root_crb"] for r in rows]
    square = sum(n * r["error_over_root_crb_rms_within_3"] ** 2 for n, r in zip(hits, rows, strict=True) if n)
    medians = [r["error_over_root_crb_median"] or float("inf") for r in rows]
    share = proportion_interval(round(sum(hits)), sum(r["sources"] for r in rows), confidence)
    return [shown(share), f"{(square / sum(hits)) ** 0.5:.3f}", f"{min(medians):.2f}..{max(medians):.2f}"]


def covariances(rows: Iterable[Row], level: int = 2) -> Iterator[str]:
    """A section on R_pred, R_blend and R_samp themselves, by K at 10 dB."""
    here = {(row["covariance"], row["count"]): row for row in rows if row["snr_db"] == _AT}
    counts = sorted({count for _, count in here})
    cells = {name: [here[name, count] for count in counts] for name in dict.fromkeys(name for name, _ in here)}
    yield from section(
        f"The covariances before any fit, {db(_AT)}",
        ["", *(f"K = {count:g}" for count in counts)],
        ([n, *(f"{value(r, 'nmse_median')} / {value(r, 'overlap_median')}" for r in own)] for n, own in cells.items()),
        "Median NMSE against R_true / median of tr(P P_true) / K, the share of the true signal subspace that the K leading "
        "eigenvectors hold.",
        level,
    )


def those_of(rows: Iterable[Row], methods: Iterable[Method]) -> list[str]:
    """The names of those methods that the rows have."""
    found = {row["method"] for row in rows}
    return [method.name for method in methods if method.name in found]


def with_stochastic(methods: Iterable[Method], rows: Iterable[Row]) -> list[str]:
    """The names of those methods that the rows have, and behind each its stochastic fit, if they have that."""
    return those_of(rows, (fit for method in methods for fit in (method, method.stepped(STOCHASTIC))))


def by_rules(methods: Iterable[Method], rules: Iterable[str]) -> list[Method]:
    """Each of these methods under each K rule, rule by rule."""
    every = list(methods)
    return [method.by(rule) for rule in rules for method in every]


def words(name: str) -> str:
    """Words for a method, without its K rule, or for an estimator of K alone."""
    return (ORDERS[name] if name in ORDERS else look_of(Method.named(name))).text


def rule_words(name: str) -> str:
    """Words for a method's K rule."""
    return RULES[Method.named(name).rule]


def db(snr: float) -> str:
    """An SNR with its unit."""
    return f"{snr:g} dB"


def value(row: Row, column: str) -> str:
    """A column with its interval; what is not finite is null in the tables."""
    ends = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    return shown(Interval(*(float("inf") if x is None else x for x in ends)))


def shown(x: Interval) -> str:
    """A value with its interval."""
    return f"{x.value:z.3f} [{x.low:z.3f}, {x.high:z.3f}]"
