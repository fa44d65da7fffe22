"""Import the measurements of the OpenRIS panel: a network analyser's transmission over a panel of 16 x 16 one-bit elements.

The transmitter stands still on a circle of 8.3 m around the panel; receivers stand every 3 degrees on the same circle, and the panel
takes 11 configurations, in which each column of elements has one state. Angles are from the panel's x axis, so that 90 degrees is
its normal: azimuth = 90 degrees - angle. Both come as the folder of CSV files that the authors publish, `tx_120_VV/rx_45/3.csv`, or
as a .npz file with the arrays `tx_120_VV` [rx, code, freq], `tx_120_VV_rx_deg`, `tx_120_VV_columns` [code, column] and `freq_hz`.

The receivers become the antennas of one scene, with a constant pilot, unknown gains and a static path. A range of 8 m is far beyond
what the curvature over such a panel tells: the azimuth of the transmitter is found, its distance is not.

Axes: rx (receiver), code (configuration), freq, column.
"""

import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from risloc.io.array_variables import read_npz
from risloc.io.measurement_checks import MeasurementError
from risloc.io.measurements import Measurements, Setup
from risloc.io.safe_hdf5 import StoredError
from risloc.io.true_sources import Sources
from risloc.physics.codebook import codebook
from risloc.physics.geometry import SPEED_OF_LIGHT

__all__ = ["BITS", "Recording", "openris_measurements", "read_openris"]

BITS = 2
"""The bits of the codes: state 1 is +j, code 1; state 2 is -j, code 3."""

_SIZE, _PITCH, _RADIUS = 16, 0.03, 8.3
_DATA = "S34"  # the parameter of the network analyser from the transmitter to the receiver


@dataclass(frozen=True)
class Recording:
    """The transmission for one transmitter.

    Parameters
    ----------
    transmitter_deg
        Its angle.
    receiver_deg : [rx]
        The angles of the receivers.
    columns : [code, column]
        The states of the columns, 1 or 2.
    frequency_hz : [freq]
        The frequencies.
    values : [rx, code, freq]
        The transmission.
    """

    transmitter_deg: int
    receiver_deg: np.ndarray
    columns: np.ndarray
    frequency_hz: np.ndarray
    values: np.ndarray


def read_openris(path: Path, transmitter_deg: int, states: Path | None) -> Recording:
    """Read what was recorded for one transmitter with vertical polarisation.

    Parameters
    ----------
    path
        The .npz file, or the folder with `tx_120_VV` and others.
    transmitter_deg
        The angle of the transmitter.
    states
        The states of the columns for a folder, which does not hold them: 11 lines of 16 numbers, or the .npz file.

    Returns
    -------
    Recording

    Raises
    ------
    MeasurementError
        Something is missing or has another shape.
    """
    name = f"tx_{transmitter_deg}_VV"
    if path.is_dir():
        if states is None:
            raise MeasurementError(
                f"{path}: expected the states of the columns, which the folder does not hold; give them with --with FILE"
            )
        made = _from_folder(path, name, transmitter_deg, _states(states, name))
    else:
        made = _from_npz(path, name, transmitter_deg)
    shape = (len(made.receiver_deg), len(made.columns), len(made.frequency_hz))
    if (
        made.values.shape != shape
        or made.columns.shape[1:] != (_SIZE,)
        or not np.isin(made.columns, (1, 2)).all()
        or not shape[0]
    ):
        raise MeasurementError(
            f"{path}: {name}: expected [rx, code, freq] = {shape} and states 1 or 2 of {_SIZE} columns, got {made.values.shape} and "
            f"columns {made.columns.shape}; correct the file"
        )
    return made


def openris_measurements(recording: Recording, frequency_hz: float) -> Measurements:
    """Make measurements of one scene at the recorded frequency that is nearest: H is the spherical wave of each receiver.

    Parameters
    ----------
    recording
        The recording.
    frequency_hz
        The wanted frequency.

    Returns
    -------
    Measurements
        Without a noise variance; the truth is the transmitter.

    Raises
    ------
    MeasurementError
        The frequency is outside the recorded ones.
    """
    lowest, highest = float(recording.frequency_hz.min()), float(recording.frequency_hz.max())
    if not lowest <= frequency_hz <= highest:
        raise MeasurementError(
            f"frequency: expected one in {lowest:g}..{highest:g} Hz, which were recorded, got {frequency_hz:g}; correct --frequency"
        )
    index = int(np.abs(recording.frequency_hz - frequency_hz).argmin())
    carrier = float(recording.frequency_hz[index])
    offsets = (np.arange(_SIZE) - (_SIZE - 1) / 2) * _PITCH
    elements = np.stack([np.tile(offsets, _SIZE), offsets.repeat(_SIZE), np.zeros(_SIZE**2)], axis=-1)
    angle = np.deg2rad(recording.receiver_deg.astype(np.float64))
    receivers = _RADIUS * np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], axis=-1)
    distance = np.linalg.norm(receivers[:, None] - elements, axis=-1)
    H = np.exp(-2j * np.pi * carrier / SPEED_OF_LIGHT * distance) * _RADIUS / distance
    y = recording.values[:, :, index].T[None].astype(np.complex128)
    codes = np.tile(np.where(recording.columns == 1, 1, 3), (1, _SIZE))
    setup = Setup(
        n_h=_SIZE, n_v=_SIZE, spacing_m=_PITCH, carrier_hz=carrier, reference="centre", azimuth_span_deg=(-85.0, 85.0),
        elevation_span_deg=(0.0, 0.0), distance_span_m=(1.0, 20.0),
    )  # fmt: skip
    place = [[[math.radians(90 - recording.transmitter_deg), 0.0, _RADIUS]]]
    power = np.full((1, 1), (np.abs(y) ** 2).mean() / len(elements))
    truth = Sources(location=np.array(place), power=power, count=np.array([1]))
    return Measurements(
        setup=setup, y=y, codebook=codebook(codes, BITS), H=H, noise_var=None, truth=truth, pilots=1,
        unknown_gains="antenna", static_path=True,
    )  # fmt: skip


