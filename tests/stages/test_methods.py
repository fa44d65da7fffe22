"""Some methods alone: they answer as among all, and every table, figure and the page can do with them."""

import dataclasses
import json

import pytest
import torch
from drawn_page import draw_page
from drawn_scenes import with_echoes
from small_evaluation import CONFIG, GRID, NETWORK, SEARCH, make, results_of, rows, run

from risloc.config import ParamError, build
from risloc.covariance.factored import CovarianceConfig, FactoredCovariance
from risloc.estimation.localiser import Localiser
from risloc.learning.network import HybridNetwork
from risloc.scenes.simulation import simulate
from risloc.utils.yaml_reader import read_yaml
from stages.evaluate import EvaluateConfig
from stages.evaluation import methods
from stages.evaluation.method import PLAIN, Method
from stages.evaluation.methods import METHODS, Result, Seen, run_methods
from stages.reporting import looks
from stages.reporting.drawing import Subject
from stages.reporting.figures import FIGURES, draw
from studies import table_rows


@pytest.fixture(scope="module")
def answers(small_scenario):
    """The answers of the methods that are named to one batch, by name, in their order."""
    scenes = simulate(small_scenario, seed=2, split="test", start=0, stop=6)
    localiser = Localiser(small_scenario, SEARCH)
    trained, untrained = (HybridNetwork(small_scenario, GRID, CovarianceConfig(beta=b), NETWORK) for b in (0.3, 0.2))

    def of(*names):
        with torch.inference_mode():
            seen = Seen.by(trained.eval(), scenes)
            found = run_methods(scenes, localiser, seen, untrained.eval(), ("known", "bic"), names)
            return {result.method.name: result for result in found}

    return of


@pytest.fixture(scope="module")
def everyone(answers):
    return answers()


@pytest.fixture(scope="module")
def world(small_scenario, tmp_path_factory):
    root = tmp_path_factory.mktemp("methods")
    make(small_scenario, root)
    return root


@pytest.mark.parametrize("name", METHODS)
def test_a_method_alone_answers_as_among_all(answers, everyone, name):
    alone = answers(name)
    assert list(alone) == results_of(name)
    for each, result in alone.items():
        assert torch.equal(result.located.polar, everyone[each].located.polar)
        assert torch.equal(result.located.present, everyone[each].located.present)


def test_all_are_all_of_them_in_one_order_whatever_is_asked_for_first(answers, everyone):
    parts = [name for method in METHODS for name in answers(method)]
    assert list(everyone) == parts
    assert list(answers("nomp_refined", "slots_plain")) == [*answers("slots_plain"), *answers("nomp_refined")]


def test_nomp_with_echoes_counts_sources_where_nomp_counts_echoes(scenario):
    """12 scenes at 20 dB, two sources with two echoes each; sigma^2 is used only where it is given."""
    scenario = with_echoes(scenario, "farther", paths=2, power_db=-6.0)
    localiser = Localiser(scenario, SEARCH)
    network = HybridNetwork(scenario, GRID, CovarianceConfig(beta=0.3), NETWORK).eval()
    scenes = simulate(scenario, seed=4, split="test", start=0, stop=12, snr_db=20.0, count=2)
    wrong = dataclasses.replace(scenes.observation, noise_var=3 * scenes.observation.noise_var)

    def of(scenes):
        with torch.inference_mode():
            seen = Seen.by(network, scenes)
            found = run_methods(scenes, localiser, seen, network, ("bic",), ("nomp_refined", "nomp_echoes_refined"))
            return {result.method.name: result for result in found}

    results, others = of(scenes), of(dataclasses.replace(scenes, observation=wrong))
    right = {name: float((r.located.present.sum(1) == 2).double().mean()) for name, r in results.items()}
    assert right["nomp_refined_bic"] <= 0.2
    assert right["nomp_echoes_refined_bic"] >= 0.8
    assert right["nomp_echoes_refined_bic_noise"] >= 0.8
    unknown = [r["nomp_echoes_refined_bic_noise"].located.polar for r in (results, others)]
    assert torch.equal(*unknown)
    given = [r["nomp_echoes_refined_bic"].estimates.distance_std for r in (results, others)]
    assert not torch.equal(*given)


def test_tables_figures_and_page_can_do_with_a_method_that_is_never_told_K(world, small_scenario, tmp_path):
    run(world, small_scenario, tmp_path, dataclasses.replace(CONFIG, methods=("nomp_echoes_refined",)))
    draw_page(tmp_path)
    tables = json.loads((tmp_path / "evaluate" / "tables.json").read_text())
    for name in ("by_snr", "by_k", "by_cell", "resolution", "k_accuracy", "calibration", "time"):
        methods = {row["method"] for row in tables[name]} - {"mdl", "aic", "presence"}
        assert methods == {"nomp_echoes_refined_bic", "nomp_echoes_refined_bic_noise"}, name
    page = (tmp_path / "page" / "page.html").read_text()
    assert all(str(row["gospa_2m"]) in page for row in tables["by_snr"])


