"""The page: every table and figure of the evaluation in one HTML file that needs no other file and no network.

An interval stands in one cell with its value: ``0.137 [0.12, 0.16]`` is x, x_low and x_high of the CSV.
"""

import base64
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from stages.evaluation.facts import Facts
from stages.evaluation.method import PLAIN, REFINED, STOCHASTIC, Method
from stages.evaluation.resolution import EDGES
from stages.evaluation.tables import WITHIN, Row, number
from stages.reporting.drawing import Subject, Tables
from stages.reporting.figures import FIGURES
from stages.reporting.looks import GROUP_WORDS, ORDERS, RULES, Look
from stages.reporting.loss_figures import LOSSES
from stages.reporting.page_template import TEMPLATE
from stages.reporting.scene_figures import CAPTIONS

__all__ = ["Shown", "page", "shown"]

_CellOf = Callable[[Row], tuple[str, str, str]]
_Line = tuple[Look, list[tuple[str, str, str]]]
_NEAR = ((1.0, "at"), (2.0, "near"), (5.0, "off"), (math.inf, "far"))
_COMPLETE = ("by_snr", "by_k", "by_cell", "paired", "covariances")
_STEPS = {
    REFINED: "With likelihood refinement",
    STOCHASTIC: "And fitted once more by the stochastic likelihood",
    PLAIN: "Plain spectrum",
}
_FITTED = (REFINED, STOCHASTIC)
_KEYS = ("method", "snr_db", "count", "snr_range", "separation_low_beams", "separation_high_beams")


@dataclass(frozen=True)
class Shown:
    """A table as the page shows it; the first cell of a row is its heading."""

    columns: list[str]
    rows: list[list[str]]


