"""The ratio of two mean errors in the same scenes."""

import numpy as np

from risloc.performance.intervals import Interval, bootstrap_interval

__all__ = ["paired_ratio"]


def paired_ratio(errors: np.ndarray, others: np.ndarray, level: float, seed: int) -> Interval:
    """The mean of `errors` over that of `others`, scene by scene, with the interval of the paired bootstrap."""
    pair = np.stack([errors, others])

    def ratio(scenes: np.ndarray) -> np.ndarray:
        own, other = pair[:, scenes.astype(int)].mean(axis=-1)
        return own / np.maximum(other, 1e-9)

    return bootstrap_interval(np.arange(pair.shape[1], dtype=np.float64), ratio, level, seed)
