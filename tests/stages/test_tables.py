import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from made_answers import answer, bounds, collection, draw, fit, true_polar
from scipy.stats import norm

from risloc.learning.k_rules import K_RULES
from risloc.performance.intervals import proportion_interval
from risloc.performance.metrics import match
from stages.evaluation.calibration import calibration, standardised
from stages.evaluation.method import GROUPS, Method, chosen
from stages.evaluation.methods import METHODS
from stages.evaluation.model_order import ALL, k_accuracy
from stages.evaluation.paired_gospa import paired
from stages.evaluation.resolution import beams_of, closest_pair, pair_resolved, resolution
from stages.evaluation.scores import score
from stages.evaluation.tables import Table, ablation, curves, json_ready, tabulate, timing
from stages.reporting.looks import GROUP_WORDS, look_of

BOUNDS = ("root_crb", "root_crb_distance", "root_crb_angle")
TABLE = Table(cutoffs=(2.0, 0.5), confidence=0.9, seed=0)


@pytest.fixture(scope="module")
def collected(small_scenario):
    return collection(small_scenario)


# Labels


@pytest.mark.parametrize(
    ("name", "source", "step", "rule", "group", "text"),
    [
        ("R_blend_refined_bic", "R_blend", "refined", "bic", "hybrid", "R_blend, refined"),
        ("R_blend_plain", "R_blend", "plain", "known", "hybrid", "MUSIC on R_blend"),
        ("mvdr_plain", "mvdr", "plain", "known", "classical", "MVDR"),
        ("nomp_stochastic_bic_noise", "nomp", "stochastic", "bic_noise", "classical", "matching pursuit (NOMP), refined, stochastic fit"),
        ("ablation_no_slots_learnt", "ablation_no_slots", "refined", "learnt", "learned", "hybrid, no slots"),
        ("tomorrows_refined", "tomorrows", "refined", "known", "classical", "tomorrows, refined"),
    ],
)  # fmt: skip
def test_a_name_is_source_step_and_rule(name, source, step, rule, group, text):
    method = Method(source, step, rule)
    assert (method.name, Method.named(name)) == (name, method)
    assert (method.group, method.ablation) == (group, source.startswith("ablation"))
    assert (look_of(method).name, look_of(method).text) == (name, text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Method.named("mdl"), "expected SOURCE_STEP or SOURCE_STEP_RULE, got 'mdl'"),
        (lambda: Method.named("R_blend_bic"), "step of R: expected refined or stochastic or plain, got 'blend'"),
        (lambda: Method("R_blend", rule="mdl"), "K rule of R_blend: expected one of known, .*, got 'mdl'"),
        (lambda: Method("ablation_no_fit", "plain"), "step of ablation_no_fit: expected refined, got 'plain'"),
    ],
)
def test_what_is_no_method_is_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_method_that_can_be_run_has_a_look_of_its_own_and_comes_back_from_its_name():
    methods = [Method.named(name).by(rule) for name in METHODS for rule in K_RULES]
    assert [Method.named(method.name) for method in methods] == methods
    assert len({method.name for method in methods}) == len(methods)
    assert {look_of(method).colour for method in methods if method.group == "hybrid"} == {"#D55E00"}
    assert all(look_of(method).marker != "." for method in methods)


def test_methods_are_listed_by_rule_step_and_group():
    names = [
        "R_true_refined",
        "mvdr_plain",
        "ablation_no_slots",
        "nomp_refined_bic",
        "R_blend_refined",
        "R_samp_refined",
    ]
    listed = [m.name for m in chosen(names, ablations=True)]
    assert listed == [
        "R_blend_refined",
        "ablation_no_slots",
        "R_samp_refined",
        "R_true_refined",
        "mvdr_plain",
        "nomp_refined_bic",
    ]
    assert [m.name for m in chosen(names, step="refined", rule="bic")] == ["nomp_refined_bic"]
    assert {m.group for m in chosen(names, ablations=True)} == set(GROUPS) == set(GROUP_WORDS)


# Resolution


