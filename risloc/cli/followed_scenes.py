"""Locates the scenes of a file that another process is writing, and goes on as scenes arrive."""

import functools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from risloc.cli.located_scenes import Located, Skipped, check, located
from risloc.cli.sandbox import measurement_steps, read_in_child
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.reading_options import Reading
from risloc.locating.locator import Locator

__all__ = ["PAUSE_S", "followed"]

PAUSE_S = 0.5
"""The time between two looks at the file, in seconds."""


def followed(file: Path, reading: Reading, locator: Locator, first: int, skip_bad: bool) -> Iterator[Located | Skipped]:
    """Locate the scenes that arrive in a file, until its writer closes it.

    Parameters
    ----------
    file
        The file.
    reading
        What the file does not say.
    locator
        Locates its scenes.
    first
        The number of scenes that have been located.
    skip_bad
        Whether to skip scenes that cannot be located.

    Yields
    ------
    Located or Skipped
        A batch of scenes with their sources, or a scene without.

    Raises
    ------
    CommandError
        A new scene cannot be located and is not to be skipped, or reading it ended the child process.
    """
    growing = True
    while growing:
        sys.stdout.flush()  # rows for the next program in a pipe
        time.sleep(PAUSE_S)
        with MeasurementReader(file, reading) as reader:
            growing, scenes = reader.growing, len(reader)
        if scenes > first:
            bad = read_in_child(file, functools.partial(measurement_steps, reading=reading, start=first))
            with MeasurementReader(file, reading) as reader:
                if not skip_bad:
                    check(file, bad, len(reader), skip_bad)
                yield from located(reader, locator, bad, first)
                first = len(reader)
