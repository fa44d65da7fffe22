"""Echoes: their laws against plain formulas, their random numbers, their truth, and the same scenes without them."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from drawn_scenes import assert_snapshots_follow, draw, steering_of, variant, with_echoes
from oracle import received
from plain_echoes import PLAIN, field_sum
from same_scenes import alike, same

from risloc.config import ParamError, as_mapping, build
from risloc.physics.codebook import codes_of
from risloc.physics.echo_domain import echo_domain
from risloc.scenes.batch import Scenes
from risloc.scenes.echo_law import EchoLaw
from risloc.scenes.named_scenario import scenario as preset_scenario
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import source_covariance
from risloc.scenes.stored_scenario import scenario_of_stored, stored_scenario

LAWS = ("farther", "room")
NOISELESS = 200.0


@pytest.fixture(params=LAWS)
def echoing(request, small_scenario):
    """A small scenario with each law; the room is not much larger than the region of the sources, so that echoes are strong."""
    spans = {"side_span_m": (1.5, 4.0), "height_span_m": (0.8, 2.0), "front_span_m": (1.5, 4.0)}
    return with_echoes(small_scenario, request.param, paths=5, power_db=-3.0, **spans)


def sources_of(scenes, row):
    return scenes.truth.location[row, : int(scenes.truth.count[row])].double().tolist()


def test_the_echoes_are_those_of_plain_formulas(echoing):
    truth = draw(echoing, 24).truth
    for row in range(24):
        count = int(truth.count[row])
        plain = list(PLAIN[echoing.echoes.law](echoing, row, truth.location[row, :count].double().tolist()))
        for k, echoes in enumerate(plain):
            gain, location = truth.echoes.gain[row, k].numpy(), truth.echoes.location[row, k].numpy()
            expected = np.array([g for _, g in echoes])
            np.testing.assert_allclose(gain[: len(echoes)], expected, rtol=1e-4, atol=2e-6)
            np.testing.assert_allclose(location[: len(echoes)], [place for place, _ in echoes], rtol=1e-5, atol=1e-6)
            assert (gain[len(echoes) :] == 0).all()
        assert (truth.echoes.gain[row, count:] == 0).all()
    assert (truth.echoes.location[~truth.echoes.present] == 0).all()


def test_what_arrives_is_the_sum_of_the_fields_of_source_and_images(echoing):
    """Both the snapshots and sigma^2, from the distances of each element to the source and to its images."""
    scenes = draw(echoing, 12, snr_db=NOISELESS)
    P = source_covariance(scenes.truth, echoing.waveform).numpy()
    codes = codes_of(scenes.observation.codebook, echoing.code_bits).numpy()
    for row in range(12):
        sources = sources_of(scenes, row)
        plain = PLAIN[echoing.echoes.law](echoing, row, sources)
        A = np.stack([field_sum(echoing, *each) for each in zip(sources, plain, strict=True)], 1)
        assert_snapshots_follow(scenes, row, A)
        arriving = scenes[row : row + 1].truth.arriving(echoing.surface.array)[0, :, : len(sources)]
        np.testing.assert_allclose(arriving.numpy(), A, atol=1e-3)
        H, k = scenes.observation.H[row].numpy(), len(sources)
        power = received(H, codes[row], echoing.code_bits, A, P[row, :k, :k])
        snr_db = 10 * math.log10(power / float(scenes.observation.noise_var[row]))
        assert snr_db == pytest.approx(NOISELESS, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "law"), [*((name, law) for name in ("default", "room_3g5") for law in LAWS), ("ula_coherent", "farther")]
)
def test_an_image_is_farther_than_its_source(name, law):
    s = preset_scenario(name)
    truth = draw(with_echoes(s, law), 200).truth
    present, ratio = truth.echoes.present, truth.echoes.location[..., 2] / truth.location[..., None, 2].clamp_min(1e-9)
    assert present.any()
    assert (present.any(-1) <= truth.present).all()
    assert (ratio[present] > 1).all()
    if law == "farther":
        low, high = s.echoes.farther_span
        assert ((ratio >= low - 1e-5) & (ratio <= high + 1e-5))[present].all()
        assert echo_domain(s.surface.domain).contains(truth.echoes.polar[present]).all()


@pytest.mark.parametrize(("paths", "power_db"), [(1, -12.0), (2, -6.0), (6, 0.0)])
def test_the_echoes_of_a_source_have_the_stated_power(small_scenario, paths, power_db):
    """Over 3000 sources, at four standard errors: wrong once in 16 000."""
    s = with_echoes(variant(small_scenario, K_span=(1, 1)), "farther", paths=paths, power_db=power_db)
    power = draw(s, 3000).truth.echoes.gain[:, 0].abs().square().sum(-1).double() / 10 ** (power_db / 10)
    error = float(power.std()) / math.sqrt(3000)
    assert error == pytest.approx(1 / math.sqrt(3000 * paths), rel=0.15)  # a sum of exponential variables
    assert float(power.mean()) == pytest.approx(1, abs=4 * error)


def test_images_are_uniform_in_angle_and_ratio(small_scenario):
    """Kolmogorov-Smirnov at 1e-4 each, seed fixed."""
    from scipy import stats

    truth = draw(with_echoes(variant(small_scenario, K_span=(1, 1)), "farther", paths=1), 1500).truth
    azimuth, elevation, distance = truth.echoes.location[:, 0, 0].double().unbind(-1)
    low, high = small_scenario.echoes.farther_span
    for values, lowest, highest in (
        (azimuth, -math.radians(87), math.radians(87)),
        (elevation, -math.radians(87), math.radians(87)),
        (distance / truth.location[:, 0, 2], low, high),
    ):
        assert stats.kstest(values.numpy(), "uniform", (lowest, highest - lowest)).pvalue > 1e-4


def test_echoes_change_nothing_else_that_is_drawn(echoing, small_scenario):
    plain, echoed = draw(small_scenario, 40), draw(echoing, 40)
    for name in ("location", "power", "symbols", "count", "snr_db"):
        assert torch.equal(getattr(plain.truth, name), getattr(echoed.truth, name))
    for name in ("codebook", "H"):
        assert torch.equal(getattr(plain.observation, name), getattr(echoed.observation, name))
    noise = [draw(s, 40, snr_db=-100.0).observation for s in (small_scenario, echoing)]
    relative = [o.y / o.noise_var.sqrt()[:, None, None] for o in noise]
    torch.testing.assert_close(*relative, rtol=0, atol=1e-3)
    assert plain.truth.echoes is None


def test_a_scene_without_its_echoes_keeps_its_noise(echoing):
    scenes, paired = draw(echoing, 24), draw(echoing, 24, echoes=False)
    assert alike(dataclasses.replace(scenes.truth, echoes=None), paired.truth)
    for name in ("codebook", "H", "noise_var"):
        assert torch.equal(getattr(scenes.observation, name), getattr(paired.observation, name))
    for row in range(24):
        sources = sources_of(scenes, row)
        plain = PLAIN[echoing.echoes.law](echoing, row, sources)
        A = np.stack([field_sum(echoing, *each) for each in zip(sources, plain, strict=True)], 1)
        A -= steering_of(echoing, scenes, row)
        o, symbols = scenes.observation, scenes.truth.symbols[row, : len(sources)].numpy()
        echo = np.stack(
            [o.H[row].numpy() @ (c * (A @ s)) for c, s in zip(o.codebook[row].numpy(), symbols.T, strict=True)]
        )
        difference = (o.y[row] - paired.observation.y[row]).numpy()
        np.testing.assert_allclose(difference, echo, atol=2e-4 * np.abs(o.y[row].numpy()).max())


def test_without_a_law_no_bit_depends_on_the_section(small_scenario):
    other = with_echoes(small_scenario, "none", paths=3, power_db=0.0, materials=("wood",))
    assert same(draw(small_scenario, 40), draw(other, 40))
    assert same(draw(small_scenario, 40), draw(small_scenario, 40, echoes=False))


def test_a_scene_with_echoes_is_the_same_whatever_the_batch(echoing):
    whole = draw(echoing, 50)
    assert same(draw(echoing, 37, start=11), whole[11:37])
    assert same(draw(echoing, 37, start=11, echoes=False), draw(echoing, 50, echoes=False)[11:37])


def test_without_a_source_there_is_no_echo(echoing):
    truth = draw(echoing, 8, count=0).truth
    assert not truth.echoes.present.any()
    assert truth.echoes.location.abs().sum() == truth.arriving(echoing.surface.array).abs().sum() == 0


def test_echoes_pass_through_mismatch_as_the_direct_wave_does(echoing):
    rough = variant(echoing, element_phase_std_deg=20.0, dead_fraction=0.2, multipath_paths=1)
    truth, scenes = draw(echoing, 6).truth, draw(rough, 6)
    assert alike(truth.echoes, scenes.truth.echoes)
    assert scenes.observation.y.isfinite().all()
    assert not torch.allclose(scenes.observation.y, draw(rough, 6, echoes=False).observation.y, rtol=0.01)


def test_batches_with_echoes_are_indexed_joined_and_moved(echoing, small_scenario):
    scenes = draw(echoing, 10)
    assert same(Scenes.cat([scenes[:3], scenes[3:4], scenes[4:]]), scenes)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert same(scenes[order][order.argsort()], scenes)
    assert len(scenes[2:5].truth.echoes) == 3
    assert same(scenes.to("cpu"), scenes)
    assert (
        scenes.to("meta").truth.echoes.gain.device.type == scenes.truth.echoes.to("meta").location.device.type == "meta"
    )
    assert scenes.truth.echoes.polar.isfinite().all()
    with pytest.raises(ValueError, match="parts: expected echoes in all parts or in none"):
        Scenes.cat([scenes, draw(small_scenario, 2)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": "nearer"}, r"scenario\.echoes\.law: expected a value one of \('none', 'farther', 'room'\), got 'nearer'"),
        ({"paths": 0}, r"scenario\.echoes\.paths: expected a value >= 1 and <= 64, got 0"),
        ({"law": "room", "paths": 25}, r"scenario\.echoes: paths: expected at most 24 in a room, got 25; reduce it"),
        ({"farther_span": [0.9, 2.0]}, r"scenario\.echoes\.farther_span: expected a value >= 1\.0 and <= 8\.0, got 0\.9"),
        ({"farther_span": [3.0, 2.0]}, r"scenario: echoes\.farther_span: expected \[lowest, highest\], got \[3\.0, 2\.0\]"),
        ({"power_db": float("inf")}, r"scenario\.echoes\.power_db: expected a finite number"),
        ({"materials": []}, r"scenario\.echoes: materials: expected at least one of concrete, .*, got none; add one"),
        ({"materials": ["cheese"]}, r"scenario\.echoes\.materials: expected a value one of \('concrete', .*got 'cheese'"),
        ({"law": "room", "side_span_m": [4.0, 9.0]}, r"echoes\.side_span_m: expected at least 5\.909, so that the room encl"),
        ({"law": "room", "front_span_m": [5.9, 9.0]}, r"echoes\.front_span_m: expected at least 6\.000, .*got 5\.9; increase"),
        ({"law": "room", "height_span_m": [1.0, 2.0]}, r"echoes\.height_span_m: expected at least 3\.000, .*got 1; increase"),
        ({"reach": 2}, r"scenario\.echoes\.reach: unknown parameter; allowed here: law, paths, power_db"),
    ],
)  # fmt: skip
def test_a_law_outside_its_domain_is_named(scenario, change, message):
    values = as_mapping(scenario)
    with pytest.raises(ParamError, match=message):
        build(Scenario, {**values, "echoes": {**values["echoes"], **change}}, "scenario")


def test_a_room_needs_a_carrier_of_its_materials():
    with pytest.raises(
        ParamError, match=r"echoes\.law: expected a carrier of 1 to 40 GHz with 'room', .*got 3e\+08 Hz"
    ):
        preset_scenario("hall", carrier_hz=3e8)


def test_a_room_may_be_turned_so_far_that_sources_would_be_behind_it():
    law = as_mapping(preset_scenario("hall").echoes) | {"yaw_span_deg": [0.0, 60.0]}
    with pytest.raises(ParamError, match=r"echoes\.behind_span_m: expected at least 3\.000"):
        preset_scenario("hall", echoes=law)
    assert preset_scenario("hall", echoes=law | {"behind_span_m": [3.0, 5.0]}).echoes.on


def test_a_missing_section_is_an_error_in_parameters_and_the_usual_one_in_files(scenario):
    values = as_mapping(scenario)
    del values["echoes"]
    with pytest.raises(
        ParamError, match=r"scenario\.echoes: missing \(echoes of the sources\); it has no default, add it"
    ):
        build(Scenario, values, "scenario")
    assert scenario_of_stored(values, "scenario") == scenario
    with pytest.raises(ParamError, match="scenario: expected a mapping"):
        scenario_of_stored([1], "scenario")


def test_a_stored_scenario_has_the_section_where_it_says_something(scenario, echoing):
    assert "echoes" not in stored_scenario(scenario)
    for s in (scenario, echoing, with_echoes(scenario, "none", paths=2)):
        assert scenario_of_stored(stored_scenario(s), "scenario") == s
    assert set(stored_scenario(echoing)["echoes"]) == {f.name for f in dataclasses.fields(EchoLaw)}
