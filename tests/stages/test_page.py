import base64
import csv
import math
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_answers import collection

from stages.evaluation.calibration import calibration
from stages.evaluation.covariance_errors import covariance_quality
from stages.evaluation.method import Method
from stages.evaluation.model_order import k_accuracy
from stages.evaluation.paired_gospa import paired
from stages.evaluation.resolution import resolution
from stages.evaluation.tables import Table, ablation, tabulate, timing
from stages.reporting.drawing import Subject, save
from stages.reporting.figures import FIGURES, draw
from stages.reporting.looks import look_of
from stages.reporting.loss_figures import LOSSES
from stages.reporting.page import page, shown
from stages.reporting.scene_figures import CAPTIONS
from stages.support.writers import write_csv

TABLE = Table(cutoffs=(2.0, 0.5), confidence=0.9, seed=0)
VOID = {"meta", "img", "br", "link", "hr", "input"}
LINKS = {"../evaluate/tables.json": "all tables", "../train/losses.csv": "convergence"}
FACTS = {
    "Data": {"seed": 3, "split": "test", "scenes": 16, "checksum": "abc123"},
    "Scenario": {"preset": "small", "note": '<script>alert("no")</script>'},
    "Checkpoint": {"training.score": 0.5},
    "Evaluation": {"batch": 8},
}


