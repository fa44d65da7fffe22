"""`risloc locate`: measurements in, a table of sources with standard deviations out."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import click
import numpy as np
import torch

from risloc.command.picture import check_matplotlib, draw
from risloc.command.results import CsvFile, JsonFile, Row, rows_of, table_head, table_line
from risloc.files import replacing
from risloc.geometry import position_of
from risloc.locating import RULES, Locator, load_model
from risloc.measurement_reader import MeasurementReader
from risloc.measurements import Measurements, Setup
from risloc.params import as_mapping, build
from risloc.progress import shown_progress

__all__ = ["locate"]

DRAWN = 1000  # sources in the picture
OUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    default="default",
    show_default=True,
    metavar="NAME|FOLDER",
    help="The network: 'default' or 'robust', which come with the package, or a folder of your own.",
)
@click.option(
    "--method",
    type=click.Choice(["hybrid", "nomp"]),
    default="hybrid",
    show_default=True,
    help="With the network, or Newtonised orthogonal matching pursuit, which fits every array.",
)
@click.option("--sources", type=click.IntRange(0, 64), metavar="K", help="The number of sources, where it is known.")
@click.option(
    "--k-rule",
    type=click.Choice([rule.replace("_", "-") for rule in RULES]),
    default="bic",
    show_default=True,
    help="How it is found where it is not: BIC, BIC with the noise level unknown, or the network's own rule.",
)
@click.option("--most", type=click.IntRange(1, 64), metavar="K", help="With nomp: the most sources to look for. [5]")
@click.option("--azimuth", type=(float, float), metavar="LOW HIGH", help="Where sources may lie [deg], for the file's.")
@click.option("--elevation", type=(float, float), metavar="LOW HIGH", help="The same [deg].")
@click.option("--distance", type=(float, float), metavar="LOW HIGH", help="The same [m].")
@click.option("--csv", "csv_path", type=OUT, help="Write one row a source.")
@click.option("--json", "json_path", type=OUT, help="Write one record a scene.")
@click.option("--png", "png_path", type=OUT, help=f"Draw the sources (the first {DRAWN}) from above and from the side.")
@click.option("--show", type=click.IntRange(0), default=10, show_default=True, metavar="N",
              help="Print the sources of the first N scenes.")  # fmt: skip
def locate(
    file: Path,
    checkpoint: str,
    method: str,
    sources: int | None,
    k_rule: str,
    most: int | None,
    azimuth: tuple[float, float] | None,
    elevation: tuple[float, float] | None,
    distance: tuple[float, float] | None,
    csv_path: Path | None,
    json_path: Path | None,
    png_path: Path | None,
    show: int,
) -> None:
    """Locate the sources in FILE, measurements in HDF5 (docs/command_line.md has the layout).

    Positions are metres from the surface's centre, x and y along it and z in front, with standard deviations from the
    Fisher information. A file without noise_var has it estimated, scene by scene.

    \b
    Examples:
      risloc locate room.h5
      risloc locate room.h5 --csv sources.csv --json sources.json --png sources.png
      risloc locate room.h5 --sources 2                 the number is known
      risloc locate room.h5 --method nomp --most 8      any array, no network
      risloc locate room.h5 --checkpoint robust --k-rule learnt
      risloc locate room.h5 --distance 1 4              nothing lies beyond 4 m
    """
    _check_options(file, method, sources, k_rule, most, (csv_path, json_path, png_path))
    if png_path is not None:
        check_matplotlib()
    with MeasurementReader(file) as reader, contextlib.ExitStack() as files:
        spans = {"azimuth_span_deg": azimuth, "elevation_span_deg": elevation, "distance_span_m": distance}
        network = load_model(checkpoint) if method == "hybrid" else None
        rule = sources if sources is not None else k_rule.replace("-", "_")
        setup = _within(reader.setup, {name: span for name, span in spans.items() if span is not None})
        locator = Locator(setup, reader.snapshots, reader.antennas, network, rule, most)
        how = f"hybrid, network {checkpoint}" if network is not None else "nomp"
        head = {
            "file": str(file),
            "method": how,
            "sources": rule,
            "noise": "given" if reader.has_noise else "estimated",
        }
        table = CsvFile(files.enter_context(_text(csv_path))) if csv_path is not None else None
        record = JsonFile(files.enter_context(_text(json_path)), head) if json_path is not None else None
        click.echo(
            f"{file}: {len(reader)} scenes, {setup.n_h} x {setup.n_v} elements, {setup.carrier_hz / 1e9:.4g} GHz, "
            f"M = {reader.antennas}, L = {reader.snapshots}; {how}, K {_words(rule)}, noise {head['noise']}"
        )
        click.echo(table_head())
        count, unresolved, kept, truth = 0, 0, list[Row](), list[np.ndarray]()
        with shown_progress(len(reader), "scenes", partial(click.echo, err=True)) as advance:
            for start in range(0, len(reader), locator.batch):
                part = reader.read(slice(start, min(start + locator.batch, len(reader))))
                found = locator.locate(part)
                scenes = rows_of(found, start)
                if table is not None:
                    table.add(scenes)
                if record is not None:
                    record.add(scenes, start, found.noise_var.tolist())
                for row in (row for rows in scenes for row in rows):
                    count, unresolved = count + 1, unresolved + (not row["resolved"])
                    if row["scene"] < show:
                        click.echo(table_line(row))
                    if len(kept) < DRAWN:
                        kept.append(row)
                if png_path is not None and len(kept) < DRAWN:
                    truth.append(_true_positions(part))
                advance(len(part))
        if record is not None:
            record.end()
        if png_path is not None:
            true = np.concatenate(truth) if truth else np.zeros((0, 3))
            draw(png_path, setup, kept, true, f"{file.name}: {count} sources in {len(reader)} scenes, {how}")
    more = f"; the table shows the first {show} scenes" if len(reader) > show else ""
    click.echo(f"{count} sources in {len(reader)} scenes, {unresolved} not resolved{more}")
    for path in (csv_path, json_path, png_path):
        if path is not None:
            click.echo(f"wrote {path}")


def _check_options(
    file: Path, method: str, sources: int | None, k_rule: str, most: int | None, outputs: tuple[Path | None, ...]
) -> None:
    named = [path.resolve() for path in (file, *outputs) if path is not None]
    if len(set(named)) < len(named):
        raise click.UsageError("FILE, --csv, --json, --png: expected different files, got one twice")
    if method == "nomp" and k_rule == "learnt" and sources is None:
        raise click.UsageError("--k-rule learnt: the rule is a network's own, expected --method hybrid")
    if method == "hybrid" and most is not None:
        raise click.UsageError("--most: a network has its own, expected --method nomp")
    if most is not None and sources is not None and sources > most:
        raise click.UsageError(f"--sources: expected at most --most = {most}, got {sources}")


def _within(setup: Setup, spans: dict[str, tuple[float, float]]) -> Setup:
    return build(Setup, as_mapping(setup) | spans, "option")


@contextlib.contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        yield file


def _words(rule: Any) -> str:
    return f"= {rule}" if isinstance(rule, int) else f"by {rule}"


def _true_positions(part: Measurements) -> np.ndarray:
    if part.truth is None:
        return np.zeros((0, 3))
    there = torch.arange(part.truth.location.shape[1]) < part.truth.count[:, None]
    return position_of(part.truth.location[there].double()).numpy()
