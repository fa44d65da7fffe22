"""`risloc locate`: reads measurements and writes a table of sources with standard deviations."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from risloc.cli.errors import CommandError
from risloc.cli.followed_scenes import followed
from risloc.cli.locate_report import LocateReport, RowFiles, row_files
from risloc.cli.located_scenes import Located, Skipped, check, in_words, located
from risloc.cli.output_files import FileName, is_standard, targets_of
from risloc.cli.picture import DRAWN, Picture
from risloc.cli.sandbox import measurement_steps, read_in_child
from risloc.cli.search_options import search_options
from risloc.cli.search_request import SearchRequest
from risloc.io.measurement_reader import MeasurementReader
from risloc.locating.result_rows import rows_of, with_errors
from risloc.locating.truth_errors import truth_errors

__all__ = ["locate"]

SHOWN = 10
"""The number of scenes of which the table shows the sources."""

_NO_ECHOES = "--echo-csv: echoes are not searched for; use --method nomp and --echoes auto"

OUT, TEXT = FileName(dir_okay=False), FileName(dir_okay=False, allow_dash=True)


@click.command()
@click.argument("file", type=FileName())
@search_options
@click.option("--csv", "csv_path", type=TEXT, help="Write one row per source to this CSV file; - is standard output.")
@click.option(
    "--echo-csv", "echo_path", type=TEXT, help="Write one row per echo to this CSV file; - is standard output."
)
@click.option(
    "--json", "json_path", type=TEXT, help="Write one record per scene to this JSON file; - is standard output."
)
@click.option(
    "--png",
    "png_path",
    type=OUT,
    help=f"Draw the sources (the first {DRAWN}) from above and from the side; the name ends in .png, .pdf or .svg.",
)
@click.option("--show", type=click.IntRange(0), metavar="N",
              help="Print the sources of the first N scenes. [10; with --follow all]")  # fmt: skip
@click.option(
    "--follow",
    is_flag=True,
    help="Go on as scenes arrive, until the process that writes the file (in SWMR mode of HDF5) closes it.",
)
@click.option(
    "--skip-bad",
    is_flag=True,
    help="Skip scenes that cannot be located (non-finite numbers, no signal), and list them.",
)
def locate(
    file: Path,
    csv_path: Path | None,
    echo_path: Path | None,
    json_path: Path | None,
    png_path: Path | None,
    show: int | None,
    follow: bool,
    skip_bad: bool,
    **search: Any,
) -> None:
    """Locate the sources in FILE, a measurement file in HDF5.

    Positions are in metres from the reference (the centre of the surface, or its first element): x and y along the surface, z
    in front of it. Standard deviations come from the Fisher information, and are wider where the model does not hold or
    another position is nearly as likely. The misfit compares the residual with the noise variance; it is about 1 where the
    model holds. If the file has no noise_var, the noise variance is estimated for each scene, and the table says whether
    the residual is white instead.
    Waves with the same symbols are a source and its echoes: the table counts the echoes, and JSON lists them.
    docs/command_line.md in the repository describes the layout of the file and of the outputs.

    \b
    Examples:
      risloc locate room.h5
      risloc locate room.h5 --csv sources.csv --json sources.json --png sources.png
      risloc locate room.h5 --csv -                     rows on standard output, the table on standard error
      risloc locate room.h5 --sources 2                 the number of sources is known
      risloc locate room.h5 --most 8 --echoes never     at most 8 sources, and no echoes
      risloc locate room.h5 --echo-csv echoes.csv       one row per echo
      risloc locate room.h5 --checkpoint robust --k-rule learnt
      risloc locate room.h5 --distance 1 4              all sources are 1 to 4 m away
      risloc locate room.h5 --skip-bad                  skip scenes that cannot be located
      risloc locate room.h5 --follow --csv -            rows on standard output as scenes arrive
      risloc locate one.h5 --pilots constant            one antenna: the symbols do not vary
      risloc locate one.h5 --pilots constant --unknown-gains antenna --static-path
    """
    paths = {"--csv": csv_path, "--echo-csv": echo_path, "--json": json_path, "--png": png_path}
    options = SearchRequest(**search)
    if echo_path is not None and options.searched_echoes == "never":
        raise click.UsageError(_NO_ECHOES)
    shown = show if show is not None else sys.maxsize if follow else SHOWN
    _locate(file, paths, targets_of({"FILE": file}, paths), options, shown, follow, skip_bad)


def _locate(
    file: Path,
    paths: Mapping[str, Path | None],
    targets: Mapping[str, Path],
    options: SearchRequest,
    show: int,
    follow: bool,
    skip_bad: bool,
) -> None:
    picture = Picture(targets["--png"]) if "--png" in targets else None
    say = partial(click.echo, err=any(map(is_standard, paths.values())))
    bad = read_in_child(file, partial(measurement_steps, reading=options.reading))
    with MeasurementReader(file, options.reading) as reader:
        locator = options.locator(reader)
        if "--echo-csv" in targets and locator.echoes == "never":
            raise click.UsageError(f"{_NO_ECHOES} or, with unknown gains, --echoes always")
        check(file, bad, len(reader), skip_bad)
        notes = (*((reader.how,) if reader.how else ()), *locator.notes)
        for words in (options.describe(reader), *notes):
            say(f"{file}: {words}")
        report = LocateReport(options.noise_words(reader), reader.sources > 0, show, say)
        with row_files(targets, options.head(file, reader, notes), truth=report.truth) as files:
            scenes = len(reader)
            for batch in located(reader, locator, bad):
                _add(batch, report, files, picture)
            if follow:
                reader.close()  # HDF5 opens a file once in a process
                for batch in followed(file, options.reading, locator, scenes, skip_bad):
                    scenes = max(scenes, batch.stop)
                    _add(batch, report, files, picture)
            if len(report.skipped) == scenes:
                raise CommandError(f"{file}: {in_words(report.skipped, scenes)}; no scene is left to locate")
        if picture is not None:
            picture.draw(reader.setup, f"{file.name}: {report.title(scenes, picture.shown)}, {options.how(reader)}")
    report.totals(scenes, options.echoes)
    for path in paths.values():
        if path is not None and not is_standard(path):
            say(f"wrote {path}")
    warnings = report.warnings(locator.slots, order_known=options.sources is not None, noise_given=reader.has_noise)
    _finish(file, reader, scenes, report.skipped, warnings, skip_bad)


def _add(batch: Located | Skipped, report: LocateReport, files: RowFiles, picture: Picture | None) -> None:
    """Pass a batch of scenes, or a skipped scene, on to all outputs."""
    if isinstance(batch, Skipped):
        files.skip(batch.scene, batch.why)
        report.skip(batch.scene, batch.why)
        return
    errors = truth_errors(batch.found, batch.part)
    scenes = with_errors(rows_of(batch.found, batch.start), errors, batch.start)
    files.add(batch.found, scenes, batch.start)
    report.add(batch.found, scenes, errors, batch.start)
    if picture is not None:
        picture.add(scenes, batch.part, batch.found)


def _finish(
    file: Path,
    reader: MeasurementReader,
    scenes: int,
    skipped: Mapping[int, str],
    warnings: Sequence[str],
    skip_bad: bool,
) -> None:
    """Print the warnings; fail if scenes were skipped without leave."""
    if reader.unknown:
        _warn(file, f"unknown names were ignored: {', '.join(reader.unknown)}; check their spelling")
    if skipped and skip_bad:
        _warn(file, in_words(skipped, scenes))
    for words in warnings:
        _warn(file, words)
    if skipped and not skip_bad:
        words = in_words(skipped, scenes)
        raise CommandError(f"{file}: {words}; the other scenes were located; --skip-bad makes this a warning")


def _warn(file: Path, words: str) -> None:
    click.echo(f"risloc: warning: {file}: {words}", err=True)
