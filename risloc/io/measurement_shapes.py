"""Check the form of the arrays of measurements: the kind of numbers, and shapes that fit together.

Axes: batch B (scene), snap L, ant M, elem N, src K.
"""

from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

import numpy as np
import torch
from torch import Tensor

from risloc.config import shown
from risloc.io.measurement_checks import MeasurementError

__all__ = [
    "MOST_IN_A_SCENE",
    "Numbers",
    "allowed_shapes",
    "bits_fault",
    "check_fit",
    "converted",
    "floating",
    "set_fields",
    "shape_fault",
    "size_fault",
    "stored_fault",
]

Numbers = Tensor | np.ndarray | SupportsFloat  # can be converted to a tensor
_STORED = {"complex": "c", "integer": "iu", "real": "f", "integer or complex": "iuc"}
MOST_IN_A_SCENE = 2**27  # L M N: a scene's G in single precision then takes 1 GiB
_KINDS: dict[str, Callable[[torch.dtype], bool]] = {
    "complex": lambda dtype: dtype in (torch.complex64, torch.complex128),
    "real": lambda dtype: not dtype.is_complex and dtype != torch.bool,
    "integer": lambda dtype: not dtype.is_complex and not dtype.is_floating_point and dtype != torch.bool,
}
_REMEDIES = {
    "y": "pass the complex samples, not their real part or modulus",
    "H": "pass the complex channel, not its real part or modulus",
    "codebook": "use risloc.physics.codebook.codebook(codes, bits) for integer codes, or exp(1j * phase) for phases",
}


def allowed_shapes(B: int, L: int, M: int, N: int) -> dict[str, tuple[tuple[int, ...], ...]]:
    """List the allowed shapes of each array; an array without the scene axis applies to all scenes.

    Parameters
    ----------
    B
        The number of scenes.
    L
        The number of snapshots.
    M
        The number of antennas.
    N
        The number of elements.

    Returns
    -------
    dict
        The allowed shapes by the names of the arrays.
    """
    return {
        "y": ((B, L, M),),
        "H": ((B, M, N), (M, N)),
        "codebook": ((B, L, N), (L, N)),
        "noise_var": ((B,), (), (1,), (1, 1)),
        "pilots": ((B, L), (L,), ()),
    }


def bits_fault(kind: str, bits: object) -> str | None:
    """Check the number of bits of integer codes.

    Parameters
    ----------
    kind
        The kind of the codes' dtype, as numpy names it: "c" for complex phasors, which need no bits.
    bits
        The attribute `code_bits`, or None.

    Returns
    -------
    str or None
        The fault, None if there is none.
    """
    if kind == "c" or (isinstance(bits, int) and 1 <= bits <= 8):
        return None
    return (
        f"code_bits: expected an integer attribute in 1..8, got {shown(bits)}; set it to the number of bits of the codes, or "
        "write the codes as complex phasors"
    )


def size_fault(B: int, L: int, M: int, N: int) -> str | None:
    """Check the numbers of scenes, snapshots, antennas and elements.

    Parameters
    ----------
    B
        The number of scenes.
    L
        The number of snapshots.
    M
        The number of antennas.
    N
        The number of elements.

    Returns
    -------
    str or None
        The fault, None if there is none.
    """
    if min(B, L, M) >= 1 and L * M * N <= MOST_IN_A_SCENE and M <= N:
        return None
    return (
        f"y: expected [scene, snap, ant] with 1..{N} antennas, at least one scene and one snapshot, and snapshots x antennas x "
        f"elements at most {MOST_IN_A_SCENE}, got {B} x {L} x {M} with {N} elements; split the scenes, or correct n_h and n_v"
    )


def shape_fault(name: str, shape: tuple[int, ...], allowed: tuple[tuple[int | None, ...], ...]) -> str | None:
    """Check that the shape of an array is one of the allowed ones.

    Parameters
    ----------
    name
        The name of the array.
    shape
        Its shape.
    allowed
        The allowed shapes; None in a shape allows any size.

    Returns
    -------
    str or None
        The fault, None if there is none.
    """
    for wanted in allowed:
        if len(shape) == len(wanted) and all(size in (None, own) for own, size in zip(shape, wanted, strict=True)):
            return None
    words = " or ".join(str(each).replace("None", "any") for each in allowed)
    return f"{name}: expected the shape {words}, got {tuple(shape)}"


