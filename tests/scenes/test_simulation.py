import math
import re

import numpy as np
import pytest
import torch
from drawn_scenes import assert_snapshots_follow, draw, steering_of, variant
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import position, received
from same_scenes import same
from unhooked import unhooked

from risloc.config import ParamError, build
from risloc.physics.codebook import codes_of
from risloc.scenes.named_scenario import scenario as preset_scenario
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate, source_covariance

WAVEFORMS = ("independent", "coherent", "constant")


@pytest.fixture(scope="module")
def reference(small_scenario):
    return draw(small_scenario, 200)


@given(start=st.integers(0, 199), length=st.integers(1, 200))
@settings(max_examples=20)
def test_a_scene_is_the_same_whatever_the_batch(small_scenario, reference, start, length):
    stop = min(start + length, 200)
    assert same(draw(small_scenario, stop, start=start), reference[start:stop])


def test_a_scene_is_the_same_whatever_the_number_of_threads(scenario):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = draw(scenario, 64)
    finally:
        torch.set_num_threads(before)
    assert same(one, draw(scenario, 64))
    assert same(one[40:43], draw(scenario, 43, start=40))


def test_the_default_scenes_are_those_they_always_were(scenario):
    """The streams' order is kept: drawn on one machine, the same on others up to the rounding of their arithmetic."""
    scenes = draw(scenario, 3, seed=20261123)
    o, t = scenes.observation, scenes.truth
    assert t.count.tolist() == [4, 3, 1]
    assert codes_of(o.codebook, 3).long().sum((1, 2)).tolist() == [7973, 8115, 8130]
    for found, kept in (
        (o.y[:, 0, 0], [-12.464931 + 4.856339j, -3.2303486 + 31.231142j, 1.9517453 + 4.4950056j]),
        (o.y[:, -1, -1], [-27.649839 - 3.3123229j, 8.5532999 + 21.947300j, -4.6268349 - 1.2323197j]),
        (o.noise_var, [227.81761, 10.024208, 53.030354]),
        (o.H[:, 3, 7], [-0.15112624 + 0.22424531j, -1.3343132 + 0.50565940j, 0.22723292 - 0.65671909j]),
        (t.location[:, 0, 2], [1.3042693, 5.5565295, 2.2609372]),
        (t.power[:, 0], [0.86814815, 0.97937650, 1.2832291]),
        (t.symbols[:, 0, 5], [0.24576217 - 0.37188342j, 0.23366424 - 0.050027810j, 0.70922393 + 0.32277313j]),
        (t.snr_db, [4.3240385, 19.419928, 5.2423058]),
    ):
        torch.testing.assert_close(found, torch.tensor(kept), rtol=1e-4, atol=1e-4)


def test_seeds_splits_and_scenes_are_different_streams(small_scenario):
    sets = [draw(small_scenario, 32, seed=s, split=name) for s in (1, 2) for name in ("train", "val", "test")]
    values = torch.cat([x.observation.y.flatten(1)[:, 0] for x in sets])
    assert len(torch.unique(values.real)) == len(values)


def test_overrides_leave_all_else_as_drawn(small_scenario, reference):
    snr = np.linspace(-5, 30, 40)
    moved = draw(small_scenario, 70, start=30, snr_db=snr)
    np.testing.assert_array_equal(moved.truth.snr_db.numpy(), snr.astype(np.float32))
    torch.testing.assert_close(moved.truth.symbols, reference.truth.symbols[30:70], rtol=0, atol=0)
    counted = draw(small_scenario, 70, start=30, count=2)
    assert (counted.truth.count == 2).all()
    torch.testing.assert_close(counted.observation.H, reference.observation.H[30:70], rtol=0, atol=0)


