"""Which scenes are to be drawn: the options of every command that makes measurements, and the scenario that they ask for."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from risloc.cli.errors import CommandError
from risloc.cli.output_files import FileName
from risloc.config import ParamError, build
from risloc.scenes.preset_files import preset, preset_names, preset_purpose
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import SPLITS
from risloc.utils.yaml_reader import read_yaml

__all__ = ["PRESETS", "scenario_of", "scene_options"]

DEFAULT = "default"
Command = TypeVar("Command", bound=Callable[..., Any])
PRESETS = "\n\n".join(["Presets:", *(f"{name}: {preset_purpose(name)}" for name in preset_names())])
"""The end of a command's help: what each preset is for."""


def scene_options(preset_help: str) -> Callable[[Command], Command]:
    """Give a command the options: `name`, `params`, `snr` and `sources`, for `scenario_of`, and scenes, seed, split."""
    options = (
        click.option("--preset", "name", type=click.Choice(preset_names()), help=preset_help),
        click.option(
            "--params",
            type=FileName(dir_okay=False),
            help="A params.yaml whose section `scenario` says it instead.",
        ),
        click.option("--scenes", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="How many."),
        click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the random streams."),
        click.option(
            "--split",
            type=click.Choice(sorted(SPLITS)),
            default="test",
            show_default=True,
            help="Which streams: those of training are other ones.",
        ),
        click.option("--snr", type=float, metavar="DB", help="For the preset's span: one signal-to-noise ratio."),
        click.option(
            "--sources", type=click.IntRange(0), metavar="K", help="For the preset's span: one number of sources."
        ),
    )

    def give(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return give


def scenario_of(name: str | None, params: Path | None, snr: float | None, sources: int | None) -> Scenario:
    """The scenario of the params file or of preset `name`, of which one is given; of the preset `default` without.

    Raises
    ------
    CommandError
        There is no such file, or no scene of that scenario has that SNR or that many sources.
    click.UsageError
        Both are given.
    """
    scenario = _scenario(name, params)
    if snr is not None and not math.isfinite(snr):
        raise CommandError(f"--snr: expected a finite number, got {snr}; give one in dB")
    if sources is not None and sources > scenario.K_MAX:
        raise CommandError(
            f"--sources: expected at most K_MAX = {scenario.K_MAX} of {params or f'preset {name or DEFAULT}'}, got {sources}; "
            "ask for fewer, or for another scenario (--params)"
        )
    return scenario


def _scenario(name: str | None, params: Path | None) -> Scenario:
    if name is not None and params is not None:
        raise click.UsageError("--preset, --params: expected one of the two, got both")
    if params is None:
        return build(Scenario, preset(name or DEFAULT), "scenario")
    if not params.is_file():
        raise CommandError(f"--params {params}: expected a YAML file, there is none; mend the path")
    values = read_yaml(params)
    if "scenario" not in values:
        raise ParamError(f"{params}: expected a section `scenario`, got {', '.join(map(str, values)) or 'nothing'}")
    return build(Scenario, values["scenario"], f"{params}: scenario")
