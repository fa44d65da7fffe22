"""Extra paths and scenes with a shared waveform: what the preset `robust` adds to element and channel errors."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from drawn_scenes import assert_snapshots_follow, draw, steering_of, variant
from oracle import elements, received, steering
from same_scenes import same
from scipy import stats

from risloc.physics.codebook import codes_of
from risloc.scenes.simulation import SPLITS, source_covariance

NOISELESS = 200.0
FOUR_DEVIATIONS = 1 - 2 * stats.norm.sf(4)


def further_stream(index, *, seed=7, split="train"):
    """The stream of a scene's coherence and extra paths: one uniform, the image positions, the gains' normals."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(SPLITS[split], index, 2))))


def extra_waves(s, index):
    """[elem, src]: the sum of g a(image) over the extra paths of each slot, in plain numpy."""
    rng, paths = further_stream(index), s.mismatch.multipath_paths
    rng.random()
    unit = rng.random((s.K_MAX, paths, 3))
    normal = rng.standard_normal((s.K_MAX, paths, 2), dtype=np.float32).astype(float)
    gains = (normal[..., 0] + 1j * normal[..., 1]) * math.sqrt(10 ** (s.mismatch.multipath_db / 10) / paths / 2)
    spans = np.array([np.radians(s.azimuth_span_deg), np.radians(s.elevation_span_deg), s.distance_span_m])
    images = spans[:, 0] + (spans[:, 1] - spans[:, 0]) * unit
    places = elements(s.n_h, s.n_v, s.wavelength, s.reference)
    columns = [
        sum(g * steering(places, s.wavelength, *image) for g, image in zip(gains[k], images[k], strict=True))
        for k in range(s.K_MAX)
    ]
    return np.stack(columns, 1)


@pytest.mark.parametrize("waveform", ["independent", "coherent"])
def test_a_scene_with_extra_paths_is_its_formula(small_scenario, waveform):
    """Both the snapshots and sigma^2, with the random numbers drawn once more."""
    s = variant(small_scenario, waveform=waveform, multipath_paths=2, multipath_db=-3.0)
    scenes = draw(s, 6, snr_db=NOISELESS)
    P = source_covariance(scenes.truth, waveform).numpy()
    codes = codes_of(scenes.observation.codebook, s.code_bits).numpy()
    for row in range(6):
        k, H = int(scenes.truth.count[row]), scenes.observation.H[row].numpy()
        A = steering_of(s, scenes, row) + extra_waves(s, row)[:, :k]
        assert_snapshots_follow(scenes, row, A)
        power = received(H, codes[row], s.code_bits, A, P[row, :k, :k])
        snr_db = 10 * math.log10(power / float(scenes.observation.noise_var[row]))
        assert snr_db == pytest.approx(NOISELESS, abs=1e-3)


def directly(small_scenario, **changes):
    return variant(small_scenario, observation="direct", antennas=16, codebook="ones", K_span=(1, 1), **changes)


@pytest.mark.parametrize(("paths", "ratio_db"), [(1, -12.0), (3, -12.0), (2, 0.0)])
def test_the_extra_paths_have_the_stated_power(small_scenario, paths, ratio_db):
    """Over 3000 sources, at four standard errors: wrong once in 16 000."""
    s = directly(small_scenario, multipath_paths=paths, multipath_db=ratio_db)
    plain = draw(variant(s, multipath_paths=0), 3000, snr_db=NOISELESS).observation.y
    extra = draw(s, 3000, snr_db=NOISELESS).observation.y - plain
    ratio = (extra.abs().square().mean((1, 2)) / plain.abs().square().mean((1, 2))).double()
    standard_error = float(ratio.std()) / math.sqrt(3000)
    assert standard_error < 0.03 * 10 ** (ratio_db / 10)
    assert float(ratio.mean()) == pytest.approx(10 ** (ratio_db / 10), abs=4 * standard_error)


def test_the_extra_paths_are_coherent_with_their_source_over_the_block(small_scenario):
    y = draw(directly(small_scenario, multipath_paths=3, multipath_db=0.0), 64, snr_db=NOISELESS).observation.y
    values = torch.linalg.svdvals(y.to(torch.complex128))
    assert float((values[:, 1] / values[:, 0]).max()) < 1e-5


def test_extra_paths_are_in_the_data_and_not_in_the_truth(small_scenario):
    plain = draw(small_scenario, 40)
    rough = draw(variant(small_scenario, multipath_paths=2), 40)
    assert not torch.isclose(plain.observation.y, rough.observation.y).all(-1).all(-1).any()
    observation = dataclasses.replace(rough.observation, y=plain.observation.y, noise_var=plain.observation.noise_var)
    assert same(dataclasses.replace(rough, observation=observation), plain)


def test_without_a_source_there_are_no_paths(small_scenario):
    s = variant(small_scenario, K_span=(0, 0))
    assert same(draw(s, 40), draw(variant(s, multipath_paths=2, multipath_db=10.0, coherent_fraction=1.0), 40))


@pytest.mark.parametrize(
    "changes",
    [
        {"multipath_paths": 0, "multipath_db": 20.0},
        {"multipath_paths": 2, "multipath_db": -400.0},  # drawn, and lost in rounding
        {"coherent_fraction": 1e-300},  # drawn, and no scene is chosen
    ],
)
@pytest.mark.parametrize("errors", [{}, {"element_phase_std_deg": 5.0, "dead_fraction": 0.02, "channel_error": 0.01}])
def test_what_is_off_changes_no_bit(small_scenario, changes, errors):
    assert same(draw(variant(small_scenario, **errors), 96), draw(variant(small_scenario, **errors, **changes), 96))