def test_the_least_separation_of_the_default_scenario_is_0_6_beams(scenario):
    polar = torch.tensor([[0.0, 0.0, 0.5], [scenario.min_separation_uv, 0.0, 0.3]])
    assert float((beams_of(polar, scenario)[1] - beams_of(polar, scenario)[0]).norm()) == pytest.approx(0.6)


def test_a_linear_array_is_judged_by_its_one_coordinate(scenario):
    line = dataclasses.replace(scenario, n_v=1, antennas=8)
    assert beams_of(torch.tensor([[0.5, 0.3, 1.0]]), line).tolist() == [[3.0, 0.0]]
    flat = dataclasses.replace(scenario, elevation_span_deg=(0.0, 0.0))
    assert beams_of(torch.tensor([[0.5, 0.3, 1.0]]), flat).tolist() == [[3.0, 0.0]]


def test_the_closest_pair_is_of_sources_that_are_there():
    beams = torch.tensor([[[0.0, 0], [3, 4], [0, 1]]]).expand(3, 3, 2)
    present = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    apart, pair = closest_pair(beams, present)
    assert apart.tolist() == [1.0, 5.0, math.inf]
    assert pair[:2].tolist() == [[0, 2], [0, 1]]


@pytest.mark.parametrize(
    ("errors", "estimate", "expected"),
    [
        ((0.49, 0.49), (0, 1), True),
        ((0.49, 0.51), (0, 1), False),
        ((0.0, 0.0), (0, -1), False),  # missed
        ((0.0, 0.0), (1, 0), False),  # assigned crosswise: each error is the whole separation
    ],
)
def test_a_pair_is_resolved_within_half_its_separation(errors, estimate, expected):
    beams = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    found = beams + torch.tensor([[[0.0, errors[0]], [0.0, errors[1]]]])
    here = torch.ones(1, 2, dtype=torch.bool)
    got = pair_resolved(found, torch.tensor([estimate]), beams, *closest_pair(beams, here))
    assert got.tolist() == [expected]


def test_resolution_is_pooled_by_bin_and_by_snr():
    scenes = {
        "snr_db": np.array([0.0, 5, 10, 20, 20, 20]),
        "pair_separation": np.array([0.7, 0.8, 0.7, 5.0, 0.6, np.inf]),
    }
    resolved = {"pair_resolved": np.array([True, False, True, True, False, False])}
    rows = resolution(scenes, {"a": resolved}, TABLE)
    found = {(r["snr_range"], r["separation_low_beams"]): (r["scenes"], r["resolution"]) for r in rows}
    assert found == {
        ("below 10 dB", 0.6): (2, 0.5),
        ("10 dB and above", 0.6): (2, 0.5),
        ("10 dB and above", 2.4): (1, 1.0),
    }
    wilson = proportion_interval(1, 2, 0.9)
    assert rows[0]["resolution_low"] == pytest.approx(wilson.low, rel=1e-4)
    assert rows[-1]["separation_high_beams"] == math.inf


def test_what_misses_everything_resolves_nothing(collected):
    rows = resolution(collected.scenes, collected.methods, TABLE)
    shares = {
        name: [r["resolution"] for r in rows if r["method"] == name] for name in ("mvdr_plain", "R_blend_refined")
    }
    assert set(shares["mvdr_plain"]) == {0.0}
    assert max(shares["R_blend_refined"]) > 0.5
    pairs = (collected.scenes["count"] >= 2).sum()
    assert sum(r["scenes"] for r in rows if r["method"] == "mvdr_plain") == pairs


# Calibration