def stored_fault(kind: str, dtype: np.dtype[Any]) -> str | None:
    """Check that a dataset holds numbers of a kind, and describe what was found instead and the remedy.

    Parameters
    ----------
    kind
        One of complex, integer, real, and integer or complex.
    dtype
        The dtype of the dataset.

    Returns
    -------
    str or None
        The fault, None if there is none.
    """
    if dtype.kind in _STORED[kind] and dtype.itemsize <= 16:
        return None
    expected = f"expected {kind} numbers of at most double precision"
    if "complex" not in kind or dtype.names is None:
        return f"{expected}, got {dtype}; convert the numbers"
    came = ", ".join(f"{name} ({dtype[name]})" for name in dtype.names[:4])
    return f"{expected} (complex numbers as h5py writes them, a compound of two floats named r and i), got a compound of {came}; convert the numbers"


def converted(name: str, given: Any, kind: str, shape: str) -> Tensor:
    """Convert a tensor, numpy array or number to a tensor in main memory, in its precision; numpy arrays are copied.

    Parameters
    ----------
    name
        The name of the array.
    given
        The value to convert.
    kind
        One of complex, real and integer.
    shape
        The expected shape, for the message.

    Returns
    -------
    Tensor
        The tensor.

    Raises
    ------
    MeasurementError
        The value is of another type or kind of numbers.
    """
    if isinstance(given, int | float | np.number) and not isinstance(given, bool):
        given = np.asarray(given)
    if isinstance(given, np.ma.MaskedArray) and given.mask.any():
        raise MeasurementError(
            f"{name}: expected numbers, got {int(given.mask.sum())} masked numbers; leave their scenes out"
        )
    if isinstance(given, np.ndarray) and given.dtype.kind in "iufc":
        given = torch.from_numpy(np.array(given, _native(given.dtype), order="C"))
    if not isinstance(given, Tensor) or given.layout != torch.strided:
        came, remedy = type(given).__name__, "convert it with numpy.asarray"
        if isinstance(given, np.ndarray):
            came, remedy = f"an array of {given.dtype}", "convert its numbers with astype"
        elif isinstance(given, Tensor):
            came, remedy = "a sparse tensor", "convert it with to_dense"
        raise MeasurementError(
            f"{name}: expected a torch tensor or numpy array of {kind} numbers, {shape}, got {came}; {remedy}"
        )
    if not _KINDS[kind](given.dtype):
        came, remedy = str(given.dtype).removeprefix("torch."), _REMEDIES.get(name, "convert the numbers")
        raise MeasurementError(f"{name}: expected {kind} numbers, {shape}, got {came}; {remedy}")
    return given.detach().cpu()


def floating(x: Tensor) -> Tensor:
    """Convert to double precision anything but single and double precision.

    Parameters
    ----------
    x : any shape
        Real numbers.

    Returns
    -------
    the same shape
        The numbers.
    """
    return x if x.dtype in (torch.float32, torch.float64) else x.double()


def check_fit(name: str, x: Tensor, allowed: tuple[tuple[int | None, ...], ...]) -> None:
    """Check that the shape of an array is one of the allowed ones.

    Parameters
    ----------
    name
        The name of the array.
    x
        The array.
    allowed
        The allowed shapes; None in a shape allows any size.

    Raises
    ------
    MeasurementError
        The shape is another one.
    """
    if fault := shape_fault(name, tuple(x.shape), allowed):
        raise MeasurementError(f"{fault}; correct the array or the arrays that share its axes")


def set_fields(frozen: object, values: Mapping[str, object]) -> None:
    """Set fields of a frozen dataclass during its construction.

    Parameters
    ----------
    frozen
        The dataclass.
    values
        The values of the fields by their names.
    """
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the corresponding dtype that torch supports, in native byte order."""
    most = 16 if dtype.kind == "c" else 8
    return np.dtype(f"{dtype.kind}{min(dtype.itemsize, most)}")
