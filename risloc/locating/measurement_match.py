"""Checks that measurements are of the type, the setup and the size that a locator was made for."""

import dataclasses
import os

from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurements import Measurements, Setup
from risloc.io.reception import Reception
from risloc.locating.locate_arguments import LocateError

__all__ = ["check_match", "not_measurements"]


def not_measurements(value: object) -> str:
    """Say what to do with something that is not `Measurements`: a path, a reader, or simulated scenes.

    Parameters
    ----------
    value
        What was passed.

    Returns
    -------
    str
        The message of an error.
    """
    if isinstance(value, str | os.PathLike):
        remedy = "read a file with MeasurementReader: with MeasurementReader(path) as file: locate(file.read(slice(0, len(file))))"
    elif isinstance(value, MeasurementReader):
        remedy = "read a part of it: locate(file.read(slice(0, len(file))))"
    else:
        remedy = "convert simulated scenes with measurements_of(scenario, scenes)"
    return f"measurements: expected Measurements, got {type(value).__name__}: {remedy}"


def check_match(measurements: object, setup: Setup, snapshots: int, antennas: int, reception: Reception) -> None:
    """Check that measurements match a locator; their spans may differ, because the search region is that of the locator.

    Parameters
    ----------
    measurements
        The scenes.
    setup
        The setup of the locator.
    snapshots
        Its number of snapshots L.
    antennas
        Its number of antennas M.
    reception
        What it knows of the receiver.

    Raises
    ------
    TypeError
        The argument is not `Measurements`.
    risloc.locating.locate_arguments.LocateError
        The setup, L, M or what is known of the receiver is another one.
    """
    if not isinstance(measurements, Measurements):
        raise TypeError(not_measurements(measurements))
    _, L, M = measurements.y.shape
    for name, expected, value in (("snapshots", snapshots, L), ("antennas", antennas, M)):
        if expected != value:
            raise LocateError(
                f"y: this locator was made for {expected} {name}, got {value}: make one for these measurements"
            )
    for field in dataclasses.fields(Setup):
        expected, value = getattr(setup, field.name), getattr(measurements.setup, field.name)
        if "span" not in field.name and expected != value:
            raise LocateError(
                f"setup: this locator was made for {field.name} = {expected}, got {value}: make one for these measurements"
            )
    if reception != measurements.reception:
        expected_words, words = (each.words() or "unknown symbols" for each in (reception, measurements.reception))
        raise LocateError(
            f"reception: this locator was made for {expected_words}, got {words}: make one with reception=measurements.reception"
        )
