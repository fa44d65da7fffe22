"""The plain reference of benchmarks/ follows the same model: what it is timed against is the same work."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import reference
from risloc.covariance.snapshots import least_squares_snapshots, sample_covariance
from risloc.scenes.batch import Observation


@pytest.fixture(scope="module")
def scene(small_scenario):
    return reference.simulate(small_scenario, np.random.default_rng(3))


def test_both_sample_covariances_are_the_same_matrix(scene):
    def tensor(x, dtype=torch.complex128):
        return torch.as_tensor(x, dtype=dtype)[None]

    noise_var = tensor(scene.noise_var, torch.float64)
    observation = Observation(
        y=tensor(scene.y), codebook=tensor(scene.codebook), H=tensor(scene.H), noise_var=noise_var
    )
    X = least_squares_snapshots(observation)
    F = sample_covariance(X).factor[0].numpy()
    np.testing.assert_allclose(F @ F.conj().T, reference.sample_covariance(scene), atol=1e-9)


def test_its_scenes_have_the_stated_snr(small_scenario):
    """Over 300 scenes of 24 values at 0 dB the mean ratio has a standard error of 0.03."""
    rng = np.random.default_rng(4)
    at_zero = replace(small_scenario, snr_db_span=(0.0, 0.0))
    scenes = [reference.simulate(at_zero, rng) for _ in range(300)]
    assert np.mean([np.mean(np.abs(s.y) ** 2) / s.noise_var for s in scenes]) == pytest.approx(2, abs=0.12)


def test_its_music_finds_the_sources_of_the_true_covariance(small_scenario):
    two = replace(small_scenario, K_span=(2, 2), min_separation_uv=0.6)
    scene = reference.simulate(two, np.random.default_rng(6))
    axes = (np.radians(np.arange(-60, 61, 5)), np.radians(np.arange(-30, 31, 5)), 1 / np.linspace(1 / 1.5, 1 / 0.3, 8))
    found = reference.music(scene.R_true, reference.elements(two), two.wavelength, axes, 2)
    for source in scene.location:
        assert np.abs(found - source).max(axis=1).min() < 1e-2
