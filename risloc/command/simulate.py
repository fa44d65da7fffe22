"""`risloc simulate`: scenes of a preset, or of a params file, as measurements with their truth."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from risloc.measurements import Measurements, measurements_of, write_measurements
from risloc.params import ParamError, build, read_yaml
from risloc.preset_files import preset, preset_names
from risloc.progress import shown_progress
from risloc.scene import Scenario
from risloc.simulation import SPLITS
from risloc.simulation import simulate as draw_scenes

__all__ = ["scenario_of", "simulate"]

BATCH = 256
_TOGETHER = 32  # scenes that are drawn together whatever is asked for
_AT_ONCE = 2**25  # numbers of a batch's largest array, about


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--preset", "name", type=click.Choice(preset_names()), help="The world to draw from. [default]")
@click.option(
    "--params",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A params.yaml whose section `scenario` says it instead.",
)
@click.option("--scenes", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="How many.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the random streams.")
@click.option(
    "--split",
    type=click.Choice(sorted(SPLITS)),
    default="test",
    show_default=True,
    help="Which streams: those of training are other ones.",
)
@click.option("--snr", type=float, metavar="DB", help="For the preset's span: one signal-to-noise ratio.")
@click.option("--sources", type=click.IntRange(0), metavar="K", help="For the preset's span: one number of sources.")
@click.option("--no-noise-var", is_flag=True, help="Leave noise_var out, as if nobody knew it.")
@click.option("--no-truth", is_flag=True, help="Leave the truth out.")  # fmt: skip
def simulate(
    file: Path,
    name: str | None,
    params: Path | None,
    scenes: int,
    seed: int,
    split: str,
    snr: float | None,
    sources: int | None,
    no_noise_var: bool,
    no_truth: bool,
) -> None:
    """Draw scenes and write them to FILE as measurements, with the truth beside them.

    The same options give the same scenes, however many: the first ten of a hundred are the ten.

    \b
    Examples:
      risloc simulate room.h5
      risloc simulate room.h5 --scenes 1000 --snr 10 --sources 2
      risloc simulate room.h5 --preset room_3g5 --seed 7
      risloc simulate room.h5 --params params.yaml --no-noise-var
    """
    if name is not None and params is not None:
        raise click.UsageError("--preset, --params: expected one of the two, got both")
    scenario = scenario_of(name or "default", params)

    def parts() -> Iterator[Measurements]:
        with shown_progress(scenes, "scenes", partial(click.echo, err=True)) as advance:
            rows = max(scenario.snapshots, scenario.antennas)
            batch = max(_TOGETHER, min(BATCH, _AT_ONCE // (rows * scenario.size) // _TOGETHER * _TOGETHER))
            for start in range(0, scenes, batch):
                stop = min(start + batch, scenes)
                drawn = draw_scenes(scenario, seed=seed, split=split, start=start, stop=stop, snr_db=snr, count=sources)
                part = measurements_of(scenario, drawn)
                if no_noise_var:
                    part = dataclasses.replace(part, noise_var=None)
                yield dataclasses.replace(part, truth=None) if no_truth else part
                advance(stop - start)

    write_measurements(file, scenes, parts(), scenario.code_bits)
    click.echo(f"wrote {file}: {scenes} scenes of {name or params or 'default'}, seed {seed}, {split}")


def scenario_of(name: str, params: Path | None) -> Scenario:
    """The scenario of the params file, where there is one, or of preset `name`."""
    if params is None:
        return build(Scenario, preset(name), "scenario")
    values = read_yaml(params)
    if "scenario" not in values:
        raise ParamError(f"{params}: expected a section `scenario`, got {', '.join(map(str, values)) or 'nothing'}")
    return build(Scenario, values["scenario"], f"{params}: scenario")
