"""Write measurement files: an HDF5 file of checked arrays is written completely or not at all."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, SupportsIndex

import h5py
import numpy as np
import torch
from torch import Tensor

from risloc.io.measurement_checks import (
    MODULUS,
    MeasurementError,
    array_faults,
    echo_faults,
    truth_faults,
)
from risloc.io.measurements import FORMAT, VERSION, Measurements, Setup
from risloc.physics.codebook import codebook, codes_of
from risloc.utils.argument_checks import whole
from risloc.utils.atomic_files import replacing

__all__ = ["write_measurements"]


def write_measurements(
    path: "str | os.PathLike[str]",
    scenes: SupportsIndex,
    parts: "Iterable[Measurements] | Measurements",
    code_bits: "SupportsIndex | None" = None,
) -> None:
    """Write scenes, given in consecutive parts, to a file, completely or not at all.

    Parameters
    ----------
    path
        The file.
    scenes
        The total number of scenes.
    parts
        The measurements, or an iterable of parts, of which memory holds one at a time; all parts have the setup, shapes and
        fields of the first one.
    code_bits
        Store codes as integers of this many bits; None stores complex phasors.

    Raises
    ------
    ValueError
        The number of scenes is not `scenes`, or the parts differ in setup, shapes or fields.
    MeasurementError
        A part is not Measurements or has invalid values, or the codes do not have `code_bits` bits.
    risloc.utils.atomic_files.DiskFullError
        There is no space left; no file remains.
    """
    total = whole("scenes", scenes, 1)
    bits = None if code_bits is None else whole("code_bits", code_bits, 1, 8)
    done, first, shapes = 0, None, dict[str, tuple[int, ...]]()
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w", track_order=False) as file:
        for part in (parts,) if isinstance(parts, Measurements) else parts:
            arrays = _arrays(part, bits, done)
            rows = {name: array.shape[1:] for name, array in arrays.items()}
            if first is None:
                first, shapes = part, rows
                _write_attributes(file, part.setup, bits)
                for name, array in arrays.items():
                    file.create_dataset(name, (total, *array.shape[1:]), array.dtype, track_times=False)
            if part.setup != first.setup or done + len(part) > total:
                raise ValueError(
                    f"parts: expected {total} scenes of one setup, got more scenes or another setup; correct `scenes` or the parts"
                )
            if rows != shapes:
                raise ValueError(
                    f"parts: expected the shapes of the first part, {shapes} for each scene, got {rows}; correct the parts"
                )
            for name, array in arrays.items():
                file[name][done : done + len(part)] = array
            done += len(part)
        if done != total:
            raise ValueError(f"parts: expected {total} scenes, got {done}; correct `scenes` or the parts")


def _write_attributes(file: h5py.File, setup: Setup, code_bits: int | None) -> None:
    file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
    for field in dataclasses.fields(setup):
        value: Any = getattr(setup, field.name)
        if value is not None:
            file.attrs[field.name] = value
    if code_bits is not None:
        file.attrs["code_bits"] = code_bits


def _arrays(part: Measurements, code_bits: int | None, first: int) -> dict[str, np.ndarray]:
    """Return the arrays to write of a part whose first scene has the number `first`."""
    if not isinstance(part, Measurements):
        raise MeasurementError(
            f"parts: expected Measurements, got {type(part).__name__}; measurements_of(scenario, scenes) makes them"
        )
    faults, truth = array_faults(part.y, part.codebook, part.H, part.noise_var), part.truth
    if truth is not None:
        faults += truth_faults(truth.location, truth.power, truth.count)
        faults += [] if truth.echoes is None else echo_faults(truth.echoes.location, truth.echoes.gain)
    for fault in faults:
        raise MeasurementError(fault.words(range(first, first + len(part))))
    tensors = {"y": part.y, "H": part.H, "codes": part.codebook if code_bits is None else _codes(part, code_bits)}
    if part.noise_var is not None:
        tensors["noise_var"] = part.noise_var
    if truth is not None:
        count = truth.count.to(torch.uint8)
        tensors |= {"truth/location": truth.location, "truth/power": truth.power, "truth/count": count}
        if (echoes := truth.echoes) is not None:
            tensors |= {"truth/echoes/location": echoes.location, "truth/echoes/gain": echoes.gain}
    return {name: tensor.resolve_conj().contiguous().numpy() for name, tensor in tensors.items()}


def _codes(part: Measurements, bits: int) -> Tensor:
    codes = codes_of(part.codebook, bits)
    if (codebook(codes, bits) - part.codebook).abs().max() > MODULUS:
        raise MeasurementError(
            f"code_bits: expected codes of {bits} bits, exp(2j pi q / {2**bits}), got other phases; use more bits, or code_bits=None"
        )
    return codes