@pytest.mark.parametrize("count", [-1, 4, 1.5, [1] * 63 + [9], float("nan"), [1, 2]])
def test_a_count_that_is_none_is_an_error(small_scenario, count):
    with pytest.raises(ValueError, match="count: expected"):
        draw(small_scenario, 64, count=count)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tests"}, "one of train, val, test, got 'tests'"),
        ({"start": -1}, "0 <= start < stop, got -1 and 64"),
        ({"start": 64}, "0 <= start < stop, got 64 and 64"),
        ({"snr_db": float("inf")}, "snr_db: expected one finite number"),
    ],
)
def test_other_bad_arguments_are_named(small_scenario, options, message):
    with pytest.raises(ValueError, match=message):
        draw(small_scenario, 64, **options)


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("codebook", ["random", "dft", "ones"])
def test_sigma_squared_follows_from_the_expected_signal(small_scenario, waveform, codebook):
    s = variant(small_scenario, waveform=waveform, codebook=codebook)
    scenes = draw(s, 12)
    codes = codes_of(scenes.observation.codebook, s.code_bits).numpy()
    P = source_covariance(scenes.truth, waveform).numpy()
    for row in range(12):
        k = int(scenes.truth.count[row])
        A, H = steering_of(s, scenes, row), scenes.observation.H[row].numpy()
        power = received(H, codes[row], s.code_bits, A, P[row, :k, :k])
        snr_db = 10 * math.log10(power / float(scenes.observation.noise_var[row]))
        assert snr_db == pytest.approx(float(scenes.truth.snr_db[row]), abs=1e-3)


@pytest.mark.parametrize("waveform", WAVEFORMS)
def test_without_noise_the_snapshots_are_the_model(small_scenario, waveform):
    s = variant(small_scenario, waveform=waveform)
    scenes = draw(s, 6, snr_db=120.0)
    for row in range(6):
        assert_snapshots_follow(scenes, row, steering_of(s, scenes, row))


def test_realised_snr_is_the_stated_one_on_average(small_scenario):
    """Over 2048 scenes of 24 received values at 0 dB: standard error of the mean ratio below 1 %, so 4 % is 4 of them."""
    s = variant(small_scenario, snr_db_span=(0.0, 0.0))
    total = draw(s, 2048)
    ratio = total.observation.y.abs().square().mean((1, 2)) / total.observation.noise_var
    assert float(ratio.mean()) == pytest.approx(2.0, abs=0.08)


def test_no_source_is_a_legal_scene(small_scenario):
    scenes = draw(variant(small_scenario, K_span=(0, 0)), 256)
    assert scenes.truth.location.abs().sum() == scenes.truth.power.sum() == scenes.truth.symbols.abs().sum() == 0
    row_energy = scenes.observation.H.abs().square().sum(-1).mean(-1)
    expected = row_energy / 10 ** (scenes.truth.snr_db / 10)
    torch.testing.assert_close(scenes.observation.noise_var, expected)
    ratio = scenes.observation.y.abs().square().mean((1, 2)) / scenes.observation.noise_var
    assert float(ratio.mean()) == pytest.approx(1, abs=0.05)  # 6144 unit-mean values: 4 standard errors


@pytest.mark.parametrize("name", ["default", "legacy", "ula_coherent"])
def test_sources_lie_in_the_spans_and_apart(name):
    s = build(Scenario, preset(name), name)
    truth = draw(s, 96).truth
    for location, count in zip(truth.location.double().numpy(), truth.count.tolist(), strict=True):
        assert (location[count:] == 0).all()
        spans = (np.radians(s.azimuth_span_deg), np.radians(s.elevation_span_deg), s.distance_span_m)
        for source in location[:count]:
            assert all(low - 1e-6 <= x <= high + 1e-6 for x, (low, high) in zip(source, spans, strict=True))
        units = [position(az, el, 1.0) for az, el, _ in location[:count]]
        for i in range(count):
            for j in range(i):
                assert np.hypot(*(units[i] - units[j])[:2]) >= s.min_separation_uv - 1e-6
                angle = math.degrees(math.acos(min(1.0, float(units[i] @ units[j]))))
                assert angle >= s.min_separation_deg - 1e-3