class Page(HTMLParser):
    """The page's tables by id, its attributes, and whether every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.tags, self.ids = [], {}, [], []
        self.table = None
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.tags.append((tag, own))
        self.ids += [own["id"]] if "id" in own else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.table = self.tables.setdefault(own.get("id", len(self.tables)), [])
        elif tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            assert tag == "td" or own["scope"] in ("col", "row", "rowgroup")
            self.table[-1].append("")

    def handle_endtag(self, tag):
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}> at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.table[-1][-1] += data


def made_up(scenes):
    return {name: np.linspace(0, 1, len(scenes["count"])) for name in ("nmse", "overlap")}


@pytest.fixture(scope="module")
def tables(small_scenario):
    collected = collection(small_scenario)
    scenes, methods = collected.scenes, collected.methods
    by_snr, times = tabulate(scenes, methods, ["snr_db"], TABLE), timing(collected.times, 8, TABLE)
    return {
        "by_snr": by_snr,
        "by_k": tabulate(scenes, methods, ["count"], TABLE),
        "by_cell": tabulate(scenes, methods, ["snr_db", "count"], TABLE),
        "paired": paired(scenes, methods, TABLE),
        "resolution": resolution(scenes, methods, TABLE),
        "k_accuracy": k_accuracy(scenes, methods, collected.orders, TABLE),
        "calibration": calibration(scenes, methods, TABLE),
        "covariances": covariance_quality(scenes, {"R_pred": made_up(scenes)}, TABLE),
        "time": times,
        "ablation": ablation(by_snr, times, TABLE),
    }


@pytest.fixture(scope="module")
def figures(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    paths = save(draw(Subject(tables, ("known", "bic"), 2.0)), folder)
    return paths | dict.fromkeys([*CAPTIONS, *LOSSES], paths["time"])


@pytest.fixture(scope="module")
def text(tables, figures):
    return page(Subject(tables, ("known", "bic"), 2.0), figures, FACTS, 0.9, LINKS)


def test_the_page_is_well_formed_and_needs_nothing_else(text, figures, tables):
    parsed = Page(text)
    beside = (
        {f"{name}{end}" for name in figures for end in (".png", ".pdf")}
        | {f"../evaluate/{name}.csv" for name in tables}
        | {*LINKS}
    )
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in parsed.tags}
    assert len(parsed.ids) == len(set(parsed.ids))
    for tag, attributes in parsed.tags:
        assert tag == "img" or "src" not in attributes
        place = attributes.get("href", "#")
        assert place[1:] in [*parsed.ids, ""] if place.startswith("#") else place in beside
    assert [tag for tag, _ in parsed.tags].count("h1") == 1


def test_every_figure_is_in_it_with_words(text, figures):
    images = [attributes for tag, attributes in Page(text).tags if tag == "img"]
    for image, name in zip(images, [*(f.name for f in FIGURES), *CAPTIONS, *LOSSES], strict=True):
        assert len(image["alt"]) > 20
        head, data = image["src"].split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data) == figures[name].read_bytes()


def test_every_table_is_in_it_with_the_numbers_of_the_csv(text, tables, tmp_path):
    there = Page(text).tables
    places = {name: f"table-{name}" for name in ("by_snr", "by_k", "by_cell", "paired", "covariances")}
    places |= {name: f"numbers-{name}" for name in ("resolution", "k_accuracy", "calibration", "time", "ablation")}
    assert places.keys() == tables.keys()
    for name, place in places.items():
        write_csv(tmp_path / f"{name}.csv", tables[name])
        with (tmp_path / f"{name}.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        heading, *body = there[place]
        ends = [c for c in rows[0] if c.endswith(("_low", "_high")) and c.rsplit("_", 1)[0] in rows[0]]
        assert heading == [c for c in rows[0] if c not in ends]
        assert len(body) == len(rows)
        for cells, row in zip(body, rows, strict=True):
            for column, cell in zip(heading, cells, strict=True):
                interval = f"{column}_low" in row and row[column] != ""
                whole = f"{row[column]} [{row[column + '_low']}, {row[column + '_high']}]" if interval else row[column]
                assert cell == (whole or "–")


def test_the_headline_says_how_far_every_method_is_from_the_bound(text, tables):
    first = Page(text).tables[0]
    assert [cell.strip() for cell in first[0]] == ["method", "0 dB", "20 dB"]
    lines = {row[0].strip(): row[1:] for row in first}
    row = next(r for r in tables["by_snr"] if r["method"] == "R_samp_refined" and r["snr_db"] == 0)
    value, ratio, near = (
        row[n] for n in ("position_error_median_m", "error_over_root_crb_median", "within_3_root_crb")
    )
    assert lines["R_samp"][0].startswith(f"{value:#.3g} [")
    assert f"×{ratio:.2f}, {near:.0%}" in lines["R_samp"][0]
    assert "inf" in lines["MVDR"][0]
    assert lines["root-CRB (median)"][0] == "0.100"


def test_what_comes_from_outside_is_escaped(text):
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "abc123" in text


def test_a_figure_has_the_same_bytes_each_time_as_pixels_and_as_vectors(tables, tmp_path):
    drawing, subject = FIGURES[0], Subject(tables, ("known", "bic"), 2.0)
    one, two = (save({drawing.name: drawing.draw(subject)}, tmp_path / name)[drawing.name] for name in "ab")
    assert one.read_bytes()[:4] == b"\x89PNG"
    assert one.with_suffix(".pdf").read_bytes()[:4] == b"%PDF"
    for ending in (".png", ".pdf"):
        assert one.with_suffix(ending).read_bytes() == two.with_suffix(ending).read_bytes()


def test_figures_show_every_method_and_the_bound(tables):
    figure = FIGURES[0].draw(Subject(tables, ("known", "bic"), 2.0))
    words = {text.get_text() for text in figure.legends[0].get_texts()}
    plt.close(figure)
    assert words == {
        look_of(Method.named(n)).short for n in ("R_blend_refined", "R_samp_refined", "nomp_refined", "mvdr_plain")
    } | {"root-CRB (median)"}


def test_what_is_infinite_is_marked_in_the_figure(tables):
    """mvdr_plain misses everything: a triangle at the top of its panel for each SNR, none for the methods that do not."""
    figure = FIGURES[0].draw(Subject(tables, ("known", "bic"), 2.0))
    marks = [sum(len(line.get_xdata()) for line in axis.lines if line.get_marker() == "^") for axis in figure.axes]
    plt.close(figure)
    assert marks == [0, 4]  # mvdr_plain and R_blend_plain, at two SNRs


def test_empty_tables_are_said_to_be_empty(tables, figures, tmp_path):
    empty = tables | {"resolution": [], "calibration": []}
    subject = Subject(empty, ("known",), 2.0)
    assert all(path.stat().st_size > 100 for path in save(draw(subject), tmp_path).values())
    text = page(subject, figures, FACTS, 0.9, {})
    Page(text)
    assert text.count("No scene of this evaluation") == 2
    assert shown([]).rows == []


def test_a_cell_without_a_number_is_a_dash():
    table = shown([{"method": "a", "x": None, "x_low": None, "x_high": None, "y": math.inf, "low": 1.0}])
    assert table.columns == ["method", "x", "y", "low"]
    assert table.rows == [["a", "–", "inf", "1.0"]]
