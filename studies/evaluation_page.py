"""Write docs/evaluation.md from the tables of an evaluation: the errors of every method with their intervals.

python -m studies.evaluation_page [FOLDER]        default: study/reports/evaluate, which `make study` makes
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from risloc.learning.k_rules import BY_BIC, KNOWN
from risloc.utils.yaml_reader import read_yaml
from stages.evaluation.method import HYBRID, NOMP, PLAIN, STOCHASTIC, Method
from stages.reporting.looks import ORDERS, RULES
from studies.table_rows import (
    FEW,
    Row,
    Tables,
    bound_head,
    by_snr,
    covariances,
    db,
    of_every_k,
    pooled,
    rule_words,
    section,
    value,
    with_stochastic,
    words,
)

PAGE = Path("docs/evaluation.md")
MAIN = (
    HYBRID,
    NOMP,
    *(Method(source) for source in ("R_pred", "untrained", "back_projection", "R_samp", "sbl", "R_true")),
)
WHY = """\
MUSIC on R_samp is the only spectrum that does not beat beamforming. Each least-squares snapshot lies in the row space of its
own G_l = H diag(c_l), 16 of 144 dimensions and different ones in every snapshot, so the K leading eigenvectors of the sample
covariance hold less than a third of the true signal subspace (a test in `tests/estimation/test_localiser.py`). Shrinkage and
diagonal loading do not change eigenvectors. OMP stays on the grid, whose spacing in 1/r is as large as its error."""
SPECTRA = tuple(
    Method(source, PLAIN)
    for source in ("R_blend", "R_pred", "slots", "R_samp", "beamforming", "mvdr", "sbl", "omp", "untrained")
)


def main() -> None:
    """Write the page."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("study/reports/evaluate")
    tables: Tables = json.loads((folder / "tables.json").read_text(encoding="utf-8"))
    PAGE.write_text("\n".join(_page(tables)) + "\n", encoding="utf-8")
    print(f"{PAGE}: from {folder}")


def _page(tables: Tables) -> Iterator[str]:
    snrs = sorted({row["snr_db"] for row in tables["by_snr"]})
    yield from _introduction(tables["by_cell"])
    yield from _errors(tables, snrs)
    yield from _counts(tables, snrs)
    yield from _steps(tables)
    yield from section(
        "Standard deviations: share of range errors within the nominal 68 % / 95 % interval, for sources that are found and resolved",
        ["", *(f"{snr:g} dB" for snr in snrs)],
        _calibration(tables["calibration"], snrs),
    )


def _introduction(by_cell: list[Row]) -> Iterator[str]:
    scenes = sorted({row["scenes"] for row in by_cell})
    yield "# How far from the bound"
    yield ""
    yield (
        f"This page compares the error of every method with the bound, in the default scenario with {scenes[0]} scenes for each SNR "
        "and K. `python -m studies.evaluation_page FOLDER` writes it from `reports/evaluate`, which `make repro` makes with 40 scenes "
        "for each cell, or from `study/reports/evaluate`, which `make study` makes with any number; `reports/page/page.html` "
        "beside it has these tables and more. Brackets contain 95 % intervals."
    )


def _errors(tables: Tables, snrs: Sequence[float]) -> Iterator[str]:
    """Errors beside the bound and beside NOMP, K known."""
    by_cell = tables["by_cell"]
    main = with_stochastic(MAIN, by_cell)
    yield from section(
        "At the bound above threshold: K known, K = 1..3, 10..20 dB", ["", *bound_head()], _bound(by_cell, main)
    )
    yield (
        "The columns are: the share of the sources within 3 root-CRB of the truth; over those, the root mean square of error / "
        "root-CRB; and the median of that ratio over all sources, as a range over the nine cells. An efficient estimator has "
        "about 1 and 0.68 in the last two."
    )
    yield from section(
        "Median position error [m], K known",
        ["", *(f"{snr:g} dB" for snr in snrs)],
        [
            _root_crb(tables, snrs),
            *by_snr(tables["by_snr"], [method.name for method in MAIN], snrs, "position_error_median_m"),
        ],
    )
    for cutoff in ("2", "0.5", "5"):
        head = ["", *(f"{snr:g} dB" for snr in snrs)]
        rows = by_snr(tables["by_snr"], main, snrs, f"gospa_{cutoff}m")
        yield from section(f"GOSPA [m], cut-off {cutoff} m, K known", head, rows)
    known, bic = RULES[KNOWN], RULES[BY_BIC]
    head = ["", *(f"{cutoff} m, {known}" for cutoff in ("2", "0.5", "5")), f"2 m, {bic}"]
    yield from section("GOSPA [m] minus that of NOMP in the same scenes, 0 dB", head, _less(tables["paired"], main))