def test_draws_are_uniform_in_their_spans(small_scenario):
    """Kolmogorov-Smirnov at 1e-4 each, seed fixed."""
    from scipy import stats

    truth = draw(variant(small_scenario, min_separation_uv=0.0), 1500).truth
    low, high = np.radians(small_scenario.azimuth_span_deg)
    columns = {
        "azimuth": (truth.location[:, 0, 0], low, high),
        "distance": (truth.location[:, 0, 2], 0.3, 1.5),
        "snr": (truth.snr_db, 0.0, 20.0),
        "power": (10 * truth.power[:, 0].log10(), -6.0, 6.0),
    }
    for name, (values, lowest, highest) in columns.items():
        assert stats.kstest(values.numpy(), "uniform", (lowest, highest - lowest)).pvalue > 1e-4, name
    assert stats.chisquare(np.bincount(truth.count.numpy(), minlength=4)[1:]).pvalue > 1e-4


def test_power_may_fall_with_distance(small_scenario):
    truth = draw(variant(small_scenario, power_law="inverse_square"), 32).truth
    expected = torch.where(truth.present, 1 / truth.location[..., 2].square(), 0.0)
    torch.testing.assert_close(truth.power, expected)


def test_crowded_sources_are_found_and_impossible_ones_refused(small_scenario):
    s = variant(small_scenario, K_span=(3, 3), min_separation_uv=0.9)
    uv = draw(s, 32).truth.location
    flat = torch.stack([uv[..., 0].sin() * uv[..., 1].cos(), uv[..., 1].sin()], -1)
    assert float((torch.cdist(flat, flat) + 9 * torch.eye(3)).min()) >= 0.9 - 1e-6
    with pytest.raises(ValueError, match=r"min_separation_uv = 2.5.*lower the separation or K_span"):
        draw(variant(small_scenario, K_span=(3, 3), min_separation_uv=2.5))


@pytest.mark.parametrize(("waveform", "rank"), [("independent", 3), ("coherent", 1), ("constant", 1)])
def test_symbols_have_the_covariance_that_is_said(small_scenario, waveform, rank):
    s = variant(small_scenario, waveform=waveform, snapshots=4000, K_span=(3, 3))
    truth = draw(s, 2).truth
    P = source_covariance(truth, waveform)
    torch.testing.assert_close(P.diagonal(dim1=1, dim2=2).real, truth.power)
    sampled = truth.symbols @ truth.symbols.mH / 4000
    scale = (truth.power[:, :, None] * truth.power[:, None, :]).sqrt()
    assert float(((sampled - P).abs() / scale).max()) < 0.08  # five standard errors of 1 / sqrt(4000)
    assert (torch.linalg.matrix_rank(P, rtol=1e-4) == rank).all()
    if waveform == "constant":
        torch.testing.assert_close(truth.symbols, truth.symbols[..., :1].expand_as(truth.symbols))


def test_direct_observation_sees_the_field_itself(small_scenario):
    s = variant(small_scenario, observation="direct", antennas=16, codebook="ones")
    scenes = draw(s, 4, snr_db=100.0)
    for row in range(4):
        k = int(scenes.truth.count[row])
        model = (steering_of(s, scenes, row) @ scenes.truth.symbols[row, :k].numpy()).T
        np.testing.assert_allclose(scenes.observation.y[row].numpy(), model, atol=1e-3 * np.abs(model).max())


def test_mismatch_enters_the_data_and_not_the_codes(small_scenario):
    plain = draw(small_scenario, 32, snr_db=100.0)
    phase = draw(variant(small_scenario, element_phase_std_deg=20.0), 32, snr_db=100.0)
    assert torch.equal(plain.observation.codebook, phase.observation.codebook)
    assert torch.equal(plain.observation.H, phase.observation.H)
    change = (plain.observation.y - phase.observation.y).abs().square().mean()
    # |1 - e^{j x}|^2 = 2 (1 - exp(-s^2 / 2)) of the signal on average, s = 20 deg
    expected = 2 * (1 - math.exp(-(math.radians(20) ** 2) / 2))
    assert float(change / plain.observation.y.abs().square().mean()) == pytest.approx(expected, rel=0.5)


