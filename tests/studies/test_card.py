"""The model card, from made-up tables in which no two numbers are the same: it holds what they say, each in its place."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from made_cards import METHODS, SNRS, TESTED, made_checkpoint, made_tables

from risloc.learning.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint
from risloc.learning.k_rules import LEARNT, NOISE_UNKNOWN
from risloc.performance.intervals import Interval
from risloc.scenes.scenario import Scenario
from stages.evaluation.method import HYBRID, NOMP
from stages.reporting.looks import phrase
from studies import table_rows
from studies.card import card
from studies.card_limits import DEPARTURES, limits
from studies.robustness_page import RESULTS, Results, page, read_results, write_results
from studies.table_rows import Tables, value

BOTH = ("R_blend_refined", "nomp_refined")


@pytest.fixture(scope="module")
def tables() -> Tables:
    return made_tables()


@pytest.fixture(scope="module")
def checkpoint(small_scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_checkpoint(tmp_path_factory.mktemp("shipped"), small_scenario)


@pytest.fixture(scope="module")
def text(repository: Path, checkpoint: Path, tables: Tables) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        return "\n".join(card("default", checkpoint, tables, "wide", TESTED))


def table_of(text: str, title: str) -> list[list[str]]:
    """The cells of the rows of the table below a heading that begins so, its head first."""
    below = re.search(rf"^#+ {re.escape(title)}.*?\n\n(?:[^|].*\n\n)?((?:\|.*\n)+)", text + "\n", re.MULTILINE)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in below.splitlines()]
    return [rows[0], *rows[2:]]


def shown(row: dict[str, Any], column: str) -> str:
    return f"{row[column]:.3f} [{row[f'{column}_low']:.3f}, {row[f'{column}_high']:.3f}]"


def named(method: str) -> list[str]:
    return [table_rows.words(method), table_rows.rule_words(method)]


def test_a_card_says_what_was_trained_on_what_and_by_which_code(checkpoint: Path, text: str) -> None:
    size = sum(value.numel() for value in load_checkpoint(checkpoint)[0].parameters())
    for said in (f"{size:,} parameters", "preset `wide`, seed 7, 20 epochs of 12,345;", "lam_K 2.5, lam_cov 1.",
                 "score on validation scenes is 0.432", "fitted on 7,168 further scenes and tested on 1,024 more",
                 "0.123, with K by BIC 0.234, with K known 0.346", "with the code of commit 1111111, the K rule fitted with that of 2222222",
                 "tested with that of abc1234, changed", "make ship NAME=default", "K_span: [1, 3]",
                 "1234 scenes for each SNR; brackets contain 90 % intervals"):  # fmt: skip
        assert said in text


@pytest.mark.parametrize(
    ("title", "table", "column", "methods"),
    [
        ("GOSPA with cut-off 2 m", "by_snr", "gospa_2m", METHODS),
        ("The hybrid minus NOMP", "paired", "gospa_2m_less_nomp", [m for m in METHODS if m.startswith(BOTH[0])]),
        ("How many sources", "k_accuracy", "K_accuracy", [m for m in METHODS if m.startswith(BOTH) and m not in BOTH]),
    ],
)
def test_a_card_holds_what_the_tables_say_by_snr(
    text: str, tables: Tables, title: str, table: str, column: str, methods: list[str]
) -> None:
    head, *rows = table_of(text, title)
    assert head[2:] == ["0 dB", "10 dB", "20 dB"]
    expected = {
        (*named(m), *(shown(r, column) for r in tables[table] if r["method"] == m and r.get("count", "all") == "all"))
        for m in methods
    }
    assert {tuple(row) for row in rows if "best" not in row[0]} == expected
    assert len(rows) == len(expected) + ("best" in rows[-1][0])


def test_the_best_classical_row_is_the_lowest_that_finds_k_without_the_network(text: str, tables: Tables) -> None:
    *_, last = table_of(text, "GOSPA with cut-off 2 m")
    for snr, cell in zip(SNRS, last[2:], strict=True):
        here = {r["method"]: r["gospa_2m"] for r in tables["by_snr"] if r["snr_db"] == snr}
        own = {m: v for m, v in here.items() if m.split("_")[0] in ("nomp", "R", "back", "sbl") and "R_blend" not in m}
        best = min((m for m in own if m.endswith(("_bic", "_bic_noise"))), key=own.__getitem__)
        assert cell == f"{own[best]:.3f}: {', '.join(named(best))}"


def test_other_cut_offs_stand_at_the_ends(text: str, tables: Tables) -> None:
    head, *rows = table_of(text, "GOSPA with cut-offs 0.5 and 5 m")
    assert head[2:] == ["0.5 m, 0 dB", "5 m, 0 dB", "0.5 m, 20 dB", "5 m, 20 dB"]
    found = {(r["method"], r["snr_db"]): r for r in tables["by_snr"]}
    methods = [m for m in METHODS if m.startswith((*BOTH, "R_blend_stochastic", "nomp_stochastic"))]
    assert {tuple(row) for row in rows} == {
        (*named(m), *(shown(found[m, snr], f"gospa_{c}m") for snr in (0.0, 20.0) for c in ("0.5", "5")))
        for m in methods
    }


def test_errors_stand_beside_the_bound_where_the_bound_is_of_that_world(
    repository: Path,
    checkpoint: Path,
    text: str,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, *rows = table_of(text, "Comparison with the bound")
    assert head[2:] == ["sources", "0 dB", "10 dB", "20 dB"]
    found = {(r["method"], r["count"], r["snr_db"]): r for r in tables["by_cell"]}
    pair = ("within_3_root_crb", "error_over_root_crb_median")
    assert {tuple(row) for row in rows} == {
        (*named(m), str(k), *(" / ".join(shown(found[m, k, snr], column) for column in pair) for snr in SNRS))
        for m in METHODS
        if m.startswith(BOTH) and m.endswith(("refined_bic", "learnt"))
        for k in (1, 2)
    }
    _, *pooled = table_of(text, "At the bound above threshold")
    for method, rule, share, _, medians in pooled:
        own = [
            r for r in tables["by_cell"] if named(r["method"]) == [method, rule] and r["snr_db"] > 0 and r["count"] > 0
        ]
        near = sum(r["within_3_root_crb"] for r in own) / len(own)
        assert abs(float(share.split()[0]) - near) < 2e-3  # whole sources of 500, and three digits
        ratios = [r["error_over_root_crb_median"] for r in own]
        assert medians == f"{min(ratios):.2f}..{max(ratios):.2f}"
    monkeypatch.chdir(repository)
    elsewhere = dataclasses.replace(TESTED, preset="robust")
    without = "\n".join(card("robust", checkpoint, tables, "robust", elsewhere))
    assert "This comparison is left out" in without
    assert "Share of all sources, including" not in without


def test_covariances_stand_before_any_fit(text: str, tables: Tables) -> None:
    head, *rows = table_of(text, "The covariances before any fit, 10 dB")
    assert head[1:] == ["K = 1", "K = 2"]
    own = [row for row in tables["covariances"] if row["snr_db"] == 10.0]
    assert {tuple(row) for row in rows} == {
        (name, *(f"{shown(r, 'nmse_median')} / {shown(r, 'overlap_median')}" for r in own if r["covariance"] == name))
        for name in ("R_pred", "R_blend", "R_samp")
    }


def test_what_is_not_finite_is_said() -> None:
    assert value({"x": 1.0, "x_low": 0.5, "x_high": None}, "x") == "1.000 [0.500, inf]"
    assert value({"x": None, "x_low": 2.0, "x_high": None}, "x") == "inf [2.000, inf]"
    assert value({"x": -1e-5, "x_low": -0.1, "x_high": 1e-5}, "x") == "0.000 [-0.100, 0.000]"


@pytest.fixture(scope="module")
def measured(repository: Path) -> Results:
    return read_results(repository / RESULTS)


def test_the_page_on_robustness_and_its_json_agree(repository: Path, measured: Results, tmp_path: Path) -> None:
    assert (repository / "docs" / "robustness.md").read_text(encoding="utf-8") == "\n".join(page(measured)) + "\n"
    write_results(measured, tmp_path / "robustness.json")
    assert (tmp_path / "robustness.json").read_bytes() == (repository / RESULTS).read_bytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_limits_are_what_the_study_of_robustness_found(measured: Results, name: str) -> None:
    found = {words: measured.row(*place) for words, place in DEPARTURES.items()}
    own, noise = phrase(HYBRID.by(LEARNT), name), phrase(NOMP.by(NOISE_UNKNOWN))
    lines = list(limits(name, measured))
    _, *rows = table_of("\n".join(lines), "Where the scenes differ")
    assert {row[0]: row[1] for row in rows} == {
        words: f"{cells[own].value:.3f} [{cells[own].low:.3f}, {cells[own].high:.3f}]" for words, cells in found.items()
    }
    for words in (
        "phase error of each element, 5 deg",
        "2 % of the elements dead",
        "NMSE of the channel estimate 0.01",
    ):
        row = found[words]
        assert row[noise].value < row[own].value, f"{words}: the card calls the noise level unknown better"
    for words in ("two extra paths for each source, -12 dB", "two extra paths for each source, -6 dB"):
        row = found[words]
        least = min(row[noise].value, row[phrase(HYBRID.by(LEARNT), "default")].value)
        assert row[phrase(HYBRID.by(LEARNT), "robust")].value < least, "the card says so"


def test_a_card_takes_its_limits_from_the_results_it_is_given(measured: Results) -> None:
    rows = measured.worlds["world"]
    changed = rows["2-D DFT codes"] | {phrase(HYBRID.by(LEARNT), "default"): Interval(12.345, 1.0, 99.0)}
    other = dataclasses.replace(measured, worlds={"world": {**rows, "2-D DFT codes": changed}})
    lines = [line for line in limits("default", other) if "2-D DFT codes" in line]
    assert len(lines) == 2
    assert all("12.345 [1.000, 99.000]" in line for line in lines)
    without = {name: cells for name, cells in rows.items() if name != "2-D DFT codes"}
    with pytest.raises(KeyError, match="2-D DFT codes"):
        list(limits("default", dataclasses.replace(measured, worlds={"world": without})))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_has_the_limits_of_the_committed_results(measured: Results, name: str) -> None:
    text = (shipped_checkpoint(name) / "card.md").read_text(encoding="utf-8")
    assert text.endswith("\n".join(limits(name, measured)) + "\n")
