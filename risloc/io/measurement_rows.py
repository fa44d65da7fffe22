"""Scenes as a measurement file holds them, before anything is sure of their numbers.

Axes: batch B (scene), snap L, ant M, elem N, src K.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from risloc.io.measurement_checks import Fault, array_faults, truth_faults
from risloc.io.measurements import Measurements, Setup, Sources
from risloc.physics.codebook import codebook

__all__ = ["Rows"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some scenes, numbered as in the file: complex y [scene, snap, ant] and H [scene, ant, elem], codes [scene, snap, elem]
    (integers of `bits` bits, or complex), noise_var [scene] or None, and location, power, count of a truth or None."""

    numbers: Sequence[int]
    y: np.ndarray
    H: np.ndarray
    codes: np.ndarray
    bits: int
    noise_var: np.ndarray | None
    truth: tuple[np.ndarray, np.ndarray, np.ndarray] | None

    def faults(self) -> list[Fault]:
        """What is wrong with their numbers, the first things first; arrays have the names that they have in a file."""
        found = self._code_faults()
        if not found:
            noise = None if self.noise_var is None else torch.from_numpy(self.noise_var)
            found = array_faults(torch.from_numpy(self.y), self._codebook, torch.from_numpy(self.H), noise)
            found += [] if self.truth is None else truth_faults(*map(torch.from_numpy, self.truth))
        names = {fault.name: fault.name.replace(".", "/") for fault in found} | {"codebook": "codes"}
        return [dataclasses.replace(fault, name=names[fault.name]) for fault in found]

    def bad(self) -> dict[int, str]:
        """The numbers of those with a fault, each with the first one in words."""
        found: dict[int, str] = {}
        rows: Rows | None = self
        while rows is not None and (faults := rows.faults()):
            for fault in faults:
                found = rows._reasons(fault) | found
            good = [i for i, number in enumerate(rows.numbers) if number not in found]
            rows = rows._of(good) if good else None
        return dict(sorted(found.items()))

    def measurements(self, setup: Setup) -> Measurements:
        """The scenes, which have no faults."""
        truth = None
        if self.truth is not None:
            location, power, count = map(torch.from_numpy, self.truth)
            truth = Sources(location=location, power=power, count=count)
        noise = None if self.noise_var is None else torch.from_numpy(self.noise_var)
        y, H = torch.from_numpy(self.y), torch.from_numpy(self.H)
        return Measurements(setup=setup, y=y, codebook=self._codebook, H=H, noise_var=noise, truth=truth)

    def _of(self, index: list[int]) -> "Rows":
        arrays = {name: getattr(self, name)[index] for name in ("y", "H", "codes")}
        noise = None if self.noise_var is None else self.noise_var[index]
        truth = None if self.truth is None else (self.truth[0][index], self.truth[1][index], self.truth[2][index])
        numbers = [self.numbers[i] for i in index]
        return Rows(numbers=numbers, bits=self.bits, noise_var=noise, truth=truth, **arrays)

    def _reasons(self, fault: Fault) -> dict[int, str]:
        """Of the first bad scene alone where the words hold a number of its own."""
        bad = torch.nonzero(fault.bad).flatten().tolist()
        return {self.numbers[i]: fault.reason for i in (bad if fault.got == "others" else bad[:1])}

    def _code_faults(self) -> list[Fault]:
        if self.codes.dtype.kind == "c":
            return []
        good = ((self.codes >= 0) & (self.codes < 2**self.bits)).reshape(len(self.codes), -1).all(1)
        if good.all():
            return []
        expected = f"integers in 0..{2**self.bits - 1} (code_bits = {self.bits})"
        return [Fault("codebook", torch.from_numpy(~good), expected, "others", "mend code_bits")]

    @functools.cached_property
    def _codebook(self) -> Complex[Tensor, "batch snap elem"]:
        if self.codes.dtype.kind == "c":
            return torch.from_numpy(self.codes.astype(np.complex64))
        return codebook(torch.from_numpy(self.codes.astype(np.uint8)), self.bits)