def test_the_channel_given_is_off_by_the_stated_error(small_scenario):
    plain = draw(small_scenario, 256)
    rough = draw(variant(small_scenario, channel_error=0.04), 256)
    error = (plain.observation.H - rough.observation.H).abs().square().mean()
    assert float(error / plain.observation.H.abs().square().mean()) == pytest.approx(0.04, rel=0.05)
    torch.testing.assert_close(plain.observation.y, rough.observation.y)  # y came through the true channel


def test_dead_elements_take_their_share_of_the_energy(small_scenario):
    s = variant(small_scenario, K_span=(0, 0))
    whole = draw(s, 512).observation.noise_var
    holes = draw(variant(s, dead_fraction=0.25), 512).observation.noise_var
    assert float((holes / whole).mean()) == pytest.approx(0.75, abs=0.03)  # 8192 elements: six standard errors


def test_counts_seeds_and_ranges_may_be_integers_of_any_kind(small_scenario: Scenario) -> None:
    expected = simulate(small_scenario, seed=3, split="test", start=1, stop=3, count=2, snr_db=10)
    for whole in (np.int64, np.uint8, torch.tensor):
        same = unhooked(
            simulate, small_scenario, seed=whole(3), split="test", start=whole(1), stop=whole(3), count=whole(2),
            snr_db=torch.tensor([10.0, 10.0]),
        )  # fmt: skip
        assert torch.equal(same.observation.y, expected.observation.y)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 2.0}, "count: expected integers, got 2.0"),
        ({"count": "2"}, "count: expected one finite number or one for each of 2 scenes, got '2'"),
        ({"count": True}, "count: expected one finite number or one for each of 2 scenes, got True"),
        ({"count": [1, 2, 3]}, "count: expected one finite number or one for each of 2 scenes, got"),
        ({"count": [[1, 2]]}, "count: expected one finite number or one for each of 2 scenes, got"),
        ({"snr_db": "10"}, "snr_db: expected one finite number or one for each of 2 scenes, got '10'"),
        ({"seed": 1.0}, "seed: expected an integer of at least 0, got 1.0"),
        ({"seed": -1}, "seed: expected an integer of at least 0, got -1"),
        ({"stop": 3.0}, "start, stop: expected integers with 0 <= start < stop, got 1 and 3.0"),
    ],
)
def test_what_is_no_count_is_refused(small_scenario: Scenario, change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        unhooked(simulate, small_scenario, **{"seed": 3, "split": "test", "start": 1, "stop": 3} | change)


def test_what_is_no_scenario_is_told_what_makes_one() -> None:
    with pytest.raises(
        TypeError, match=r"scenario: expected a Scenario, got str; risloc.scenario\('default'\) makes one"
    ):
        unhooked(simulate, "default", seed=3, split="test", start=1, stop=3)


def test_a_scenario_s_numbers_may_be_of_any_kind() -> None:
    world = preset_scenario(
        "default", snapshots=np.int64(8), K_MAX=torch.tensor(2), K_span=np.array([1, 2]), carrier_hz=np.float32(2e9)
    )
    assert (world.snapshots, world.K_MAX, world.K_span, world.carrier_hz) == (8, 2, (1, 2), 2e9)
    assert {type(x) for x in (world.snapshots, world.K_MAX, *world.K_span)} == {int}
    for change in ({"snapshots": 8.0}, {"snapshots": np.float64(8)}, {"snapshots": True}, {"K_span": [1, 2.0]}):
        with pytest.raises(ParamError, match=r"expected int, got (np\.float64\()?(8\.0|True|2\.0)"):
            preset_scenario("default", **change)
