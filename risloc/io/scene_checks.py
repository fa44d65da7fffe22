"""Check scenes before they are stored.

Axes: batch B, src K_MAX, elem N, ant M, snap L.
"""

import numpy as np
import torch
from torch import Tensor

from risloc.io.scene_arrays import Arrays, layout, scenes_of
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import source_covariance

__all__ = ["SceneError", "validate"]

_SNR_TOLERANCE = 1e-3
_AGAIN = "delete the block and write it again (in the repository: `dvc repro simulate`)"


class SceneError(ValueError):
    """A scene contradicts its scenario; the message names the block, the scene and the fault."""


def validate(arrays: Arrays, scenario: Scenario, where: str, start: int) -> None:
    """Check a block of scenes.

    Shapes and dtypes match the scenario; all numbers are finite; codes have `code_bits` bits; 0 <= K <= K_MAX with zeros
    beyond K; sources lie inside the domain and have positive power; images are not nearer than their source; sigma^2 agrees with snr_db (not checked under mismatch,
    where the true G is unknown).

    Parameters
    ----------
    arrays
        The arrays of the block by their names.
    scenario
        The scenario.
    where
        The name of the block, for messages.
    start
        The index of the first scene.

    Raises
    ------
    SceneError
        A check fails; the message names the block, the scene and the array.
    """
    expected = layout(scenario)
    if set(arrays) != set(expected):
        raise SceneError(
            f"{where}: expected the arrays {', '.join(expected)}, got {', '.join(sorted(arrays))}; {_AGAIN}"
        )
    batch = len(arrays["y"])
    for name, (dtype, shape) in expected.items():
        array = arrays[name]
        if array.dtype != dtype or array.shape != (batch, *shape):
            raise SceneError(
                f"{where}: {name}: expected {dtype} {(batch, *shape)}, got {array.dtype} {array.shape}; "
                f"the block belongs to another scenario; {_AGAIN}"
            )
        finite = np.isfinite(array).reshape(batch, -1).all(1)
        _require(torch.from_numpy(finite), where, start, f"{name} has values that are not finite")
    codes = torch.from_numpy(arrays["codes"]).flatten(1)
    _require((codes < 2**scenario.code_bits).all(1), where, start, f"a code exceeds {scenario.code_bits} bits")
    count = torch.from_numpy(arrays["count"])
    _require(count <= scenario.K_MAX, where, start, f"K exceeds K_MAX = {scenario.K_MAX}")
    scenes = scenes_of(arrays, scenario.code_bits)
    _check_sources(scenes, scenario, where, start)
    _require(scenes.observation.noise_var > 0, where, start, "noise_var is not positive")
    if not scenario.mismatch.on:
        parts = [scenes[first : first + 64] for first in range(0, batch, 64)]
        ratio = scenes.observation.noise_var / torch.cat([_noise_var(part, scenario) for part in parts])
        _require((ratio - 1).abs() < _SNR_TOLERANCE, where, start, "noise_var contradicts snr_db")


def _check_sources(scenes: Scenes, scenario: Scenario, where: str, start: int) -> None:
    truth, present = scenes.truth, scenes.truth.present
    inside = scenario.surface.domain.contains(truth.polar)
    _require((inside | ~present).all(1), where, start, "a source lies outside the domain")
    _require(
        torch.where(present, truth.power > 0, truth.power == 0).all(1),
        where,
        start,
        "power is not positive exactly in the first K slots",
    )
    beyond = truth.location.abs().sum(-1) + truth.symbols.abs().sum(-1)
    _require(((beyond == 0) | present).all(1), where, start, "a slot beyond K is not zero")
    if (echoes := truth.echoes) is not None:
        _require((present[..., None] | ~echoes.present).flatten(1).all(1), where, start, "an echo has no source")
        farther = echoes.location[..., 2] >= truth.location[..., None, 2]
        _require((farther | ~echoes.present).flatten(1).all(1), where, start, "an image is nearer than its source")


def _noise_var(scenes: Scenes, scenario: Scenario) -> Tensor:
    """Compute sigma^2 = tr(G_l A P A^H G_l^H) / M, averaged over l, over the SNR; at K = 0 the mean row energy of H over the SNR."""
    H, truth = scenes.observation.H, scenes.truth
    A = truth.arriving(scenario.surface.array)
    fields = scenes.observation.codebook[:, :, None] * A.mT[:, None]
    T = (fields.flatten(1, 2) @ H.mT).unflatten(1, fields.shape[1:3])  # type: ignore[no-untyped-call]
    P = source_covariance(truth, scenario.waveform)
    signal = torch.einsum("blim,bij,bljm->b", T, P, T.conj()).real / (scenario.snapshots * scenario.antennas)
    row_energy = H.abs().square().sum((1, 2)) / scenario.antennas
    return torch.where(truth.count > 0, signal, row_energy) / 10 ** (truth.snr_db / 10)


def _require(good: Tensor, where: str, start: int, what: str) -> None:
    if not good.all():
        bad = torch.nonzero(~good).flatten()
        raise SceneError(
            f"{where}: scene {start + int(bad[0])}: {what} ({len(bad)} of {len(good)} scenes of this block); "
            f"nothing was written; {_AGAIN}"
        )