def test_standardised_errors_are_those_of_the_assigned_estimate():
    true = torch.tensor([[[0.0, 0.0, 0.5], [0.5, 0.0, 0.5], [0.0, 0.3, 0.5], [0.3, -0.3, 0.5]]])  # 2 m
    found = true[:, [1, 0, 2, 3]].clone()
    found[0, 0, 2], found[0, 1, 2], found[0, 3, 2] = 1 / 2.3, 1 / 2.1, 1 / 9.0  # the last one is missed
    here = torch.ones(1, 4, dtype=torch.bool)
    std = torch.tensor([[0.1, 0.2, 0.1, 0.1]])
    matched = match(found, here, true, here, 2.0)
    z = standardised(matched, fit(found, here, std, resolved=torch.tensor([[True, True, False, True]])))
    torch.testing.assert_close(z["distance_z"][0, :2], torch.tensor([0.5, 3.0]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z["position_z"], z["distance_z"], rtol=1e-4, atol=1e-4, equal_nan=True)
    assert z["distance_z"][0, 2:].isnan().all()  # unresolved; missed
    assert standardised(matched, fit(found, here, 0.0))["distance_z"].isnan().all()  # no claim is made


@pytest.mark.parametrize("optimism", [1.0, 2.0])
def test_observed_shares_show_deviations_that_are_too_small(optimism):
    z = np.abs(optimism * np.random.default_rng(0).standard_normal((4000, 1)))
    scenes = {"snr_db": np.full(4000, 10.0), "count": np.ones(4000, dtype=int)}
    scores = {"distance_z": z, "position_z": z}
    [row] = calibration(scenes, {"a": scores, "plain": {}}, TABLE)
    for level in (68, 95):
        expected = 2 * norm.cdf(norm.ppf((1 + level / 100) / 2) / optimism) - 1
        assert row[f"observed_{level}_low"] < row[f"observed_{level}"] < row[f"observed_{level}_high"]
        assert row[f"observed_{level}"] == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 4000))
    assert row["position_error_over_std_median"] == pytest.approx(0.674 * optimism, rel=0.06)
    assert row["used"] == row["sources"] == 4000


def test_unresolved_sources_are_left_out_of_calibration_and_counted(collected):
    rows = calibration(collected.scenes, collected.methods, TABLE)
    assert not any("plain" in str(row["method"]) for row in rows)
    assert all(0 < row["used"] <= row["sources"] for row in rows)
    assert sum(row["used"] for row in rows) < sum(row["sources"] for row in rows)


# Model order


def test_k_accuracy_is_of_methods_that_had_to_find_k(collected):
    rows = k_accuracy(collected.scenes, collected.methods, collected.orders, TABLE)
    assert {r["method"] for r in rows} == {
        "R_blend_refined_bic",
        "nomp_refined_bic",
        "ablation_no_slots_bic",
        "mdl",
        "presence",
    }
    pooled = {(r["method"], r["snr_db"]): r for r in rows if r["count"] == ALL}
    counts = collected.scenes["count"][collected.scenes["snr_db"] == 0]
    assert pooled["presence", 0]["K_accuracy"] == 1
    assert pooled["presence", 0]["K_error_mean"] == 0
    assert pooled["mdl", 0]["K_accuracy"] == pytest.approx((counts == 1).mean(), rel=1e-4)
    assert pooled["mdl", 0]["K_error_mean"] == pytest.approx((1 - counts).mean(), rel=1e-4)
    three = [r for r in rows if r["method"] == "mdl" and r["count"] == 3]
    assert [r["K_error_mean"] for r in three] == [-2.0] * 2
    assert sum(r["scenes"] for r in rows if r["method"] == "mdl" and r["count"] == ALL) == 16


# Tables by SNR, K and cell


def test_unresolved_and_unconverged_are_counted_where_there_is_a_fit(small_scenario):
    scenes = draw(small_scenario, 10.0, n=2, count=2)
    there, true = scenes.truth.present, true_polar(scenes)
    resolved = there.clone()
    resolved[0, 0] = False
    found = dataclasses.replace(fit(true, there, resolved=resolved), converged=torch.tensor([False, True]))
    plain = answer("mvdr_plain", found)
    results = [answer("R_blend_refined", found), dataclasses.replace(plain, estimates=None)]
    columns = {
        "count": np.full(2, 2),
        "snr_db": np.full(2, 10.0),
        **dict.fromkeys(BOUNDS, np.ones((2, 3))),
        "clipped": np.zeros(2),
    }
    methods = {
        r.method.name: {k: v.numpy() for k, v in score(scenes, bounds(there), r, small_scenario, (2.0, 0.5)).items()}
        for r in results
    }
    fitted, spectrum = tabulate(columns, methods, ["snr_db"], TABLE)
    assert (fitted["unresolved"], fitted["not_converged"]) == (0.25, 1)
    assert fitted["unresolved_low"] == pytest.approx(proportion_interval(1, 4, 0.9).low, rel=1e-4)
    assert spectrum["unresolved"] is spectrum["unresolved_high"] is spectrum["not_converged"] is None
    assert fitted.keys() == spectrum.keys()


