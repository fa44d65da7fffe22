"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

__all__ = ["shown_progress"]

_SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def shown_progress(total: int, what: str, line: Callable[[str], object]) -> Iterator[Callable[[int], None]]:
    """Show progress over a number of items.

    A bar is shown if standard error is a terminal. Otherwise `line` receives a message at most every 10 s, and a final one
    if there was any before.

    Parameters
    ----------
    total
        The number of items.
    what
        The plural name of the items.
    line
        Prints a line.

    Yields
    ------
    Callable
        Call it with the number of items just completed.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, unit=f" {what}", leave=False) as bar:

            def move(count: int) -> None:
                bar.update(count)

            yield move
        return
    done, began = 0, time.monotonic()
    spoke = began

    def advance(count: int) -> None:
        nonlocal done, spoke
        done += count
        now = time.monotonic()
        if now - spoke >= _SECONDS_BETWEEN_LINES:
            line(f"{what}: {done} of {total} ({done / (now - began):.3g}/s)")
            spoke = now

    yield advance
    if spoke > began:
        took = time.monotonic() - began
        line(f"{what}: {done} in {took:.1f} s ({done / took:.3g}/s)")
