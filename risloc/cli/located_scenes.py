"""Locates the scenes of a file, batch by batch; scenes that cannot be located are skipped, each with a reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from risloc.cli.errors import CommandError, counted
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurements import Measurements
from risloc.locating.found import Found
from risloc.locating.locate_arguments import LocateError
from risloc.locating.locator import Locator
from risloc.utils.progress import shown_progress

__all__ = ["Located", "Skipped", "check", "in_words", "located"]

_MOST_NAMED = 3


@dataclass(frozen=True)
class Located:
    """Consecutive scenes and their sources.

    Parameters
    ----------
    start
        The number of the first scene.
    part
        The measurements of the scenes.
    found
        The sources.
    """

    start: int
    part: Measurements
    found: Found

    @property
    def stop(self) -> int:
        """The number of the scene behind the last one."""
        return self.start + len(self.part)


@dataclass(frozen=True)
class Skipped:
    """A scene that cannot be located.

    Parameters
    ----------
    scene
        Its number.
    why
        The reason.
    """

    scene: int
    why: str

    @property
    def stop(self) -> int:
        """The number of the scene behind it."""
        return self.scene + 1


def check(file: Path, bad: Mapping[int, str], scenes: int, skip_bad: bool) -> None:
    """Reject bad scenes before the work begins, unless they are to be skipped and others are left.

    Parameters
    ----------
    file
        The file, for the message.
    bad
        The scenes that cannot be located, with their reasons.
    scenes
        The number of scenes in the file.
    skip_bad
        Whether to skip them.

    Raises
    ------
    CommandError
        There are bad scenes; it names the first ones.
    """
    if bad and not skip_bad:
        raise CommandError(
            f"{file}: {in_words(bad, scenes)}; remove {'it' if len(bad) == 1 else 'them'} from the file, or use --skip-bad"
        )
    if len(bad) == scenes:
        raise CommandError(f"{file}: {in_words(bad, scenes)}; no scene is left to locate")


def in_words(bad: Mapping[int, str], scenes: int) -> str:
    """Say how many scenes are bad, and name the first ones with their reasons.

    Parameters
    ----------
    bad
        The scenes that cannot be located, with their reasons.
    scenes
        The number of scenes in the file.

    Returns
    -------
    str
        The sentence.
    """
    named = [f"scene {number}: {why}" for number, why in list(bad.items())[:_MOST_NAMED]]
    more = f"; and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
    return f"{len(bad)} of {counted(scenes, 'scene')} cannot be located: {'; '.join(named)}{more}"


def located(
    reader: MeasurementReader, locator: Locator, bad: Mapping[int, str], first: int = 0
) -> Iterator[Located | Skipped]:
    """Locate every scene of a file, in order.

    Parameters
    ----------
    reader
        The open file.
    locator
        Locates its scenes.
    bad
        The scenes that cannot be located, with their reasons.
    first
        The number of the first scene.

    Yields
    ------
    Located or Skipped
        A batch of scenes with their sources, or a scene without.

    Raises
    ------
    LocateError
        None of the scenes of a batch can be located, so that the cause is not one scene.
    """
    with shown_progress(len(reader) - first, "scenes", partial(click.echo, err=True)) as advance:
        for start, stop in _runs(first, len(reader), locator.batch, bad):
            if start in bad:
                yield Skipped(start, bad[start])
            else:
                yield from _run(locator, reader, start, stop)
            advance(stop - start)


def _runs(start: int, scenes: int, most: int, bad: Mapping[int, str]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of runs of at most `most` good scenes, and of each bad scene, from `start` on."""
    while start < scenes:
        stop = start + 1
        while start not in bad and stop < min(start + most, scenes) and stop not in bad:
            stop += 1
        yield start, stop
        start = stop


def _run(locator: Locator, reader: MeasurementReader, start: int, stop: int) -> Iterator[Located | Skipped]:
    """Locate the scenes together or, if that fails, one by one."""
    part = reader.read(slice(start, stop))
    try:
        yield Located(start, part, locator.locate(part))
        return
    except LocateError as error:
        if stop - start == 1:
            yield Skipped(start, str(error))
            return
        batch_error = error
    singles = [single for scene in range(start, stop) for single in _run(locator, reader, scene, scene + 1)]
    if all(isinstance(single, Skipped) for single in singles):
        raise batch_error
    yield from singles
