"""Where a command writes: the files behind the names, each of them another one."""

import contextlib
import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import click

from risloc.files import replacing, target_of

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
    click.UsageError
        Two of the options name one file.
    ValueError
        What is there is no regular file.
    """
    given = {name: path for name, path in {**inputs, **outputs}.items() if path is not None}
    for (first, path), (second, other) in itertools.combinations(given.items(), 2):
        if path.resolve() == other.resolve():
            raise click.UsageError(f"{first}, {second}: expected different files, got {path} twice; mend one of them")
    return {name: path if is_standard(path) else target_of(path) for name, path in given.items() if name in outputs}


@contextlib.contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A text file that is whole or not there; or the standard output."""
    if is_standard(path):
        yield sys.stdout
        sys.stdout.flush()
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        yield file
