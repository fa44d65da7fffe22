"""One ahead: the next item of an iterator is made in the background while the last one is in use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items in the same order, each made in a thread while the one before it is in use.

    Two items are in memory at a time. What `items` raises is raised where its item would have come. The thread ends with
    the iterator, also where that is left half way.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as background:
        coming = background.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = background.submit(next, items, end)
            yield item  # type: ignore[misc]
