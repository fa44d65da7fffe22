"""What studies/room.py measures and shows, on simulated scenes: no tracer is needed."""

import statistics

import pytest
import torch

from risloc.estimation.localiser import Localiser
from risloc.estimation.search_config import default_search
from risloc.learning.checkpoint import SHIPPED
from risloc.learning.k_rules import BY_BIC, KNOWN, NOISE_UNKNOWN
from risloc.locating.networks import load_model
from risloc.scenes.simulation import simulate
from stages.evaluation.method import ECHOES, HYBRID, NOMP
from stages.reporting.looks import phrase
from studies.room import Waves
from studies.room_methods import measured
from studies.room_page import page
from studies.room_worlds import COUNTS, SNRS


@pytest.fixture(scope="module")
def scenes(scenario):
    return simulate(scenario, seed=2, split="test", start=0, stop=6, snr_db=20.0, count=2)


@pytest.fixture(scope="module")
def cell(scenes, scenario):
    return measured(scenes, Localiser(scenario, default_search()), {name: load_model(name) for name in SHIPPED})


def test_where_the_model_is_true_every_method_with_the_joint_fit_is_at_the_bound(cell):
    assert len(cell["bounds"]) == 12
    assert 8 < cell["rank"] < 16
    for name in (
        *(phrase(HYBRID.by(rule), "default") for rule in (KNOWN, BY_BIC)),
        *(phrase(NOMP.by(rule)) for rule in (KNOWN, BY_BIC)),
        *(phrase(ECHOES.by(rule)) for rule in (BY_BIC, NOISE_UNKNOWN)),
    ):
        method = cell["methods"][name]
        assert method["right"] == 6, name
        assert method["near"] >= 11, name
        assert statistics.fmean(method["gospa"]) < 3 * max(cell["bounds"])


def test_the_page_shows_the_cells(cell):
    table = {(k, snr): cell for snr in SNRS for k in COUNTS}
    lines = list(page(3, 2, {"concrete": (-6.04, table)}, {"the hall": {(2, 10.0): cell}}))
    shown = f"{statistics.fmean(cell['methods'][phrase(NOMP)]['gospa']):.3f} ["
    assert "The reflections of a source have a median power of -6.0 dB relative to its line of sight." in lines
    rows = [line for line in lines if line.startswith(f"| {phrase(NOMP)} |")]
    assert rows[0].count(shown) == len(table)
    assert rows[1].count("/ 1.00 |") == len(table)
    assert f"| the hall | {cell['rank']:.1f} | {statistics.median(cell['bounds']):.3f} |" in "\n".join(lines)


def test_the_published_page_names_every_method_by_its_phrase(cell, repository):
    published = (repository / "docs" / "room.md").read_text(encoding="utf-8")
    named = [row.split(" | ")[0].removeprefix("| ") for row in published.splitlines() if ", K " in row.split(" | ")[0]]
    newer = {phrase(ECHOES.by(rule)) for rule in (BY_BIC, NOISE_UNKNOWN)}  # than the page, until the study is run again
    assert newer < {*cell["methods"]}
    assert {*cell["methods"]} - newer <= set(named) <= {*cell["methods"]}
    assert "NOMP, K by the rule of `robust`" in cell["methods"]


def test_waves_are_found_by_the_place_of_their_source(scenes):
    places = scenes.truth.location[scenes.truth.present].flip(0)
    waves = torch.arange(len(places)).repeat(2, 3, 1) * torch.tensor([1, 1j])[:, None, None]
    found = Waves(places, waves).of(scenes, depth=1)
    assert (found[~scenes.truth.present[:, None].expand_as(found)] == 0).all()
    assert found.mT[scenes.truth.present].imag[:, 0].tolist() == list(reversed(range(len(places))))
