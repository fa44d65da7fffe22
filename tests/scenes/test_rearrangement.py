"""The cost of rearranged observations is that of the model with its nuisances written out, by least squares in numpy."""

import itertools

import numpy as np
import pytest
import torch
from pilot_scenes import pilot_scenes

from risloc.estimation.conditional import Sensing
from risloc.estimation.projection import project
from risloc.io.measurements import Measurements
from risloc.physics.steering import steering_matrix
from risloc.scenes.batch import Observation
from risloc.scenes.rearrangement import rearranged, without_static_path

CASES = [
    (antennas, gains, static, varying)
    for antennas, gains, static, varying in itertools.product((1, 3), (False, True), (False, True), (False, True))
]


def arranged(m: Measurements) -> Observation:
    assert m.pilots is not None
    observation = Observation(y=m.y, codebook=m.codebook, H=m.H, noise_var=torch.ones(len(m)))
    return rearranged(observation, m.pilots, unknown_gains=m.unknown_gains != "none", static_path=m.static_path)


def written_out(m: Measurements, scene: int, A: np.ndarray) -> float:
    """Compute the least residual over amplitudes or, antenna by antenna, gains times amplitudes, and over a static path."""
    assert m.pilots is not None
    y, H, codes, p = (x[scene].numpy() for x in (m.y, m.H, m.codebook, m.pilots))
    snapshots, antennas = y.shape
    gains, sources = m.unknown_gains == "antenna", A.shape[1]
    columns = []
    for source in range(sources):
        for own in range(antennas) if gains else [None]:
            column = np.zeros((snapshots, antennas), complex)
            for snapshot, antenna in itertools.product(range(snapshots), range(antennas)):
                if own in (None, antenna):
                    column[snapshot, antenna] = (H[antenna] * codes[snapshot]) @ A[:, source] * p[snapshot]
            columns.append(column.reshape(-1))
    for own in range(antennas) if m.static_path else []:
        column = np.zeros((snapshots, antennas), complex)
        column[:, own] = p
        columns.append(column.reshape(-1))
    model, target = np.stack(columns, axis=1), y.reshape(-1)
    fitted = np.linalg.lstsq(model, target, rcond=None)[0]
    return float((np.abs(target - model @ fitted) ** 2).sum())


@pytest.mark.parametrize(("antennas", "gains", "static", "varying"), CASES)
def test_the_cost_is_that_of_the_model_written_out(antennas: int, gains: bool, static: bool, varying: bool) -> None:
    m = pilot_scenes(
        3, snapshots=9, antennas=antennas, snr_db=3.0, sources=2, gains=gains, static_db=10.0 if static else None,
        varying=varying,
    )  # fmt: skip
    sensing = Sensing.of(arranged(m), m.setup.surface)
    random = torch.Generator().manual_seed(3)
    for sources in (1, 2):
        polar = torch.rand(3, sources, 3, generator=random, dtype=torch.float64) * 0.4 + 0.1
        A = steering_matrix(m.setup.surface.array.to(polar), polar)
        cost = project(sensing.responses(A), sensing.y, torch.ones(3, sources, dtype=torch.bool)).cost
        for scene in range(3):
            assert cost[scene].item() == pytest.approx(written_out(m, scene, A[scene].numpy()), rel=1e-9)


def test_the_rows_that_remove_a_static_path_are_orthonormal_and_orthogonal_to_the_pilots() -> None:
    random = torch.Generator().manual_seed(1)
    pilots = torch.randn(4, 7, dtype=torch.complex128, generator=random)
    pilots[1] = 1
    pilots[2, 0] = 0
    pilots[3, 1:] = 0
    W = without_static_path(torch.eye(7, dtype=torch.complex128).expand(4, 7, 7), pilots)
    torch.testing.assert_close(W @ W.mH, torch.eye(6, dtype=torch.complex128).expand(4, 6, 6), rtol=0, atol=1e-12)
    assert (W @ pilots[..., None]).abs().max() < 1e-12


@pytest.mark.parametrize(("gains", "static"), list(itertools.product((False, True), repeat=2)))
def test_noise_stays_white_and_of_the_same_level(gains: bool, static: bool) -> None:
    m = pilot_scenes(1, snapshots=5, antennas=3, snr_db=3.0, gains=gains, static_db=0.0 if static else None)
    samples = 12_000
    noise = torch.randn(samples, 5, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(2))
    assert m.pilots is not None
    observation = Observation(
        y=noise,
        codebook=m.codebook.expand(samples, -1, -1),
        H=m.H.expand(samples, -1, -1),
        noise_var=torch.ones(samples),
    )
    y = rearranged(observation, m.pilots.expand(samples, -1), unknown_gains=gains, static_path=static).y.flatten(1)
    covariance = y.mT @ y.conj() / samples
    torch.testing.assert_close(covariance, torch.eye(y.shape[1], dtype=y.dtype), rtol=0, atol=0.05)
