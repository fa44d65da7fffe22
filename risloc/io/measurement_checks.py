"""What the arrays of measurements must be, whether they come from a file or from Python.

First their form: which kind of numbers, and shapes that fit together. Then their values, scene by scene. Whoever reads a file
checks the form before the data.

Axes: batch B (scene), snap L, ant M, elem N, src K.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

__all__ = [
    "MODULUS",
    "MOST_IN_A_SCENE",
    "NOISE_SPAN",
    "Fault",
    "MeasurementError",
    "allowed_shapes",
    "array_faults",
    "converted",
    "modulus_fault",
    "noise_fault",
    "root_mean_square",
    "shape_fault",
    "size_fault",
    "truth_faults",
]

MOST_IN_A_SCENE = 2**27  # L M N: a scene's G in single precision then takes 1 GiB
MODULUS = 1e-3  # how far from 1 a code's modulus may be
NOISE_SPAN = (1e-14, 1e4)
"""sigma^2 over a scene's mean |y|^2: below, the fits do not converge in single precision; above, y would hardly be possible."""

_QUARTER = math.pi / 2 + 1e-6  # in single precision pi / 2 is a little more
_KINDS: dict[str, Callable[[torch.dtype], bool]] = {
    "complex": lambda dtype: dtype in (torch.complex64, torch.complex128),
    "real": lambda dtype: not dtype.is_complex and dtype != torch.bool,
    "integer": lambda dtype: not dtype.is_complex and not dtype.is_floating_point and dtype != torch.bool,
}
_REMEDIES = {
    "y": "give the complex samples, not their real part or modulus",
    "H": "give the complex channel, not its real part or modulus",
    "codebook": "risloc.physics.codebook.codebook(codes, bits) makes phasors of integer codes, exp(1j * phase) of phases",
}


class MeasurementError(ValueError):
    """Measurements, or their file, are not what they must be; the message says where, what was expected and what to do."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with the values of some scenes of a batch.

    name : of the array.  bad : the scenes.  expected, got, remedy : in words.
    """

    name: str
    bad: Bool[Tensor, " batch"]
    expected: str
    got: str
    remedy: str

    @property
    def reason(self) -> str:
        """The fault of one scene, which somebody else names."""
        return f"{self.name}: expected {self.expected}, got {self.got}"

    def words(self, numbers: Sequence[int] | None = None) -> str:
        """The fault in one line; `numbers` are those of the batch's scenes, without it from 0."""
        bad, numbers = torch.nonzero(self.bad).flatten().tolist(), range(len(self.bad)) if numbers is None else numbers
        several = f" ({len(bad)} of scenes {numbers[0]}..{numbers[-1]})" if self.got == "others" else ""
        return f"{self.name}: scene {numbers[bad[0]]}: expected {self.expected}, got {self.got}{several}; {self.remedy}"


def allowed_shapes(B: int, L: int, M: int, N: int) -> dict[str, tuple[tuple[int, ...], ...]]:
    """The shapes that each array may have; those without the scenes stand for all scenes."""
    return {
        "y": ((B, L, M),),
        "H": ((B, M, N), (M, N)),
        "codebook": ((B, L, N), (L, N)),
        "noise_var": ((B,), (), (1,), (1, 1)),
    }


def size_fault(B: int, L: int, M: int, N: int) -> str | None:
    """What is wrong with the numbers of scenes, snapshots and antennas on N elements; None: nothing is."""
    if min(B, L, M) >= 1 and L * M * N <= MOST_IN_A_SCENE and M <= N:
        return None
    return (
        f"y: expected [scene, snap, ant] with 1..{N} antennas, at least one scene and one snapshot, and snapshots x antennas x "
        f"elements up to {MOST_IN_A_SCENE}, got {B} x {L} x {M} with {N} elements; split the scenes, or mend n_h and n_v"
    )


def shape_fault(name: str, shape: tuple[int, ...], allowed: tuple[tuple[int | None, ...], ...]) -> str | None:
    """What is wrong with an array's shape, which must be one of the allowed ones (None: any size); None: nothing is."""
    for wanted in allowed:
        if len(shape) == len(wanted) and all(size in (None, own) for own, size in zip(shape, wanted, strict=True)):
            return None
    words = " or ".join(str(each).replace("None", "any") for each in allowed)
    return f"{name}: expected the shape {words}, got {tuple(shape)}"


def converted(name: str, given: Any, kind: str, shape: str) -> Tensor:
    """A tensor in main memory of a tensor, numpy array or number, in its precision; what numpy holds is copied.

    kind : complex, real or integer.  shape : the expected one, in words.

    Raises
    ------
    MeasurementError
        Neither of these, or numbers of another kind.
    """
    if isinstance(given, int | float | np.number) and not isinstance(given, bool):
        given = np.asarray(given)
    if isinstance(given, np.ma.MaskedArray) and given.mask.any():
        raise MeasurementError(
            f"{name}: expected numbers, got {int(given.mask.sum())} masked ones; leave their scenes out"
        )
    if isinstance(given, np.ndarray) and given.dtype.kind in "iufc":
        given = torch.from_numpy(np.array(given, _native(given.dtype), order="C"))
    if not isinstance(given, Tensor) or given.layout != torch.strided:
        came = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__
        raise MeasurementError(f"{name}: expected a torch tensor or numpy array of {kind} numbers, {shape}, got {came}")
    if not _KINDS[kind](given.dtype):
        came, remedy = str(given.dtype).removeprefix("torch."), _REMEDIES.get(name, "convert them")
        raise MeasurementError(f"{name}: expected {kind} numbers, {shape}, got {came}; {remedy}")
    return given.detach().cpu()


