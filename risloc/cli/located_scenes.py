"""The scenes of a file, located one run after another; those that cannot be are skipped, each with the reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from risloc.cli.errors import CommandError, counted
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurements import Measurements
from risloc.locating.found import Found
from risloc.locating.locator import LocateError, Locator
from risloc.utils.progress import shown_progress

__all__ = ["Located", "Skipped", "check", "in_words", "located"]

_SAID = 3


@dataclass(frozen=True)
class Located:
    """Scenes that follow one another from number `start` on: what was measured, and what was found."""

    start: int
    part: Measurements
    found: Found


@dataclass(frozen=True)
class Skipped:
    """A scene without an answer, and why."""

    scene: int
    why: str


def check(file: Path, bad: Mapping[int, str], scenes: int, skip_bad: bool) -> None:
    """Refuse bad scenes before the work, unless they are to be skipped and some are left.

    Raises
    ------
    CommandError
        Naming the first of them.
    """
    if bad and not skip_bad:
        raise CommandError(
            f"{file}: {in_words(bad, scenes)}; leave {'it' if len(bad) == 1 else 'them'} out of the file, or use --skip-bad"
        )
    if len(bad) == scenes:
        raise CommandError(f"{file}: {in_words(bad, scenes)}; none is left to locate")


def in_words(bad: Mapping[int, str], scenes: int) -> str:
    """How many scenes are bad, and the first of them with their reasons."""
    said = [f"scene {number}: {why}" for number, why in list(bad.items())[:_SAID]]
    more = f"; and {len(bad) - _SAID} more" if len(bad) > _SAID else ""
    return f"{len(bad)} of {counted(scenes, 'scene')} cannot be located: {'; '.join(said)}{more}"


def located(reader: MeasurementReader, locator: Locator, bad: Mapping[int, str]) -> Iterator[Located | Skipped]:
    """Every scene in its order.

    Raises
    ------
    risloc.locating.locator.LocateError
        None of the first scenes can be located, so that it is not a scene's fault.
    """
    with shown_progress(len(reader), "scenes", partial(click.echo, err=True)) as advance:
        for start, stop in _runs(len(reader), locator.batch, bad):
            if start in bad:
                yield Skipped(start, bad[start])
            else:
                yield from _run(locator, reader, start, stop)
            advance(stop - start)


def _runs(scenes: int, most: int, bad: Mapping[int, str]) -> Iterator[tuple[int, int]]:
    """Bounds of at most so many good scenes, or of a bad one."""
    start = 0
    while start < scenes:
        stop = start + 1
        while start not in bad and stop < min(start + most, scenes) and stop not in bad:
            stop += 1
        yield start, stop
        start = stop


def _run(locator: Locator, reader: MeasurementReader, start: int, stop: int) -> Iterator[Located | Skipped]:
    """The scenes together or, where that fails, one by one."""
    part = reader.read(slice(start, stop))
    try:
        yield Located(start, part, locator.locate(part))
        return
    except LocateError as error:
        if stop - start == 1:
            yield Skipped(start, str(error))
            return
        whole = error
    each = [one for number in range(start, stop) for one in _run(locator, reader, number, number + 1)]
    if all(isinstance(one, Skipped) for one in each):
        raise whole
    yield from each
