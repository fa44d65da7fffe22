"""Fresh scenes: drawn during training, so that no scene is seen twice and none is stored on disk."""

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
    """Draw scenes start..stop-1 of a split in batches, as `risloc.scenes.simulation.simulate` does.

    The next batch is drawn in the background.

    Parameters
    ----------
    scenario
        The scenario.
    batch_size
        Scenes per batch; the last batch may be smaller.
    seed
        The seed of the scenes.
    split
        The name of the split.
    start, stop
        The first scene, and the one after the last.
    order
        None: the batches come in order. Otherwise they come in an order drawn from (order, start); the scenes in each batch
        stay the same.
    part
        (i, n): draw only the i-th of n shares of each batch, which is empty if the batch has too few scenes.

    Returns
    -------
    Iterator of Scenes
        The batches.

    Raises
    ------
    ValueError
        `batch_size` is below 1, there is no scene, or `simulate` refuses an argument.
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
