"""Schedules over the steps of a training run: of the learning rate, and of the running average of the weights."""

import math
from collections.abc import Callable

from torch import Tensor

__all__ = ["warm_average", "warm_cosine"]


def warm_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Make the update of a running average whose decay rises with the steps, up to `decay`.

    Parameters
    ----------
    decay
        The largest decay.

    Returns
    -------
    Callable
        The function of (average, value, count) that `torch.optim.swa_utils.AveragedModel` takes.
    """

    def update(average: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        n = int(count)
        return average.lerp(value, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def warm_cosine(steps: int, warmup: float) -> Callable[[int], float]:
    """Make the factor of the learning rate as a function of the step: a linear rise, then half a cosine down to 0.

    Parameters
    ----------
    steps
        The number of steps.
    warmup
        The fraction of the steps in which the factor rises.

    Returns
    -------
    Callable
        The factor of a step, from 0.
    """
    rise = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor
