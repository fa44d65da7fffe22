"""Draw scenes: every scene from its own random stream, everything else batched.

Axes: batch B, src K_MAX, elem N, ant M, snap L; rank is 1 where every scene's sources share a waveform, else K_MAX.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
import torch
from jaxtyping import Complex, Float, UInt8
from torch import Tensor

from risloc.config import integer, shown, whole
from risloc.physics.channel import direct_channel, rician_channel
from risloc.physics.codebook import codebook, dft_codes
from risloc.physics.geometry import Array
from risloc.physics.portable_arithmetic import (
    CHANNEL_STEP,
    coded_product,
    exact_matmul,
    exact_polar_of,
    exact_steering_matrix,
    exact_sum,
    on_grid,
    phasor,
    power_of_ten,
    times,
    units,
)
from risloc.scenes.batch import Observation, Scenes, Truth
from risloc.scenes.scenario import Scenario

__all__ = ["SPLITS", "simulate", "source_covariance"]

SPLITS = {"train": 0, "val": 1, "test": 2}
PerScene = SupportsFloat | Sequence[SupportsFloat] | np.ndarray | Tensor | None

_CHUNK = 32  # scenes computed together
_SETS = 4  # sets of locations that each scene draws at once; the rest come from its second stream
_MOST_SETS = 10_000


def simulate(
    scenario: Scenario,
    *,
    seed: SupportsIndex,
    split: str,
    start: SupportsIndex,
    stop: SupportsIndex,
    snr_db: PerScene = None,
    count: PerScene = None,
) -> Scenes:
    """Scenes start..stop-1 of a split: y_l = H diag(c_l) A s_l + n_l.

    A scene depends on the scenario and (seed, split, index) alone, bit for bit, whatever the processor and its number of
    threads (`risloc.physics.portable_arithmetic`): batches may be cut anywhere.
    The noise variance is tr(G_l A P A^H G_l^H) / M, averaged over l, over the SNR; without a source it is the mean row
    energy of G over the SNR, as for one unit-power source. Mismatch enters the data; the codes and the channel that an
    estimator is given are those of the model, up to the channel's own error. G and A are then those of the data: the SNR
    counts all that arrives, by the extra paths too.

    Source k's column of A is a(p_k) + sum_j g_kj a(p_kj): an extra path is the exact spherical wave from an image p_kj,
    uniform in the domain, with a gain g_kj ~ CN(0, 10^(multipath_db / 10) / multipath_paths) that stays over the block.
    The truth (locations, powers, symbols) is of the direct paths.

    snr_db, count : replace the SNR and the number of sources drawn, one value or one a scene; the rest stays as drawn.

    Raises
    ------
    ValueError
        An unknown split, an empty or negative range, a count outside 0..K_MAX, or a separation that cannot be met.
    TypeError
        No scenario.
    """
    if not isinstance(scenario, Scenario):
        came = type(scenario).__name__
        raise TypeError(f"scenario: expected a Scenario, got {came}: risloc.scenario('default') makes one")
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    seed, low, high = whole("seed", seed, 0), integer(start), integer(stop)
    if low is None or high is None or not 0 <= low < high:
        raise ValueError(f"start, stop: expected integers, 0 <= start < stop, got {shown(start)} and {shown(stop)}")
    start, stop = low, high
    snrs, counts = _per_scene("snr_db", snr_db, stop - start), _per_scene("count", count, stop - start)
    if counts is not None and np.asarray(count).dtype.kind not in "iu":
        raise ValueError(f"count: expected integers, got {shown(count)}")
    if counts is not None and not np.isin(counts, np.arange(scenario.K_MAX + 1)).all():
        raise ValueError(f"count: expected integers in 0..K_MAX = {scenario.K_MAX}, got {np.unique(counts)}")
    parts = []
    for first in range(start, stop, _CHUNK):
        draws = _draw(scenario, seed, SPLITS[split], range(first, min(first + _CHUNK, stop)))
        given = slice(first - start, first - start + len(draws.keys))
        if snrs is not None:
            draws.snr_db[:] = snrs[given]
        if counts is not None:
            draws.count[:] = counts[given]
        parts.append(_scenes(scenario, draws))
    return Scenes.cat(parts)


def source_covariance(truth: Truth, waveform: str) -> Complex[Tensor, "batch src src"]:
    """P, the true covariance of the symbols.

    diag(p) for independent waveforms, but in the scenes that are coherent all the same; b b^H with |b_k|^2 = p_k there
    and where the sources share a waveform or are constant over the block (relative phases are read from the symbols).
    """
    relative = (truth.symbols * truth.symbols[:, :1].conj()).sum(-1)
    b = truth.power.sqrt() * torch.sgn(relative)
    shared = b[:, :, None] * b[:, None, :].conj()
    if waveform == "independent":
        return torch.where(truth.coherent[:, None, None], shared, torch.diag_embed(truth.power).to(shared.dtype))
    return shared


def _per_scene(name: str, values: Any, batch: int) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values) if np.ndim(values) < 2 else np.empty((0, 0))
    if array.dtype.kind not in "iuf" or array.shape not in ((), (batch,)) or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected one finite number or one for each of {batch} scenes, got {shown(values)}")
    return np.broadcast_to(array.astype(np.float64), (batch,))


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """Random numbers of a batch of scenes: row i comes from the stream of scene i alone. Normals are CN(0, 1)."""

    keys: list[tuple[int, int, int]]  # (seed, split, index)
    snr_db: np.ndarray
    count: np.ndarray
    rician: np.ndarray
    direction: np.ndarray  # [batch, 3], uniform in [0, 1) as all below
    power: np.ndarray  # [batch, src]
    phase: np.ndarray  # [batch, src]
    sets: np.ndarray  # [batch, sets, src, 3]
    codes: UInt8[Tensor, "batch snap elem"]
    scattered: Complex[Tensor, "batch ant elem"] | None
    waveforms: Complex[Tensor, "batch rank snap"]
    noise: Complex[Tensor, "batch snap ant"]
    mismatch: tuple[Tensor, Tensor, Tensor] | None  # phases and gains, uniform for the dead, channel error
    shared: np.ndarray  # [batch], uniform: all sources share a waveform below coherent_fraction
    images: np.ndarray  # [batch, src, path, 3], uniform
    path_gains: Complex[Tensor, "batch src path"]


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def _draw(s: Scenario, seed: int, split: int, indices: range) -> _Draws:
    batch, K, N, L, M = len(indices), s.K_MAX, s.size, s.snapshots, s.antennas
    rank = K if s.waveform == "independent" else 1
    paths = M * N if s.observation == "ris" else 0
    uniform = np.empty((batch, 6 + (2 + 3 * _SETS) * K))
    normal = np.empty((batch, 2 * (paths + rank * L + L * M)), dtype=np.float32)
    codes = np.zeros((batch, L * N), dtype=np.uint8)
    errors = np.empty((batch, 2 * (N + M * N)), dtype=np.float32) if s.mismatch.errs else None
    dead = np.empty((batch, N))
    keys = [(seed, split, index) for index in indices]
    for row, key in enumerate(keys):
        rng = _stream(*key)
        rng.random(out=uniform[row])
        rng.standard_normal(dtype=np.float32, out=normal[row])
        if s.codebook == "random":
            codes[row] = np.frombuffer(rng.bytes(L * N), dtype=np.uint8)
        if errors is not None:
            rng.standard_normal(dtype=np.float32, out=errors[row])
            rng.random(out=dead[row])
    z = torch.view_as_complex(torch.from_numpy(normal).mul_(math.sqrt(0.5)).view(batch, -1, 2))
    mismatch = None
    if errors is not None:
        e = torch.from_numpy(errors)
        channel = torch.view_as_complex(e[:, 2 * N :].reshape(batch, M, N, 2)) * math.sqrt(0.5)
        mismatch = (e[:, : 2 * N].view(batch, 2, N), torch.from_numpy(dead), channel)
    low, high = s.K_span
    shared, images, path_gains = _draw_paths(s, keys)
    return _Draws(
        keys=keys,
        snr_db=_between(s.snr_db_span, uniform[:, 0]),
        count=low + (uniform[:, 1] * (high - low + 1)).astype(np.int64),
        rician=_between(s.rician_span, uniform[:, 2]),
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
    )


def _draw_paths(s: Scenario, keys: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """`shared`, `images` and `path_gains`, from each scene's third stream: all else stays as drawn, with or without."""
    batch, K, paths = len(keys), s.K_MAX, s.mismatch.multipath_paths
    shared, images = np.ones(batch), np.empty((batch, K, paths, 3))
    gains = np.empty((batch, K, paths), dtype=np.complex64)
    if s.coherent_fraction > 0 or paths > 0:
        for row, key in enumerate(keys):
            rng = _stream(*key, 2)
            shared[row] = rng.random()
            rng.random(out=images[row])
            rng.standard_normal(dtype=np.float32, out=gains[row].view(np.float32))
    return shared, images, torch.from_numpy(gains) * math.sqrt(0.5)


