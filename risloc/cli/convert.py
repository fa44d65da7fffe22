"""`risloc convert`: writes measurements of another program in the layout of risloc."""

import functools
from collections.abc import Iterator
from pathlib import Path

import click

from risloc.cli.errors import counted
from risloc.cli.output_files import FileName, targets_of
from risloc.cli.sandbox import measurement_steps, read_in_child
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import Measurements
from risloc.io.reading_options import ORDERS, Reading, axes_from
from risloc.utils.progress import shown_progress

__all__ = ["convert"]


@click.command()
@click.argument("source", metavar="IN", type=FileName())
@click.argument("file", metavar="OUT", type=FileName(dir_okay=False))
@click.option(
    "--axes",
    multiple=True,
    metavar="c|reversed|NAME=AXIS,...",
    help="The order of the axes, if the sizes do not tell it: c (numpy, C), reversed (MATLAB, Octave, Julia, Fortran), or that of "
    "one array, as in y=ant,snap,scene; can be repeated.",
)
@click.option(
    "--conjugate", is_flag=True, help="The file has the time dependence exp(-j w t): conjugate y, H and codes."
)
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default=ORDERS[0],
    show_default=True,
    help="The order of the elements: along x first (rows) or along y first (columns), -down with y falling.",
)
def convert(source: Path, file: Path, axes: tuple[str, ...], conjugate: bool, order: str) -> None:
    """Convert IN, measurements that another program has written, to the layout of risloc in OUT.

    IN is an HDF5 file (MATLAB 7.3, Octave, Julia, R, netCDF), a .mat file up to version 7 or a .npz file with the variables of the
    layout: y, H, codes, n_h, n_v, spacing_m, carrier_hz, code_bits and, optionally, noise_var and others. What was taken
    differently from how the file stores it is printed. docs/formats.md in the repository shows how to write such files.

    \b
    Examples:
      risloc convert recording.mat room.h5
      risloc convert recording.npz room.h5 --conjugate
      risloc convert recording.mat room.h5 --axes reversed --order columns-down
      risloc convert recording.h5 room.h5 --axes y=ant,snap,scene
    """
    target = targets_of({"IN": source}, {"OUT": file})["OUT"]
    every, named = axes_from(axes)
    reading = Reading(axes=every, named_axes=named, conjugate=conjugate, order=order)
    read_in_child(source, functools.partial(measurement_steps, reading=reading))
    with MeasurementReader(source, reading) as reader:
        bits = reader.code_bits if isinstance(reader.code_bits, int) else None
        write_measurements(target, len(reader), _parts(reader), bits)
        click.echo(
            f"wrote {file}: {counted(len(reader), 'scene')} of {source}{f', {reader.how}' if reader.how else ''}"
        )


def _parts(reader: MeasurementReader) -> Iterator[Measurements]:
    with shown_progress(len(reader), "scenes", functools.partial(click.echo, err=True)) as advance:
        for part in reader.parts():
            measurements = reader.read(part)
            yield measurements
            advance(len(measurements))
