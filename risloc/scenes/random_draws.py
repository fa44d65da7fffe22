"""Random numbers of scenes: every scene has its own random streams.

Streams of a scene, by spawn key: (split, index) for everything below that is always drawn; (split, index, 1) for further sets
of locations; (split, index, 2) for coherence and extra paths; (split, index, 3) for the noise in a ray-traced room;
(split, index, 4) for the echoes.

Axes: batch B, src K_MAX, elem N, ant M, snap L; rank is 1 where every scene's sources share a waveform, else K_MAX.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, UInt8
from torch import Tensor

from risloc.physics.codebook import dft_codes
from risloc.scenes.scenario import Scenario

__all__ = ["ROOM_NUMBERS", "Draws", "draw", "stream", "uniform_in"]

Key = tuple[int, int, int]

_SETS = 4  # sets of locations that each scene draws at once; further sets come from its second stream

ROOM_NUMBERS = 13
"""The random numbers of a room: the distances of its six walls, their materials, and its yaw."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The random numbers of a batch of scenes; row i comes from the streams of scene i alone.

    Uniform numbers lie in [0, 1); normal ones are CN(0, 1).

    Parameters
    ----------
    keys : [batch]
        (seed, split, index) of each scene.
    snr_db : [batch]
        The SNR in dB.
    count : [batch]
        The number of sources.
    rician : [batch]
        The Rician factor, linear.
    direction : [batch, 3]
        Uniform; chooses the line of sight of the channel.
    power : [batch, src]
        Uniform; chooses the powers of the sources.
    phase : [batch, src]
        Uniform; the phases of the sources, in turns.
    sets : [batch, sets, src, 3]
        Uniform; candidate sets of locations.
    codes : [batch, snap, elem]
        Integer phase codes of the surface.
    scattered : [batch, ant, elem]
        Normal; H_iid, None under direct observation.
    waveforms : [batch, rank, snap]
        Normal; the waveforms that the sources send.
    noise : [batch, snap, ant]
        Normal.
    mismatch
        Normal phase and gain errors [batch, 2, elem], uniform numbers that choose the dead elements [batch, elem], and
        normal channel errors [batch, ant, elem]; None without such errors.
    shared : [batch]
        Uniform; all sources of a scene share a waveform if this is below coherent_fraction.
    images : [batch, src, path, 3]
        Uniform; the images from which the extra paths arrive.
    path_gains : [batch, src, path]
        Normal; the gains of the extra paths.
    echo_uniform : [batch, number]
        Uniform; images or rooms, as `EchoLaw.law` needs them.
    echo_gains : [batch, src, echo]
        Normal; the gains of the echoes of the law 'farther'.
    """

    keys: list[Key]
    snr_db: np.ndarray
    count: np.ndarray
    rician: np.ndarray
    direction: np.ndarray
    power: np.ndarray
    phase: np.ndarray
    sets: np.ndarray
    codes: UInt8[Tensor, "batch snap elem"]
    scattered: Complex[Tensor, "batch ant elem"] | None
    waveforms: Complex[Tensor, "batch rank snap"]
    noise: Complex[Tensor, "batch snap ant"]
    mismatch: tuple[Tensor, Tensor, Tensor] | None
    shared: np.ndarray
    images: np.ndarray
    path_gains: Complex[Tensor, "batch src path"]
    echo_uniform: np.ndarray
    echo_gains: Complex[Tensor, "batch src echo"]


def stream(seed: int, *key: int) -> np.random.Generator:
    """Make the random generator of a seed and a spawn key.

    Parameters
    ----------
    seed
        The root seed.
    *key
        The spawn key: split, index and the number of the stream.

    Returns
    -------
    numpy.random.Generator
        The generator.
    """
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def draw(scenario: Scenario, seed: int, split: int, indices: range) -> Draws:
    """Draw the random numbers of scenes.

    Parameters
    ----------
    scenario
        The scenario.
    seed
        The root seed.
    split
        The number of the split.
    indices
        The indices of the scenes.

    Returns
    -------
    Draws
        The random numbers.
    """
    s, keys = scenario, [(seed, split, index) for index in indices]
    batch, K, N, L, M = len(keys), s.K_MAX, s.size, s.snapshots, s.antennas
    rank = K if s.waveform == "independent" else 1
    paths = M * N if s.observation == "ris" else 0
    uniform, z, codes, mismatch = _first_streams(s, keys, paths + rank * L + L * M)
    shared, images, path_gains = _third_streams(s, keys)
    echo_uniform, echo_gains = _fifth_streams(s, keys)
    low, high = s.K_span
    return Draws(
        keys=keys,
        snr_db=uniform_in(s.snr_db_span, uniform[:, 0]),
        count=low + (uniform[:, 1] * (high - low + 1)).astype(np.int64),
        rician=uniform_in(s.rician_span, uniform[:, 2]),
        direction=uniform[:, 3:6],
        power=uniform[:, 6 : 6 + K],
        phase=uniform[:, 6 + K : 6 + 2 * K],
        sets=uniform[:, 6 + 2 * K :].reshape(batch, _SETS, K, 3),
        codes=_codes(s, codes),
        scattered=z[:, :paths].view(batch, M, N) if paths else None,
        waveforms=z[:, paths : paths + rank * L].view(batch, rank, L),
        noise=z[:, paths + rank * L :].view(batch, L, M),
        mismatch=mismatch,
        shared=shared,
        images=images,
        path_gains=path_gains,
        echo_uniform=echo_uniform,
        echo_gains=echo_gains,
    )


def uniform_in(span: tuple[float, float], unit: np.ndarray) -> np.ndarray:
    """Compute low + (high - low) unit.

    Parameters
    ----------
    span
        The limits low and high.
    unit : any shape
        Numbers uniform in [0, 1).

    Returns
    -------
    the same shape
        Numbers uniform in the span.
    """
    return span[0] + (span[1] - span[0]) * unit


def _first_streams(
    s: Scenario, keys: list[Key], normals: int
) -> tuple[np.ndarray, Tensor, np.ndarray, tuple[Tensor, Tensor, Tensor] | None]:
    """Return uniform numbers, `normals` CN(0, 1) numbers, codes and hardware errors of each scene."""
    batch, K, N, L, M = len(keys), s.K_MAX, s.size, s.snapshots, s.antennas
    uniform = np.empty((batch, 6 + (2 + 3 * _SETS) * K))
    normal = np.empty((batch, 2 * normals), dtype=np.float32)
    codes = np.zeros((batch, L * N), dtype=np.uint8)
    errors = np.empty((batch, 2 * (N + M * N)), dtype=np.float32) if s.mismatch.errs else None
    dead = np.empty((batch, N))
    for row, key in enumerate(keys):
        rng = stream(*key)
        rng.random(out=uniform[row])
        rng.standard_normal(dtype=np.float32, out=normal[row])
        if s.codebook == "random":
            codes[row] = np.frombuffer(rng.bytes(L * N), dtype=np.uint8)
        if errors is not None:
            rng.standard_normal(dtype=np.float32, out=errors[row])
            rng.random(out=dead[row])
    z = torch.view_as_complex(torch.from_numpy(normal).mul_(math.sqrt(0.5)).view(batch, -1, 2))
    if errors is None:
        return uniform, z, codes, None
    e = torch.from_numpy(errors)
    channel = torch.view_as_complex(e[:, 2 * N :].reshape(batch, M, N, 2)) * math.sqrt(0.5)
    return uniform, z, codes, (e[:, : 2 * N].view(batch, 2, N), torch.from_numpy(dead), channel)


def _third_streams(s: Scenario, keys: list[Key]) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Return `shared`, `images` and `path_gains`; drawing them changes no other random number."""
    batch, K, paths = len(keys), s.K_MAX, s.mismatch.multipath_paths
    shared, images = np.ones(batch), np.empty((batch, K, paths, 3))
    gains = np.empty((batch, K, paths), dtype=np.complex64)
    if s.coherent_fraction > 0 or paths > 0:
        for row, key in enumerate(keys):
            rng = stream(*key, 2)
            shared[row] = rng.random()
            rng.random(out=images[row])
            rng.standard_normal(dtype=np.float32, out=gains[row].view(np.float32))
    return shared, images, torch.from_numpy(gains) * math.sqrt(0.5)