def test_missed_sources_stay_in_every_median_and_share(collected):
    rows = tabulate(collected.scenes, collected.methods, ["snr_db"], TABLE)
    for row in rows:
        if "plain" in str(row["method"]):
            assert row["position_error_median_m"] == row["error_over_root_crb_median"] == math.inf
            assert row["within_3_root_crb"] == row["detected"] == 0
        else:
            assert 0 < row["position_error_median_m"] < 1


def one_cell(errors, crb=0.1, **columns):
    """The row of one method whose errors [scene, src] are all the same quantity, NaN where there is no source."""
    there = ~np.isnan(errors)
    each = np.where(there, crb, np.nan)
    scenes = {"snr_db": np.zeros(len(errors)), "count": there.sum(1), "clipped": np.zeros_like(there)}
    scenes |= dict.fromkeys(BOUNDS, each)
    scores = dict.fromkeys(("position", "distance", "angle"), errors) | {"ratio": errors / each}
    scores |= {"missed": np.isinf(errors).sum(1), "false": np.zeros(len(errors)), "count": there.sum(1)}
    scores |= {"resolved": np.ones(len(errors)), "gospa_2m": np.zeros(len(errors)), "gospa_0.5m": np.zeros(len(errors))}
    [row] = tabulate(scenes | columns, {"a_plain": scores}, ["snr_db"], TABLE)
    return row


def test_root_mean_squares_are_of_matched_sources_and_resampled_by_scene():
    row = one_cell(np.array([[3.0, np.nan], [np.inf, 4.0], [np.inf, np.nan], [np.inf, np.inf]]))
    assert row["distance_rmse_matched_m"] == pytest.approx(math.sqrt(12.5), rel=1e-4)
    assert row["angle_rmse_matched_deg"] == pytest.approx(math.degrees(math.sqrt(12.5)), rel=1e-4)
    assert (row["distance_rmse_matched_m_low"], row["distance_rmse_matched_m_high"]) == (3, 4)
    pairs = np.abs(np.random.default_rng(0).standard_normal((400, 1)))
    alike = one_cell(np.repeat(pairs, 2, axis=1))  # the second source of a scene says nothing new
    alone = one_cell(pairs)
    for name in ("distance_rmse_matched_m", "distance_rmse_matched_m_low", "distance_rmse_matched_m_high"):
        assert alike[name] == alone[name]
    deviation = (alone["distance_rmse_matched_m_high"] - alone["distance_rmse_matched_m_low"]) / (2 * norm.ppf(0.95))
    assert deviation == pytest.approx(1 / math.sqrt(2 * 400), rel=0.2)


def test_without_a_match_there_is_no_root_mean_square():
    row = one_cell(np.full((5, 2), np.inf))
    for end in ("", "_low", "_high"):
        assert math.isnan(row[f"distance_rmse_matched_m{end}"])
    assert row["distance_error_median_m"] == math.inf


def test_mean_and_root_mean_square_of_the_bounds_are_over_the_sources_that_are_there():
    errors = np.array([[0.1, np.nan], [0.1, 0.1]])
    bounds = {"root_crb_distance": np.array([[1.0, np.nan], [2.0, 6.0]]), "root_crb_angle": np.full((2, 2), 0.01)}
    row = one_cell(errors, **bounds)
    assert row["root_crb_distance_mean_m"] == 3
    assert row["root_crb_distance_rms_m"] == pytest.approx(math.sqrt(41 / 3), rel=1e-4)
    for name in ("root_crb_angle_mean_deg", "root_crb_angle_rms_deg"):
        assert row[name] == pytest.approx(math.degrees(0.01), rel=1e-4)