def _counts(tables: Tables, snrs: Sequence[float]) -> Iterator[str]:
    """How often the number of sources is right."""
    whole = of_every_k(tables["k_accuracy"])
    seeking = dict.fromkeys(row["method"] for row in whole)
    shares = zip(seeking, by_snr(whole, seeking, snrs, "K_accuracy"), strict=True)
    yield from section(
        "How many sources: share of scenes with the right K",
        ["", *map(db, snrs)],
        ([_seeker(name), *cells] for name, (_, *cells) in shares),
    )
    yield from section("How many sources: the same share for K = 1..3", ["", *map(db, snrs)], _orders_few(tables, snrs))


def _steps(tables: Tables) -> Iterator[str]:
    """What each step of the hybrid contributes: a step left out, the covariances before a fit, spectra without one."""
    head = ["", "GOSPA 0 dB", "GOSPA 10 dB", "GOSPA 20 dB", "within 3 root-CRB, 20 dB"]
    yield from section("The hybrid with one step left out, K known", head, _ablations(tables["ablation"]))
    yield from covariances(tables["covariances"])
    head = ["median error [m]", "share within 3 root-CRB", "GOSPA 2 m"]
    yield from section("Without the likelihood: 20 dB, K = 2, K known", ["", *head], _plain(tables["by_cell"]))
    yield WHY


def _bound(by_cell: list[Row], names: Sequence[str]) -> Iterator[list[str]]:
    confidence = read_yaml(Path("params.yaml"))["evaluate"]["confidence"]
    yield from ([words(name), *pooled(by_cell, name, confidence)] for name in names)


def _root_crb(tables: Tables, snrs: Sequence[float]) -> list[str]:
    found = {row["snr_db"]: row["root_crb_median_m"] for row in tables["by_snr"]}
    return ["root-CRB (median)", *(f"{found[snr]:.3f}" for snr in snrs)]


def _less(rows: list[Row], names: Sequence[str]) -> Iterator[list[str]]:
    found = {(row["method"], row["snr_db"]): row for row in rows}
    for name in (n for n in names if n != NOMP.name):
        row, bic = found[name, 0.0], found[Method.named(name).by(BY_BIC).name, 0.0]
        cells = [value(row, f"gospa_{c}m_less_nomp") for c in ("2", "0.5", "5")]
        yield [words(name), *cells, value(bic, "gospa_2m_less_nomp")]


def _orders_few(tables: Tables, snrs: Sequence[float]) -> Iterator[list[str]]:
    rows = [row for row in tables["k_accuracy"] if row["count"] in FEW]
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        cells = []
        for snr in snrs:
            here = [row for row in own if row["snr_db"] == snr]
            cells.append(f"{sum(r['K_accuracy'] * r['scenes'] for r in here) / sum(r['scenes'] for r in here):.3f}")
        yield [_seeker(name), *cells]


def _seeker(name: str) -> str:
    return words(name) if name in ORDERS else f"{words(name)}, {rule_words(name)}"


def _ablations(rows: list[Row]) -> Iterator[list[str]]:
    found = {(row["method"], row["snr_db"]): row for row in rows}
    for name in dict.fromkeys(row["method"] for row in rows if Method.named(row["method"]).rule == KNOWN):
        cells = [value(found[name, snr], "gospa_2m") for snr in (0.0, 10.0, 20.0)]
        yield [words(name), *cells, value(found[name, 20.0], "within_3_root_crb")]


def _plain(by_cell: list[Row]) -> Iterator[list[str]]:
    for name in (method.name for method in SPECTRA):
        [row] = [r for r in by_cell if r["method"] == name and r["snr_db"] == 20 and r["count"] == 2]
        columns = ("position_error_median_m", "within_3_root_crb", "gospa_2m")
        yield [words(name), *(value(row, column) for column in columns)]


def _calibration(rows: list[Row], snrs: Sequence[float]) -> Iterator[list[str]]:
    found = {(row["method"], row["snr_db"]): row for row in rows}
    for name in (method.name for method in (HYBRID, HYBRID.stepped(STOCHASTIC), NOMP)):
        shares = [(found[name, snr]["observed_68"], found[name, snr]["observed_95"]) for snr in snrs]
        yield [words(name), *(f"{one:.3f} / {two:.3f}" for one, two in shares)]


if __name__ == "__main__":
    main()