def _fifth_streams(s: Scenario, keys: list[Key]) -> tuple[np.ndarray, Tensor]:
    """Return `echo_uniform` and `echo_gains`; no other random number comes from these streams."""
    paths = s.echoes.paths if s.echoes.law == "farther" else 0
    uniform = np.empty((len(keys), ROOM_NUMBERS if s.echoes.law == "room" else 3 * s.K_MAX * paths))
    gains = np.empty((len(keys), s.K_MAX, paths), dtype=np.complex64)
    if s.echoes.on:
        for row, key in enumerate(keys):
            rng = stream(*key, 4)
            rng.random(out=uniform[row])
            rng.standard_normal(dtype=np.float32, out=gains[row].view(np.float32))
    return uniform, torch.from_numpy(gains) * math.sqrt(0.5)


def _codes(s: Scenario, draws: np.ndarray) -> UInt8[Tensor, "batch snap elem"]:
    if s.codebook == "random":
        return torch.from_numpy(draws & np.uint8(2**s.code_bits - 1)).view(-1, s.snapshots, s.size)
    if s.codebook == "dft":
        return dft_codes(s.n_h, s.n_v, s.snapshots, s.code_bits).repeat(len(draws), 1, 1)
    return torch.from_numpy(draws).view(-1, s.snapshots, s.size)
