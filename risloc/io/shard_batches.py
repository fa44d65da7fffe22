"""Read the scenes of shards in batches, in order or shuffled.

Axes: batch B.
"""

from collections.abc import Iterator

import numpy as np
import torch

from risloc.io.shard_reader import ShardReader
from risloc.scenes.batch import Scenes
from risloc.utils.prefetch import ahead

__all__ = ["batches"]

_POOL = 8  # batches that are shuffled together


def batches(
    reader: ShardReader,
    batch_size: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    limit: int | None = None,
    drop_last: bool = False,
    worker: tuple[int, int] = (0, 1),
) -> Iterator[Scenes]:
    """Yield all scenes once, in batches; the next batch is read in the background.

    Parameters
    ----------
    reader
        The shards.
    batch_size
        The number of scenes in a batch.
    seed
        None reads in order. Otherwise runs of neighbouring scenes come in an order drawn from (seed, epoch), and the scenes
        of 8 batches are shuffled together: a nearly random order at the cost of sequential reads.
    epoch
        The number of the epoch.
    limit
        Only the first `limit` scenes are read; None reads all.
    drop_last
        Whether to omit a last batch that is short.
    worker
        (i, n) gives the i-th of n workers its share of the runs.

    Yields
    ------
    Scenes
        The batches.

    Raises
    ------
    ValueError
        The batch size or the limit is below 1.
    """
    size = len(reader) if limit is None else min(limit, len(reader))
    if batch_size < 1 or size < 1:
        raise ValueError(f"batch_size, limit: expected numbers of at least 1, got {batch_size} and {limit}")
    source = _read_batches(reader, batch_size, size, seed, epoch, worker)
    yield from ahead(batch for batch in source if len(batch) == batch_size or not drop_last)


def _read_batches(
    reader: ShardReader, batch_size: int, size: int, seed: int | None, epoch: int, worker: tuple[int, int]
) -> Iterator[Scenes]:
    run = batch_size if seed is None else reader.chunk
    starts = np.arange(0, size, run)[worker[0] :: worker[1]]
    if seed is None:
        for start in starts:
            yield reader.read(slice(int(start), min(int(start) + run, size)))
        return
    rng = np.random.default_rng([seed, epoch, *worker])
    rng.shuffle(starts)
    per_pool = max(1, _POOL * batch_size // run)
    rest: list[Scenes] = []
    for first in range(0, len(starts), per_pool):
        here = [slice(int(start), min(int(start) + run, size)) for start in starts[first : first + per_pool]]
        pool = Scenes.cat([*rest, *(reader.read(piece) for piece in here)])
        pool_order = torch.from_numpy(rng.permutation(len(pool)))
        last = first + per_pool >= len(starts)
        whole = len(pool) if last else len(pool) - len(pool) % batch_size
        for low in range(0, whole, batch_size):
            yield pool[pool_order[low : min(low + batch_size, whole)]]
        rest = [pool[pool_order[whole:]]] if whole < len(pool) else []