@pytest.mark.parametrize(
    "names",
    [
        ("slots_plain",),  # no fit, no NOMP, no ablation
        ("ablation_no_selection",),  # never with BIC
        ("nomp_refined",),  # nothing to compare with itself
        ("R_blend_refined", "slots_plain", "nomp_refined"),
    ],
)
def test_tables_figures_and_page_can_do_with_some(world, small_scenario, tmp_path, names):
    run(world, small_scenario, tmp_path, dataclasses.replace(CONFIG, methods=names))
    report = draw_page(tmp_path)
    shown = {row["method"] for row in rows(tmp_path / "evaluate" / "by_snr.csv")}
    assert {name for name in shown if name in METHODS} == set(names)
    tables = json.loads((tmp_path / "evaluate" / "tables.json").read_text())
    assert bool(tables["paired"]) == (len(names) > 1 or names == ("nomp_refined",))
    for drawing in FIGURES:
        assert (tmp_path / "page" / f"{drawing.name}.png").stat().st_size > 100
    page = (tmp_path / "page" / "page.html").read_text()
    assert all(str(row["position_error_median_m"] or "inf") in page for row in tables["by_snr"])
    flat = json.loads((tmp_path / "evaluate.json").read_text())
    assert {key.split("/")[1] for key in flat} == shown
    said = [value for kind, value in report.records if kind == "line"]
    assert any("root-CRB" in line for line in said)
    assert sum(line.strip().startswith(names) for line in said) == len(names)


def test_a_new_method_needs_an_entry_and_a_look_to_arrive_everywhere(world, small_scenario, tmp_path, monkeypatch):
    """The recipe of CONTRIBUTING.md, carried out: nothing else knows the beamforming of R^2, and all that is written has it."""
    squared = Method("squared", PLAIN)

    def answers(batch, method):
        R, seconds = batch.R_samp
        R = FactoredCovariance(R.factor @ (R.factor.mH @ R.factor))
        for rule, count in batch.rules.items():
            if isinstance(count, torch.Tensor):
                yield Result(method.by(rule), batch.localiser.beamforming(R, count), seconds, None)

    monkeypatch.setattr(methods, "_FAMILIES", {**methods._FAMILIES, squared: answers})
    monkeypatch.setitem(looks._SOURCES, "squared", ("squared beamforming", "#123456", "d", ":"))
    run(world, small_scenario, tmp_path, dataclasses.replace(CONFIG, methods=("squared_plain",)))
    flat = json.loads((tmp_path / "evaluate.json").read_text())
    assert {f"gospa/squared_plain/snr{snr}" for snr in (10, 30)} <= set(flat)
    tables = json.loads((tmp_path / "evaluate" / "tables.json").read_text())
    for name in ("by_snr", "by_k", "by_cell", "resolution", "time"):
        assert {row["method"] for row in tables[name]} == {"squared_plain"}, name
    curves = draw(Subject(tables, CONFIG.k_rules, CONFIG.gospa_cutoffs[0]))["error_by_snr"].axes[1].lines
    assert [line.get_color() for line in curves if line.get_label() == "squared beamforming"] == ["#123456"]
    draw_page(tmp_path)
    assert all(text in (tmp_path / "page" / "page.html").read_text() for text in ("squared beamforming", "#123456"))
    assert table_rows.words("squared_plain") == "squared beamforming", "what studies and cards call it"


def test_bic_may_be_the_first_rule_of_a_method_that_has_only_the_other(world, small_scenario, tmp_path):
    config = dataclasses.replace(CONFIG, k_rules=("bic", "known"), methods=("ablation_no_selection",))
    run(world, small_scenario, tmp_path, config)
    assert {row["method"] for row in rows(tmp_path / "evaluate" / "by_snr.csv")} == {"ablation_no_selection"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["nomp"]}, r"evaluate\.methods: expected a value one of \('R_blend_refined', .*got 'nomp'"),
        ({"methods": ["nomp_refined"] * 2}, "methods: expected each once"),
        ({"methods": ["ablation_no_selection"], "k_rules": ["bic"]}, "needs 'known' among k_rules"),
    ],
)
def test_what_cannot_be_run_is_refused(repository, changes, message):
    section = read_yaml(repository / "params.yaml")["evaluate"] | changes
    with pytest.raises(ParamError, match=message):
        build(EvaluateConfig, section, "evaluate")
