"""The options that select scenes to simulate or to trace, and the scenario that they describe."""

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
"""The end of a command's help, which says what each preset is for."""


def scene_options(preset_help: str) -> Callable[[Command], Command]:
    """Make a decorator that adds the options to a command.

    Parameters
    ----------
    preset_help
        The help of ``--preset``.

    Returns
    -------
    Callable
        The decorator. The command takes `name`, `params`, `snr` and `sources`, the arguments of `scenario_of`, and `scenes`,
        `seed` and `split`.
    """
    options = (
        click.option("--preset", "name", type=click.Choice(preset_names()), help=preset_help),
        click.option(
            "--params",
            type=FileName(dir_okay=False),
            help="Use the section `scenario` of this YAML file instead of a preset.",
        ),
        click.option(
            "--scenes", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Number of scenes."
        ),
        click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Random seed."),
        click.option(
            "--split",
            type=click.Choice(sorted(SPLITS)),
            default="test",
            show_default=True,
            help="The data split; each split has its own random streams.",
        ),
        click.option(
            "--snr", type=float, metavar="DB", help="One signal-to-noise ratio instead of the preset's range."
        ),
        click.option(
            "--sources",
            type=click.IntRange(0),
            metavar="K",
            help="One number of sources instead of the preset's range.",
        ),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def scenario_of(name: str | None, params: Path | None, snr: float | None, sources: int | None) -> Scenario:
    """Return the scenario of a params file or of a preset.

    Parameters
    ----------
    name
        The name of a preset; None: "default", unless there is a params file.
    params
        A YAML file with a section `scenario`, or None.
    snr
        The SNR of every scene in dB, or None.
    sources
        The number of sources of every scene, or None.

    Returns
    -------
    Scenario
        The scenario, in which scenes of that SNR and number of sources are possible.

    Raises
    ------
    CommandError
        The file does not exist, or the scenario has no scene of that SNR or number of sources.
    UsageError
        Both a preset and a file were given.
    """
    scenario = _scenario(name, params)
    if snr is not None and not math.isfinite(snr):
        raise CommandError(f"--snr: expected a finite number in dB, got {snr}")
    if sources is not None and sources > scenario.K_MAX:
        raise CommandError(
            f"--sources: expected at most K_MAX = {scenario.K_MAX} of {params or f'preset {name or DEFAULT}'}, got {sources}; "
            "use fewer sources, or another scenario (--params)"
        )
    return scenario


def _scenario(name: str | None, params: Path | None) -> Scenario:
    if name is not None and params is not None:
        raise click.UsageError("--preset, --params: expected one of them, got both")
    if params is None:
        return build(Scenario, preset(name or DEFAULT), "scenario")
    if not params.is_file():
        raise CommandError(f"--params {params}: file not found")
    values = read_yaml(params)
    if "scenario" not in values:
        raise ParamError(f"{params}: expected a section `scenario`, got {', '.join(map(str, values)) or 'nothing'}")
    return build(Scenario, values["scenario"], f"{params}: scenario")
