"""`risloc trace`: writes scenes of a preset in a ray-traced room as measurements with their truth."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from risloc.cli.errors import NOT_DONE, CommandError, counted
from risloc.cli.output_files import FileName, targets_of
from risloc.cli.scene_options import PRESETS, scenario_of, scene_options
from risloc.io.measurement_writer import write_measurements
from risloc.io.measurements import Measurements, measurements_of
from risloc.scenes.raytraced_simulation import check_traceable, simulate_in, trace_channel
from risloc.scenes.raytracer import RayTracerError
from risloc.scenes.room import MOST_REFLECTIONS, read_room, room_names
from risloc.utils.progress import shown_progress

__all__ = ["trace"]

BATCH = 64  # scenes per start of the ray tracer


@click.command(epilog=PRESETS)
@click.argument("file", type=FileName(dir_okay=False))
@click.option("--room", default="hall", show_default=True, metavar="NAME|FILE",
              help=f"A room of the package ({', '.join(room_names())}), or a YAML file that describes one.")  # fmt: skip
@click.option(
    "--depth",
    type=click.IntRange(0, MOST_REFLECTIONS),
    metavar="D",
    help="The largest number of reflections, instead of that of the room; 0 is line of sight.",
)
@scene_options("The scenario of surface, carrier and sources. [default]")
def trace(
    file: Path,
    room: str,
    depth: int | None,
    name: str | None,
    params: Path | None,
    scenes: int,
    seed: int,
    split: str,
    snr: float | None,
    sources: int | None,
) -> None:
    """Ray-trace scenes in a room and write them to FILE as measurements, with the truth.

    Sources, codes and symbols are those of risloc simulate with the same options. A ray tracer computes the channel H and the
    waves from the sources to the surface, by line of sight and by reflections from the walls. It needs sionna-rt (pip install
    'risloc[channels]') and LLVM 19 (package libllvm19 in Debian), and takes about a second per source with three reflections.

    \b
    Examples:
      risloc trace room.h5
      risloc trace room.h5 --depth 0 --snr 20             line of sight only
      risloc trace room.h5 --room hall.yaml --scenes 100 --sources 2
    """
    room_file = None if room in room_names() else Path(room)
    target = targets_of({"--params": params, "--room": room_file}, {"FILE": file})["FILE"]
    if room_file is not None and not room_file.is_file():
        raise CommandError(f"--room {room}: no such room; expected {', '.join(room_names())}, or a YAML file")
    scenario, place = scenario_of(name, params, snr, sources), read_room(room)
    if depth is not None:
        place = dataclasses.replace(place, max_depth=depth)
    check_traceable(place, scenario)

    def parts() -> Iterator[Measurements]:
        H = trace_channel(place, scenario.surface.array)[-1]
        with shown_progress(scenes, "scenes", partial(click.echo, err=True)) as advance:
            for start in range(0, scenes, BATCH):
                stop = min(start + BATCH, scenes)
                drawn = simulate_in(
                    place, H, scenario, seed=seed, split=split, start=start, stop=stop, snr_db=snr, count=sources
                )
                yield measurements_of(scenario, drawn)
                advance(stop - start)

    try:
        write_measurements(target, scenes, parts(), scenario.code_bits)
    except RayTracerError as error:
        raise CommandError(str(error), NOT_DONE) from None
    click.echo(
        f"wrote {file}: {counted(scenes, 'scene')} of {name or params or 'default'} in {room}, at most "
        f"{counted(place.max_depth, 'reflection')}, seed {seed}, {split}"
    )