def page(
    subject: Subject, figures: Mapping[str, Path], facts: Facts, confidence: float, links: Mapping[str, str]
) -> str:
    """The HTML text.

    figures : PNG files by name, those of `stages.reporting.figures.FIGURES`, of `stages.reporting.loss_figures.LOSSES` and of `stages.reporting.scene_figures.CAPTIONS`, a PDF beside each.
    confidence : of the intervals.  links : what else there is, from the page's folder, with words.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    tables = subject.tables
    listed = subject.methods(ablations=True)
    return environment.from_string(TEMPLATE).render(
        subject=subject,
        facts=facts,
        confidence=f"{100 * confidence:g} %",
        scenes_per_cell=_span([number(row, "scenes") for row in tables["by_cell"]]),
        methods=[(look, GROUP_WORDS[Method.named(look.name).group]) for look in listed],
        rules={rule: RULES[rule] for rule in subject.rules},
        orders=ORDERS,
        within=f"{WITHIN:g}",
        edges=", ".join(f"{edge:g}" for edge in EDGES[1:-1]),
        glance=_glance(subject),
        figures=FIGURES,
        scene=CAPTIONS,
        training=LOSSES,
        links=links,
        parts={drawing.name: shown(tables[drawing.table], drawing.columns) for drawing in FIGURES},
        complete={name: shown(tables[name]) for name in _COMPLETE},
        images={name: _data_uri(path) for name, path in figures.items()},
    )


def shown(rows: Sequence[Row], columns: Sequence[str] = ()) -> Shown:
    """A table of these columns beside those that name the row (none: all columns), each interval with its value."""
    if not rows:
        return Shown([], [])
    names = [n for n in rows[0] if not (n.endswith(("_low", "_high")) and n.rsplit("_", 1)[0] in rows[0])]
    kept = [n for n in names if not columns or n in columns or n in _KEYS]
    return Shown(kept, [[_cell(row, name) for name in kept] for row in rows])


def _cell(row: Row, name: str) -> str:
    """The numbers as the CSV has them; a dash where it is empty."""
    if row[name] is None:
        return "–"
    low, high = f"{name}_low", f"{name}_high"
    return f"{row[name]} [{row[low]}, {row[high]}]" if low in row else str(row[name])


def _glance(s: Subject) -> list[dict[str, object]]:
    """The tables at the top: error with its ratio to the bound, GOSPA under each K rule, and what was lost."""
    error: dict[str, object] = {
        "title": f"Median position error [m] and how many times the root-CRB, {RULES[s.rules[0]]}",
        "note": f"Under each error: median of error / root-CRB, and the share within {WITHIN:g} root-CRB.",
        "bodies": _bodies(s, _STEPS, s.rules[:1], _error),
        "bound": _bounds(s.tables),
    }
    cost: dict[str, object] = {
        "title": f"Mean GOSPA [m], cut-off {s.cutoff:g} m",
        "note": "With its interval. Misses and false alarms are paid for.",
        "bodies": _bodies(s, _FITTED, s.rules, _cost(s.gospa)),
        "bound": [],
    }
    less: dict[str, object] = {
        "title": f"GOSPA [m], cut-off {s.cutoff:g} m, less that of NOMP in the same scenes",
        "note": "Mean of the differences with its interval; below 0 is better than NOMP.",
        "bodies": _bodies(s, _FITTED, s.rules, _difference(f"{s.gospa}_less_nomp"), "paired"),
        "bound": [],
    }
    lost: dict[str, object] = {
        "title": f"What was lost, {RULES[s.rules[0]]}",
        "note": "Share of sources missed / share of reported sources that call themselves unresolved / number of scenes "
        "whose fit did not converge.",
        "bodies": _bodies(s, _FITTED, s.rules[:1], _lost),
        "bound": [],
    }
    snrs = sorted({number(row, "snr_db") for row in s.tables["by_snr"]})
    return [part | {"snrs": [f"{snr:g} dB" for snr in snrs]} for part in (error, cost, less, lost)]


def _bodies(
    s: Subject, steps: Iterable[str], rules: Sequence[str], cell: _CellOf, table: str = "by_snr"
) -> list[tuple[str, list[_Line]]]:
    """A heading for each K rule and step that has methods, and the line of each method."""
    bodies = []
    for rule in rules:
        for step in steps:
            lines = [line for line in _lines(s, s.methods(step, rule), cell, table) if line[1]]
            words = _STEPS[step] if len(rules) == 1 else f"{_STEPS[step]}, {RULES[rule]}"
            bodies += [(words, lines)] if lines else []
    return bodies


def _lines(s: Subject, methods: Sequence[Look], cell: _CellOf, table: str) -> list[_Line]:
    rows = sorted(s.tables[table], key=lambda row: number(row, "snr_db"))
    return [(m, [cell(row) for row in rows if row["method"] == m.name]) for m in methods]


def _error(row: Row) -> tuple[str, str, str]:
    """Words, small words and the class of a cell."""
    ratio = number(row, "error_over_root_crb_median")
    near = number(row, f"within_{WITHIN:g}_root_crb")
    kind = next((kind for most, kind in _NEAR if ratio <= most), "")
    return _value(row, "position_error_median_m"), f"×{ratio:{'.2f' if ratio < 10 else '.0f'}}, {near:.0%}", kind


def _cost(column: str) -> _CellOf:
    return lambda row: (_value(row, column), "", "")


def _difference(column: str) -> _CellOf:
    def cell(row: Row) -> tuple[str, str, str]:
        value, low, high = (f"{number(row, f'{column}{end}'):+.3f}" for end in ("", "_low", "_high"))
        return f"{value} [{low}, {high}]", "", ""

    return cell


def _lost(row: Row) -> tuple[str, str, str]:
    missed, unresolved = 1 - number(row, "detected"), number(row, "unresolved")
    return f"{missed:.1%} / {unresolved:.1%} / {row['not_converged']}", "", ""


def _value(row: Row, column: str) -> str:
    value, low, high = (_short(number(row, f"{column}{end}")) for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


def _short(value: float) -> str:
    """Three digits, and not below a tenth of a millimetre."""
    return f"{value:#.3g}" if not 0 < value < 1e-4 else "<1e-4"


def _bounds(tables: Tables) -> list[str]:
    rows = {number(row, "snr_db"): number(row, "root_crb_median_m") for row in tables["by_snr"]}
    return [f"{rows[snr]:#.3g}" for snr in sorted(rows)]


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
