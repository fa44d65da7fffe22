import dataclasses
import json
import math
import re

import numpy as np
import pytest
import torch
from drawn_page import draw_page
from oracle import elements, steering
from small_evaluation import CONFIG, GRID, NETWORK, SEARCH, make, results_of, rows, run

from pipeline.console_reporter import ConsoleReporter
from risloc.config import ParamError, build
from risloc.covariance.factored import CovarianceConfig
from risloc.estimation.localiser import Localiser
from risloc.io.shard_header import ShardError
from risloc.learning.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from risloc.learning.network import HybridNetwork
from risloc.learning.order_rule import fit_order_head
from risloc.performance.crb import deterministic_bound, stochastic_bound
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate as draw
from risloc.utils.yaml_reader import read_yaml
from stages import evaluate
from stages.evaluation.covariance_errors import covariance_scores
from stages.evaluation.method import Method
from stages.evaluation.methods import METHODS, Seen
from stages.evaluation.one_scene import representative_scene
from stages.evaluation.scores import score_bound
from stages.reporting.looks import look_of


@pytest.fixture(scope="module")
def world(small_scenario, tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluate")
    make(small_scenario, root)
    return root


@pytest.fixture(scope="module")
def result(world, small_scenario, tmp_path_factory):
    out = tmp_path_factory.mktemp("result")
    return out, run(world, small_scenario, out)


def test_every_method_stands_in_every_table(result):
    out, _ = result
    names = {name for method in METHODS for name in results_of(method) if not Method.named(name).ablation}
    by_snr = rows(out / "evaluate" / "by_snr.csv")
    methods = {row["method"] for row in by_snr}
    assert names == {name for name in methods if not Method.named(name).ablation}
    assert any(Method.named(name).ablation for name in methods)
    for name in ("by_snr", "by_k", "by_cell", "resolution", "time"):
        assert {row["method"] for row in rows(out / "evaluate" / f"{name}.csv")} == methods
    assert {row["snr_db"] for row in by_snr} == {"10", "30"}
    assert {row["count"] for row in rows(out / "evaluate" / "by_k.csv")} == {"1", "2", "3"}
    assert len(rows(out / "evaluate" / "by_cell.csv")) == len(methods) * 6
    assert all(row["scenes"] == "6" and row["sources"] == "12" for row in by_snr)
    for row in by_snr:
        values = [float(row[f"gospa_2m{end}"]) for end in ("_low", "", "_high")]
        assert values == sorted(values)
        if row["method"] == "nomp_refined":  # others may run out of peaks
            assert float(row["K_accuracy"]) == 1


def test_only_a_fit_says_whether_it_is_resolved(result):
    out, _ = result
    for row in rows(out / "evaluate" / "by_snr.csv"):
        if row["method"] in ("R_blend_refined", "nomp_refined_bic"):
            assert 0 <= float(row["unresolved_low"]) <= float(row["unresolved"]) <= 1
            assert 0 <= int(row["not_converged"]) <= 6
        elif row["method"] in ("R_blend_plain", "mvdr_plain_bic"):
            assert row["unresolved"] == row["not_converged"] == ""


def test_every_known_method_has_words_and_a_colour_of_its_own(result):
    out, _ = result
    shown = [Method.named(row["method"]) for row in rows(out / "evaluate" / "by_snr.csv") if row["snr_db"] == "10"]
    known = [m for m in shown if m.rule == "known" and not m.ablation]
    worded = [m for m in known if not m.source.startswith("R_") and m.source != "beamforming"]
    assert all(look_of(m).short != m.source for m in worded)
    for step in ("refined", "plain"):
        looks = [(look.colour, look.marker, look.line) for look in (look_of(m) for m in known if m.step == step)]
        assert len(set(looks)) == len(looks)


def test_the_page_and_the_tables_hold_the_same_numbers(result):
    out, _ = result
    tables = json.loads((out / "evaluate" / "tables.json").read_text())
    draw_page(out)
    text = (out / "page" / "page.html").read_text()
    words = set(re.split(r"[\s\[\],<>]+", text))
    names = ("by_snr", "by_k", "by_cell", "paired", "resolution", "k_accuracy", "calibration", "time", "ablation")
    for name in (*names, "covariances"):
        own = rows(out / "evaluate" / f"{name}.csv")
        assert len(tables[name]) == len(own) > 0
        for ours, theirs in zip(own, tables[name], strict=True):
            assert ours.keys() == theirs.keys()
            for column, value in ours.items():
                if theirs[column] is None:
                    assert value in ("", "inf", "-inf", "nan")
                else:
                    assert value == str(theirs[column])
                assert set(value.split()) <= words
    for fact in ("sha256 of the weights", "network.channels", "min_separation_uv"):
        assert fact in text


def test_covariances_are_scored_as_dense_matrices_are(world, small_scenario):
    """NMSE and the overlap of the K leading eigenvectors, by eigh of N x N matrices in double precision."""
    network, _ = load_checkpoint(world / "checkpoint")
    scenes = draw(small_scenario, seed=2, split="test", start=0, stop=9, count=[0, 1, 2, 3] * 2 + [0])
    with torch.inference_mode():
        seen = Seen.by(network, scenes)
        found = covariance_scores(seen, scenes)
    xy = elements(small_scenario.n_h, small_scenario.n_v, small_scenario.wavelength)
    for name, R in (("R_pred", seen.prediction.R_pred), ("R_blend", seen.R_blend), ("R_samp", seen.R_samp)):
        dense = (R.factor @ R.factor.mH).numpy().astype(complex)
        for b, count in enumerate(scenes.truth.count.tolist()):
            if count == 0:
                assert all(found[name][score][b].isnan() for score in ("nmse", "overlap"))
                continue
            A = np.stack(
                [steering(xy, small_scenario.wavelength, *p) for p in scenes.truth.location[b, :count].tolist()], 1
            )
            true = A @ np.diag(scenes.truth.power[b, :count].double().numpy()) @ A.conj().T
            true *= len(true) / np.trace(true).real
            nmse = np.linalg.norm(dense[b] - true) ** 2 / np.linalg.norm(true) ** 2
            U, Q = np.linalg.eigh(dense[b])[1][:, -count:], np.linalg.qr(A)[0]
            assert float(found[name]["nmse"][b]) == pytest.approx(nmse, rel=1e-3)
            assert float(found[name]["overlap"][b]) == pytest.approx(
                np.linalg.norm(U.conj().T @ Q) ** 2 / count, abs=2e-3
            )


def test_the_oracle_is_exact(result):
    out, _ = result
    oracle = [row for row in rows(out / "evaluate" / "by_snr.csv") if row["method"] == "R_true_plain"]
    assert all(float(row["position_error_median_m"]) < 1e-3 for row in oracle)
    assert all(float(row["root_crb_median_m"]) > 1e-3 for row in oracle)


def test_metrics_are_flat_finite_and_logged(result, world):
    out, report = result
    flat = json.loads((out / "evaluate.json").read_text())
    assert "position_error_median/R_blend_refined/snr10" in flat
    assert "K_accuracy/nomp_refined_bic/snr30" in flat
    assert all(value is None or math.isfinite(value) for value in flat.values())
    logged = {key: value for kind, (values, _) in _metrics(report) for key, value in values.items()}
    assert logged["position_error_median/R_true_plain/snr10"] == flat["position_error_median/R_true_plain/snr10"]
    assert logged["ms_per_scene/nomp_refined"] > 0
    assert ("artifact", out / "evaluate") in report.records
    assert ("model", world / "checkpoint") in report.records, "what is kept is what was judged"
    for name in ("curves/error_by_snr.csv", "scene.npz", "evaluation.json"):
        assert (out / "evaluate" / name).stat().st_size > 100


def _metrics(report):
    return [(kind, value) for kind, value in report.records if kind == "metrics"]


def test_it_is_reproducible_whatever_the_batch(result, world, small_scenario, tmp_path):
    out, _ = result
    run(world, small_scenario, tmp_path, dataclasses.replace(CONFIG, batch=5))
    one, two = (json.loads((path / "evaluate.json").read_text()) for path in (out, tmp_path))
    assert one.keys() == two.keys()
    nulls = math.inf  # a median that is infinite in both
    same = [
        (one[key] if one[key] is not None else nulls)
        == pytest.approx(two[key] if two[key] is not None else nulls, rel=0.02, abs=1e-4)
        for key in one
    ]
    assert sum(same) >= 0.97 * len(same)  # a scene on the verge may fall either way with the rounding


def test_another_scenario_is_refused(world, small_scenario, tmp_path):
    other = dataclasses.replace(small_scenario, antennas=5)
    with pytest.raises(ShardError, match="made for another scenario"):
        run(world, other, tmp_path)


def test_the_learnt_rule_needs_a_fitted_head_and_then_answers(world, small_scenario, tmp_path):
    """The network's methods and NOMP follow it, no others; here it always says two."""
    config = dataclasses.replace(
        CONFIG,
        k_rules=("known", "bic_noise", "learnt"),
        methods=("R_blend_refined", "untrained_refined", "back_projection_refined", "nomp_refined"),
    )
    with pytest.raises(ParamError, match=r"order\.scenes > 0, or take 'learnt' out"):
        run(world, small_scenario, tmp_path, config)
    network, _ = load_checkpoint(world / "checkpoint")
    features = network.order.mean.expand(8, -1)
    cost = torch.ones(8, small_scenario.K_MAX + 1)
    cost[:, 2] = 0
    fit_order_head(network.order, features, cost, seed=0)
    save_checkpoint(tmp_path / "checkpoint", network, {})
    (tmp_path / "shards").symlink_to(world / "shards")
    run(tmp_path, small_scenario, tmp_path, config)
    found = {(r["method"], r["count"]): r for r in rows(tmp_path / "evaluate" / "by_cell.csv")}
    learnt = {name.removesuffix("_learnt") for name, _ in found if name.endswith("_learnt")}
    assert learnt == {"R_blend_refined", "R_blend_plain", "nomp_refined"}
    assert {name for name, _ in found if name.endswith("_bic_noise")} > {"back_projection_refined_bic_noise"}
    for (name, count), row in found.items():
        if name in ("R_blend_refined_learnt", "nomp_refined_learnt"):
            assert float(row["K_accuracy"]) == (1.0 if int(count) == 2 else 0.0)
    assert Method.named("nomp_refined_bic_noise").rule == "bic_noise"


def test_a_checkpoint_of_another_geometry_is_refused(world, small_scenario, tmp_path):
    wide = dataclasses.replace(small_scenario, n_h=5)
    for name in ("shards",):
        (tmp_path / name).symlink_to(world / name)
    save_checkpoint(tmp_path / "checkpoint", HybridNetwork(wide, GRID, CovarianceConfig(beta=0.3), NETWORK), {})
    with pytest.raises(CheckpointError, match="n_h"):
        run(tmp_path, small_scenario, tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        evaluate.run(
            seed=3,
            scenario=small_scenario,
            search=SEARCH,
            evaluate=CONFIG,
            shard_dir=world / "shards",
            checkpoint=tmp_path / "nowhere",
            evaluate_report=tmp_path,
            metrics=tmp_path / "m.json",
            state=tmp_path / "state",
            report=ConsoleReporter(),
        )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("k_rules", ["known", "guess"], "one of"),
        ("k_rules", [], "one or more"),
        ("gospa_cutoffs", [2.0, 2.0], "each once"),
        ("gospa_cutoffs", [0.0], "> 0"),
        ("confidence", 1.0, "< 1"),
        ("batch", 0, ">= 1"),
        ("checkpoint", "mine", "one of 'trained', 'default', 'robust'|one of"),
    ],
)
def test_parameters_outside_their_domain_are_refused(repository, name, value, message):
    section = read_yaml(repository / "params.yaml")["evaluate"] | {name: value}
    with pytest.raises(ParamError, match=message):
        build(evaluate.EvaluateConfig, section, "evaluate")


