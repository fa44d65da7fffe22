"""Scenes in a ray-traced room: H and the sources' waves come from a ray tracer, the rest from `risloc.scenes.simulation`.

The frame of the tracer is (z, x, y) of the surface's frame, so that its third axis points up.

Axes: depth 0..max_depth (maximum number of reflections of a path), batch B, src K, elem N, ant M, snap L.
"""

import math

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from risloc.config import ParamError
from risloc.physics.geometry import SPEED_OF_LIGHT, Array, position_of
from risloc.scenes.batch import Observation, Scenes
from risloc.scenes.random_draws import stream
from risloc.scenes.raytracer import trace
from risloc.scenes.room import Room, shoebox
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import SPLITS, simulate, source_covariance

__all__ = ["check_traceable", "received", "simulate_in", "trace_channel", "trace_waves"]

_UPRIGHT = [2, 0, 1]


def check_traceable(room: Room, scenario: Scenario) -> None:
    """Check that the scenario's scenes can be drawn in the room; call it before any tracing.

    Parameters
    ----------
    room
        The room.
    scenario
        The scenario.

    Raises
    ------
    ParamError
        The numbers of antennas of the base station and of the scenario differ, or the scenario has a mismatch, echoes or no surface.
    """
    if scenario.observation != "ris":
        raise ParamError(
            f"observation: expected 'ris', because a traced room has a surface, got {scenario.observation!r}"
        )
    if scenario.mismatch.on:
        raise ParamError(
            "mismatch: expected a scenario without mismatch, because the room has its own paths; choose another preset"
        )
    if scenario.echoes.on:
        raise ParamError(
            f"echoes.law: expected 'none', because the room has its own paths, got {scenario.echoes.law!r}; choose another preset"
        )
    if room.antennas != scenario.antennas:
        raise ParamError(
            f"bs_columns, bs_rows: expected the scenario's {scenario.antennas} antennas, got {room.antennas}; change the room"
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
    """Draw scenes start..stop-1 in the room, with the sources, codes and symbols of `risloc.scenes.simulation.simulate`.

    The noise is drawn again, see `received`.

    Parameters
    ----------
    room
        The room.
    H : [ant, elem]
        The channel of the room, one depth of `trace_channel`, common to all scenes.
    scenario
        The distribution that the scenes are drawn from.
    seed
        The root seed, at least 0.
    split
        One of train, val and test.
    start
        The index of the first scene.
    stop
        One more than the index of the last scene.
    snr_db
        Replaces the SNR that is drawn.
    count
        Replaces the number of sources that is drawn.

    Returns
    -------
    Scenes
        The scenes.

    Raises
    ------
    ParamError
        See `check_traceable`.
    ValueError
        A source is outside the room, or `simulate` raises it.
    risloc.scenes.raytracer.RayTracerError
        The tracer or LLVM 19 is missing, or a material is not defined at the carrier frequency.
    """
    check_traceable(room, scenario)
    scenes = simulate(scenario, seed=seed, split=split, start=start, stop=stop, snr_db=snr_db, count=count)
    truth, array = scenes.truth, scenario.surface.array
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
    """Trace H for paths of at most `depth` reflections, each H scaled to entries of unit mean square.

    Parameters
    ----------
    room
        The room.
    array
        The surface.

    Returns
    -------
    [depth, ant, elem]
        The channel, cumulative over the reflections.
    """
    H = _traced(room, array, room.antenna_positions(array.wavelength)).mT  # reciprocal, and the antennas are fewer
    return (H / H.abs().square().mean((1, 2), keepdim=True).sqrt()).contiguous()


def trace_waves(room: Room, array: Array, location: Float[Tensor, "src 3"]) -> Complex[Tensor, "depth elem src"]:
    """Trace the waves from each source to the elements for paths of at most `depth` reflections, relative to the line of sight.

    The wave at an element is the sum of the path coefficients over the modulus of the direct one, times exp(+j k r). The line
    of sight alone gives the steering vector, of unit modulus; the spreading loss from element to element is removed.

    Parameters
    ----------
    room
        The room.
    array
        The surface.
    location : [src, 3]
        Azimuth and elevation in radians, distance in metres.

    Returns
    -------
    [depth, elem, src]
        The waves, cumulative over the reflections.
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
    """Compute y_l = H diag(c_l) W s_l + n_l: the same sources, codes, symbols and SNR with another H and other waves W.

    sigma^2 = tr(G_l W P W^H G_l^H) / M averaged over l, over the SNR, so that all paths count; without a source it is the
    mean row energy of H over the SNR. The noise comes from the fourth stream of each scene.

    Parameters
    ----------
    scenes
        The scenes whose sources, codes, symbols and SNR are used.
    scenario
        Their scenario.
    H : [ant, elem]
        The channel, common to all scenes.
    waves : [batch, elem, src]
        The waves W.
    seed
        The root seed of the scenes.
    split
        The split of the scenes.
    start
        The index of the first scene.

    Returns
    -------
    Scenes
        The scenes with the new observations.
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
    """Return the sums of the path coefficients from the transmitters to the elements, cumulative over the reflections."""
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
    """Draw CN(0, 1) noise, row i from the stream (seed, split, index, 3) alone."""
    normal = np.empty((len(indices), L, M, 2), dtype=np.float32)
    for row, index in enumerate(indices):
        rng = stream(seed, split, index, 3)
        rng.standard_normal(dtype=np.float32, out=normal[row])
    return torch.view_as_complex(torch.from_numpy(normal)) * math.sqrt(0.5)