def test_each_departure_leaves_the_others_as_drawn(small_scenario):
    """The same scenes are coherent with and without paths and errors; the extra paths are the same with coherence."""
    plain = variant(small_scenario, K_span=(2, 3), coherent_fraction=0.4)
    truths = [
        draw(variant(plain, **changes), 96).truth
        for changes in (
            {},
            {"multipath_paths": 2},
            {"dead_fraction": 0.1},
            {"multipath_paths": 1, "channel_error": 0.1},
        )
    ]
    for truth in truths[1:]:
        assert torch.equal(truth.symbols, truths[0].symbols)
    mixed, alone = (draw(variant(plain, multipath_paths=2, coherent_fraction=fraction), 96) for fraction in (0.4, 0.0))
    independent = torch.nonzero(~mixed.truth.coherent).flatten()
    assert 0 < len(independent) < 96
    assert same(mixed[independent], alone[independent])


def test_a_scene_is_the_same_whatever_the_batch(small_scenario):
    s = variant(small_scenario, K_span=(0, 3), coherent_fraction=0.5, multipath_paths=2, dead_fraction=0.1)
    whole = draw(s, 150)
    for start, stop in ((0, 1), (31, 33), (5, 150), (64, 96), (149, 150)):
        assert same(draw(s, stop, start=start), whole[start:stop])


def ratio_of_singular_values(truth):
    values = np.linalg.svd(truth.symbols.numpy().astype(complex), compute_uv=False)
    return values[:, 1] / values[:, 0]


def test_scenes_share_a_waveform_at_the_stated_rate(small_scenario):
    """Rank one by singular values; their number within four deviations of the binomial."""
    s = variant(small_scenario, K_span=(2, 3), coherent_fraction=0.25)
    truth = draw(s, 2000).truth
    ratio = ratio_of_singular_values(truth)
    shared = ratio < 1e-6
    assert ratio[~shared].min() > 1e-3
    low, high = stats.binom.interval(FOUR_DEVIATIONS, 2000, 0.25)
    assert low <= shared.sum() <= high
    chosen = [further_stream(index).random() < 0.25 for index in range(2000)]
    np.testing.assert_array_equal(truth.coherent.numpy(), shared)
    np.testing.assert_array_equal(shared, chosen)


def test_one_source_or_none_is_never_coherent_nor_is_one_snapshot(small_scenario):
    truth = draw(variant(small_scenario, K_span=(0, 1), coherent_fraction=1.0), 64).truth
    assert not truth.coherent.any()
    P = source_covariance(truth, "independent")
    torch.testing.assert_close(P, torch.diag_embed(truth.power).to(P.dtype), rtol=0, atol=0)
    alone = draw(variant(small_scenario, K_span=(3, 3), snapshots=1), 64).truth
    assert not alone.coherent.any()
    P = source_covariance(alone, "independent")
    torch.testing.assert_close(P, torch.diag_embed(alone.power).to(P.dtype), rtol=0, atol=0)


@pytest.mark.parametrize(("waveform", "expected"), [("independent", False), ("coherent", True), ("constant", True)])
def test_waveforms_are_told_apart(small_scenario, waveform, expected):
    """With two snapshots, the fewest that tell, and at any scale."""
    truth = draw(variant(small_scenario, K_span=(2, 3), waveform=waveform, snapshots=2), 512).truth
    for scale in (1.0, 1e-6, 1e6):
        assert (dataclasses.replace(truth, symbols=truth.symbols * scale).coherent == expected).all()


def test_a_mixed_batch_has_the_covariance_that_is_said(small_scenario):
    s = variant(small_scenario, snapshots=4000, K_span=(3, 3), coherent_fraction=0.5)
    truth = draw(s, 24).truth
    assert 0 < truth.coherent.sum() < 24
    P = source_covariance(truth, "independent")
    sampled = truth.symbols @ truth.symbols.mH / 4000
    scale = (truth.power[:, :, None] * truth.power[:, None, :]).sqrt()
    assert float(((sampled - P).abs() / scale).max()) < 0.08  # five standard errors of 1 / sqrt(4000)
    ranks = torch.linalg.matrix_rank(P, rtol=1e-4)
    torch.testing.assert_close(ranks, torch.where(truth.coherent, 1, 3))


def test_a_coherent_scene_among_others_is_that_of_a_shared_waveform(small_scenario):
    """Powers and relative phases are drawn before the waveforms: P is the one that the scene has with waveform coherent."""
    s = variant(small_scenario, K_span=(2, 3))
    mixed = draw(variant(s, coherent_fraction=0.5), 64).truth
    shared = draw(variant(s, waveform="coherent"), 64).truth
    P = source_covariance(mixed, "independent")
    torch.testing.assert_close(P[mixed.coherent], source_covariance(shared, "coherent")[mixed.coherent])


def test_images_lie_in_the_domain(small_scenario):
    """A domain of one point far from the sources' shows where they come from: the spans alone decide."""
    s = directly(small_scenario, multipath_paths=1, multipath_db=60.0)
    point = dataclasses.replace(
        s, azimuth_span_deg=(20.0, 20.0), elevation_span_deg=(-10.0, -10.0), distance_span_m=(0.7, 0.7)
    )
    y = draw(point, 4, snr_db=NOISELESS).observation.y[:, 0].to(torch.complex128)
    a = steering(elements(4, 4, s.wavelength), s.wavelength, math.radians(20), math.radians(-10), 0.7)
    match = (y @ torch.from_numpy(a).conj()).abs() / y.abs().square().sum(1).sqrt() / 4
    torch.testing.assert_close(match, torch.ones_like(match), rtol=0, atol=1e-6)
