"""Checks of tensor and integer arguments, with errors that name what was expected."""

from typing import Any

from torch import Tensor

from risloc.config import integer, shown

__all__ = ["check_tensor", "whole"]


def check_tensor(
    name: str, value: Any, *ends: int | None, batch: int | None = None, complex_: bool | None = None
) -> None:
    """Check that a value is a tensor with the given last axes and kind of numbers.

    Parameters
    ----------
    name
        The name of the argument, for the message.
    value
        The value to check.
    *ends
        The sizes of the last axes; None allows any.
    batch
        The number of axes before them; None allows any.
    complex_
        Whether the numbers must be complex; None allows either.

    Raises
    ------
    TypeError
        The value is not a tensor; torch.from_numpy converts numpy arrays.
    ValueError
        The shape or the kind of numbers is different.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch tensor, got {type(value).__name__}; torch.as_tensor(...) makes one")
    shape = tuple(value.shape)
    last, before = shape[max(len(shape) - len(ends), 0) :], len(shape) - len(ends)
    fits = before >= 0 and all(end in (None, size) for end, size in zip(ends, last, strict=True))
    if not fits or batch not in (None, before):
        axes = ", ".join(["any"] * (batch or 0) + ["any" if end is None else str(end) for end in ends])
        wanted = f"[{axes}]" if batch is not None else f"[..., {axes}]"
        raise ValueError(f"{name}: expected the shape {wanted}, got {shape}")
    if complex_ is not None and value.is_complex() != complex_:
        kind = "complex" if complex_ else "real"
        raise ValueError(f"{name}: expected {kind} numbers, got {str(value.dtype).removeprefix('torch.')}")


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """Check an integer argument and convert it to a Python integer.

    Parameters
    ----------
    name
        The name of the argument, for the message.
    value
        The value to check.
    least
        The lower bound.
    most
        The upper bound; None for no bound.

    Returns
    -------
    int
        The integer.

    Raises
    ------
    ValueError
        The value is not an integer, or is out of bounds.
    """
    number = integer(value)
    if number is None or number < least or (most is not None and number > most):
        span = f"of at least {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{name}: expected an integer {span}, got {shown(value)}")
    return number
