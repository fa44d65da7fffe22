"""Fresh scenes: drawn while they are trained on, so that none is seen twice and none lies on disk."""

from collections.abc import Iterator

import numpy as np

from risloc.learning.distributed import share
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.prefetch import ahead

__all__ = ["fresh_batches"]


def fresh_batches(
    scenario: Scenario,
    batch_size: int,
    *,
    seed: int,
    split: str,
    start: int,
    stop: int,
    order: int | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Scenes]:
    """Scenes start..stop-1 of a split, as `risloc.scenes.simulation.simulate` has them, in batches; the next one is drawn ahead.

    order : None draws in order. Otherwise the batches, the scenes in each as they were, come in an order drawn from
    (order, start).
    part : (i, n) draws of each batch the i-th of n shares alone, which is empty where the batch has too few scenes.

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

    def draw(first: int) -> Scenes:
        own = share(min(batch_size, stop - first), *part)
        low, high = first + own.start, first + own.stop
        return simulate(scenario, seed=seed, split=split, start=low, stop=max(high, low + 1))[: high - low]

    return ahead(draw(int(first)) for first in firsts)
