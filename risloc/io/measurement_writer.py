"""Write measurement files: an HDF5 file of checked arrays is written completely or not at all."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from risloc.io.matlab_file import MatlabFile
from risloc.io.measurement_checks import (
    MODULUS,
    MeasurementError,
    array_faults,
    echo_faults,
    truth_faults,
)
from risloc.io.measurements import FORMAT, VERSIONS, Measurements
from risloc.io.reception import reception_faults
from risloc.io.risloc_file import RislocFile
from risloc.physics.codebook import codebook, codes_of
from risloc.utils.argument_checks import whole
from risloc.utils.atomic_files import replacing

__all__ = ["LAYOUTS", "write_measurements"]

LAYOUTS: "dict[str, type[RislocFile] | type[MatlabFile]]" = {"risloc": RislocFile, "matlab": MatlabFile}
"""What writes a file, by the name of its layout."""


def write_measurements(
    path: "str | os.PathLike[str]",
    scenes: SupportsIndex,
    parts: "Iterable[Measurements] | Measurements",
    code_bits: "SupportsIndex | None" = None,
    layout: str = "risloc",
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
    layout
        "risloc", or "matlab" for a .mat file of version 7.3, which MATLAB and Octave load.

    Raises
    ------
    ValueError
        The layout is another one, the number of scenes is not `scenes`, or the parts differ in setup, shapes or fields.
    MeasurementError
        A part is not Measurements or has invalid values, or the codes do not have `code_bits` bits.
    risloc.utils.atomic_files.DiskFullError
        There is no space left; no file remains.
    """
    total = whole("scenes", scenes, 1)
    bits = None if code_bits is None else whole("code_bits", code_bits, 1, 8)
    if layout not in LAYOUTS:
        raise ValueError(f"layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    done, first, shapes = 0, None, dict[str, tuple[int, ...]]()
    with replacing(Path(path)) as temporary, LAYOUTS[layout](temporary) as file:
        for part in (parts,) if isinstance(parts, Measurements) else parts:
            arrays = _arrays(part, bits, done)
            rows = {name: array.shape[1:] for name, array in arrays.items()}
            if first is None:
                first, shapes = part, rows
                _write_values(file, part, bits)
                for name, array in arrays.items():
                    file.create(name, (total, *array.shape[1:]), array.dtype)
            if (part.setup, part.reception) != (first.setup, first.reception) or done + len(part) > total:
                raise ValueError(
                    f"parts: expected {total} scenes of one setup, got more scenes or another setup; correct `scenes` or the parts"
                )
            if rows != shapes:
                raise ValueError(
                    f"parts: expected the shapes of the first part, {shapes} for each scene, got {rows}; correct the parts"
                )
            for name, array in arrays.items():
                file.put(name, done, array)
            done += len(part)
        if done != total:
            raise ValueError(f"parts: expected {total} scenes, got {done}; correct `scenes` or the parts")


def _write_values(file: "RislocFile | MatlabFile", part: Measurements, code_bits: int | None) -> None:
    setup, reception = part.setup, part.reception
    fields = {field.name: getattr(setup, field.name) for field in dataclasses.fields(setup)}
    fields["unknown_gains"] = reception.unknown_gains if reception.gains_unknown else None
    fields["static_path"] = int(reception.static_path) or None
    version = VERSIONS[1 if reception.pilots else 0]
    for name, value in {"format": FORMAT, "version": version, **fields, "code_bits": code_bits}.items():
        if value is not None:
            file.value(name, value)


def _arrays(part: Measurements, code_bits: int | None, first: int) -> dict[str, np.ndarray]:
    """Return the arrays to write of a part whose first scene has the number `first`."""
    if not isinstance(part, Measurements):
        raise MeasurementError(
            f"parts: expected Measurements, got {type(part).__name__}; measurements_of(scenario, scenes) makes them"
        )
    faults, truth = array_faults(part.y, part.codebook, part.H, part.noise_var), part.truth
    if part.pilots is not None and not faults:
        faults += reception_faults(part.reception, part.pilots, part.codebook, part.H, part.y)
    if truth is not None:
        faults += truth_faults(truth.location, truth.power, truth.count)
        faults += [] if truth.echoes is None else echo_faults(truth.echoes.location, truth.echoes.gain)
    for fault in faults:
        raise MeasurementError(fault.words(range(first, first + len(part))))
    tensors = {"y": part.y, "H": part.H, "codes": part.codebook if code_bits is None else _codes(part, code_bits)}
    if part.noise_var is not None:
        tensors["noise_var"] = part.noise_var
    if part.pilots is not None:
        tensors["pilots"] = part.pilots
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
