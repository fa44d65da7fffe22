"""`risloc simulate`: writes scenes of a preset or of a params file as measurements with their truth."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from risloc.cli.errors import counted
from risloc.cli.output_files import FileName, targets_of
from risloc.cli.scene_options import PRESETS, scenario_of, scene_options
from risloc.io.measurement_writer import LAYOUTS, write_measurements
from risloc.io.measurements import Measurements, measurements_of
from risloc.scenes.simulation import simulate as draw_scenes
from risloc.utils.progress import shown_progress

__all__ = ["simulate"]

BATCH = 256
_SMALLEST_BATCH = 32  # scenes simulated together, however large
_MOST_NUMBERS = 2**25  # in the largest array of a batch, approximately


@click.command(epilog=PRESETS)
@click.argument("file", type=FileName(dir_okay=False))
@scene_options("The scenario to simulate. [default]")
@click.option(
    "--layout",
    type=click.Choice(list(LAYOUTS)),
    default="risloc",
    show_default=True,
    help="matlab writes a .mat file of version 7.3, which MATLAB and Octave load.",
)
@click.option("--no-noise-var", is_flag=True, help="Do not write noise_var, as if it were unknown.")
@click.option("--no-truth", is_flag=True, help="Do not write the truth.")  # fmt: skip
def simulate(
    file: Path,
    name: str | None,
    params: Path | None,
    scenes: int,
    seed: int,
    split: str,
    snr: float | None,
    sources: int | None,
    layout: str,
    no_noise_var: bool,
    no_truth: bool,
) -> None:
    """Simulate scenes and write them to FILE as measurements, with the truth.

    The same options give the same scenes, whatever their number: the first ten of a hundred are those of --scenes 10.

    \b
    Examples:
      risloc simulate room.h5
      risloc simulate room.h5 --scenes 1000 --snr 10 --sources 2
      risloc simulate room.h5 --preset room_3g5 --seed 7
      risloc simulate room.h5 --params params.yaml --no-noise-var
      risloc simulate room.mat --layout matlab          for `load` in MATLAB or Octave
    """
    target = targets_of({"--params": params}, {"FILE": file})["FILE"]
    scenario = scenario_of(name, params, snr, sources)

    def parts() -> Iterator[Measurements]:
        with shown_progress(scenes, "scenes", partial(click.echo, err=True)) as advance:
            rows = max(scenario.snapshots, scenario.antennas)
            multiple = _MOST_NUMBERS // (rows * scenario.size) // _SMALLEST_BATCH * _SMALLEST_BATCH
            batch = max(_SMALLEST_BATCH, min(BATCH, multiple))
            for start in range(0, scenes, batch):
                stop = min(start + batch, scenes)
                drawn = draw_scenes(scenario, seed=seed, split=split, start=start, stop=stop, snr_db=snr, count=sources)
                part = measurements_of(scenario, drawn)
                if no_noise_var:
                    part = dataclasses.replace(part, noise_var=None)
                yield dataclasses.replace(part, truth=None) if no_truth else part
                advance(stop - start)

    write_measurements(target, scenes, parts(), scenario.code_bits, layout)
    click.echo(f"wrote {file}: {counted(scenes, 'scene')} of {name or params or 'default'}, seed {seed}, {split}")