def _scenes(s: Scenario, draws: _Draws) -> Scenes:
    array, K = s.array(), s.K_MAX
    count = torch.from_numpy(draws.count)
    present = torch.arange(K) < count[:, None]
    places = _locations(s, draws)
    location, power = _float(places), _float(_powers(s, draws, places)) * present
    H = _channel(s, draws, array)
    given, reflection = _mismatch(s, draws, H)
    book = codebook(draws.codes, s.code_bits)

    B = _mixing(s, draws, power)  # s_l = B z_l, P = B B^H
    z = torch.ones_like(draws.waveforms) if s.waveform == "constant" else draws.waveforms
    AB = exact_matmul(_arriving(s, draws, array, location), B)
    if reflection is not None:
        AB = times(AB, reflection[:, :, None])
    arrived = coded_product(book, AB, H)  # G_l A B, transposed
    mean_power = exact_sum(_squared(arrived)) / (s.snapshots * s.antennas)
    heard = H if reflection is None else times(H, reflection[:, None])
    row_energy = exact_sum(_squared(heard)) / s.antennas
    snr_db = _float(draws.snr_db)
    noise_var = (torch.where(count > 0, mean_power, row_energy) / power_of_ten(snr_db.double() / 10)).float()
    y = _in_order(times(arrived[:, :, k], z[:, k, :, None]) for k in range(z.shape[1]))
    y = y + noise_var.double().sqrt()[:, None, None] * draws.noise
    return Scenes(
        Observation(y=y.to(torch.complex64), codebook=book, H=given, noise_var=noise_var),
        Truth(
            location=location * present[..., None],
            power=power,
            symbols=_in_order(times(B[:, :, k, None], z[:, k, None]) for k in range(z.shape[1])).to(torch.complex64),
            count=count,
            snr_db=snr_db,
        ),
    )


