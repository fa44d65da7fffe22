"""One thread of torch's for a piece of work, whoever runs it: the same rounding everywhere, and workers side by side."""

import contextlib
import threading
from collections.abc import Iterator

import torch

__all__ = ["one_thread"]


class _Entered:
    """How many threads are inside, and how many threads torch had before the first one came."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, 1


_ENTERED = _Entered()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch computes with one thread in the block. What it had before is back when the last of several threads leaves."""
    with _ENTERED.lock:
        if _ENTERED.inside == 0:
            _ENTERED.before = torch.get_num_threads()
        _ENTERED.inside += 1
        torch.set_num_threads(1)  # under OpenMP a thread's own setting, so each one that enters makes it
    try:
        yield
    finally:
        with _ENTERED.lock:
            _ENTERED.inside -= 1
            if _ENTERED.inside == 0:
                torch.set_num_threads(_ENTERED.before)