def _from_npz(path: Path, name: str, transmitter_deg: int) -> Recording:
    arrays = _arrays(path)
    needed = ("freq_hz", f"{name}_rx_deg", f"{name}_columns", name)
    if missing := [each for each in needed if each not in arrays]:
        known = sorted(match[1] for each in arrays if (match := re.fullmatch(r"tx_(\d+)_VV", each)))
        raise MeasurementError(
            f"{path}: expected {', '.join(missing)}, got the transmitters {', '.join(known) or 'none'}; choose one of these"
        )
    frequency, receivers, columns, values = (arrays[each] for each in needed)
    return Recording(transmitter_deg, receivers, columns, frequency, values)


def _from_folder(path: Path, name: str, transmitter_deg: int, columns: np.ndarray) -> Recording:
    folder = path if path.name == name else path / name
    found = {int(each.name[3:]): each for each in folder.glob("rx_*") if re.fullmatch(r"rx_\d+", each.name)}
    receivers, values, frequency = list[int](), list[list[np.ndarray]](), np.zeros(0)
    for angle, receiver in sorted(found.items()):
        files = [receiver / f"{number}.csv" for number in range(1, len(columns) + 1)]
        if not all(file.is_file() for file in files):
            continue  # the transmitter stands there
        rows = [_from_csv(file) for file in files]
        frequency = rows[0][0]
        if any(not np.array_equal(row[0], frequency) for row in rows):
            raise MeasurementError(
                f"{receiver}: expected the same frequencies in each file, got others; correct the files"
            )
        receivers.append(angle)
        values.append([row[1] for row in rows])
    if not receivers or len({len(each) for row in values for each in row}) != 1:
        raise MeasurementError(
            f"{folder}: expected folders rx_0, rx_3, ... with {len(columns)} CSV files of the same frequencies, got others"
        )
    return Recording(transmitter_deg, np.array(receivers), columns, frequency, np.array(values))


def _from_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the frequencies and the transmission from a file of the network analyser, which has decibels and degrees."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    with contextlib.suppress(ValueError, StopIteration):
        start = next(number for number, line in enumerate(lines) if line.startswith("Freq(Hz)"))
        names = lines[start].split(",")
        used = [names.index(each) for each in ("Freq(Hz)", f"{_DATA}(DB)", f"{_DATA}(DEG)")]
        rows = [line.split(",") for line in lines[start + 1 :] if "," in line]
        frequency, decibels, degrees = np.array(
            [[float(row[column]) for column in used] for row in rows if len(row) == len(names)]
        ).T
        return frequency, 10 ** (decibels / 20) * np.exp(1j * np.deg2rad(degrees))
    raise MeasurementError(
        f"{path}: expected columns Freq(Hz), {_DATA}(DB), {_DATA}(DEG) of a network analyser, got others; correct the file"
    )


def _states(path: Path, name: str) -> np.ndarray:
    if path.suffix == ".npz":
        arrays = _arrays(path)
        if f"{name}_columns" not in arrays:
            raise MeasurementError(f"{path}: expected {name}_columns, got none; add it")
        return arrays[f"{name}_columns"]
    try:
        return np.loadtxt(path, delimiter="," if "," in path.read_text(encoding="utf-8") else None, ndmin=2)
    except (ValueError, OSError) as error:
        raise MeasurementError(
            f"{path}: expected a line of {_SIZE} states for each configuration, got something else ({error})"
        ) from None


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    try:
        return read_npz(path).arrays
    except StoredError as error:
        raise MeasurementError(f"{path}: {error}") from None
    except OSError as error:
        raise MeasurementError(f"{path}: cannot read it: {error.strerror}; correct the path") from None
