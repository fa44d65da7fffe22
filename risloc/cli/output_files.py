"""The files that a command writes: different ones for each option, and tested for writing before the work begins."""

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
    """A `click.Path` whose value is a valid name of a file.

    Parameters
    ----------
    **options
        Those of `click.Path`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the value to a path; reject an empty name, which pathlib takes for the current folder, and a null byte.

        Parameters
        ----------
        value
            The text on the command line.
        param
            The option or argument.
        ctx
            The context of the command.

        Returns
        -------
        Path
            The path.
        """
        if not str(value) or "\0" in str(value):
            self.fail(f"expected a file name, got {str(value)!r}", param, ctx)
        return super().convert(value, param, ctx)


def is_standard(path: Path | None) -> bool:
    """Check whether the path is `-`, which stands for standard output.

    Parameters
    ----------
    path
        The path, or None.

    Returns
    -------
    bool
        Whether it is.
    """
    return path == Path("-")


def targets_of(inputs: Mapping[str, Path | None], outputs: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return the files to write, with links followed, and test that they can be written.

    Parameters
    ----------
    inputs
        The files to read by the options that name them; None if the option was not given.
    outputs
        The same for the files to write.

    Returns
    -------
    dict
        The targets of the outputs that were given, by the same options.

    Raises
    ------
    CommandError
        A file cannot be written.
    UsageError
        Two of the options name the same file.
    ValueError
        The target exists and is not a regular file.
    """
    given = {name: path for name, path in {**inputs, **outputs}.items() if path is not None}
    for (first, path), (second, other) in itertools.combinations(given.items(), 2):
        if os.path.realpath(path) == os.path.realpath(other):
            raise click.UsageError(f"{first}, {second}: expected different files, got {path} twice")
    targets = {name: path if is_standard(path) else target_of(path) for name, path in given.items() if name in outputs}
    for name, path in targets.items():
        if not is_standard(path):
            _test_writing(path, given[name])
    return targets


@contextlib.contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that is written as a whole or not at all, or standard output.

    Parameters
    ----------
    path
        The file, or `-`.

    Yields
    ------
    TextIO
        The file to write to.
    """
    if is_standard(path):
        yield sys.stdout
        sys.stdout.flush()
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        yield file


def _test_writing(target: Path, name: Path) -> None:
    """Create a temporary file in the nearest existing folder of the target, and remove it."""
    folder = next(parent for parent in target.parents if os.path.lexists(parent))
    try:
        if not folder.is_dir():
            raise CommandError(f"{name}: {folder} is not a directory")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(f"{name}: cannot write to the directory {folder}: {error.strerror}", NOT_DONE) from None
