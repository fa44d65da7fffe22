"""`risloc locate`: measurements in, a table of sources with standard deviations out."""

import contextlib
import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from risloc.command.apart import measured, tried
from risloc.command.outputs import FileName, is_standard, targets_of, text_file
from risloc.command.picture import DRAWN, Picture
from risloc.command.search_options import SearchOptions, search_options
from risloc.command.words import counted
from risloc.locating import Found, Locator
from risloc.measurement_reader import MeasurementReader
from risloc.measurements import Measurements
from risloc.progress import shown_progress
from risloc.results import CsvFile, JsonFile, rows_of, table_head, table_line

__all__ = ["locate"]

OUT, TEXT = FileName(dir_okay=False), FileName(dir_okay=False, allow_dash=True)


@click.command()
@click.argument("file", type=FileName())
@search_options
@click.option("--csv", "csv_path", type=TEXT, help="Write one row a source; - is the standard output.")
@click.option("--json", "json_path", type=TEXT, help="Write one record a scene; - is the standard output.")
@click.option(
    "--png",
    "png_path",
    type=OUT,
    help=f"Draw the sources (the first {DRAWN}) from above and from the side, as its ending says: .png, .pdf or .svg.",
)
@click.option("--show", type=click.IntRange(0), default=10, show_default=True, metavar="N",
              help="Print the sources of the first N scenes.")  # fmt: skip
def locate(
    file: Path,
    csv_path: Path | None,
    json_path: Path | None,
    png_path: Path | None,
    show: int,
    **search: Any,
) -> None:
    """Locate the sources in FILE, measurements in HDF5 (docs/command_line.md has the layout).

    Positions are metres from the surface's centre, x and y along it and z in front, with standard deviations from the
    Fisher information. A file without noise_var has it estimated, scene by scene.

    \b
    Examples:
      risloc locate room.h5
      risloc locate room.h5 --csv sources.csv --json sources.json --png sources.png
      risloc locate room.h5 --csv -                     rows to the standard output, the table to the other
      risloc locate room.h5 --sources 2                 the number is known
      risloc locate room.h5 --method nomp --most 8      without a network
      risloc locate room.h5 --checkpoint robust --k-rule learnt
      risloc locate room.h5 --distance 1 4              nothing lies beyond 4 m
    """
    targets = targets_of({"FILE": file}, {"--csv": csv_path, "--json": json_path, "--png": png_path})
    say = partial(click.echo, err=is_standard(csv_path) or is_standard(json_path))
    options = SearchOptions(**search)
    picture = Picture(targets["--png"]) if png_path is not None else None
    tried(file, measured)
    with MeasurementReader(file) as reader:
        locator = options.locator(reader)
        head = {
            "file": str(file),
            "method": options.how,
            "sources": options.rule,
            "noise": "given" if reader.has_noise else "estimated",
        }
        say(f"{file}: {options.describe(reader)}")
        if show:
            say(table_head())
        count, unresolved, full = 0, 0, 0
        with contextlib.ExitStack() as files:
            table = CsvFile(files.enter_context(text_file(targets["--csv"]))) if csv_path else None
            record = JsonFile(files.enter_context(text_file(targets["--json"])), head) if json_path else None
            for start, part, found in _located(reader, locator):
                full += int(found.present.all(1).sum())
                scenes = rows_of(found, start)
                if table is not None:
                    table.add(scenes)
                if record is not None:
                    record.add(scenes, start, found.noise_var.tolist())
                if picture is not None:
                    picture.add(scenes, part)
                for row in itertools.chain.from_iterable(scenes):
                    count, unresolved = count + 1, unresolved + (not row["resolved"])
                    if row["scene"] < show:
                        say(table_line(row))
            if record is not None:
                record.end()
        if picture is not None:
            said = _in_words(count, len(reader))
            first = f"the first {picture.shown} of " if picture.shown < count else ""
            picture.draw(reader.setup, f"{file.name}: {first}{said}, {options.how}")
    some = f"; the table shows the first {counted(show, 'scene') if show > 1 else 'scene'}"
    say(f"{_in_words(count, len(reader))}, {unresolved} not resolved{some if 0 < show < len(reader) else ''}")
    for path in (csv_path, json_path, png_path):
        if path is not None and not is_standard(path):
            say(f"wrote {path}")
    if reader.unknown:
        _warn(
            f"{file}: unknown names, not looked at: {', '.join(reader.unknown)}; mend them where a known one was meant"
        )
    if full == len(reader) and options.sources is None and locator.slots > 1:
        level = (
            "noise_var may be too low (its unit?)" if reader.has_noise else "the noise level may be estimated too low"
        )
        _warn(
            f"{file}: every scene has {locator.slots} sources, the most that are looked for: {level}, or there are more"
        )


def _warn(words: str) -> None:
    click.echo(f"risloc: warning: {words}", err=True)


def _in_words(sources: int, scenes: int) -> str:
    return f"{counted(sources, 'source')} in {counted(scenes, 'scene')}"


def _located(reader: MeasurementReader, locator: Locator) -> Iterator[tuple[int, Measurements, Found]]:
    """The scenes in batches: the number of the first one, what was measured, and what was found."""
    with shown_progress(len(reader), "scenes", partial(click.echo, err=True)) as advance:
        for start in range(0, len(reader), locator.batch):
            part = reader.read(slice(start, min(start + locator.batch, len(reader))))
            yield start, part, locator.locate(part)
            advance(len(part))