def test_medians_of_angle_and_range_have_intervals(collected):
    for row in tabulate(collected.scenes, collected.methods, ["snr_db"], TABLE):
        for name in ("angle_error_median_deg", "distance_error_median_m"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_time_is_that_of_full_batches(collected):
    rows = {row["method"]: row for row in timing({"a": [(8, 0.8), (8, 2.4), (2, 9.0)], "b": [(3, 0.6)]}, 8, TABLE)}
    assert rows["a"]["ms_per_scene"] == 200
    assert rows["a"]["ms_per_scene_low"] >= 100
    assert rows["a"]["ms_per_scene_high"] <= 300
    assert (rows["a"]["batch"], rows["a"]["batches"], rows["a"]["threads"]) == (8, 2, torch.get_num_threads())
    assert rows["b"]["ms_per_scene"] == pytest.approx(200)
    assert rows["b"]["batch"] == 3


def test_ablations_stand_beside_the_hybrid_with_their_time(collected):
    by_snr = tabulate(collected.scenes, collected.methods, ["snr_db"], TABLE)
    times = timing(collected.times, 8, TABLE)
    rows = ablation(by_snr, times, TABLE)
    assert {r["method"] for r in rows} == {
        "R_blend_refined",
        "ablation_no_slots",
        "R_blend_refined_bic",
        "ablation_no_slots_bic",
    }
    assert all(r["ms_per_scene"] == pytest.approx(12.5) for r in rows)
    assert {"gospa_2m", "gospa_0.5m_high", "within_3_root_crb_low", "position_error_median_m"} <= rows[0].keys()


def test_a_column_by_snr_has_a_column_a_method():
    rows = [
        {"method": name, "snr_db": snr, "x": value, "bound": snr}
        for name, snr, value in (("a", 10, 1.0), ("b", 10, 2.0), ("a", 0, 3.0), ("b", 0, 4.0))
    ]
    assert curves(rows, "x") == [{"snr_db": 0, "a": 3.0, "b": 4.0}, {"snr_db": 10, "a": 1.0, "b": 2.0}]
    assert curves(rows, "x", "bound")[1]["root_crb"] == 10


def test_json_has_null_for_what_is_not_finite():
    ready = json_ready({"t": [{"a": math.inf, "b": math.nan, "c": 1.5, "d": "all", "e": None, "f": 2}]})
    assert json.loads(json.dumps(ready, allow_nan=False))["t"] == [
        {"a": None, "b": None, "c": 1.5, "d": "all", "e": None, "f": 2}
    ]


# Paired differences


def test_a_difference_is_taken_scene_by_scene_and_under_its_own_rule(collected):
    scenes = collected.scenes
    methods = {name: dict(columns) for name, columns in collected.methods.items()}
    better = {key: value - 0.25 if key.startswith("gospa") else value for key, value in methods["nomp_refined"].items()}
    rows = paired(scenes, methods | {"R_blend_refined": better}, TABLE)
    mine = [row for row in rows if row["method"] == "R_blend_refined"]
    assert [row["snr_db"] for row in mine] == [0, 20]
    for row in mine:  # the same in every scene: no spread, whatever the scenes' own
        assert [row[f"gospa_2m_less_nomp{end}"] for end in ("", "_low", "_high")] == pytest.approx([-0.25] * 3)
    assert not {"nomp_refined", "nomp_refined_bic"} & {row["method"] for row in rows}
    bic = {**methods["nomp_refined_bic"], "gospa_2m": methods["nomp_refined_bic"]["gospa_2m"] + 1}
    shifted = paired(scenes, methods | {"nomp_refined_bic": bic}, TABLE)
    for old, new in zip(paired(scenes, methods, TABLE), shifted, strict=True):
        expected = 1.0 if Method.named(str(old["method"])).rule == "bic" else 0.0
        assert old["gospa_2m_less_nomp"] - new["gospa_2m_less_nomp"] == pytest.approx(expected, abs=1e-4)
