"""Check the values of the arrays of measurements, scene by scene, whether they come from a file or from Python.

Their form is checked before, by `risloc.io.measurement_shapes`.

Axes: batch B (scene), snap L, ant M, elem N, src K.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

__all__ = [
    "MODULUS",
    "NOISE_SPAN",
    "Fault",
    "MeasurementError",
    "array_faults",
    "echo_faults",
    "modulus_fault",
    "noise_fault",
    "root_mean_square",
    "truth_faults",
]

MODULUS = 1e-3  # how far from 1 a code's modulus may be
NOISE_SPAN = (1e-14, 1e4)
"""sigma^2 over a scene's mean |y|^2: below, the fits do not converge in single precision; above, y would hardly be possible."""

_NOT_FINITE = "NaN or infinity"
_PLACE = "azimuth and elevation within +-pi/2 radians and a distance above 0 metres"
_QUARTER = math.pi / 2 + 1e-6  # in single precision pi / 2 is a little more


class MeasurementError(ValueError):
    """Measurements or their file are invalid; the message states where, what was expected and the remedy."""


@dataclass(frozen=True)
class Fault:
    """A fault in the values of some scenes of a batch.

    Parameters
    ----------
    name
        The name of the array.
    bad : [batch]
        The faulty scenes.
    expected
        What was expected.
    got
        What was found.
    remedy
        What to do.
    shared
        Whether `got` describes all faulty scenes; otherwise it holds a value of the first one.
    """

    name: str
    bad: Bool[Tensor, " batch"]
    expected: str
    got: str
    remedy: str
    shared: bool = True

    @property
    def reason(self) -> str:
        """The fault without the number of the scene."""
        return f"{self.name}: expected {self.expected}, got {self.got}"

    def words(self, numbers: Sequence[int] | None = None) -> str:
        """Describe the fault in one line.

        Parameters
        ----------
        numbers
            The numbers of the scenes of the batch; None counts from 0.

        Returns
        -------
        str
            The line.
        """
        bad, numbers = torch.nonzero(self.bad).flatten().tolist(), range(len(self.bad)) if numbers is None else numbers
        first, last = numbers[0], numbers[-1]
        several = (
            f" ({len(bad)} of the {len(numbers)} scenes from {first} to {last})" if self.shared and first < last else ""
        )
        return f"{self.name}: scene {numbers[bad[0]]}: expected {self.expected}, got {self.got}{several}; {self.remedy}"


def array_faults(
    y: Complex[Tensor, "batch snap ant"],
    codebook: Complex[Tensor, "batch snap elem"],
    H: Complex[Tensor, "batch ant elem"],
    noise_var: Float[Tensor, " batch"] | None,
) -> list[Fault]:
    """Check the values of the arrays.

    Parameters
    ----------
    y : [batch, snap, ant]
        The snapshots.
    codebook : [batch, snap, elem]
        The codes c_l.
    H : [batch, ant, elem]
        The channel.
    noise_var : [batch]
        sigma^2, or None.

    Returns
    -------
    list of Fault
        The faults, in order of importance.
    """
    checks = []
    for name, array in (("y", y), ("H", H)):
        checks.append((name, array.isfinite(), "finite numbers", _NOT_FINITE, "leave the scene out"))
        signal = (array != 0).flatten(1).any(1)
        checks.append((name, signal, "a nonzero signal", "zeros", "leave the scene out"))
    checks.append(("codebook", codebook.isfinite(), "finite numbers", _NOT_FINITE, "leave the scene out"))
    if noise_var is not None:
        good = noise_var.isfinite() & (noise_var > 0)
        got = f"zero, a negative number, {_NOT_FINITE}"
        checks.append(("noise_var", good, "positive numbers", got, "remove noise_var, which is then estimated"))
    found = _faults(checks)
    if not found and (fault := modulus_fault(codebook)):
        found.append(fault)
    if not found and noise_var is not None and (fault := noise_fault(y, noise_var)):
        found.append(fault)
    return found


def modulus_fault(codebook: Complex[Tensor, "batch snap elem"]) -> Fault | None:
    """Check that codes have modulus 1; a common other modulus only changes the units of power.

    Parameters
    ----------
    codebook : [batch, snap, elem]
        The codes c_l.

    Returns
    -------
    Fault or None
        The fault, None if there is none.
    """
    modulus = codebook.abs()
    bad = ((modulus - 1).abs() > MODULUS).flatten(1).any(1)
    if not bad.any():
        return None
    low, high = (float(each) for each in modulus[bad][0].aminmax())
    remedy = "codes with different losses are not supported, and dividing them by their moduli gives wrong positions"
    if high > 0 and high - low <= MODULUS * high:
        remedy = "divide all codes by this modulus, which changes only the powers"
    return Fault("codebook", bad, "phasors of modulus 1", f"moduli of {low:.3g} to {high:.3g}", remedy, shared=False)


