"""Fresh scenes: drawn while they are trained on, so that none is seen twice and none lies on disk."""

from collections.abc import Iterator

import numpy as np

from risloc.ahead import ahead
from risloc.scene import Scenario, Scenes
from risloc.simulation import simulate

__all__ = ["fresh_batches"]


def fresh_batches(
    scenario: Scenario, batch_size: int, *, seed: int, split: str, start: int, stop: int, order: int | None = None
) -> Iterator[Scenes]:
    """Scenes start..stop-1 of a split, as `risloc.simulation.simulate` has them, in batches; the next one is drawn ahead.

    order : None draws in order. Otherwise the batches, the scenes in each as they were, come in an order drawn from
    (order, start).

    Raises
    ------
    ValueError
        A batch_size below 1, or what `simulate` refuses.
    """
    if batch_size < 1 or stop <= start:
        raise ValueError(f"batch_size, stop: expected at least 1 and {start + 1}, got {batch_size} and {stop}")
    firsts = np.arange(start, stop, batch_size)
    if order is not None:
        np.random.default_rng([order, start]).shuffle(firsts)
    cuts = ((int(first), min(int(first) + batch_size, stop)) for first in firsts)
    return ahead(simulate(scenario, seed=seed, split=split, start=low, stop=high) for low, high in cuts)