@pytest.mark.parametrize("waveform", ["independent", "coherent", "constant"])
def test_the_bound_knows_the_true_covariance_of_the_symbols(small_scenario, waveform):
    """The same symbols, once declared independent: only then do the powers alone decide."""
    scenario = dataclasses.replace(small_scenario, waveform=waveform)
    scenes = draw(scenario, seed=1, split="test", start=0, stop=6, snr_db=30.0, count=2)
    localiser = Localiser(scenario, SEARCH)
    own = score_bound(scenes, localiser, 1e9, waveform).position
    halved = dataclasses.replace(scenes.truth, symbols=scenes.truth.symbols / 2)
    other = score_bound(dataclasses.replace(scenes, truth=halved), localiser, 1e9, waveform).position
    there = scenes.truth.present
    factor = 1.0 if waveform == "independent" else 2.0
    torch.testing.assert_close(other[there], factor * own[there])
    assert own[~there].isnan().all()


def test_each_scene_of_a_mixed_batch_has_its_own_bound(small_scenario):
    """Coherent ones the deterministic, the others the stochastic; one source alone always the stochastic."""
    mixed = dataclasses.replace(small_scenario, coherent_fraction=0.5)
    counts = [2] * 12 + [1] * 4
    scenes = draw(mixed, seed=1, split="test", start=0, stop=16, snr_db=30.0, count=counts)
    o, t = scenes.observation, scenes.truth
    assert 0 < t.coherent[:12].sum() < 12
    localiser = Localiser(mixed, SEARCH)
    found = score_bound(scenes, localiser, 1e9, "independent")
    stochastic = stochastic_bound(localiser.surface, o, t.location, t.power).position
    deterministic = deterministic_bound(localiser.surface, o, t.location, t.symbols).position
    for row, (coherent, present) in enumerate(zip(t.coherent.tolist(), t.present, strict=True)):
        expected = (deterministic if coherent else stochastic)[row]
        torch.testing.assert_close(found.position[row][present], expected[present])
        assert not torch.isclose(stochastic[row][present], deterministic[row][present], rtol=1e-6).any()
        assert found.position[row][~present].isnan().all()


