"""Processes that train one network together: the default group of torch.distributed, or this process alone.

Every rank has the whole network and takes its share of each step's scenes. What the ranks say to one another beside the
gradients (counts, faults, scores) is small and goes as objects, in the order of the ranks.
"""

import contextlib
import itertools
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["ALONE", "Group", "joined", "share"]

T = TypeVar("T")


def share(count: int, index: int, parts: int) -> slice:
    """The `index`-th of `parts` neighbouring runs of range(count): together all of it, none longer by more than one."""
    return slice(-(-count * index // parts), -(-count * (index + 1) // parts))


@dataclass(frozen=True)
class Group:
    """Rank `rank` of `size`; rank 0 is the one that speaks and writes.

    Every rank must call `gather` and `in_turn` as often as every other, or all wait.
    """

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The `value` of each rank, to all of them.

        Raises
        ------
        RuntimeError
            Another rank has ended.
        """
        if self.size == 1:
            return [value]
        found: list[T] = [value] * self.size
        distributed.all_gather_object(found, value)
        return found

    def in_turn(self, own: list[T]) -> list[T]:
        """The items of all ranks, of which rank i has items i, i + size, ..., in their order."""
        missing = object()
        dealt = itertools.zip_longest(*self.gather(own), fillvalue=missing)
        return [item for turn in dealt for item in turn if item is not missing]  # type: ignore[misc]

    def replicated(self, module: nn.Module) -> nn.Module:
        """`module` with the mean of all ranks' gradients after every backward, but in `apart`."""
        return module if self.size == 1 else DistributedDataParallel(module, forward_sync_buffers=False)

    @staticmethod
    def apart(module: nn.Module) -> AbstractContextManager[None]:
        """The context in which `module`, of `replicated`, adds up gradients and exchanges none."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()


ALONE = Group(0, 1)


def joined() -> Group:
    """The group that this process has joined, by `torch.distributed.init_process_group`; `ALONE` if none."""
    if not distributed.is_initialized():
        return ALONE
    return Group(distributed.get_rank(), distributed.get_world_size())
