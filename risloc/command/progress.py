"""Progress on the standard error output: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click
from tqdm import tqdm

__all__ = ["progress"]

_SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Call the result with the number of items just done."""
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
        done, now = done + count, time.monotonic()
        if now - spoke >= _SECONDS_BETWEEN_LINES:
            click.echo(f"{what}: {done} of {total} ({done / (now - began):.3g}/s)", err=True)
            spoke = now

    yield advance