def test_the_bound_of_scenes_with_echoes_takes_them_as_parameters():
    hall = build(Scenario, preset("hall"), "scenario")
    scenes = draw(hall, seed=1, split="test", start=0, stop=4, snr_db=30.0, count=[1, 2, 3, 0])
    o, t = scenes.observation, scenes.truth
    for waveform, bound, rest in (
        ("independent", stochastic_bound, t.power),
        ("coherent", deterministic_bound, t.symbols),
    ):
        found = score_bound(scenes, Localiser(hall, SEARCH), 1e9, waveform).position[t.present]
        expected, blind = (bound(hall.surface, o, t.location, rest, echoes).position for echoes in (t.echoes, None))
        torch.testing.assert_close(found, expected[t.present])
        assert not torch.isclose(found, blind[t.present], rtol=1e-3).any()


def test_each_bound_is_at_most_the_deviation_of_its_prior(small_scenario):
    scenes = draw(small_scenario, seed=1, split="test", start=0, stop=6, snr_db=-60.0, count=2)
    bounds = score_bound(scenes, Localiser(small_scenario, SEARCH), 0.7, "independent")
    there = scenes.truth.present
    assert bounds.clipped[there].all()
    assert not bounds.clipped[~there].any()
    low, high = small_scenario.distance_span_m
    angle = math.radians(math.hypot(120, 60)) / math.sqrt(12)
    for bound, most in ((bounds.position, 0.7), (bounds.distance, (high - low) / math.sqrt(12)), (bounds.angle, angle)):
        torch.testing.assert_close(bound[there], torch.full_like(bound[there], most))
        assert bound[~there].isnan().all()