def _channel(s: Scenario, draws: _Draws, array: Array) -> Complex[Tensor, "batch ant elem"]:
    if draws.scattered is None:
        return direct_channel(len(draws.keys), s.size).to(torch.complex128)
    H = rician_channel(array, draws.scattered, torch.from_numpy(draws.direction), torch.from_numpy(draws.rician))
    return on_grid(H, CHANNEL_STEP)


def _codes(s: Scenario, draws: np.ndarray) -> UInt8[Tensor, "batch snap elem"]:
    if s.codebook == "random":
        return torch.from_numpy(draws & np.uint8(2**s.code_bits - 1)).view(-1, s.snapshots, s.size)
    if s.codebook == "dft":
        return dft_codes(s.n_h, s.n_v, s.snapshots, s.code_bits).repeat(len(draws), 1, 1)
    return torch.from_numpy(draws).view(-1, s.snapshots, s.size)


def _powers(s: Scenario, draws: _Draws, location: np.ndarray) -> np.ndarray:
    if s.power_law == "inverse_square":
        return 1 / np.square(location[..., 2])
    return power_of_ten(torch.from_numpy(_between(s.power_span_db, draws.power) / 10)).numpy()


def _mixing(s: Scenario, draws: _Draws, power: Tensor) -> Complex[Tensor, "batch src rank"]:
    """B; a coherent scene among independent ones has b in the first column, so that all send the first waveform."""
    amplitude = power.double().sqrt()
    b = (amplitude * phasor(torch.from_numpy(draws.phase)))[:, :, None]
    if s.waveform != "independent":
        return b
    shared = torch.from_numpy(draws.shared < s.coherent_fraction)[:, None, None]
    first = torch.arange(s.K_MAX) == 0
    return torch.where(shared, b * first, torch.diag_embed(amplitude).to(b.dtype))