def array_faults(
    y: Complex[Tensor, "batch snap ant"],
    codebook: Complex[Tensor, "batch snap elem"],
    H: Complex[Tensor, "batch ant elem"],
    noise_var: Float[Tensor, " batch"] | None,
) -> list[Fault]:
    """What is wrong with the values of the arrays, the first things first."""
    checks = []
    for name, array in (("y", y), ("H", H)):
        checks.append((name, array.isfinite(), "finite numbers", "leave the scene out"))
        signal = (array != 0).flatten(1).any(1)
        checks.append((name, signal, "a signal, not zeros alone", "leave the scene out"))
    checks.append(("codebook", codebook.isfinite(), "finite numbers", "leave the scene out"))
    if noise_var is not None:
        good = noise_var.isfinite() & (noise_var > 0)
        checks.append(("noise_var", good, "positive numbers", "remove noise_var, and it is estimated"))
    found = _faults(checks)
    if not found and (fault := modulus_fault(codebook)):
        found.append(fault)
    if not found and noise_var is not None and (fault := noise_fault(y, noise_var)):
        found.append(fault)
    return found


def modulus_fault(codebook: Complex[Tensor, "batch snap elem"]) -> Fault | None:
    """The codes that are not of modulus 1; None: none is. A modulus that all of them share is only a matter of units."""
    modulus = codebook.abs()
    bad = ((modulus - 1).abs() > MODULUS).flatten(1).any(1)
    if not bad.any():
        return None
    low, high = (float(each) for each in modulus[bad][0].aminmax())
    remedy = (
        "codes that lose power differently cannot be used yet, and divided by their moduli they give wrong positions"
    )
    if high > 0 and high - low <= MODULUS * high:
        remedy = "divide all codes by it: only the powers change"
    return Fault("codebook", bad, "phasors of modulus 1", f"moduli of {low:.3g} to {high:.3g}", remedy)


def noise_fault(y: Complex[Tensor, "batch snap ant"], noise_var: Float[Tensor, " batch"]) -> Fault | None:
    """The noise variances that are outside `NOISE_SPAN`; None: none is."""
    size = root_mean_square(y)
    ratio = noise_var.double() / size / size
    low, high = NOISE_SPAN
    bad = ~((ratio >= low) & (ratio <= high))
    if not bad.any():
        return None
    return Fault(
        "noise_var", bad, f"{low:g}..{high:g} times the scene's mean |y|^2", f"{float(ratio[bad][0]):.2g} times",
        "mend its unit, or remove it, and it is estimated",
    )  # fmt: skip


def truth_faults(
    location: Float[Tensor, "batch src 3"], power: Float[Tensor, "batch src"], count: Int[Tensor, " batch"]
) -> list[Fault]:
    """What is wrong with the values of a truth, the first things first."""
    remedy, slots = "remove the truth", location.shape[1]
    there = torch.arange(slots, device=count.device) < count[:, None]
    angles, distance = location[..., :2].abs().amax(-1), location[..., 2]
    return _faults([
        ("truth.location", location.isfinite(), "finite numbers", remedy),
        ("truth.power", power.isfinite(), "finite numbers", remedy),
        ("truth.count", (count >= 0) & (count <= slots), f"0..{slots}", remedy),
        (
            "truth.location", ~there | ((angles <= _QUARTER) & (distance > 0)),
            "azimuth and elevation within +-pi/2 radians and a distance above 0 metres", f"convert them, or {remedy}",
        ),
    ])  # fmt: skip


def root_mean_square(x: Complex[Tensor, "batch row col"]) -> Float[Tensor, " batch"]:
    """Of each scene, in double precision, safe from overflow: the largest modulus is taken out first."""
    largest = x.to(torch.complex128).abs().amax((1, 2))
    return largest * (x.to(torch.complex128).abs() / largest[:, None, None]).square().mean((1, 2)).sqrt()


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that torch has, of this machine's byte order."""
    most = 16 if dtype.kind == "c" else 8
    return np.dtype(f"{dtype.kind}{min(dtype.itemsize, most)}")


def _faults(checks: list[tuple[str, Tensor, str, str]]) -> list[Fault]:
    """Of (name, good, expected, remedy) those with a scene whose entries are not all good."""
    found = []
    for name, good, expected, remedy in checks:
        bad = ~good.flatten(1).all(1) if good.dim() > 1 else ~good
        if bad.any():
            found.append(Fault(name, bad, expected, "others", remedy))
    return found