def noise_fault(y: Complex[Tensor, "batch snap ant"], noise_var: Float[Tensor, " batch"]) -> Fault | None:
    """Check that the noise variances over the mean |y|^2 of their scenes lie in `NOISE_SPAN`.

    Parameters
    ----------
    y : [batch, snap, ant]
        The snapshots.
    noise_var : [batch]
        sigma^2.

    Returns
    -------
    Fault or None
        The fault, None if there is none.
    """
    size = root_mean_square(y)
    ratio = noise_var.double() / size / size
    low, high = NOISE_SPAN
    bad = ~((ratio >= low) & (ratio <= high))
    if not bad.any():
        return None
    return Fault(
        "noise_var", bad, f"{low:g}..{high:g} times the scene's mean |y|^2", f"{float(ratio[bad][0]):.2g} times",
        "correct its unit, or remove noise_var, which is then estimated", shared=False,
    )  # fmt: skip


def truth_faults(
    location: Float[Tensor, "batch src 3"], power: Float[Tensor, "batch src"], count: Int[Tensor, " batch"]
) -> list[Fault]:
    """Check the values of a truth.

    Parameters
    ----------
    location : [batch, src, 3]
        Azimuth and elevation in radians, distance in metres.
    power : [batch, src]
        Linear powers.
    count : [batch]
        The number of sources.

    Returns
    -------
    list of Fault
        The faults, in order of importance.
    """
    remedy, slots = "remove the truth", location.shape[1]
    there = torch.arange(slots, device=count.device) < count[:, None]
    return _faults([
        ("truth.location", location.isfinite(), "finite numbers", _NOT_FINITE, remedy),
        ("truth.power", power.isfinite(), "finite numbers", _NOT_FINITE, remedy),
        ("truth.count", (count >= 0) & (count <= slots), f"0..{slots} sources", "another number", remedy),
        (
            "truth.location", ~there | _placed(location), _PLACE, "a place outside",
            f"convert the units, or {remedy}",
        ),
    ])  # fmt: skip


def echo_faults(location: Float[Tensor, "batch src path 3"], gain: Complex[Tensor, "batch src path"]) -> list[Fault]:
    """Check the values of the echoes of a truth.

    Parameters
    ----------
    location : [batch, src, path, 3]
        Azimuth and elevation of the images in radians, distance in metres.
    gain : [batch, src, path]
        The gains relative to the direct waves; 0 where there is no echo.

    Returns
    -------
    list of Fault
        The faults, in order of importance.
    """
    name, remedy = "truth.echoes", "remove the echoes"
    good = (gain == 0) | _placed(location)
    return _faults(
        [
            (f"{name}.location", location.isfinite(), "finite numbers", _NOT_FINITE, remedy),
            (f"{name}.gain", gain.isfinite(), "finite numbers", _NOT_FINITE, remedy),
            (f"{name}.location", good, _PLACE, "a place outside", f"convert the units, or {remedy}"),
        ]
    )


def _placed(location: Float[Tensor, "*batch 3"]) -> Bool[Tensor, "*batch"]:
    return (location[..., :2].abs().amax(-1) <= _QUARTER) & (location[..., 2] > 0)


def root_mean_square(x: Complex[Tensor, "batch row col"]) -> Float[Tensor, " batch"]:
    """Compute the root mean square of each scene in double precision, scaled by the largest modulus to avoid overflow.

    Parameters
    ----------
    x : [batch, row, col]
        Complex numbers.

    Returns
    -------
    [batch]
        The root mean square.
    """
    largest = x.to(torch.complex128).abs().amax((1, 2))
    return largest * (x.to(torch.complex128).abs() / largest[:, None, None]).square().mean((1, 2)).sqrt()


def _faults(checks: list[tuple[str, Tensor, str, str, str]]) -> list[Fault]:
    """Return a fault for each check (name, good, expected, got, remedy) that a scene fails."""
    found = []
    for name, good, expected, got, remedy in checks:
        bad = ~good.flatten(1).all(1) if good.dim() > 1 else ~good
        if bad.any():
            found.append(Fault(name, bad, expected, got, remedy))
    return found
