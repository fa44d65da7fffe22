"""What the options of a command that locates sources ask for, and the locator that they describe."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from risloc.cli.errors import CommandError, counted
from risloc.config import ParamError, as_mapping, build
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurements import Setup
from risloc.io.reading_options import Reading
from risloc.learning.checkpoint import SHIPPED
from risloc.learning.k_rules import RULES, needs_network
from risloc.learning.network import HybridNetwork
from risloc.locating.arranged import arranged_echoes
from risloc.locating.locate_arguments import finds_echoes
from risloc.locating.locator import Locator
from risloc.locating.networks import load_model

__all__ = ["SearchRequest"]

Span = tuple[float, float] | None
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """The values of the options.

    Parameters
    ----------
    checkpoint
        ``--checkpoint``, or None.
    method
        ``--method``, or None.
    sources
        ``--sources``, or None.
    k_rule
        ``--k-rule``, or None.
    most
        ``--most``, or None.
    noise
        ``--noise``.
    fit
        ``--fit``.
    echoes
        ``--echoes``.
    pilots
        ``--pilots``.
    unknown_gains
        ``--unknown-gains``, or None.
    static_path
        ``--static-path``.
    azimuth, elevation
        The search region in degrees, or None.
    distance
        The search region in metres, or None.

    Raises
    ------
    UsageError
        Options contradict each other, or an option has no effect.
    """

    checkpoint: str | None
    method: str | None
    sources: int | None
    k_rule: str | None
    most: int | None
    noise: str
    fit: str
    echoes: str
    pilots: str
    unknown_gains: str | None
    static_path: bool
    azimuth: Span
    elevation: Span
    distance: Span

    def __post_init__(self) -> None:
        if self.k_rule is not None and self.sources is not None:
            raise click.UsageError(
                "--k-rule, --sources: expected one of them, got both; a known number of sources needs no rule"
            )
        without_network = self.method in ("nomp", "music")
        if without_network and self.checkpoint is not None:
            raise click.UsageError(f"--checkpoint: {str(self.method).upper()} uses no network; use --method hybrid")
        if without_network and needs_network(self.rule):
            raise click.UsageError(f"--k-rule {self.k_rule}: this rule is part of a network; use --method hybrid")
        if self.network is not None and self.most is not None:
            raise click.UsageError("--most: a network has its own limit; use --method nomp or music")
        if self.echoes == "always" and not self._knows_echoes:
            raise click.UsageError(
                "--echoes always: only NOMP with --fit conditional finds echoes; use --method nomp, or --echoes auto"
            )
        if self.most is not None and self.sources is not None and self.sources > self.most:
            raise click.UsageError(f"--sources: expected at most --most = {self.most}, got {self.sources}")

    @property
    def rule(self) -> "int | str":
        """The number of sources, or the rule that estimates it."""
        return self.sources if self.sources is not None else (self.k_rule or RULES[0]).replace("-", "_")

    @property
    def network(self) -> str | None:
        """The name or the folder of the network that the options ask for; None if they ask for none."""
        asked = self.method == "hybrid" or self.checkpoint is not None or needs_network(self.rule)
        return (self.checkpoint or DEFAULT) if asked else None

    @property
    def searched_echoes(self) -> str:
        """``--echoes``, or "never" for a method or a fit that finds none."""
        return self.echoes if self._knows_echoes else "never"

    @property
    def reading(self) -> Reading:
        """What the options add to what the file says of the receiver."""
        return Reading(pilots=self.pilots, unknown_gains=self.unknown_gains or "none", static_path=self.static_path)

    def how(self, reader: MeasurementReader) -> str:
        """Describe the method.

        Parameters
        ----------
        reader
            The open file.

        Returns
        -------
        str
            The method in words.
        """
        if self.network is not None:
            return f"hybrid, network {self.network}"
        echoes = "" if arranged_echoes(reader.reception, self.searched_echoes) == "never" else " with echoes"
        return f"{(self.method or 'nomp').upper()}{echoes}"

    @property
    def _knows_echoes(self) -> bool:
        return self.network is None and finds_echoes(self.method or "nomp", self.fit)

    def noise_words(self, reader: MeasurementReader) -> str:
        """Return whether sigma^2 is "given" or "estimated".

        Parameters
        ----------
        reader
            The open file.

        Returns
        -------
        str
            One of the two words.
        """
        return "given" if reader.has_noise and self.noise != "estimated" else "estimated"

    def describe(self, reader: MeasurementReader) -> str:
        """Describe the setup of the file and how its sources are located.

        Parameters
        ----------
        reader
            The open file.

        Returns
        -------
        str
            One line.
        """
        setup, known, reception = reader.setup, isinstance(self.rule, int), reader.reception.words()
        return (
            f"{counted(len(reader), 'scene')}, {setup.n_h} x {setup.n_v} elements, {setup.carrier_hz / 1e9:.4g} GHz, "
            f"M = {reader.antennas}, L = {reader.snapshots}{f', {reception}' if reception else ''}; {self.how(reader)}, K {'=' if known else 'by'} {self.rule}, "
            f"noise {self.noise_words(reader)}"
        )

    def locator(self, reader: MeasurementReader) -> Locator:
        """Make the locator for the scenes of the file.

        Parameters
        ----------
        reader
            The open file.

        Returns
        -------
        Locator
            The locator.

        Raises
        ------
        CommandError
            The network does not exist, or ``--noise given`` was given and the file has no noise_var.
        risloc.learning.checkpoint.CheckpointError
            The checkpoint is invalid.
        risloc.locating.locate_arguments.LocateError
            The network does not fit the file, or there are too many sources for its measurements.
        risloc.config.ParamError
            A span is invalid.
        """
        network = None if self.network is None else _network(self.network)
        setup = self._setup(reader)
        if self.noise == "given" and not reader.has_noise:
            raise CommandError("--noise given: the file has no noise_var; use --noise auto, which estimates it")
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
            echoes=self.echoes,
            reception=reader.reception,
        )

    def head(self, file: Path, reader: MeasurementReader, notes: Sequence[str]) -> dict[str, Any]:
        """Return the head of the JSON output.

        Parameters
        ----------
        file
            The name of the file.
        reader
            The open file.
        notes
            How the file was read and what the locator decided about the setup.

        Returns
        -------
        dict
            The entries.
        """
        return {
            "file": str(file),
            "method": self.how(reader) if self.network is not None else self.method or "nomp",
            "echoes": arranged_echoes(reader.reception, self.searched_echoes),
            "sources": self.rule,
            "noise": self.noise_words(reader),
            "fit": self.fit,
            "reference": reader.setup.reference,
            "notes": list(notes),
        }

    def _setup(self, reader: MeasurementReader) -> Setup:
        """Return the setup of the file with the spans of the options."""
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
        raise CommandError(f"--checkpoint {name}: no such network; expected {known}")
    return load_model(name)
