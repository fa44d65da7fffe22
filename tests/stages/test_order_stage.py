"""The stage that fits the K rule: the network stays what it was, and what is shipped carries the rule."""

import json
from dataclasses import replace

import pytest
import torch
from learning_problem import GRID, network

from pipeline.console_reporter import ConsoleReporter
from risloc.config import ParamError
from risloc.estimation.search_config import default_search
from risloc.learning.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from stages import order

SEARCH = replace(
    default_search(),
    grid=GRID,
    coarse=GRID,
    rank=6,
    peaks=6,
    separation=0.05,
    score_peaks=2,
    exchange_rounds=2,
    exchange_tries=2,
    steps_between=2,
    iterations=4,
    sparse_iterations=4,
)


@pytest.fixture
def trained(small_scenario, tmp_path):
    save_checkpoint(tmp_path / "network", network(small_scenario), {"seed": 3})
    return tmp_path


def run(scenario, root, name, scenes, seed=3):
    report = ConsoleReporter()
    order.run(
        seed=seed,
        scenario=scenario,
        search=SEARCH,
        order=order.OrderConfig(scenes=scenes),
        trained=root / "network",
        checkpoint=root / name,
        metrics=root / f"{name}.json",
        report=report,
    )
    found, extra = load_checkpoint(root / name)
    return found, extra, json.loads((root / f"{name}.json").read_text()), report


def test_the_network_stays_and_the_rule_is_the_same_again(small_scenario, trained):
    before = load_checkpoint(trained / "network")[0].state_dict()
    one, extra, metrics, report = run(small_scenario, trained, "one", 70)
    two, _, again, _ = run(small_scenario, trained, "two", 70)
    assert bool(one.order.fitted)
    assert extra["seed"] == 3
    assert metrics == again
    assert metrics["scenes"] == 70
    assert set(metrics) == {"scenes", "gospa_known", "gospa_bic", "gospa_learnt"}
    assert any("K rule by rule" in str(text) for _, text in report.records)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key])
        assert key.startswith("order.") or torch.equal(value, before[key])


def test_no_scenes_leave_it_without_a_rule(small_scenario, trained):
    found, extra, metrics, _ = run(small_scenario, trained, "none", 0)
    assert not bool(found.order.fitted)
    assert metrics == {"scenes": 0}
    assert extra["order"] == {"scenes": 0}


def test_too_few_scenes_and_another_geometry_are_refused(small_scenario, trained):
    with pytest.raises(ParamError, match="expected 0 or at least 16, got 5"):
        order.OrderConfig(scenes=5)
    with pytest.raises(CheckpointError, match="n_h"):
        run(replace(small_scenario, n_h=5), trained, "other", 16)
