"""Scenes in a traced room: H and the sources' waves from a ray tracer, everything else as `risloc.scenes.simulation` draws it.

The tracer's frame is (z, x, y) of the surface's, so that its third axis is up.

Axes: depth 0..max_depth (most reflections of a path), batch B, src K, elem N, ant M, snap L.
"""

import math

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.config import ParamError
from risloc.physics.geometry import SPEED_OF_LIGHT, Array, position_of
from risloc.scenes.batch import Observation, Scenes
from risloc.scenes.raytracer import trace
from risloc.scenes.room import Room, shoebox
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import SPLITS, simulate, source_covariance

__all__ = ["check_traceable", "received", "simulate_in", "trace_channel", "trace_waves"]

_UPRIGHT = [2, 0, 1]


def check_traceable(room: Room, scenario: Scenario) -> None:
    """Whether the scenario's scenes can be drawn in the room; to be asked before anything is traced.

    Raises
    ------
    ParamError
        The base station has not the scenario's antennas; a scenario with mismatch, or without a surface.
    """
    if scenario.observation != "ris":
        raise ParamError(f"observation: a traced room has a surface, expected 'ris', got {scenario.observation!r}")
    if scenario.mismatch.on:
        raise ParamError(
            "mismatch: a room brings its own paths, expected a scenario without mismatch; take another preset"
        )
    if room.antennas != scenario.antennas:
        raise ParamError(
            f"bs_columns, bs_rows: expected the scenario's {scenario.antennas} antennas, got {room.antennas}; mend the room"
        )


def simulate_in(
    room: Room,
    H: Complex[Tensor, "ant elem"],
    scenario: Scenario,
    *,
    seed: int,
    split: str,
    start: int,
    stop: int,
    snr_db: float | None = None,
    count: int | None = None,
) -> Scenes:
    """Scenes start..stop-1 as `risloc.scenes.simulation.simulate` draws them, in the room: the same sources, codes and symbols.

    H : the room's, one depth of `trace_channel`; all scenes have it. The noise is another draw, see `received`.

    Raises
    ------
    ParamError
        The base station has not the scenario's antennas; a scenario with mismatch, or without a surface.
    ValueError
        A source lies outside the room; whatever `simulate` refuses.
    risloc.scenes.raytracer.RayTracerError
        No tracer, no LLVM 19, or a material that is not defined at the carrier.
    """
    check_traceable(room, scenario)
    scenes = simulate(scenario, seed=seed, split=split, start=start, stop=stop, snr_db=snr_db, count=count)
    truth, array = scenes.truth, scenario.array()
    outside = truth.present & ~room.contains(position_of(truth.location))
    if outside.any():
        scene, k = torch.nonzero(outside)[0].tolist()
        where = ", ".join(f"{x:.2f}" for x in position_of(truth.location[scene, k]).tolist())
        raise ValueError(
            f"scene {start + scene}: a source at ({where}) m is outside the room; narrow the scenario's spans"
        )
    waves = torch.zeros(len(scenes), array.size, scenario.K_MAX, dtype=torch.complex64)
    if truth.present.any():
        waves.mT[truth.present] = trace_waves(room, array, truth.location[truth.present])[-1].T
    return received(scenes, scenario, H, waves, seed=seed, split=split, start=start)


def trace_channel(room: Room, array: Array) -> Complex[Tensor, "depth ant elem"]:
    """H with the paths of at most `depth` reflections, each scaled to entries of unit mean square."""
    H = _traced(room, array, room.antenna_positions(array.wavelength)).mT  # reciprocal, and the antennas are fewer
    return (H / H.abs().square().mean((1, 2), keepdim=True).sqrt()).contiguous()


def trace_waves(room: Room, array: Array, location: Float[Tensor, "src 3"]) -> Complex[Tensor, "depth elem src"]:
    """What each source sends to the elements by paths of at most `depth` reflections, relative to its line of sight.

    At each element the sum of path coefficients over the modulus of the direct one, times exp(+j k r): the line of sight
    alone is the steering vector, of unit modulus, and the spreading loss from element to element is taken out.
    """
    traced = _traced(room, array, position_of(location.double()))
    phase = array.wavenumber * location[:, 2].double()
    reference = torch.polar(torch.ones_like(phase), phase).to(traced.dtype)
    return traced / traced[0].abs() * reference


def received(
    scenes: Scenes,
    scenario: Scenario,
    H: Complex[Tensor, "ant elem"],
    waves: Complex[Tensor, "batch elem src"],
    *,
    seed: int,
    split: str,
    start: int,
) -> Scenes:
    """The same sources, codes, symbols and SNR through another H and other waves W: y_l = H diag(c_l) W s_l + n_l.

    sigma^2 = tr(G_l W P W^H G_l^H) / M averaged over l, over the SNR: what arrives by all paths counts; without a source it
    is the mean row energy of H over the SNR. Each scene's fourth stream gives its noise.
    """
    o, truth = scenes.observation, scenes.truth
    fields = o.codebook[:, :, None] * waves.mT[:, None]  # [batch, snap, src, elem]: diag(c_l) W, transposed
    T = fields @ H.mT  # G_l W, transposed
    P = source_covariance(truth, scenario.waveform)
    _, L, M = o.y.shape
    power = torch.einsum("blim,bij,bljm->b", T, P, T.conj()).real / (L * M)
    empty = H.abs().square().sum() / M
    noise_var = torch.where(truth.count > 0, power, empty) / 10 ** (truth.snr_db / 10)
    noise = _noise(seed, SPLITS[split], range(start, start + len(scenes)), L, M)
    y = torch.einsum("blkm,bkl->blm", T, truth.symbols) + noise_var.sqrt()[:, None, None] * noise
    given = H.expand(len(scenes), -1, -1).contiguous()
    return Scenes(Observation(y=y, codebook=o.codebook, H=given, noise_var=noise_var), truth)


def _traced(room: Room, array: Array, tx: Float[Tensor, "tx 3"]) -> Complex[Tensor, "depth elem tx"]:
    """The sums of path coefficients from these places to the elements, by the most reflections of a path."""
    elements = torch.nn.functional.pad(array.elements.double(), (0, 1))
    orders = trace(
        [(material, _upright(corners)) for material, corners in shoebox(room)],
        _upright(tx.double()),
        _upright(elements),
        carrier_hz=SPEED_OF_LIGHT / array.wavelength,
        max_depth=room.max_depth,
        thickness_m=room.thickness_m,
    )
    return torch.from_numpy(orders).cumsum(0)


def _upright(positions: Tensor) -> np.ndarray:
    return positions[:, _UPRIGHT].numpy()


def _noise(seed: int, split: int, indices: range, L: int, M: int) -> Complex[Tensor, "batch snap ant"]:
    """CN(0, 1): row i from the stream (seed, split, index, 3) alone."""
    normal = np.empty((len(indices), L, M, 2), dtype=np.float32)
    for row, index in enumerate(indices):
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(split, index, 3))))
        rng.standard_normal(dtype=np.float32, out=normal[row])
    return torch.view_as_complex(torch.from_numpy(normal)) * math.sqrt(0.5)
