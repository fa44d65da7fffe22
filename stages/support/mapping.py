"""How a stage does the same work on many items: one after another here, or side by side where the caller has a runner.

A result depends on the item alone, so whoever runs it, and however many at once, gives the same.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

__all__ = ["SERIAL", "Runner", "Serial"]

T = TypeVar("T")
R = TypeVar("R")


class Runner(Protocol):
    """Where mapped work runs.

    workers : items under way at once.  hosts : whether they may run on other hosts than this one.
    """

    workers: int
    hosts: bool

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """`work` of each item, in their order. `work` is a module's function, and it, item and result can be pickled.

        An exception of `work` is raised where its result would have come, when what has begun by then has ended; what
        has not begun does not begin.
        """


class Serial:
    """One item after another, in this process."""

    workers = 1
    hosts = False

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """`work` of each item when its result is asked for."""
        return (work(item) for item in items)


SERIAL = Serial()
