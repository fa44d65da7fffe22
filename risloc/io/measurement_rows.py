"""Scenes as stored in a measurement file, before their numbers are checked.

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

from risloc.io.measurement_checks import Fault, array_faults, echo_faults, truth_faults
from risloc.io.measurements import Measurements, Setup
from risloc.io.reception import Reception, reception_faults
from risloc.io.true_sources import Sources
from risloc.physics.codebook import codebook
from risloc.scenes.batch import Echoes

__all__ = ["Rows"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some scenes of a file.

    Parameters
    ----------
    numbers
        The numbers of the scenes in the file.
    y : [scene, snap, ant]
        The snapshots, complex.
    H : [scene, ant, elem]
        The channel, complex.
    codes : [scene, snap, elem]
        Integers of `bits` bits, or complex phasors.
    bits
        The number of bits of an integer code.
    noise_var : [scene]
        sigma^2, or None.
    truth
        Location [scene, src, 3], power [scene, src] and count [scene], or None.
    echoes
        Location [scene, src, path, 3] and gain [scene, src, path] of the echoes, or None.
    pilots : [scene, snap]
        The pilots, or None.
    reception
        What is known of the receiver.
    """

    numbers: Sequence[int]
    y: np.ndarray
    H: np.ndarray
    codes: np.ndarray
    bits: int
    noise_var: np.ndarray | None
    truth: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    echoes: tuple[np.ndarray, np.ndarray] | None
    pilots: np.ndarray | None
    reception: Reception

    def faults(self) -> list[Fault]:
        """Find what is wrong with the values, in order of importance; arrays have the names that they have in the file.

        Returns
        -------
        list of Fault
            The faults.
        """
        found = self._code_faults()
        if not found:
            noise = None if self.noise_var is None else torch.from_numpy(self.noise_var)
            found = array_faults(torch.from_numpy(self.y), self._codebook, torch.from_numpy(self.H), noise)
            found += [] if found else self._reception_faults()
            found += [] if self.truth is None else truth_faults(*map(torch.from_numpy, self.truth))
            found += [] if self.echoes is None else echo_faults(*map(torch.from_numpy, self.echoes))
        names = {fault.name: fault.name.replace(".", "/") for fault in found} | {"codebook": "codes"}
        return [dataclasses.replace(fault, name=names[fault.name]) for fault in found]

    def bad(self) -> dict[int, str]:
        """List the faulty scenes.

        Returns
        -------
        dict
            The first fault of each faulty scene, by its number.
        """
        found: dict[int, str] = {}
        rows: Rows | None = self
        while rows is not None and (faults := rows.faults()):
            for fault in faults:
                found = rows._reasons(fault) | found
            good = [i for i, number in enumerate(rows.numbers) if number not in found]
            rows = rows._of(good) if good else None
        return dict(sorted(found.items()))

    def measurements(self, setup: Setup) -> Measurements:
        """Convert scenes without faults to measurements.

        Parameters
        ----------
        setup
            The setup of the file.

        Returns
        -------
        Measurements
            The measurements.
        """
        truth = None
        if self.truth is not None:
            location, power, count = map(torch.from_numpy, self.truth)
            echoes = None
            if self.echoes is not None:
                echoes = Echoes(location=torch.from_numpy(self.echoes[0]), gain=torch.from_numpy(self.echoes[1]))
            truth = Sources(location=location, power=power, count=count, echoes=echoes)
        noise = None if self.noise_var is None else torch.from_numpy(self.noise_var)
        y, H = torch.from_numpy(self.y), torch.from_numpy(self.H)
        return Measurements(
            setup=setup,
            y=y,
            codebook=self._codebook,
            H=H,
            noise_var=noise,
            truth=truth,
            pilots=self.pilots,
            unknown_gains=self.reception.unknown_gains,
            static_path=self.reception.static_path,
        )

    def _of(self, index: list[int]) -> "Rows":
        arrays = {name: getattr(self, name)[index] for name in ("y", "H", "codes")}
        noise = None if self.noise_var is None else self.noise_var[index]
        truth = None if self.truth is None else (self.truth[0][index], self.truth[1][index], self.truth[2][index])
        echoes = None if self.echoes is None else (self.echoes[0][index], self.echoes[1][index])
        numbers = [self.numbers[i] for i in index]
        pilots = None if self.pilots is None else self.pilots[index]
        parts = {"noise_var": noise, "truth": truth, "echoes": echoes, "pilots": pilots, **arrays}
        return dataclasses.replace(self, numbers=numbers, **parts)

    def _reasons(self, fault: Fault) -> dict[int, str]:
        """Return the reasons by scene; only for the first bad scene if the message contains a value of that scene."""
        bad = torch.nonzero(fault.bad).flatten().tolist()
        return {self.numbers[i]: fault.reason for i in (bad if fault.shared else bad[:1])}

    def _reception_faults(self) -> list[Fault]:
        if self.pilots is None:
            return []
        y, H, pilots = (torch.from_numpy(x) for x in (self.y, self.H, self.pilots))
        return reception_faults(self.reception, pilots, self._codebook, H, y)

    def _code_faults(self) -> list[Fault]:
        if self.codes.dtype.kind == "c":
            return []
        good = ((self.codes >= 0) & (self.codes < 2**self.bits)).reshape(len(self.codes), -1).all(1)
        if good.all():
            return []
        expected = f"integers in 0..{2**self.bits - 1} (code_bits = {self.bits})"
        return [
            Fault("codebook", torch.from_numpy(~good), expected, "other integers", "correct code_bits or the codes")
        ]

    @functools.cached_property
    def _codebook(self) -> Complex[Tensor, "batch snap elem"]:
        if self.codes.dtype.kind == "c":
            return torch.from_numpy(self.codes.astype(np.complex64))
        return codebook(torch.from_numpy(self.codes.astype(np.uint8)), self.bits)
