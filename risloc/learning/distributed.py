"""Processes that train one network together: the default group of torch.distributed, or this process alone.

Every rank holds the whole network and processes its share of each step's scenes. Apart from the gradients, what the ranks
exchange (counts, faults, scores) is small and is sent as Python objects, in the order of the ranks.
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
    """Return one of several contiguous parts of range(count).

    The parts cover the range without overlap, and their lengths differ by at most one.

    Parameters
    ----------
    count
        The length of the range.
    index
        Which part to return, from 0.
    parts
        The number of parts.

    Returns
    -------
    slice
        The part.
    """
    return slice(-(-count * index // parts), -(-count * (index + 1) // parts))


@dataclass(frozen=True)
class Group:
    """The place of this process among those that train together; rank 0 alone reports and writes.

    Every rank must call `gather` and `in_turn` equally often; otherwise all of them wait forever.

    Parameters
    ----------
    rank
        The rank of this process, from 0.
    size
        The number of processes.
    """

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Collect a value from every rank, on every rank.

        Parameters
        ----------
        value
            The value of this rank.

        Returns
        -------
        list
            The values of all ranks, in their order.

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
        """Collect the items of all ranks, of which rank i holds items i, i + size, i + 2 size, ...

        Parameters
        ----------
        own
            The items of this rank.

        Returns
        -------
        list
            All items, in their original order.
        """
        missing = object()
        dealt = itertools.zip_longest(*self.gather(own), fillvalue=missing)
        return [item for turn in dealt for item in turn if item is not missing]  # type: ignore[misc]

    def replicated(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that every backward pass, except in `apart`, averages the gradients over all ranks.

        Parameters
        ----------
        module
            The module.

        Returns
        -------
        nn.Module
            The wrapped module; with one rank, the module itself.
        """
        return module if self.size == 1 else DistributedDataParallel(module, forward_sync_buffers=False)

    @staticmethod
    def apart(module: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which backward passes accumulate gradients without exchanging them.

        Parameters
        ----------
        module
            What `replicated` returned.

        Returns
        -------
        AbstractContextManager
            The context.
        """
        return module.no_sync() if isinstance(module, DistributedDataParallel) else contextlib.nullcontext()


ALONE = Group(0, 1)


def joined() -> Group:
    """Return the group that this process has joined by `torch.distributed.init_process_group`.

    Returns
    -------
    Group
        The group; `ALONE` if the process has joined none.
    """
    if not distributed.is_initialized():
        return ALONE
    return Group(distributed.get_rank(), distributed.get_world_size())