def _arriving(s: Scenario, draws: _Draws, array: Array, location: Tensor) -> Complex[Tensor, "batch elem src"]:
    """What source k sends to the elements: its direct wave and its extra paths'."""
    A = exact_steering_matrix(array, exact_polar_of(location.double()))
    if not (paths := s.mismatch.multipath_paths):
        return A
    images = torch.from_numpy(_within(s, draws.images))
    deviation = power_of_ten(torch.tensor(s.mismatch.multipath_db / 10, dtype=torch.float64)).div(paths).sqrt()
    for path in range(paths):
        waves = exact_steering_matrix(array, exact_polar_of(images[:, :, path]))
        A = A + times(waves, deviation * draws.path_gains[:, None, :, path])
    return A


def _mismatch(s: Scenario, draws: _Draws, H: Tensor) -> tuple[Tensor, Tensor | None]:
    """The channel that the estimator is given, and each element's true complex reflection; None: all are 1."""
    if draws.mismatch is None:
        return H.to(torch.complex64), None
    normal, uniform, error = draws.mismatch
    gain = power_of_ten(s.mismatch.element_gain_std_db / 20 * normal[:, 0].double())
    alive = uniform >= s.mismatch.dead_fraction
    reflection = gain * alive * phasor(s.mismatch.element_phase_std_deg / 360 * normal[:, 1].double())
    scale = (s.mismatch.channel_error * exact_sum(_squared(H)) / H[0].numel()).sqrt()
    return (H + scale[:, None, None] * error).to(torch.complex64), reflection


def _locations(s: Scenario, draws: _Draws) -> np.ndarray:
    """Float64 [batch, src, 3]: for each scene the first set in which all sources are far enough apart."""
    location = _within(s, draws.sets)
    good = _separated(s, location, draws.count)
    chosen = location[np.arange(len(good)), good.argmax(1)]
    for row in np.flatnonzero(~good.any(1)):
        chosen[row] = _search(s, draws.keys[row], draws.count[row : row + 1])
    return chosen


def _search(s: Scenario, key: tuple[int, int, int], count: np.ndarray) -> np.ndarray:
    rng = _stream(*key, 1)
    for _ in range(_MOST_SETS // 100):
        location = _within(s, rng.random((1, 100, s.K_MAX, 3)))
        good = _separated(s, location, count)[0]
        if good.any():
            return location[0, good.argmax()]
    raise ValueError(
        f"min_separation_uv = {s.min_separation_uv}, min_separation_deg = {s.min_separation_deg}: none of {_MOST_SETS} "
        f"random sets of {int(count[0])} sources is that far apart in the angular spans; lower the separation or K_span"
    )


def _within(s: Scenario, unit: np.ndarray) -> np.ndarray:
    domain = s.domain()
    low, high = np.array([domain.azimuth, domain.elevation, domain.distance]).T
    return low + (high - low) * unit


def _separated(s: Scenario, location: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Bool [batch, sets]: whether all pairs of the first `count` sources are apart, in (u, v) and in angle."""
    unit = np.moveaxis(units(torch.from_numpy(location)).numpy(), -1, 0)  # [3, batch, sets, src]
    i, j = np.triu_indices(s.K_MAX, 1)
    apart = np.square(unit[:2, ..., i] - unit[:2, ..., j]).sum(0) >= s.min_separation_uv * s.min_separation_uv
    chord = 2 * float(phasor(torch.tensor(s.min_separation_deg / 720, dtype=torch.float64)).imag)
    apart &= np.square(unit[..., i] - unit[..., j]).sum(0) >= chord * chord
    return (apart | (j >= count[:, None, None])).all(-1)


def _between(span: tuple[float, float], unit: np.ndarray) -> np.ndarray:
    return span[0] + (span[1] - span[0]) * unit


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _squared(x: Complex[Tensor, "*shape"]) -> Float[Tensor, "*shape 2"]:
    return torch.view_as_real(x).square()


def _in_order(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, terms)
