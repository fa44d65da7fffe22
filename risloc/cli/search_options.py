"""The options of every command that locates sources."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from risloc.estimation.echo_localiser import ECHOES
from risloc.io.reading_options import PILOTS
from risloc.io.reception import GAINS
from risloc.learning.k_rules import RULES, alternatives
from risloc.locating.locate_arguments import FITS, METHODS, NOISE

__all__ = ["search_options"]

Command = TypeVar("Command", bound=Callable[..., Any])
Span = tuple[float, float] | None
DEFAULT = "default"

_RULE = click.Choice([rule.replace("_", "-") for rule in RULES])


def _rule(text: str) -> str:
    """Accept the name also with an underscore, as in Python and params.yaml."""
    return _RULE.convert(text.replace("_", "-"), None, None)


_OPTIONS = (
    click.option(
        "--checkpoint",
        metavar="NAME|FOLDER",
        help="The network: 'default' or 'robust', which are part of the package, or the folder of a checkpoint. [the network "
        "'default', if --method hybrid or the K rule asks for one]",
    ),
    click.option(
        "--method",
        type=click.Choice(METHODS),
        help="nomp is Newtonised orthogonal matching pursuit, which also finds echoes; hybrid uses a network; music takes the "
        "peaks of classical MUSIC on the sample covariance as positions. [nomp, unless --checkpoint or the K rule asks for a "
        "network]",
    ),
    click.option("--sources", type=click.IntRange(0, 64), metavar="K", help="The number of sources, if it is known."),
    click.option(
        "--k-rule",
        type=_rule,
        metavar=f"[{'|'.join(_RULE.choices)}]",
        help=f"How to estimate the number of sources when --sources is not given: {alternatives(RULES)}. [{RULES[0]}]",
    ),
    click.option(
        "--most",
        type=click.IntRange(1, 64),
        metavar="K",
        help="The largest number of sources to search for, with nomp and music. [--sources, or 5]",
    ),
    click.option(
        "--noise",
        type=click.Choice(NOISE),
        default="auto",
        show_default=True,
        help="The noise variance: auto uses that of the file unless the data contradict it, given always uses it, and "
        "estimated estimates it from the data.",
    ),
    click.option(
        "--fit",
        type=click.Choice(FITS),
        default="conditional",
        show_default=True,
        help="The likelihood of the final fit: conditional takes the symbols as unknown, stochastic as Gaussian and "
        "independent between sources.",
    ),
    click.option(
        "--echoes",
        type=click.Choice(ECHOES),
        default="auto",
        show_default=True,
        help="Whether waves with the same symbols are a source and its echoes: auto takes them as sources where the symbols do "
        "not vary, always as echoes there too, and never looks for no echoes. Only nomp with --fit conditional finds echoes.",
    ),
    click.option(
        "--pilots",
        type=click.Choice(PILOTS),
        default="file",
        show_default=True,
        help="The symbols: file takes the pilots of the file, and unknown symbols if it has none; constant takes symbols that do "
        "not vary, up to one complex amplitude of each source.",
    ),
    click.option(
        "--unknown-gains",
        type=click.Choice(GAINS[1:]),
        help="Each antenna has an unknown complex gain, constant over the snapshots of a scene; needs known pilots.",
    ),
    click.option(
        "--static-path",
        is_flag=True,
        help="A part of the signal does not pass the surface and is the same for all codes; needs known pilots.",
    ),
    *(
        click.option(
            f"--{name}",
            type=(float, float),
            metavar="LOW HIGH",
            help=f"The search region in {name} [{unit}], instead of that of the file.",
        )
        for name, unit in (("azimuth", "deg"), ("elevation", "deg"), ("distance", "m"))
    ),
)


def search_options(command: Command) -> Command:
    """Add the options to a command.

    Parameters
    ----------
    command
        The command; it takes the options as keywords, which are the arguments of `risloc.cli.search_request.SearchRequest`.

    Returns
    -------
    Command
        The command with the options.
    """
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
