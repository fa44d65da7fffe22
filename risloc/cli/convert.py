"""`risloc convert`: writes measurements of another program in the layout of risloc."""

import functools
from collections.abc import Iterator
from pathlib import Path

import click

from risloc.cli.errors import CommandError, counted
from risloc.cli.output_files import FileName, targets_of
from risloc.cli.sandbox import measurement_steps, read_in_child
from risloc.io.measurement_contents import kind_of
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import Measurements
from risloc.io.openris import BITS, openris_measurements, read_openris
from risloc.io.reading_options import ORDERS, PILOTS, Reading, axes_from
from risloc.io.reception import GAINS
from risloc.utils.progress import shown_progress

__all__ = ["convert"]

KINDS = ("auto", "openris", "sigmf", "mat", "npz")
FREQUENCY_HZ = 3.58e9
"""The frequency for which the panel of OpenRIS was made."""


@click.command()
@click.argument("source", metavar="IN", type=FileName())
@click.argument("file", metavar="OUT", type=FileName(dir_okay=False))
@click.option(
    "--from",
    "kind",
    type=click.Choice(KINDS),
    default=KINDS[0],
    show_default=True,
    help="What IN is; auto finds HDF5, mat and npz by the contents and sigmf by the name.",
)
@click.option(
    "--with",
    "beside",
    type=FileName(dir_okay=False, exists=True),
    help="Another file with the variables that IN lacks, such as H and codes for a SigMF recording.",
)
@click.option(
    "--axes",
    multiple=True,
    metavar="c|reversed|NAME=AXIS,...",
    help="The order of the axes, if the sizes do not tell it: c (numpy, C), reversed (MATLAB, Octave, Julia, Fortran), or that of "
    "one array, as in y=ant,snap,scene; can be repeated.",
)
@click.option("--conjugate", is_flag=True, help="IN has the time dependence exp(-j w t): conjugate y, H and codes.")
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default=ORDERS[0],
    show_default=True,
    help="The order of the elements: along x first (rows) or along y first (columns), -down with y falling.",
)
@click.option("--pilots", type=click.Choice(PILOTS), default=PILOTS[0], show_default=True,
              help="The symbols: the pilots of IN, if it has any, or symbols that do not vary.")  # fmt: skip
@click.option("--unknown-gains", type=click.Choice(GAINS[1:]), help="Each antenna has an unknown complex gain.")
@click.option("--static-path", is_flag=True, help="A part of the signal does not pass the surface.")
@click.option("--transmitter", type=int, metavar="DEG", help="With --from openris: the angle of the transmitter.")
@click.option("--frequency", type=float, metavar="HZ", help="With --from openris: the frequency. [3.58e9]")
def convert(
    source: Path,
    file: Path,
    kind: str,
    beside: Path | None,
    axes: tuple[str, ...],
    conjugate: bool,
    order: str,
    pilots: str,
    unknown_gains: str | None,
    static_path: bool,
    transmitter: int | None,
    frequency: float | None,
) -> None:
    """Convert IN, measurements that another program has written, to the layout of risloc in OUT.

    IN is an HDF5 file (MATLAB 7.3, Octave, Julia, R, netCDF), a .mat file up to version 7 or a .npz file with the variables of the
    layout: y, H, codes, n_h, n_v, spacing_m, carrier_hz, code_bits and, optionally, noise_var and others. A SigMF recording has the
    snapshots alone. What was taken differently from how the file stores it is printed. docs/formats.md in the repository shows how
    to write such files.

    \b
    Examples:
      risloc convert recording.mat room.h5
      risloc convert recording.npz room.h5 --conjugate
      risloc convert recording.mat room.h5 --axes reversed --order columns-down
      risloc convert recording.h5 room.h5 --axes y=ant,snap,scene
      risloc convert recording.sigmf-meta room.h5 --with surface.npz
      risloc convert measurements/ff_singletile room.h5 --from openris --transmitter 120 --with columns.csv
    """
    target = targets_of({"IN": source, "--with": beside}, {"OUT": file})["OUT"]
    if kind == "openris":
        if axes or conjugate or order != ORDERS[0] or pilots != PILOTS[0] or unknown_gains or static_path:
            raise click.UsageError(
                "--axes, --conjugate, --order, --pilots, --unknown-gains, --static-path: they have no effect with --from openris; "
                "leave them out"
            )
        carrier = _openris(source, target, beside, transmitter, frequency)
        click.echo(f"wrote {file}: 1 scene of {source}, transmitter at {transmitter} degrees, {carrier / 1e9:g} GHz")
        return
    if transmitter is not None or frequency is not None:
        raise click.UsageError("--transmitter, --frequency: they need --from openris; add it")
    every, named = axes_from(axes)
    reading = Reading(axes=every, named_axes=named, conjugate=conjugate, order=order, beside=beside, pilots=pilots,
                      unknown_gains=unknown_gains or GAINS[0], static_path=static_path)  # fmt: skip
    read_in_child(source, functools.partial(measurement_steps, reading=reading))
    with MeasurementReader(source, reading) as reader:
        _check_kind(source, kind)
        bits = reader.code_bits if isinstance(reader.code_bits, int) else None
        write_measurements(target, len(reader), _parts(reader), bits)
        if reader.unknown:
            words = f"unknown names were left out: {', '.join(reader.unknown)}; check their spelling"
            click.echo(f"risloc: warning: {source}: {words}", err=True)
        click.echo(
            f"wrote {file}: {counted(len(reader), 'scene')} of {source}{f', {reader.how}' if reader.how else ''}"
        )


def _check_kind(source: Path, kind: str) -> None:
    found = kind_of(source)
    if kind not in ("auto", found) and (kind, found) != ("mat", "hdf5"):  # as MATLAB 7.3 writes
        raise CommandError(f"{source}: expected --from {found}, got --from {kind}; correct it, or leave it out")


def _openris(
    source: Path, target: Path, beside: Path | None, transmitter: int | None, frequency: float | None
) -> float:
    """Write the scene of a transmitter; return its frequency."""
    if transmitter is None:
        raise click.UsageError(
            "--from openris: expected the angle of the transmitter; give it with --transmitter, such as 120"
        )
    recording = read_openris(source, transmitter, beside)
    measurements = openris_measurements(recording, FREQUENCY_HZ if frequency is None else frequency)
    write_measurements(target, 1, measurements, BITS)
    return measurements.setup.carrier_hz


def _parts(reader: MeasurementReader) -> Iterator[Measurements]:
    with shown_progress(len(reader), "scenes", functools.partial(click.echo, err=True)) as advance:
        for part in reader.parts():
            measurements = reader.read(part)
            yield measurements
            advance(len(measurements))
