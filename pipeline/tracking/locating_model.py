"""The model that MLflow keeps of a run: measured scenes in, their sources out, as `risloc locate --json` writes them.

MLflow copies this file, the checkpoint and the package risloc into the model and runs it there, so that a model needs no
repository. `predict` takes a mapping, or a table with one in each row; docs/model.md has examples.

    y            [scene, snap, ant] or, of one scene, [snap, ant]
    H            [scene, ant, elem], or [ant, elem] for all
    codes        [scene, snap, elem], or [snap, elem] for all: integers with `code_bits`, else phasors of modulus 1
    noise_var    [scene], or one number; missing: it is estimated
    sources      the number of sources, or a rule that finds it: bic (as when it is missing), bic_noise or learnt
    setup        what is not the network's own: spans to search, or the array and carrier, which are then compared
    file         a file of measurements in place of all this but `sources`; not where the model is served

A complex array is one of complex numbers, or of real ones with a last axis of 2: real and imaginary part.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from risloc.config import as_mapping, build
from risloc.io.measurement_checks import MeasurementError, array_faults
from risloc.io.measurement_reader import MeasurementReader
from risloc.io.measurements import Measurements, Setup, setup_of
from risloc.learning.k_rules import BY_BIC
from risloc.learning.network import HybridNetwork
from risloc.locating.locator import Locator
from risloc.locating.networks import load_model
from risloc.locating.result_rows import records_of
from risloc.physics.codebook import codebook

__all__ = ["LocatingModel"]

_EXPECTED = "expected y, H and codes, or a file"
_SERVED = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # set by MLflow's scoring server


class LocatingModel(PythonModel):
    """Locates sources with the network of the artifact `checkpoint`."""

    network: HybridNetwork

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network."""
        self.network = load_model(Path(context.artifacts["checkpoint"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """A record a scene, numbered through all rows: that of `risloc locate --json`, with K and whether sigma^2 was given.

        Raises
        ------
        mlflow.exceptions.MlflowException
            The input is not what it must be; one line says where, what was expected and what to do.
        """
        try:
            if model_input.empty:
                raise ValueError(f"input: {_EXPECTED}, got neither; give them by name, as in {{'file': PATH}}")
            records: list[dict[str, Any]] = []
            for row in model_input.to_dict("records"):
                records += _located(self.network, row, len(records))
        except (OSError, TypeError, ValueError) as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return records


def _located(network: HybridNetwork, row: Mapping[str, Any], first: int) -> list[dict[str, Any]]:
    """The records of the scenes of one row, the first of which has number `first`."""
    given = {name: value for name, value in row.items() if value is not None}
    sources = _number_or_rule(given.pop("sources", BY_BIC))
    if "file" not in given:
        measured = _measured(network, given)
        _, snapshots, antennas = measured.y.shape
        locator = Locator(measured.setup, snapshots, antennas, network, sources)
        return _records(locator, _parts(measured, locator.batch), first)
    if _SERVED in os.environ:
        raise ValueError("file: expected y, H and codes: a served model does not read files of its host")
    if len(given) > 1:
        raise ValueError(f"file: expected it alone or with sources, but got {', '.join(given)} as well; remove them")
    with MeasurementReader(Path(given["file"])) as reader:
        locator = Locator(reader.setup, reader.snapshots, reader.antennas, network, sources)
        size = locator.batch
        parts = (reader.read(slice(start, min(start + size, len(reader)))) for start in range(0, len(reader), size))
        return _records(locator, parts, first)


def _records(locator: Locator, parts: Iterator[Measurements], first: int) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for part in parts:
        found = locator.locate(part)
        for record in records_of(found, first + len(records)):
            records.append({"scene": record["scene"], "K": len(record["sources"])} | record)
    return records


def _measured(network: HybridNetwork, given: Mapping[str, Any]) -> Measurements:
    """What was given by name as measurements, all of which have been looked at."""
    missing = [name for name in ("y", "H", "codes") if name not in given]
    if missing:
        raise ValueError(f"input: {_EXPECTED}, got no {' and no '.join(missing)}; add what is missing")
    y, noise_var = _complex("y", given["y"]), given.get("noise_var")
    try:
        measured = Measurements(
            setup=build(Setup, as_mapping(setup_of(network.scenario)) | given.get("setup", {}), "setup"),
            y=y[None] if y.ndim == 2 else y,
            codebook=_phasors(given),
            H=_complex("H", given["H"]),
            noise_var=None if noise_var is None else _array("noise_var", noise_var),
            truth=None,
        )
        for fault in array_faults(measured.y, measured.codebook, measured.H, measured.noise_var):
            raise MeasurementError(fault.words())
    except MeasurementError as error:
        raise ValueError(str(error).replace("codebook:", "codes:")) from None
    return measured


def _parts(measured: Measurements, size: int) -> Iterator[Measurements]:
    """The scenes, `size` at a time."""
    for start in range(0, len(measured), size):
        part = slice(start, start + size)
        noise_var = None if measured.noise_var is None else measured.noise_var[part]
        y, book, H = measured.y[part], measured.codebook[part], measured.H[part]
        yield replace(measured, y=y, codebook=book, H=H, noise_var=noise_var)


def _phasors(given: Mapping[str, Any]) -> Any:
    """The codes as complex numbers."""
    if "code_bits" not in given:
        return _complex("codes", given["codes"])
    codes, bits = _array("codes", given["codes"]), given["code_bits"]
    if bits not in range(1, 9):
        raise ValueError(f"code_bits: expected 1..8, got {bits!r}; omit it if codes are phasors")
    if codes.dtype.kind not in "iu" or not ((codes >= 0) & (codes < 2 ** int(bits))).all():
        raise ValueError(
            f"codes: expected integers in 0..{2 ** int(bits) - 1} (code_bits = {int(bits)}), got other values; correct code_bits, "
            "or omit it if codes are phasors"
        )
    return codebook(torch.from_numpy(codes.astype(np.uint8)), int(bits))


def _complex(name: str, value: Any) -> np.ndarray:
    """Complex numbers as they are; real ones as pairs."""
    array = _array(name, value)
    if array.dtype.kind == "c":
        return array
    if array.ndim == 0 or array.shape[-1] != 2:
        bits = ", or integers with code_bits" if name == "codes" else ""
        raise ValueError(
            f"{name}: expected complex numbers, or real ones with a last axis of 2 (real and imaginary part){bits}, got "
            f"{array.dtype} of shape {array.shape}"
        )
    return array[..., 0] + 1j * array[..., 1]


def _array(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got rows of different length ({error})") from None
    if array.dtype.kind not in "iufc":
        raise ValueError(f"{name}: expected an array of numbers, got {array.dtype}; convert it")
    return array


def _number_or_rule(sources: Any) -> Any:
    return int(sources) if isinstance(sources, str) and sources.isdecimal() else sources


set_model(LocatingModel())
