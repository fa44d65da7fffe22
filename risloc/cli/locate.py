"""`risloc locate`: measurements in, a table of sources with standard deviations out."""

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import click

from risloc.cli.alarms import Alarms
from risloc.cli.errors import CommandError, counted
from risloc.cli.located_scenes import Skipped, check, in_words, located
from risloc.cli.output_files import FileName, is_standard, targets_of, text_file
from risloc.cli.picture import DRAWN, Picture
from risloc.cli.sandbox import measured, tried
from risloc.cli.search_options import SearchOptions, search_options
from risloc.cli.tally import Tally
from risloc.io.measurement_reader import MeasurementReader
from risloc.locating.result_rows import (
    CsvFile,
    JsonFile,
    empty_line,
    rows_of,
    scenes_of,
    table_head,
    table_line,
    with_errors,
)
from risloc.locating.truth_errors import truth_errors

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
@click.option(
    "--skip-bad",
    is_flag=True,
    help="Leave scenes without an answer that cannot be located (numbers that are not finite, no signal): they are named.",
)
def locate(
    file: Path,
    csv_path: Path | None,
    json_path: Path | None,
    png_path: Path | None,
    show: int,
    skip_bad: bool,
    **search: Any,
) -> None:
    """Locate the sources in FILE, measurements in HDF5 (docs/command_line.md has the layout).

    Positions are metres from the reference (the surface's centre, or its first element), x and y along it and z in front, with standard deviations from the
    Fisher information. The misfit says how well a scene is explained: about 1 where the model holds. A file without
    noise_var has it estimated, scene by scene.

    \b
    Examples:
      risloc locate room.h5
      risloc locate room.h5 --csv sources.csv --json sources.json --png sources.png
      risloc locate room.h5 --csv -                     rows to the standard output, the table to the other
      risloc locate room.h5 --sources 2                 the number is known
      risloc locate room.h5 --method nomp --most 8      without a network
      risloc locate room.h5 --checkpoint robust --k-rule learnt
      risloc locate room.h5 --distance 1 4              nothing lies beyond 4 m
      risloc locate room.h5 --skip-bad                  also where a scene holds NaN
    """
    targets = targets_of({"FILE": file}, {"--csv": csv_path, "--json": json_path, "--png": png_path})
    say = partial(click.echo, err=is_standard(csv_path) or is_standard(json_path))
    options = SearchOptions(**search)
    picture = Picture(targets["--png"]) if png_path is not None else None
    bad = tried(file, measured)
    with MeasurementReader(file) as reader:
        truth = reader.sources > 0
        options, note = options.decided(reader)
        locator = options.locator(reader)
        check(file, bad, len(reader), skip_bad)
        head = {
            "file": str(file),
            "method": options.how,
            "sources": options.rule,
            "noise": options.noise_words(reader),
            "fit": options.fit,
            "reference": reader.setup.reference,
            "notes": list(locator.notes),
        }
        say(f"{file}: {options.describe(reader)}")
        for words in (*([note] if note else []), *locator.notes):
            say(f"{file}: {words}")
        fit = "misfit" if options.noise_words(reader) == "given" else "explained"
        if show:
            say(table_head(fit, truth=truth))
        skipped: dict[int, str] = {}
        count, unresolved, alarms, tally = 0, 0, Alarms(), Tally()
        with contextlib.ExitStack() as files:
            table = CsvFile(files.enter_context(text_file(targets["--csv"])), truth=truth) if csv_path else None
            record = JsonFile(files.enter_context(text_file(targets["--json"])), head) if json_path else None
            for each in located(reader, locator, bad):
                if isinstance(each, Skipped):
                    skipped[each.scene] = each.why
                    for output in (table, record):
                        if output is not None:
                            output.skip(each.scene, each.why)
                    if each.scene < show:
                        say(f"{each.scene:6}  skipped: {each.why}")
                    continue
                start, part, found = each.start, each.part, each.found
                alarms.add(found)
                errors = truth_errors(found, part)
                tally.add(errors)
                scenes = with_errors(rows_of(found, start), errors, start)
                if table is not None:
                    table.add(scenes)
                if record is not None:
                    record.add(found, scenes, start)
                if picture is not None:
                    picture.add(scenes, part)
                for scene, rows in zip(scenes_of(found, start), scenes, strict=True):
                    count, unresolved = count + len(rows), unresolved + sum(not row["resolved"] for row in rows)
                    if scene["scene"] < show:
                        for line in [table_line(row, fit) for row in rows] or [empty_line(scene, fit)]:
                            say(line)
            if len(skipped) == len(reader):
                raise CommandError(f"{file}: {in_words(skipped, len(reader))}; none is left to locate")
            if record is not None:
                record.end()
        if picture is not None:
            said = _in_words(count, len(reader))
            first = f"the first {picture.shown} of " if picture.shown < count else ""
            picture.draw(reader.setup, f"{file.name}: {first}{said}, {options.how}")
    some = f"; the table shows the first {counted(show, 'scene') if show > 1 else 'scene'}"
    say(f"{_in_words(count, len(reader))}, {unresolved} not resolved{some if 0 < show < len(reader) else ''}")
    if truth:
        say(tally.words())
    for path in (csv_path, json_path, png_path):
        if path is not None and not is_standard(path):
            say(f"wrote {path}")
    if reader.unknown:
        _warn(
            f"{file}: unknown names, not looked at: {', '.join(reader.unknown)}; mend them where a known one was meant"
        )
    if skipped and skip_bad:
        _warn(f"{file}: {in_words(skipped, len(reader))}")
    for words in alarms.words(locator.slots, options.sources is None, reader.has_noise):
        _warn(f"{file}: {words}")
    if skipped and not skip_bad:
        raise CommandError(
            f"{file}: {in_words(skipped, len(reader))}; the others are located, --skip-bad makes this a warning"
        )


def _warn(words: str) -> None:
    click.echo(f"risloc: warning: {words}", err=True)


def _in_words(sources: int, scenes: int) -> str:
    return f"{counted(sources, 'source')} in {counted(scenes, 'scene')}"
