"""Prefetching: the next item of an iterator is made in the background while the current one is in use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the same items in the same order, each made in a thread while the one before it is in use.

    Two items are in memory at a time. An error of `items` is raised in place of its item. The thread ends with the
    iterator, even if the iterator is not exhausted.

    Parameters
    ----------
    items
        The items to prefetch.

    Yields
    ------
    T
        The items.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as background:
        coming = background.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = background.submit(next, items, end)
            yield item  # type: ignore[misc]
