"""Read what a file of measurements has beside y, H and codes, for some of its scenes.

Axes: batch B (scene), snap L, src K, path (echoes of a source).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from risloc.io.columns import Column

__all__ = ["ECHOES", "TRUTH", "stored_echoes", "stored_noise", "stored_pilots", "stored_truth"]

TRUTH, ECHOES = ("location", "power", "count"), ("location", "gain")
"""The names in the group of the truth, and of its echoes."""

Index = slice | list[int]


def stored_noise(data: Column, index: Index, count: int) -> np.ndarray:
    """Read sigma^2.

    Parameters
    ----------
    data
        sigma^2 of each scene, or one number.
    index
        The scenes.
    count
        Their number.

    Returns
    -------
    [scene]
    """
    value = data[index] if len(data.shape) == 1 and data.shape != (1,) else np.full(count, data[()])
    return np.asarray(value, dtype=np.float64)


def stored_pilots(data: Column | None, index: Index, shape: Sequence[int]) -> np.ndarray:
    """Read the pilots.

    Parameters
    ----------
    data
        The pilots of each scene or those of all scenes; None for constant pilots.
    index
        The scenes.
    shape
        The numbers of scenes and of snapshots.

    Returns
    -------
    [scene, snap]
    """
    if data is None:
        return np.ones(shape, np.complex128)
    value = data[index] if len(data.shape) == 2 else np.broadcast_to(data[()], shape)
    return np.ascontiguousarray(value, dtype=np.complex128)


def stored_truth(data: Mapping[str, Column], index: Index) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the true sources.

    Parameters
    ----------
    data
        The arrays of the file.
    index
        The scenes.

    Returns
    -------
    tuple
        Location [scene, src, 3], power [scene, src] and count [scene].
    """
    location, power, count = (data[f"truth/{name}"][index] for name in TRUTH)
    return location.astype(np.float32), power.astype(np.float32), count.astype(np.int64)


def stored_echoes(data: Mapping[str, Column], index: Index) -> tuple[np.ndarray, np.ndarray]:
    """Read the echoes of the true sources.

    Parameters
    ----------
    data
        The arrays of the file.
    index
        The scenes.

    Returns
    -------
    tuple
        Location [scene, src, path, 3] and gain [scene, src, path].
    """
    location, gain = (data[f"truth/echoes/{name}"][index] for name in ECHOES)
    return location.astype(np.float32), gain.astype(np.complex64)
