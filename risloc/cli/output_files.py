"""Where a command writes: the files behind the names, each of them another one, and tried before the work."""

import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import click

from risloc.cli.errors import NOT_DONE, CommandError
from risloc.utils.atomic_files import replacing, target_of

__all__ = ["FileName", "is_standard", "targets_of", "text_file"]


class FileName(click.Path):
    """A path, as click has it, with a name that a file can have."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what pathlib takes for the folder here, and what no system takes."""
        if not str(value) or "\0" in str(value):
            self.fail(f"expected a name, got {str(value)!r}; give one", param, ctx)
        return super().convert(value, param, ctx)


def is_standard(path: Path | None) -> bool:
    """Whether `-` was given, the standard output."""
    return path == Path("-")


def targets_of(inputs: Mapping[str, Path | None], outputs: Mapping[str, Path | None]) -> dict[str, Path]:
    """The files to write, links followed, by the options that name them; None: not given.

    Raises
    ------
    CommandError
        Nothing can be written there.
    click.UsageError
        Two of the options name one file.
    ValueError
        What is there is no regular file.
    """
    given = {name: path for name, path in {**inputs, **outputs}.items() if path is not None}
    for (first, path), (second, other) in itertools.combinations(given.items(), 2):
        if os.path.realpath(path) == os.path.realpath(other):
            raise click.UsageError(f"{first}, {second}: expected different files, got {path} twice; mend one of them")
    targets = {name: path if is_standard(path) else target_of(path) for name, path in given.items() if name in outputs}
    for name, path in targets.items():
        if not is_standard(path):
            _try(path, given[name])
    return targets


@contextlib.contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A text file that is whole or not there; or the standard output."""
    if is_standard(path):
        yield sys.stdout
        sys.stdout.flush()
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        yield file


def _try(target: Path, name: Path) -> None:
    """Write to the folder of the target, or to the one in which its folders will be made, and leave nothing there."""
    folder = next(place for place in target.parents if os.path.lexists(place))
    try:
        if not folder.is_dir():
            raise CommandError(f"{name}: expected a place in a folder, got {folder}, which is none; mend the path")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        words = (
            f"expected a folder that can be written to, got {error.strerror} in {folder}; mend it, or write elsewhere"
        )
        raise CommandError(f"{name}: {words}", NOT_DONE) from None
