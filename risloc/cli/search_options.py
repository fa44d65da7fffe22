"""How sources are to be searched for: the options of every command that locates, and the locator that they ask for."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from risloc.cli.errors import CommandError, counted
from risloc.config import ParamError, as_mapping, build
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurements import Setup
from risloc.learning.checkpoint import SHIPPED
from risloc.learning.k_rules import RULES, alternatives, needs_network
from risloc.learning.network import HybridNetwork
from risloc.locating.locator import FITS, METHODS, NOISE, Locator, load_model, network_fault

__all__ = ["SearchOptions", "search_options"]

Command = TypeVar("Command", bound=Callable[..., Any])
Span = tuple[float, float] | None
DEFAULT = "default"

_RULE = click.Choice([rule.replace("_", "-") for rule in RULES])


def _rule(text: str) -> str:
    """Also with an underscore, as Python and params.yaml have it."""
    return _RULE.convert(text.replace("_", "-"), None, None)


_OPTIONS = (
    click.option(
        "--checkpoint",
        metavar="NAME|FOLDER",
        help="The network: 'default' or 'robust', which come with the package, or a folder of your own. [default]",
    ),
    click.option(
        "--method",
        type=click.Choice(METHODS),
        help="With the network; Newtonised orthogonal matching pursuit, which needs none; or classical MUSIC on the sample "
        "covariance, whose peaks are the positions and a fit from there says the rest. [hybrid where the network "
        "'default' is made for the setup, else nomp]",
    ),
    click.option(
        "--sources", type=click.IntRange(0, 64), metavar="K", help="The number of sources, where it is known."
    ),
    click.option(
        "--k-rule",
        type=_rule,
        metavar=f"[{'|'.join(_RULE.choices)}]",
        help=f"How it is found where it is not: {alternatives(RULES)}. [{RULES[0]}]",
    ),
    click.option(
        "--most",
        type=click.IntRange(1, 64),
        metavar="K",
        help="With nomp and music: the most sources to look for. [--sources, else 5]",
    ),
    click.option(
        "--noise",
        type=click.Choice(NOISE),
        default="auto",
        show_default=True,
        help="The noise variance of the file, the one estimated from the data, or the file's except where the data "
        "contradict it.",
    ),
    click.option(
        "--fit",
        type=click.Choice(FITS),
        default="conditional",
        show_default=True,
        help="The likelihood of the last fit: symbols unknown, or Gaussian and independent from source to source.",
    ),
    click.option(
        "--azimuth", type=(float, float), metavar="LOW HIGH", help="Where sources may lie [deg], for the file's."
    ),
    click.option("--elevation", type=(float, float), metavar="LOW HIGH", help="The same [deg]."),
    click.option("--distance", type=(float, float), metavar="LOW HIGH", help="The same [m]."),
)


def search_options(command: Command) -> Command:
    """Give a command the options; it takes them as keywords, for `SearchOptions`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What was asked for, as the options have it.

    Raises
    ------
    click.UsageError
        Options that contradict each other, or one that would do nothing beside the others.
    """

    checkpoint: str | None
    method: str | None
    sources: int | None
    k_rule: str | None
    most: int | None
    noise: str
    fit: str
    azimuth: Span
    elevation: Span
    distance: Span

    def __post_init__(self) -> None:
        if self.k_rule is not None and self.sources is not None:
            raise click.UsageError(
                "--k-rule, --sources: expected one of the two, got both; a number that is known needs no rule"
            )
        alone = self.method in ("nomp", "music")
        if alone and self.checkpoint is not None:
            raise click.UsageError(
                f"--checkpoint: {str(self.method).upper()} takes no network, expected --method hybrid"
            )
        if alone and needs_network(self.rule):
            raise click.UsageError(f"--k-rule {self.k_rule}: the rule is a network's own, expected --method hybrid")
        if not alone and self.most is not None:
            raise click.UsageError("--most: a network has its own, expected --method nomp or music")
        if self.most is not None and self.sources is not None and self.sources > self.most:
            raise click.UsageError(f"--sources: expected at most --most = {self.most}, got {self.sources}")

    @property
    def rule(self) -> "int | str":
        """The number of sources, or the rule that finds it."""
        return self.sources if self.sources is not None else (self.k_rule or RULES[0]).replace("-", "_")

    @property
    def how(self) -> str:
        """The method, in words."""
        return self.method if self.method in ("nomp", "music") else f"hybrid, network {self.checkpoint or DEFAULT}"

    def decided(self, reader: MeasurementReader) -> "tuple[SearchOptions, str | None]":
        """These with a method where none was named: NOMP, and a note, where the network `default` is not made for the file."""
        if self.method is not None or self.checkpoint is not None or needs_network(self.rule):
            return self, None
        fault = network_fault(load_model(DEFAULT), self._setup(reader))
        if fault is None:
            return self, None
        note = f"located by NOMP: the network {DEFAULT} is {fault}" if fault.startswith("made") else ""
        note = note or f"located by NOMP: the network {DEFAULT} {fault}"
        return dataclasses.replace(self, method="nomp"), note

    def noise_words(self, reader: MeasurementReader) -> str:
        """Where sigma^2 is from."""
        return "given" if reader.has_noise and self.noise != "estimated" else "estimated"

    def describe(self, reader: MeasurementReader) -> str:
        """The file's setup, and how its sources are located, in one line."""
        setup, known = reader.setup, isinstance(self.rule, int)
        return (
            f"{counted(len(reader), 'scene')}, {setup.n_h} x {setup.n_v} elements, {setup.carrier_hz / 1e9:.4g} GHz, "
            f"M = {reader.antennas}, L = {reader.snapshots}; {self.how}, K {'=' if known else 'by'} {self.rule}, "
            f"noise {self.noise_words(reader)}"
        )

    def locator(self, reader: MeasurementReader) -> Locator:
        """The locator for the file's scenes.

        Raises
        ------
        CommandError, risloc.learning.checkpoint.CheckpointError, risloc.locating.locator.LocateError, risloc.config.ParamError
            No such network, one that does not fit the file, or a span that is none.
        """
        network = None if self.method in ("nomp", "music") else _network(self.checkpoint or DEFAULT)
        setup = self._setup(reader)
        if self.noise == "given" and not reader.has_noise:
            raise CommandError("--noise given: expected a file with noise_var; take --noise auto, which estimates it")
        return Locator(
            setup,
            reader.snapshots,
            reader.antennas,
            network,
            self.rule,
            self.most,
            self.noise,
            self.fit,
            method=self.method,
        )

    def _setup(self, reader: MeasurementReader) -> Setup:
        """The file's setup with the spans that were asked for."""
        spans = {
            "azimuth_span_deg": self.azimuth,
            "elevation_span_deg": self.elevation,
            "distance_span_m": self.distance,
        }
        given = {name: span for name, span in spans.items() if span is not None}
        try:
            return build(Setup, as_mapping(reader.setup) | given, "option")
        except ParamError as error:
            raise ParamError(re.sub(r"^option[.: ]+([a-z]+)_span_(deg|m)\b", r"--\1", str(error))) from None


def _network(name: str) -> HybridNetwork:
    files = [Path(name) / part for part in ("config.json", "model.safetensors")]
    if name not in SHIPPED and not all(file.is_file() for file in files):
        known = f"{', '.join(SHIPPED)}, or a folder with config.json and model.safetensors"
        raise CommandError(f"--checkpoint {name}: expected {known}, got none of them; mend the name")
    return load_model(name)
