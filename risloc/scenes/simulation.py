"""Draw scenes of a scenario: every scene from its own random streams, all computation in batches.

Axes: batch B, src K_MAX, elem N, ant M, snap L.
"""

from collections.abc import Sequence
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from risloc.config import integer, shown
from risloc.scenes.batch import Scenes, Truth
from risloc.scenes.random_draws import draw
from risloc.scenes.scenario import Scenario
from risloc.scenes.signal_model import scenes_of_draws
from risloc.utils.argument_checks import whole

__all__ = ["SPLITS", "simulate", "source_covariance"]

SPLITS = {"train": 0, "val": 1, "test": 2}
PerScene = SupportsFloat | Sequence[SupportsFloat] | np.ndarray | Tensor | None

_CHUNK = 32  # scenes computed together


def simulate(
    scenario: Scenario,
    *,
    seed: SupportsIndex,
    split: str,
    start: SupportsIndex,
    stop: SupportsIndex,
    snr_db: PerScene = None,
    count: PerScene = None,
    echoes: bool = True,
) -> Scenes:
    """Draw scenes start..stop-1 of a split: y_l = H diag(c_l) A s_l + n_l.

    A scene depends only on the scenario and (seed, split, index), bit for bit, on any processor and with any number of
    threads (`risloc.physics.portable_arithmetic`), so that batches can be cut anywhere.
    The noise variance is tr(G_l A P A^H G_l^H) / M, averaged over l, over the SNR; without a source it is the mean row
    energy of G over the SNR, as for one source of unit power. Mismatch changes the data; the estimator is given the codes
    and the channel of the model, the channel with its own estimation error. G and A are those of the data, so that the SNR
    counts everything that arrives, including the extra paths.

    Source k's column of A is a(p_k) + sum_j g_kj a(p_kj): an extra path is the exact spherical wave from an image p_kj,
    uniform in the domain, with a gain g_kj ~ CN(0, 10^(multipath_db / 10) / multipath_paths) that is constant over the
    block. The truth (locations, powers, symbols) describes the direct paths.

    Echoes, which `scenario.echoes` describes, have the same form, but their images are farther than their source, and the truth
    has them (`risloc.scenes.echo_waves`). Their random numbers come from a stream of their own: scenes that differ only in the law
    of the echoes have the same locations, powers, codes, symbols, channel and, up to its variance, noise. With `echoes=False` the
    noise variance is the same, too.

    Parameters
    ----------
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
        Replaces the SNR that is drawn: one value, or one for each scene; everything else stays as drawn.
    count
        Replaces the number of sources that is drawn, likewise.
    echoes
        False draws the same scenes without their echoes; the noise variance and `Truth.snr_db` remain those with echoes.

    Returns
    -------
    Scenes
        The observations and the truth.

    Raises
    ------
    ValueError
        The split is unknown, the range is empty or negative, a count is outside 0..K_MAX, or the sources of a scene cannot
        be separated as the scenario requires.
    TypeError
        `scenario` is not a Scenario.
    """
    if not isinstance(scenario, Scenario):
        kind = type(scenario).__name__
        raise TypeError(f"scenario: expected a Scenario, got {kind}; risloc.scenario('default') makes one")
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    seed, (low, high) = whole("seed", seed, 0), _range(start, stop)
    snrs, counts = _per_scene("snr_db", snr_db, high - low), _counts(scenario, count, high - low)
    parts = []
    for first in range(low, high, _CHUNK):
        draws = draw(scenario, seed, SPLITS[split], range(first, min(first + _CHUNK, high)))
        rows = slice(first - low, first - low + len(draws.keys))
        if snrs is not None:
            draws.snr_db[:] = snrs[rows]
        if counts is not None:
            draws.count[:] = counts[rows]
        parts.append(scenes_of_draws(scenario, draws, echoes))
    return Scenes.cat(parts)


def source_covariance(truth: Truth, waveform: str) -> Complex[Tensor, "batch src src"]:
    """Compute P, the true covariance of the symbols: diag(p), or b b^H with |b_k|^2 = p_k where the sources are coherent.

    P is diag(p) for independent waveforms, except in coherent scenes. It is b b^H in those scenes, and wherever the sources
    share a waveform or are constant over the block; the relative phases of b are read from the symbols.

    Parameters
    ----------
    truth
        The truth of the scenes.
    waveform
        The waveform of the scenario.

    Returns
    -------
    [batch, src, src]
        The covariance P.
    """
    relative = (truth.symbols * truth.symbols[:, :1].conj()).sum(-1)
    b = truth.power.sqrt() * torch.sgn(relative)
    shared = b[:, :, None] * b[:, None, :].conj()
    if waveform == "independent":
        return torch.where(truth.coherent[:, None, None], shared, torch.diag_embed(truth.power).to(shared.dtype))
    return shared


def _range(start: object, stop: object) -> tuple[int, int]:
    low, high = integer(start), integer(stop)
    if low is None or high is None or not 0 <= low < high:
        raise ValueError(f"start, stop: expected integers with 0 <= start < stop, got {shown(start)} and {shown(stop)}")
    return low, high


def _counts(s: Scenario, count: Any, batch: int) -> np.ndarray | None:
    counts = _per_scene("count", count, batch)
    if counts is None:
        return None
    if np.asarray(count).dtype.kind not in "iu":
        raise ValueError(f"count: expected integers, got {shown(count)}")
    if not np.isin(counts, np.arange(s.K_MAX + 1)).all():
        raise ValueError(f"count: expected integers in 0..K_MAX = {s.K_MAX}, got {np.unique(counts)}")
    return counts


def _per_scene(name: str, values: Any, batch: int) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values) if np.ndim(values) < 2 else np.empty((0, 0))
    if array.dtype.kind not in "iuf" or array.shape not in ((), (batch,)) or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected one finite number or one for each of {batch} scenes, got {shown(values)}")
    return np.broadcast_to(array.astype(np.float64), (batch,))