def test_the_scene_that_is_shown_has_several_sources_at_a_middling_snr():
    count, snr_db = np.array([0] * 300 + [5, 3, 3, 3, 1]), np.array([10.0] * 301 + [20.0, 5.0, 5.0, 10.0])
    assert representative_scene(count, snr_db) == 302


def test_a_linear_array_with_coherent_sources_is_evaluated(tmp_path):
    line = build(Scenario, preset("ula_coherent"), "ula_coherent")
    make(line, tmp_path)
    run(tmp_path, line, tmp_path)
    by_snr = rows(tmp_path / "evaluate" / "by_snr.csv")
    assert all(0 < float(row["root_crb_median_m"]) < 20 for row in by_snr)
    assert all(float(row["K_accuracy"]) == 1 for row in by_snr if row["method"] == "nomp_refined")


def test_scenes_without_a_source_alone_are_evaluated(small_scenario, tmp_path):
    empty = dataclasses.replace(small_scenario, K_span=(0, 0))
    make(empty, tmp_path)
    run(tmp_path, empty, tmp_path)
    by_snr = rows(tmp_path / "evaluate" / "by_snr.csv")
    assert all(row["sources"] == "0" and row["position_error_median_m"] == "nan" for row in by_snr)
    assert all(float(row["K_accuracy"]) == 1 for row in by_snr if not row["method"].endswith("_bic"))
    flat = json.loads((tmp_path / "evaluate.json").read_text())
    assert flat["position_error_median/R_blend_refined/snr10"] is None
    assert flat["gospa/R_blend_refined/snr10"] == 0
